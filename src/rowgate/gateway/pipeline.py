"""The way of a query, on one screen: decode, locate, identify, check, admit, run, answer.

Each step takes the frozen value of the step before it. Never keeps anything from one request for the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rowgate.errors import AuthenticationFailed, RowgateError
from rowgate.gateway.connection_string import ConnectionString
from rowgate.gateway.database import Database
from rowgate.gateway.endpoint import Endpoint
from rowgate.gateway.http.message import HttpRequest
from rowgate.gateway.limits import SubjectLimits
from rowgate.gateway.request import SqlRequest, decode
from rowgate.gateway.response import Response, error_response, result_json
from rowgate.gateway.row_security import RowSecurity
from rowgate.guard.guard import Guard
from rowgate.guard.verdict import Verdict
from rowgate.pgwire.types import BUILTIN_ARRAYS, ArrayType
from rowgate.postgres.exchange import Result
from rowgate.postgres.execution import Order, execute, execute_alone
from rowgate.postgres.opening import Login
from rowgate.settings import Settings

RESERVED_ROLE_PREFIX: Final = "rowgate_"
LONG_TEXT: Final = 2048


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Answers requests. ``locate`` finds the endpoint that a connection string means."""

    settings: Settings
    limits: SubjectLimits
    locate: Callable[[ConnectionString], Endpoint]

    async def answer(self, http: HttpRequest) -> Response:
        """The answer to one ``POST /sql``; every refusal is an answer too."""
        role = None
        try:
            request = decode(http.headers, http.body, max_batch_statements=self.settings.max_batch_statements)
            role = request.connection.role
            endpoint = self.locate(request.connection)
            if request.token is None and request.connection.password is not None:
                return await self._answer_password(request, endpoint)
            name = request.connection.database
            database = endpoint.ready_database(name) or await endpoint.database(name)
            return await self._answer_token(request, database)
        except RowgateError as problem:
            return error_response(problem, role)

    async def _answer_token(self, request: SqlRequest, database: Database) -> Response:
        """An exposed role: verified identity, guarded statements, shared connections."""
        role = request.connection.role
        principal = database.known_principal(role, request.token) or await database.identify(role, request.token)
        guard = database.guard
        verdicts = [
            guard.check(text) if len(text) < LONG_TEXT else await _judge_apart(guard, text) for text in request.texts
        ]
        await _pass_gate(database.row_security, role, verdicts)
        order = Order(
            request.statements,
            identity=None if principal is None else database.session_identity(principal, role),
            begin=None if request.transaction is None else request.transaction.begin,
            discard_after=True in [verdict.calls_user_functions for verdict in verdicts],
            only_reads=request.transaction is None and _only_reads(verdicts),
        )
        if principal is None:
            results = await execute(database.pool(role), order)
        else:
            self.limits.admit(principal.subject)
            try:
                results = await execute(database.pool(role), order)
            finally:
                self.limits.leave(principal.subject)
        types = BUILTIN_ARRAYS if request.raw_text else await database.array_types(results)
        return _render(request, results, types)

    async def _answer_password(self, request: SqlRequest, endpoint: Endpoint) -> Response:
        """A role with a password: Postgres judges both, on a connection of its own that serves nobody else."""
        connection = request.connection
        if not self.settings.password_roles:
            raise AuthenticationFailed(
                f"password authentication failed for user '{connection.role}'",
                detail="roles with a password are not served here",
                hint="Send a token for an exposed role, or set password_roles.",
            )
        if connection.role.startswith(RESERVED_ROLE_PREFIX):
            raise AuthenticationFailed(f"password authentication failed for user '{connection.role}'")
        login = Login(connection.role, connection.password, connection.database, {})
        begin = None if request.transaction is None else request.transaction.begin
        timeout = self.settings.statement_timeout_ms / 1000
        results = await execute_alone(endpoint.opener, login, Order(request.statements, begin=begin), timeout)
        return _render(request, results, await self._array_types(request, endpoint, results))

    async def _array_types(
        self, request: SqlRequest, endpoint: Endpoint, results: Sequence[Result]
    ) -> Mapping[int, ArrayType]:
        """The array types of a database that may not have been set up for Rowgate at all."""
        if request.raw_text:
            return BUILTIN_ARRAYS
        try:
            database = await endpoint.database(request.connection.database)
        except RowgateError:
            return BUILTIN_ARRAYS
        return await database.array_types(results)


def _only_reads(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.reads_only and not verdict.calls_user_functions for verdict in verdicts)


async def _pass_gate(gate: RowSecurity, role: str, verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        if not gate.passes(role, verdict):
            await gate.admit(role, verdict)


async def _judge_apart(guard: Guard, text: str) -> Verdict:
    """Long texts are parsed on another thread, so that one of them does not hold everybody up."""
    return await asyncio.wrap_future(guard.submit(text))


def _render(request: SqlRequest, results: Sequence[Result], types: Mapping[int, ArrayType]) -> Response:
    objects = [
        result_json(result, request.raw_text, mode, types)
        for result, mode in zip(results, request.array_modes, strict=True)
    ]
    if request.transaction is None:
        return Response(200, objects[0])
    return Response(200, b'{"results":[%b]}' % b",".join(objects), request.transaction.echo)
