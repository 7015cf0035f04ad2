"""One session of an exposed role: reads the client's requests, holds a backend from the first to the end of each
transaction, and ends with the client, with the token, or with the gateway.

While no transaction is open the session holds nothing but its own few values, so thousands of idle ones share a
handful of backends. No statement runs before the verified identity is in its transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final

from rowgate.errors import (
    ClientStalled,
    ConnectionLost,
    DatabaseError,
    InternalFault,
    ProtocolViolation,
    RowgateError,
    SetupIncomplete,
    TokenExpired,
)
from rowgate.gateway.allowlist import AllowList
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.audit.record import CLIENT_GONE
from rowgate.gateway.database import Database
from rowgate.gateway.limits import Limits
from rowgate.gateway.meter import Meter
from rowgate.gateway.sessions.backend import Backend
from rowgate.gateway.sessions.bearer import Bearer, token_expired
from rowgate.gateway.sessions.conversation import Conversation
from rowgate.gateway.sessions.copy_in import DATA, CopyIn, violation_of
from rowgate.gateway.sessions.judging import Judging
from rowgate.gateway.sessions.outflow import Outflow
from rowgate.gateway.sessions.patience import Patience, Turn
from rowgate.gateway.sessions.relay import Relay, Slot
from rowgate.gateway.sessions.shared_reads import NotShared, SharedReads, is_quick, note
from rowgate.gateway.sessions.state import SessionState
from rowgate.gateway.sessions.statement_records import MeasuredRelay, StatementRecords
from rowgate.gateway.sessions.stream import ClientStream
from rowgate.guard.sessions.statement import SessionKind, SessionSetting, SessionStatement
from rowgate.identity.principal import Principal
from rowgate.pgwire import messages
from rowgate.pgwire.server import answers, requests
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol, Event, Violation
from rowgate.postgres.turns import Overtaken
from rowgate.settings import Settings

EXTENDED: Final = frozenset({requests.Parse, requests.Bind, requests.Describe, requests.Execute, requests.Close})
READS_BEGIN: Final = frozenset({requests.Query, requests.Parse, requests.Bind})
CANCELLED: Final = DatabaseError(
    {"S": "ERROR", "V": "ERROR", "C": "57014", "M": "canceling statement due to user request"}
)
# How long a client that has just had an answer may take to ask again, and so to read why its session ends.
LAST_WORD_SECONDS: Final = 1.0
STOPPED: Final = DatabaseError(
    {"S": "FATAL", "V": "FATAL", "C": "57P01", "M": "terminating connection because the gateway is stopping"}
)

log = logging.getLogger("rowgate.sessions")


class ReadCancelled(Exception):
    """The client has cancelled a read that shares its connection."""


class SessionOver(Exception):
    """The session ends; the client has gone or been told."""


class Session:
    """Serves one client after its authentication, as ``role`` of ``database``."""

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
        self._bearer = Bearer(database, role, principal, limits=limits, meter=meter, on_expiry=self._token_has_expired)
        self._judging = Judging(database, role, allowlist)
        self._keeps_backend = keeps_backend
        self._end_at_once = not settings.expired_sessions_finish_transaction
        self._outflow = Outflow(stream)
        self._state = SessionState()
        self._state.settings.begin(chosen, parameters)
        place = (database.endpoint, database.name, role)
        self._records = (
            None if journal is None else StatementRecords(journal, place, partial(_principal_of, self._bearer))
        )
        self._conversation = Conversation(
            self._state, settings.statement_timeout_ms, self._bearer.identity, self._outflow.write, self._records
        )
        self._make_relay = Relay if journal is None else MeasuredRelay
        self._backend: Backend | None = None
        self._patience = Patience(
            stream, settings.client_stall_seconds, turn=self._whose_turn, lost=self._client_stalled
        )
        self._shared = SharedReads(self._state, self._judging.at_once, self._bearer.identity)
        self._measured: SessionStatement | None = None
        self._relay = self._new_relay()
        self._waiting: deque[Event] = deque()
        self._skipping = False
        self._copy_in = CopyIn()
        self._over = False
        self._has_last_word = False
        self._ending: RowgateError | None = None

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
        if self._shared.is_reading:
            self._shared.interrupt(ReadCancelled())
            return
        backend = self._backend
        if backend is not None and not self._relay.is_settled:
            backend.was_cancelled = True  # a cancel that comes late must not hit whoever has the connection next
            await self._database.cancel(backend.connection)

    async def run(self, first: Iterable[Event]) -> None:
        """Serves until the client leaves or the session must end; ``first`` came ahead of the login's end."""
        self._waiting.extend(first)
        self._stream.gone.add_done_callback(self._client_gone)
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
            if self._records is not None:
                self._records.end(problem)
            self._say_goodbye(problem)
        finally:
            if self._records is not None:
                self._records.end(CLIENT_GONE)
            self._outflow.flush()
            self._stream.gone.remove_done_callback(self._client_gone)
            self._bearer.close()
            self._patience.end()
            self._let_go()
            self._relay.close()

    def stop(self) -> None:
        """The gateway stops: the session ends as soon as no transaction is open."""
        self._end_when_free(STOPPED)

    def _end_when_free(self, problem: RowgateError) -> None:
        self._ending = problem
        if self._is_free:
            self.end(problem)

    @property
    def _is_free(self) -> bool:
        # A backend is held only while something is open, unless the session keeps it.
        if self._backend is None:
            return not self._shared.is_reading
        return self._keeps_backend and self._backend.is_free

    def end(self, problem: RowgateError) -> None:
        """Ends the session from outside: the client reads ``problem`` as FATAL."""
        if self._over:
            return
        self._over = True
        if self._records is not None:
            self._records.end(problem)
        self._say_goodbye(problem)
        self._wake()

    def _say_goodbye(self, problem: RowgateError) -> None:
        if not self._has_last_word:  # after a second one clients do not know which statement it is about
            self._has_last_word = True
            self._meter.errors["session", problem.code] += 1
            self._outflow.write(answers.error_of(problem, "FATAL"))
        self._outflow.flush()
        self._stream.close()

    def _client_gone(self, gone: asyncio.Future[None]) -> None:
        self._wake()

    def _wake(self) -> None:
        self._shared.interrupt(SessionOver())
        if self._backend is not None:
            self._backend.wake(SessionOver())

    def _whose_turn(self) -> Turn:
        if self._backend is None or self._is_free:
            return Turn.NOBODY
        return Turn.SERVER if self._backend.is_working and not self._copy_in.is_open else Turn.CLIENT

    def _client_stalled(self) -> None:
        log.info("a client is ended, for which a connection to Postgres waited too long: %s", self._stream.peer)
        self.end(ClientStalled("the client neither read what it was owed nor went on with what it had begun"))

    def _token_has_expired(self) -> None:
        if self._end_at_once:
            self.end(token_expired())
        else:
            self._end_when_free(token_expired())

    # --- reads that share a connection ---------------------------------------------------------------------------

    async def _read_shared(self, request: requests.Request) -> bool:
        """Serves a quick read, and what waits behind ``request`` and belongs to it; False: it was not one, and nothing
        was done."""
        if self._backend is not None or self._skipping or self._keeps_backend or type(request) not in READS_BEGIN:
            return False
        found = self._shared.find(request, self._waiting)
        if found is None:
            return False
        count, statement = found
        if not self._judging.passes_gate(statement):
            return False  # decided, or refused, where it can be waited for
        pool = self._database.pool(self._role)
        if not is_quick(pool, statement):
            self._measured = statement
            return False
        exchange = [request, *islice(self._waiting, count - 1)]
        execution = None if self._records is None else self._records.begin(statement, self._shown(statement, exchange))
        try:
            self._bearer.spend()
            self._bearer.admit()
            try:
                read = await self._shared.run(pool, exchange, statement, self._error, self._bearer.party)
            finally:
                self._bearer.leave()
            answer = b"".join(read.parts)
            self._meter.read(read.seconds, read.error)
            if self._records is not None and execution is not None:
                self._records.answered(execution, read.parts, read.error)
        except (NotShared, Overtaken):
            if self._records is not None:
                self._records.forget()
            self._bearer.is_paid = True
            return False
        except ReadCancelled:
            if self._records is not None:
                self._records.end(CANCELLED)
            answer = answers.error_of(CANCELLED, "ERROR") + answers.ready_for_query(answers.IDLE)
        except (ConnectionLost, InternalFault, TokenExpired):
            raise
        except RowgateError as problem:
            if self._records is not None:
                self._records.end(problem)
            self._meter.errors["session", problem.code] += 1
            answer = answers.error_of(problem, "ERROR") + answers.ready_for_query(answers.IDLE)
        for _ in range(count - 1):
            self._waiting.popleft()
        self._state.portals.clear()
        self._outflow.write(answer)
        return True

    def _shown(self, statement: SessionStatement, exchange: Sequence[object]) -> Sequence[str | None] | None:
        """The parameters of a shared read, as its record shows them."""
        bind = next((one for one in exchange if isinstance(one, requests.Bind)), None)
        return None if self._records is None or bind is None else self._records.shown(statement, bind)

    # --- requests ---------------------------------------------------------------------------------------------

    async def _next(self) -> requests.Request:
        if self._ending is not None and self._is_free and not self._waiting:
            # Right behind an answer libpq would take the FATAL for a notice: the next request reads it, or nobody does.
            asyncio.get_running_loop().call_later(LAST_WORD_SECONDS, self._end_when_free, self._ending)
        while not self._waiting and not self._over:
            data = await self._stream.read()
            if not data or self._over:
                raise SessionOver
            self._waiting.extend(self._protocol.receive(data))
        if self._ending is not None and self._is_free:
            self.end(self._ending)
        if self._over:
            raise SessionOver
        event = self._waiting.popleft()
        if isinstance(event, Violation):
            raise self._broken(event.error)
        return event

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
            if self._skipping or self._relay.failed:
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
            self._copy(request)
        elif kind is requests.Terminate:
            raise SessionOver
        elif self._skipping or self._relay.failed:
            return
        elif kind is requests.Flush:
            if self._backend is not None:
                self._backend.add_raw(messages.FLUSH)
                self._backend.flush()
        elif kind is requests.FunctionCall:
            self._refuse(answers.FUNCTION_CALL_REFUSED)
            await self._sync()

    async def _extended(self, request: requests.Request) -> None:
        conversation = self._conversation
        if isinstance(request, requests.Parse):
            statement = await self._judging.one(request.sql)
            conversation.define(self._backend or await self._hold(), request, statement)
        elif isinstance(request, requests.Bind):
            definition = conversation.definition(request.statement)
            await self._present_token(definition.statement, request)
            await self._judging.pass_gate(definition.statement)
            conversation.bind(self._backend or await self._hold(), request, status=self._relay.status)
        elif isinstance(request, requests.Describe):
            conversation.describe(self._backend or await self._hold(), request)
        elif isinstance(request, requests.Execute):
            self._bearer.spend()
            conversation.execute(self._backend or await self._hold(), request)
        elif isinstance(request, requests.Close):
            conversation.close(self._backend or await self._hold(), request)

    async def _sync(self) -> None:
        self._skipping = self._bearer.is_paid = False
        backend = self._backend
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
        if self._relay.status != answers.IDLE:
            return
        self._state.portals.clear()
        self._bearer.charge(self._outflow.sent)
        self._outflow.sent = 0
        if self._measured is not None:
            if not self._relay.erred:
                note(self._database.pool(self._role), self._measured, backend.connection.last_seconds)
            self._measured = None
        if self._keeps_backend and not self._relay.tainted and not backend.was_cancelled:
            self._settle_settings(backend)
            backend.forget_context()
        else:
            self._let_go()

    async def _query(self, request: requests.Query) -> None:
        """A simple query: one or more statements, one implicit transaction (PostgreSQL 18, section 54.2.2)."""
        if self._skipping or self._relay.failed:
            return
        try:
            statements = await self._judging.statements(request.sql)
            self._bearer.spend(len(statements))
            for statement in statements:
                await self._present_token(statement, None)
                await self._judging.pass_gate(statement)
            if not statements and self._backend is None:
                self._outflow.write(answers.EMPTY_QUERY_RESPONSE + answers.ready_for_query(answers.IDLE))
                return
            backend = await self._hold()
            await self._run_statements(backend, statements)
        except RowgateError as problem:
            self._refuse_or_end(problem)
            self._skipping = False
            if self._backend is None:
                self._outflow.write(answers.ready_for_query(answers.IDLE))
                return
            backend = self._backend
        await self._finish(backend)

    async def _run_statements(self, backend: Backend, statements: tuple[SessionStatement, ...]) -> None:
        if not statements:
            self._outflow.write(answers.EMPTY_QUERY_RESPONSE)
        for statement in statements:
            if self._relay.failed:
                return
            self._conversation.run_simple(backend, statement, status=self._relay.status)
            if statement.kind is SessionKind.COPY_FROM:
                backend.add_raw(messages.FLUSH)
                backend.flush()
                await backend.settle_one(lambda: self._copy_in.is_open or self._relay.is_settled or self._relay.failed)
                while self._copy_in.is_open:
                    await self._copy_step()
                await backend.settle_one(lambda: self._relay.is_settled or self._relay.failed)

    # --- COPY FROM STDIN --------------------------------------------------------------------------------------

    async def _copy_step(self) -> None:
        """Serves the client's next message, or hears from the backend that it takes no more."""
        request = await self._next() if self._waiting else await self._copy_in.next(self._next)
        if request is None:
            return
        if isinstance(request, DATA):
            self._copy(request)
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

    def _copy(self, request: requests.CopyData | requests.CopyDone | requests.CopyFail) -> None:
        if self._backend is not None:
            self._copy_in.pass_on(self._backend, request)

    def _copy_began(self, swallowed: int) -> None:
        self._copy_in.begin()
        if self._backend is not None:
            self._backend.copy_began(swallowed)

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
        if self._backend is not None:
            self._backend.has_identity = False
        if isinstance(self._ending, TokenExpired):
            self._ending = None

    # --- the backend ------------------------------------------------------------------------------------------

    async def _hold(self) -> Backend:
        if self._backend is not None:
            return self._backend
        self._bearer.admit()
        try:
            self._backend = await self._take_backend()
        except BaseException:
            self._bearer.leave()
            raise
        self._patience.begin()
        return self._backend

    async def _take_backend(self) -> Backend:
        """A connection of the pool. Raises the pool's errors, and SessionOver where the client has gone meanwhile."""
        pool = self._database.pool(self._role)
        party = self._bearer.party
        while True:
            connection = pool.take(False, party) or await pool.acquire(party=party)
            if self._stream.gone.done():
                pool.release(connection)
                raise SessionOver
            try:
                return Backend(pool, connection, self._relay, self._outflow, on_lost=self.end)
            except ConnectionLost:
                pool.discard(connection)  # it went in this moment; nothing was sent on it

    def _let_go(self) -> None:
        backend, self._backend = self._backend, None
        self._copy_in.end()
        if backend is not None:
            self._settle_settings(backend)
            backend.discard_after = backend.discard_after or self._keeps_backend
            backend.give_back()
            self._relay = self._new_relay()  # what the old one knows is of that backend
            self._bearer.leave()

    def _settle_settings(self, backend: Backend) -> None:
        """What the transaction that has ended means for the session's settings."""
        if backend.is_free and not self._relay.erred:
            self._state.settings.committed()
        else:
            self._conversation.take_back()
        self._relay.erred = False

    def _new_relay(self) -> Relay:
        return self._make_relay(self._outflow.write, on_copy_in=self._copy_began, on_error=self._tell_error)

    def _tell_error(self, error: DatabaseError, slot: Slot | None) -> None:
        self._copy_in.end()
        self._has_last_word = error.is_fatal
        self._meter.errors["session", error.code] += 1
        self._outflow.write(self._error(error, slot))

    def _error(self, error: DatabaseError, slot: Slot | None) -> bytes:
        """What the client reads of an error."""
        if slot is not None and slot.is_context and error.database_sqlstate.startswith("28"):
            if self._backend is not None:
                self._backend.connection.identities.doubt()
            problem = SetupIncomplete(
                "the database did not take the gateway's signed identity",
                detail=f"SQLSTATE {error.database_sqlstate}: {error.message}",
            )
            return answers.error_of(problem, "ERROR")
        fields = dict(error.fields)
        if slot is not None and slot.offset and fields.get("P", "").isdigit():
            fields["P"] = str(int(fields["P"]) + slot.offset)
        return answers.error_response(fields)

    def _refuse_or_end(self, problem: RowgateError) -> None:
        if isinstance(problem, ConnectionLost | InternalFault | TokenExpired):
            raise problem
        self._meter.errors["session", problem.code] += 1
        if self._records is not None:
            self._records.refused(problem)
        self._refuse(answers.error_of(problem, "ERROR"))

    def _refuse(self, error: bytes) -> None:
        """Until Sync nothing more is done, and an open transaction fails as after any error."""
        backend = self._backend
        if backend is None:
            self._outflow.write(error)
            self._skipping = True
        elif not self._relay.failed:
            self._conversation.refuse(backend, error)
            self._skipping = True


def _principal_of(bearer: Bearer) -> Principal | None:
    return bearer.principal
