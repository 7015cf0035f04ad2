"""The client for asyncio. A task that is cancelled closes its connection, and the gateway cancels the statement."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import httpx

from rowgate.client import request
from rowgate.client.failure import succeeded
from rowgate.client.request import Call, Isolation, Statement, Target
from rowgate.client.result import Result, read_result, read_results
from rowgate.client.transport import told_apart


class AsyncClient:
    """``Client`` for asyncio; ``auth_token`` may be a plain function or an asynchronous one."""

    def __init__(
        self,
        sql_url: str,
        database_url: str,
        *,
        auth_token: Callable[[], str | Awaitable[str]] | None = None,
        timeout: float = request.DEFAULT_TIMEOUT,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._target = Target(sql_url, database_url)
        self._auth_token = auth_token
        self._timeout = timeout
        self._owns_http = http is None
        self._http = http or httpx.AsyncClient()

    async def query(self, sql: str, *parameters: object) -> Result:
        """Runs one statement with its parameters, ``$1`` and so on. Raises an error of ``rowgate.errors``."""
        return read_result(await self._send(request.query_call(self._target, await self._token(), sql, parameters)))

    async def transaction(
        self,
        *statements: Statement,
        isolation: Isolation | None = None,
        read_only: bool = False,
        deferrable: bool = False,
    ) -> list[Result]:
        """Runs statements, each SQL or a tuple of SQL and parameters, as one transaction: all take effect, or none."""
        call = request.batch_call(self._target, await self._token(), statements, isolation, read_only, deferrable)
        return read_results(await self._send(call))

    async def close(self) -> None:
        """Closes its connections."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._target.sql_url!r})"

    async def _token(self) -> str | None:
        if self._auth_token is None:
            return None
        token = self._auth_token()
        return request.checked_token(await token if inspect.isawaitable(token) else token)

    async def _send(self, call: Call) -> bytes:
        with told_apart(self._target):
            answer = await self._http.post(
                self._target.sql_url,
                headers=call.headers,
                content=call.body,
                timeout=self._timeout,
                follow_redirects=False,
            )
        return succeeded(answer.status_code, answer.headers, answer.content)
