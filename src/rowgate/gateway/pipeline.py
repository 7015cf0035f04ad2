"""The way of a query, on one screen: decode, locate, identify, check, admit, run, answer.

Each step takes the frozen value of the step before it. Never keeps anything from one request for the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final

import msgspec

from rowgate.errors import AuthenticationFailed, ResultTooLarge, RowgateError
from rowgate.gateway.allowlist import AllowList
from rowgate.gateway.answer_flow import AnswerFlow
from rowgate.gateway.answer_formats import AnswerFormat, FormatMaker, JsonFormat, format_for
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.audit.record import CLIENT_GONE, INTERNAL_FAULT, Trace
from rowgate.gateway.connection_string import ConnectionString
from rowgate.gateway.database import Database
from rowgate.gateway.endpoint import Endpoint
from rowgate.gateway.held_answer import HeldAnswer
from rowgate.gateway.http.message import HttpRequest
from rowgate.gateway.limits import Limits, party_of
from rowgate.gateway.meter import Meter
from rowgate.gateway.request import SqlRequest, decode
from rowgate.gateway.response import Response, error_response, result_json
from rowgate.guard.guard import Guard
from rowgate.guard.verdict import Verdict
from rowgate.identity.principal import Principal
from rowgate.pgwire.types import BUILTIN_ARRAYS, ArrayType
from rowgate.postgres.exchange import Result
from rowgate.postgres.execution import Order, execute, execute_alone
from rowgate.postgres.opening import Login
from rowgate.settings import Settings

RESERVED_ROLE_PREFIX: Final = "rowgate_"
LONG_TEXT: Final = 2048
STREAM_ABOVE_BYTES: Final = 128 * 1024
"""What is held of a result that was asked for as NDJSON or Arrow."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Answers requests. ``locate`` finds the endpoint that a connection string means."""

    settings: Settings
    limits: Limits
    locate: Callable[[ConnectionString], Endpoint]
    meter: Meter
    journal: Journal | None = None
    allowlist: AllowList | None = None

    def answer(self, http: HttpRequest) -> Coroutine[Any, Any, Response]:
        """The answer to one ``POST /sql``; every refusal is an answer too."""
        return self._answer(http, None) if self.journal is None else self._answer_recorded(http, self.journal)

    async def _answer_recorded(self, http: HttpRequest, journal: Journal) -> Response:
        """The same, with a record of it, whatever happens."""
        trace = Trace("http")
        caller = http.headers.get(b"traceparent")
        try:
            response = await self._answer(http, trace)
        except BaseException as problem:
            word = CLIENT_GONE if isinstance(problem, asyncio.CancelledError) else INTERNAL_FAULT
            self._keep(journal, trace, word, 0, caller)
            raise
        self._keep(journal, trace, trace.problem, response.size, caller)
        return response

    def _keep(
        self, journal: Journal, trace: Trace, problem: RowgateError | str | None, size: int, caller: bytes | None
    ) -> None:
        record = trace.record(problem, size=size, with_sql=journal.with_sql, with_parameters=journal.with_parameters)
        journal.add(record, trace.texts, caller)

    async def _answer(self, http: HttpRequest, trace: Trace | None) -> Response:
        began = monotonic()
        role = None
        try:
            request = decode(http.headers, http.body, max_batch_statements=self.settings.max_batch_statements)
            role = request.connection.role
            endpoint = self.locate(request.connection)
            if trace is not None:
                trace.connection, trace.endpoint, trace.texts = request.connection, endpoint.name, request.texts
                trace.parameters = [statement.parameters for statement in request.statements]
            if request.token is None and request.connection.password is not None:
                response = await self._answer_password(request, endpoint, trace)
            else:
                name = request.connection.database
                database = endpoint.ready_database(name) or await endpoint.database(name)
                response = await self._answer_token(request, database, trace, http)
        except RowgateError as problem:
            if trace is not None:
                trace.problem = problem
            self.meter.errors["http", problem.code] += 1
            response = error_response(problem, role)
        self.meter.answered(response.status, monotonic() - began)
        return response

    async def _answer_token(
        self, request: SqlRequest, database: Database, trace: Trace | None, http: HttpRequest
    ) -> Response:
        """An exposed role: verified identity, guarded statements, shared connections."""
        make_format = format_for(http.headers.get(b"accept"), request)
        role = request.connection.role
        principal = database.known_principal(role, request.token) or await database.identify(role, request.token)
        if trace is not None:
            trace.principal = principal
        guard = database.guard
        has_rates = self.limits.has_rates
        if has_rates:
            self.limits.spend(principal, database.endpoint, len(request.texts))
        verdicts = []
        for text in request.texts:  # a comprehension that may wait is a coroutine of its own
            verdict = guard.check(text) if len(text) < LONG_TEXT else await _judge_apart(guard, text)
            verdicts.append(verdict)
        if trace is not None:
            trace.verdicts = verdicts
        gate = database.row_security
        for verdict in verdicts:
            if not gate.passes(role, verdict):
                await gate.admit(role, verdict)
        only_reads, calls_user_functions = _effects(verdicts)
        if self.allowlist is not None:
            self.allowlist.check(role, request.texts, verdicts)
        flow = self._flow(request, database, make_format, http, principal, only_reads)
        order = Order(
            request.statements,
            identity=None if principal is None else database.session_identity(principal, role),
            begin=None if request.transaction is None else request.transaction.begin,
            discard_after=calls_user_functions,
            only_reads=request.transaction is None and only_reads,
            party=party_of(principal),
            flow=flow,
            check_again=partial(self.limits.check_debt, principal, database.endpoint) if has_rates else None,
        )
        self.limits.admit(principal, database.endpoint)
        try:
            results = await execute(database.pool(role), order)
            if flow is not None and flow.has_taken:
                if trace is not None:
                    trace.results = results
                response = await flow.finish(results)
                return self._charged(response, principal, database) if has_rates else response
        except ResultTooLarge:
            self.limits.charge(principal, database.endpoint, self.settings.max_result_bytes)
            raise
        finally:
            self.limits.leave(principal, database.endpoint)
            if flow is not None and flow.has_taken:
                flow.close()
        if trace is not None:
            trace.results = results
        if self.settings.max_result_rows is not None and only_reads:
            _check_rows(results, self.settings.max_result_rows)
        types = BUILTIN_ARRAYS if request.raw_text else await database.array_types(results)
        response = _render(request, results, types, make_format)
        return self._charged(response, principal, database) if has_rates else response

    def _flow(
        self,
        request: SqlRequest,
        database: Database,
        make_format: FormatMaker,
        http: HttpRequest,
        principal: Principal | None,
        only_reads: bool,
    ) -> AnswerFlow | HeldAnswer | None:
        """What takes large results as they come; None where their rows must be counted first."""
        if self.settings.max_result_rows is not None:
            return None
        threshold = self.settings.stream_above_bytes
        if threshold is None:
            if make_format is JsonFormat:
                return HeldAnswer(request, make_format, database)
            threshold = STREAM_ABOVE_BYTES
        if http.channel is None or not only_reads:
            return HeldAnswer(request, make_format, database)
        headers = () if request.transaction is None else request.transaction.echo
        if self.limits.has_rates:
            headers = (*headers, *self.limits.headers(principal, database.endpoint))
        return AnswerFlow(
            request,
            make_format,
            http.channel,
            headers,
            threshold,
            database.known_array_types,
            database.read_array_types,
        )

    def _charged(self, response: Response, principal: Principal | None, database: Database) -> Response:
        """The answer, counted against the rates, and with what is left of them where nothing has gone out yet."""
        self.limits.charge(principal, database.endpoint, response.size)
        if response.written is not None:
            return response
        headers = (*response.headers, *self.limits.headers(principal, database.endpoint))
        return msgspec.structs.replace(response, headers=headers)

    async def _answer_password(self, request: SqlRequest, endpoint: Endpoint, trace: Trace | None) -> Response:
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
        if trace is not None:
            trace.results = results
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


