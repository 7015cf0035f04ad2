"""One session of an exposed role: reads the client's requests, and has each answered by a read that shares a connection
or on a backend that is held from the first message to the end of each transaction.

While no transaction is open the session holds nothing but its own few values, so thousands of idle ones share a
handful of backends. No statement runs before the verified identity is in its transaction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from rowgate.errors import ConnectionLost, DatabaseError, InternalFault, ProtocolViolation, RowgateError, TokenExpired
from rowgate.gateway.allowlist import AllowList
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.database import Database
from rowgate.gateway.limits import Limits
from rowgate.gateway.meter import Meter
from rowgate.gateway.sessions.backend import Backend
from rowgate.gateway.sessions.bearer import Bearer, token_expired
from rowgate.gateway.sessions.conversation import Conversation
from rowgate.gateway.sessions.copy_in import DATA, violation_of
from rowgate.gateway.sessions.judging import Judging
from rowgate.gateway.sessions.lease import Lease
from rowgate.gateway.sessions.lifetime import STOPPED, Lifetime, SessionOver
from rowgate.gateway.sessions.outflow import Outflow
from rowgate.gateway.sessions.relay import Relay, Slot, error_told, is_identity_refused
from rowgate.gateway.sessions.shared_path import BEGINNINGS, SharedPath
from rowgate.gateway.sessions.state import SessionState
from rowgate.gateway.sessions.statement_records import MeasuredRelay, StatementRecords
from rowgate.gateway.sessions.stream import ClientStream
from rowgate.guard.sessions.statement import SessionKind, SessionSetting, SessionStatement
from rowgate.identity.principal import Principal
from rowgate.pgwire import messages
from rowgate.pgwire.server import answers, requests
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol, Event, Violation
from rowgate.settings import Settings

EXTENDED: Final = frozenset({requests.Parse, requests.Bind, requests.Describe, requests.Execute, requests.Close})


class Session:
    """Serves one client after its authentication, as ``role`` of ``database``."""

    __slots__ = (
        "_bearer", "_conversation", "_copy_in", "_database", "_end_at_once", "_judging", "_lease", "_lifetime",
        "_meter", "_outflow", "_protocol", "_records", "_role", "_shared", "_skipping", "_state", "_stream", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        stream: ClientStream,
        protocol: ConnectionProtocol,
        database: Database,
        role: str,
        principal: Principal | None,
        chosen: tuple[SessionSetting, ...],
        *,
        limits: Limits,
        settings: Settings,
        meter: Meter,
        parameters: Mapping[str, str],
        keeps_backend: bool = False,
        journal: Journal | None = None,
        allowlist: AllowList | None = None,
    ) -> None:
        self._stream = stream
        self._protocol = protocol
        self._database = database
        self._role = role
        self._meter = meter
        bearer = self._bearer = Bearer(
            database, role, principal, limits=limits, meter=meter, on_expiry=self._token_has_expired
        )
        self._judging = Judging(database, role, allowlist)
        self._end_at_once = not settings.expired_sessions_finish_transaction
        self._outflow = Outflow(stream, bearer.charge)
        self._state = SessionState()
        self._state.settings.begin(chosen, parameters)
        place = (database.endpoint, database.name, role)
        records = None if journal is None else StatementRecords(journal, place, lambda: bearer.principal)
        self._records = records
        self._conversation = Conversation(
            self._state, settings.statement_timeout_ms, bearer.identity, self._outflow.write, records
        )
        self._lease = Lease(
            database, role, bearer, stream, self._outflow, Relay if journal is None else MeasuredRelay,
            is_kept=keeps_backend, stall_seconds=settings.client_stall_seconds, on_error=self._tell_error,
            on_lost=self.end,
        )  # fmt: skip
        self._copy_in = self._lease.copy_in
        self._shared = SharedPath(database, role, self._state, bearer, self._judging, meter, records)
        self._lifetime = Lifetime(stream, self._outflow, meter, records, self._shared, self._lease)
        self._waiting: deque[Event] = deque()
        self._skipping = False

    # --- the life of a session --------------------------------------------------------------------------------

    @property
    def principal(self) -> Principal | None:
        """Whom the session is for; a fresh token in it changes that."""
        return self._bearer.principal

    @property
    def parameters(self) -> dict[str, str]:
        """What the client is told of its session at the start."""
        return self._state.settings.told

    async def cancel(self) -> None:
        """A cancel request with this session's key: ends what runs now."""
        if self._shared.cancel():
            return
        backend = self._lease.backend
        if backend is not None and not self._lease.relay.is_settled:
            backend.was_cancelled = True  # a cancel that comes late must not hit whoever has the connection next
            await self._database.cancel(backend.connection)

    async def run(self, first: Iterable[Event]) -> None:
        """Serves until the client leaves or the session must end; ``first`` came ahead of the login's end."""
        self._waiting.extend(first)
        self._lifetime.begin()
        self._bearer.watch()
        try:
            while True:
                request = await self._next()
                if not await self._read_shared(request):
                    await self._serve(request)
                if not self._waiting:
                    await self._outflow.drain()
        except SessionOver:
            return
        except RowgateError as problem:
            self._lifetime.fail(problem)
        finally:
            self._lifetime.close()
            self._bearer.close()
            self._let_go()
            self._lease.close()

    def stop(self) -> None:
        """The gateway stops: the session ends as soon as no transaction is open."""
        self._lifetime.end_when_free(STOPPED)

    def end(self, problem: RowgateError) -> None:
        """Ends the session from outside: the client reads ``problem`` as FATAL."""
        self._lifetime.end(problem)

    def _token_has_expired(self) -> None:
        if self._end_at_once:
            self.end(token_expired())
        else:
            self._lifetime.end_when_free(token_expired())

    # --- requests ---------------------------------------------------------------------------------------------

    async def _next(self) -> requests.Request:
        lifetime, waiting = self._lifetime, self._waiting
        if lifetime.ending is not None and not waiting:
            lifetime.await_last_request()
        while not waiting and not lifetime.is_over:
            data = await self._stream.read()
            if not data or lifetime.is_over:
                raise SessionOver
            waiting.extend(self._protocol.receive(data))
        if lifetime.ending is not None:
            lifetime.end_if_free()
        if lifetime.is_over:
            raise SessionOver
        event = waiting.popleft()
        if isinstance(event, Violation):
            raise self._broken(event.error)
        return event

    async def _read_shared(self, request: requests.Request) -> bool:
        """Serves a quick read, and what waits behind ``request`` and belongs to it; False: it was not one, and nothing
        was done."""
        lease = self._lease
        if lease.backend is not None or self._skipping or lease.is_kept or type(request) not in BEGINNINGS:
            return False
        read = self._shared.find(request, self._waiting)
        answer = None if read is None else await self._shared.answer(read)
        if read is None or answer is None:
            return False
        for _ in range(len(read.exchange) - 1):
            self._waiting.popleft()
        self._state.portals.clear()
        self._outflow.write(answer)
        return True

    def _broken(self, problem: ProtocolViolation) -> SessionOver:
        """The client has broken the protocol: nothing that it has begun goes on."""
        self.end(problem)
        return SessionOver()

    async def _serve(self, request: requests.Request) -> None:
        kind = type(request)
        if self._copy_in.is_open and kind not in DATA:
            self._judge_in_copy(request)
            return
        if kind in EXTENDED:
            if self._skipping or self._lease.relay.failed:
                return
            try:
                await self._extended(request)
            except RowgateError as problem:
                self._refuse_or_end(problem)
        elif kind is requests.Sync:
            await self._sync()
        elif isinstance(request, requests.Query):
            await self._query(request)
        elif isinstance(request, DATA):
            self._lease.pass_on(request)
        elif kind is requests.Terminate:
            raise SessionOver
        elif self._skipping or self._lease.relay.failed:
            return
        elif kind is requests.Flush:
            if self._lease.backend is not None:
                self._lease.backend.add_raw(messages.FLUSH)
                self._lease.backend.flush()
        elif kind is requests.FunctionCall:
            self._refuse(answers.FUNCTION_CALL_REFUSED)
            await self._sync()

    async def _extended(self, request: requests.Request) -> None:
        conversation = self._conversation
        if isinstance(request, requests.Parse):
            statement = await self._judging.one(request.sql)
            conversation.define(self._lease.backend or await self._hold(), request, statement)
        elif isinstance(request, requests.Bind):
            definition = conversation.definition(request.statement)
            await self._present_token(definition.statement, request)
            await self._judging.pass_gate(definition.statement)
            conversation.bind(self._lease.backend or await self._hold(), request, status=self._lease.relay.status)
        elif isinstance(request, requests.Describe):
            conversation.describe(self._lease.backend or await self._hold(), request)
        elif isinstance(request, requests.Execute):
            self._bearer.spend()
            conversation.execute(self._lease.backend or await self._hold(), request)
        elif isinstance(request, requests.Close):
            conversation.close(self._lease.backend or await self._hold(), request)

    async def _sync(self) -> None:
        self._skipping = self._bearer.is_paid = False
        backend = self._lease.backend
        if backend is None:
            self._outflow.write(answers.ready_for_query(answers.IDLE))
            return
        await self._finish(backend)

    async def _finish(self, backend: Backend) -> None:
        backend.sync()
        await backend.settle()
        self._meter.exchanges.observe(backend.connection.last_seconds)
        await self._outflow.drain()
        if not self._copy_in.is_open:
            self._end_of_exchange(backend)

    def _end_of_exchange(self, backend: Backend) -> None:
        if self._lease.relay.status != answers.IDLE:
            return
        self._state.portals.clear()
        self._outflow.charge()
        self._shared.ran_alone(backend.connection.last_seconds, succeeded=not self._lease.relay.erred)
        if self._lease.is_kept and not self._lease.relay.tainted and not backend.was_cancelled:
            self._settle_settings(backend)
            backend.forget_context()
        else:
            self._let_go()

    async def _query(self, request: requests.Query) -> None:
        """A simple query: one or more statements, one implicit transaction (PostgreSQL 18, section 54.2.2)."""
        if self._skipping or self._lease.relay.failed:
            return
        try:
            statements = await self._judging.statements(request.sql)
            self._bearer.spend(len(statements))
            for statement in statements:
                await self._present_token(statement, None)
                await self._judging.pass_gate(statement)
            if not statements and self._lease.backend is None:
                self._outflow.write(answers.EMPTY_QUERY_RESPONSE + answers.ready_for_query(answers.IDLE))
                return
            backend = await self._hold()
            await self._run_statements(backend, statements)
        except RowgateError as problem:
            self._refuse_or_end(problem)
            self._skipping = False
            if self._lease.backend is None:
                self._outflow.write(answers.ready_for_query(answers.IDLE))
                return
            backend = self._lease.backend
        await self._finish(backend)

    async def _run_statements(self, backend: Backend, statements: tuple[SessionStatement, ...]) -> None:
        if not statements:
            self._outflow.write(answers.EMPTY_QUERY_RESPONSE)
        for statement in statements:
            if self._lease.relay.failed:
                return
            self._conversation.run_simple(backend, statement, status=self._lease.relay.status)
            if statement.kind is SessionKind.COPY_FROM:
                backend.add_raw(messages.FLUSH)
                backend.flush()
                await backend.settle_one(
                    lambda: self._copy_in.is_open or self._lease.relay.is_settled or self._lease.relay.failed
                )
                while self._copy_in.is_open:
                    await self._copy_step()
                await backend.settle_one(lambda: self._lease.relay.is_settled or self._lease.relay.failed)

    # --- COPY FROM STDIN --------------------------------------------------------------------------------------

    async def _copy_step(self) -> None:
        """Serves the client's next message, or hears from the backend that it takes no more."""
        request = await self._next() if self._waiting else await self._copy_in.next(self._next)
        if request is None:
            return
        if isinstance(request, DATA):
            self._lease.pass_on(request)
        elif self._copy_in.is_open:
            self._judge_in_copy(request)
        else:
            self._waiting.appendleft(request)  # it comes behind the end of the COPY

    def _judge_in_copy(self, request: requests.Request) -> None:
        if isinstance(request, requests.Terminate):
            raise SessionOver
        violation = violation_of(request)
        if violation is not None:
            raise self._broken(violation)

    # --- who it works for ---------------------------------------------------------------------------------------

    async def _present_token(self, statement: SessionStatement | None, bind: requests.Bind | None) -> None:
        """A fresh token in a live session."""
        if statement is None or statement.kind is not SessionKind.PRESENT_TOKEN:
            return
        token = statement.token
        if bind is not None and statement.token_parameter is not None:
            value = bind.parameter(statement.token_parameter)
            token = None if value is None else value.decode("ascii", "replace")
        await self._bearer.present(token or "")
        if self._lease.backend is not None:
            self._lease.backend.has_identity = False
        self._lifetime.token_renewed()

    # --- the backend ------------------------------------------------------------------------------------------

    async def _hold(self) -> Backend:
        return self._lease.backend or await self._lease.take()

    def _let_go(self) -> None:
        if self._lease.backend is not None:
            self._settle_settings(self._lease.backend)
        self._lease.give_back()

    def _settle_settings(self, backend: Backend) -> None:
        """What the transaction that has ended means for the session's settings."""
        if backend.is_free and not self._lease.relay.erred:
            self._state.settings.committed()
        else:
            self._conversation.take_back()
        self._lease.relay.erred = False

    def _tell_error(self, error: DatabaseError, slot: Slot | None) -> None:
        self._copy_in.end()
        if self._lease.backend is not None and is_identity_refused(error, slot):
            self._lease.backend.connection.identities.doubt()
        self._lifetime.has_last_word = error.is_fatal
        self._meter.errors["session", error.code] += 1
        self._outflow.write(error_told(error, slot))

    def _refuse_or_end(self, problem: RowgateError) -> None:
        if isinstance(problem, ConnectionLost | InternalFault | TokenExpired):
            raise problem
        self._meter.errors["session", problem.code] += 1
        if self._records is not None:
            self._records.refused(problem)
        self._refuse(answers.error_of(problem, "ERROR"))

    def _refuse(self, error: bytes) -> None:
        """Until Sync nothing more is done, and an open transaction fails as after any error."""
        backend = self._lease.backend
        if backend is None:
            self._outflow.write(error)
            self._skipping = True
        elif not self._lease.relay.failed:
            self._conversation.refuse(backend, error)
            self._skipping = True
