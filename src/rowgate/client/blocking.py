"""The blocking client. Safe to share between threads, as its httpx client is."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import httpx

from rowgate.client import request
from rowgate.client.failure import succeeded
from rowgate.client.request import Call, Isolation, Statement, Target
from rowgate.client.result import Result, read_result, read_results
from rowgate.client.transport import told_apart
from rowgate.errors import SettingInvalid


class Client:
    """Asks one gateway for one role and database, each request with the token that ``auth_token`` gives then.

    ``sql_url`` is the gateway's ``/sql``, ``database_url`` a ``postgresql://role@host/database``. ``timeout`` is in
    seconds: for the connection, and for each time that nothing comes; how long a statement may run the gateway says.
    ``http`` is an httpx client of your own (a certificate authority, a proxy); it stays open.
    Raises SettingInvalid or MalformedHeader where the addresses cannot be used.
    """

    def __init__(
        self,
        sql_url: str,
        database_url: str,
        *,
        auth_token: Callable[[], str] | None = None,
        timeout: float = request.DEFAULT_TIMEOUT,
        http: httpx.Client | None = None,
    ) -> None:
        self._target = Target(sql_url, database_url)
        self._auth_token = auth_token
        self._timeout = timeout
        self._owns_http = http is None
        self._http = http or httpx.Client()

    def query(self, sql: str, *parameters: object) -> Result:
        """Runs one statement with its parameters, ``$1`` and so on. Raises an error of ``rowgate.errors``."""
        return read_result(self._send(request.query_call(self._target, self._token(), sql, parameters)))

    def transaction(
        self,
        *statements: Statement,
        isolation: Isolation | None = None,
        read_only: bool = False,
        deferrable: bool = False,
    ) -> list[Result]:
        """Runs statements, each SQL or a tuple of SQL and parameters, as one transaction: all take effect, or none."""
        call = request.batch_call(self._target, self._token(), statements, isolation, read_only, deferrable)
        return read_results(self._send(call))

    def close(self) -> None:
        """Closes its connections."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._target.sql_url!r})"

    def _token(self) -> str | None:
        if self._auth_token is None:
            return None
        token: object = self._auth_token()
        if inspect.iscoroutine(token):
            token.close()
            raise SettingInvalid("auth_token is asynchronous", hint="Use AsyncClient, or a plain function.")
        return request.checked_token(token)

    def _send(self, call: Call) -> bytes:
        with told_apart(self._target):
            answer = self._http.post(
                self._target.sql_url,
                headers=call.headers,
                content=call.body,
                timeout=self._timeout,
                follow_redirects=False,
            )
        return succeeded(answer.status_code, answer.headers, answer.content)