def _check_rows(results: Sequence[Result], most: int) -> None:
    """After the fact, because bytes are bounded already; never for what has changed something."""
    if sum(result.row_count for result in results) > most:
        raise ResultTooLarge(
            "the result has too many rows", detail=f"at most {most}", hint="Add LIMIT, or raise max_result_rows."
        )


def _effects(verdicts: Sequence[Verdict]) -> tuple[bool, bool]:
    """Whether all of it only reads, and whether some of it calls functions of the user's, which may do anything."""
    only_reads, calls_user_functions = True, False
    for verdict in verdicts:
        only_reads = only_reads and verdict.reads_only
        calls_user_functions = calls_user_functions or verdict.calls_user_functions
    return only_reads and not calls_user_functions, calls_user_functions


async def _judge_apart(guard: Guard, text: str) -> Verdict:
    """Long texts are parsed on another thread, so that one of them does not hold everybody up."""
    return await asyncio.wrap_future(guard.submit(text))


def _render(
    request: SqlRequest,
    results: Sequence[Result],
    types: Mapping[int, ArrayType],
    make_format: FormatMaker = JsonFormat,
) -> Response:
    if make_format is not JsonFormat:
        return _render_as(make_format(request, types), request, results)
    if request.transaction is None:
        return Response(200, result_json(results[0], request.raw_text, request.array_modes[0], types))
    objects = [
        result_json(result, request.raw_text, mode, types)
        for result, mode in zip(results, request.array_modes, strict=True)
    ]
    return Response(200, b'{"results":[%b]}' % b",".join(objects), request.transaction.echo)


def _render_as(answer: AnswerFormat, request: SqlRequest, results: Sequence[Result]) -> Response:
    parts = [answer.begin()]
    for position, result in enumerate(results):
        parts.append(answer.open_result(position, result.prepared))
        parts.append(answer.rows(position, result.prepared, result.regions, first=True))
        parts.append(answer.close_result(position, result))
    parts.append(answer.end())
    headers = () if request.transaction is None else request.transaction.echo
    return Response(200, b"".join(parts), headers, content_type=answer.content_type)
