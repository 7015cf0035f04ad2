"""Reads of a session that need no connection of their own: they stand behind other sessions' and requests' in a lane.

A simple query of one statement, or one Bind to Execute with its Sync, that only reads, that has been quick of late, and
that has come whole while no transaction is open. The answer is held until it is complete, so that nothing was said yet
where the read must run elsewhere after all: the session then serves the same requests on a connection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import islice
from typing import Final

from rowgate.errors import ConnectionLost, DatabaseError, ProtocolViolation, RowgateError
from rowgate.gateway.sessions.composer import EXECUTE, NO_TYPES, TRANSACTION_DEFAULTS, parse_message, set_local_key
from rowgate.gateway.sessions.relay import HEADER, Slot
from rowgate.gateway.sessions.state import SessionState
from rowgate.guard.sessions.statement import SessionStatement
from rowgate.pgwire import messages
from rowgate.pgwire.fields import error_fields
from rowgate.pgwire.server import answers, requests
from rowgate.pgwire.stream import DATA_ROW
from rowgate.postgres.connection import Connection
from rowgate.postgres.exchange import Outcome, Step
from rowgate.postgres.pool import Pool
from rowgate.postgres.session_context import SessionIdentity
from rowgate.postgres.turns import Overtaken

LONGEST_ANSWER_BYTES: Final = 64 * 1024
LONGEST_EXCHANGE: Final = 5
"""Parse, Bind, Describe, Execute, Sync."""


class NotShared(Exception):
    """The read needs a connection of its own; nothing was sent."""


class SharedAnswer:
    """What a backend answers to one shared read, as the client is to see it.

    ``hidden`` statements of the gateway's own come first: the session's settings and its identity. ``simple`` leaves
    out what the simple protocol does not have; ``told`` makes an error what the client reads. ``on_parsed`` is called
    when the backend has parsed the statement that sets the identity.
    """

    def __init__(self, told: Callable[[DatabaseError, Slot | None], bytes], *, simple: bool, offset: int) -> None:
        self.parts: list[bytes] = []
        self.hidden = 0
        self.on_parsed: Callable[[], None] | None = None
        self._told = told
        self._offset = offset
        self._passed = PASSED_SIMPLE if simple else PASSED
        self._bytes = 0
        self._waiter: asyncio.Future[Outcome] | None = None
        self.problem: BaseException | None = None
        self.error: DatabaseError | None = None
        self.copy_refused = False
        self.state_changed = False
        self.status = 0
        self.seconds = 0.0

    flows = False
    discards = False
    parsed_steps: Sequence[Step] = ()
    """None: ``on_parsed`` sees to what was parsed."""

    def receive(self, kind: int, body: bytes) -> bool:
        """Takes one message of the backend; True when it was the last. Raises ProtocolViolation."""
        if kind in self._passed and not self.hidden:
            # Rows come as a region, with their headers.
            self._take(body if kind == DATA_ROW else HEADER(self._passed[kind], len(body) + 4) + body)
        elif kind == 0x5A:
            if len(body) != 1:
                raise ProtocolViolation("ReadyForQuery must hold one byte")
            self.status = body[0]
            self.parts.append(answers.ready_for_query(self.status))
            return True
        elif kind == 0x43:
            self.hidden -= 1
        elif kind not in UNSEEN:
            self._receive_rarer(kind, body)
        elif kind == 0x31 and self.hidden and self.on_parsed is not None:
            self.on_parsed()
        return False

    def discard_rows(self) -> None:
        """It keeps less than a connection allows, and has given up by itself."""
        self.discards = True

    def receive_whole(self, data: bytes, position: int) -> int:
        """Its messages are looked at one by one."""
        return 0

    def outcome(self, seconds: float) -> Outcome:
        """How it ended."""
        return Outcome([], self.error, None, seconds=seconds)

    async def wait(self, waiter: asyncio.Future[Outcome]) -> Outcome:
        """Waits for the end. Raises what ``interrupt`` is given, and what the connection tells ``waiter``."""
        self._waiter = waiter
        return await waiter

    def interrupt(self, problem: BaseException) -> None:
        """Whoever waits for the answer, or to ask for it, is told ``problem`` instead."""
        self.problem = problem
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(problem)

    # --- inside -----------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes <= LONGEST_ANSWER_BYTES:
            self.parts.append(data)
            return
        # Others wait behind it, and the client may read slowly.
        self.parts.clear()
        self.interrupt(Overtaken())

    def _receive_rarer(self, kind: int, body: bytes) -> None:
        if kind == 0x45:
            if self.error is None:
                self.error = DatabaseError(error_fields(body))
                slot = Slot("execute", offset=self._offset, is_context=bool(self.hidden))
                self._take(self._told(self.error, slot))
        elif kind == 0x4E:
            if not self.hidden:  # of the gateway's own: SET LOCAL stands outside a block
                self._take(HEADER(b"N", len(body) + 4) + body)
        elif kind in (0x53, 0x41):
            self.state_changed = True
        else:
            raise ProtocolViolation(f"unexpected message {chr(kind)!r} from the server")


class SharedReads:
    """Those of one session. ``judge`` decides about a short text, or raises RowgateError; ``identity`` is whom the
    session works for."""

    __slots__ = ("_answer", "_identity", "_judge", "_state")

    def __init__(
        self,
        state: SessionState,
        judge: Callable[[bytes], tuple[SessionStatement, ...] | None],
        identity: Callable[[], SessionIdentity | None],
    ) -> None:
        self._state = state
        self._judge = judge
        self._identity = identity
        self._answer: SharedAnswer | None = None

    @property
    def is_reading(self) -> bool:
        """Whether an answer is waited for."""
        return self._answer is not None

    def interrupt(self, problem: BaseException) -> None:
        """Ends the wait for the answer, because the session ends or its client wants no more."""
        if self._answer is not None:
            self._answer.interrupt(problem)

    def find(self, request: requests.Request, waiting: Sequence[object]) -> tuple[int, SessionStatement] | None:
        """How many of ``request`` and those that wait behind it are one read, and its statement; None where they are
        not, or are not known to be one."""
        try:
            if isinstance(request, requests.Query):
                statements = self._judge(request.sql)
                statement = statements[0] if statements is not None and len(statements) == 1 else None
                return (1, statement) if statement is not None and _only_reads(statement) else None
            exchange = [request, *islice(waiting, LONGEST_EXCHANGE - 1)]
            statement = self._prepared(exchange)
        except RowgateError:
            return None  # the session says why
        if statement is None or not _only_reads(statement):
            return None
        count = next((number for number, one in enumerate(exchange, 1) if isinstance(one, requests.Sync)), 0)
        kinds = [type(one) for one in exchange[:count]]
        return (count, statement) if kinds in EXCHANGES and _is_unnamed(exchange[:count]) else None

    def _prepared(self, exchange: Sequence[object]) -> SessionStatement | None:
        first = exchange[0]
        if isinstance(first, requests.Parse):
            statements = None if first.name else self._judge(first.sql)
            return statements[0] if statements is not None and len(statements) == 1 else None
        definition = self._state.statements.get(first.statement) if isinstance(first, requests.Bind) else None
        return None if definition is None else definition.statement

    async def run(
        self,
        pool: Pool,
        exchange: Sequence[object],
        statement: SessionStatement,
        told: Callable[[DatabaseError, Slot | None], bytes],
        party: Hashable = None,
    ) -> SharedAnswer:
        """The answer to the read ``exchange``. ``told`` makes an error what the client reads, ``party`` is whose turn
        it takes.

        Raises NotShared or Overtaken where it must run on a connection of its own (for another time, where the one that
        it shared was lost), what ``interrupt`` was given, and
        the pool's errors.
        """
        offset = statement.offset if isinstance(exchange[0], requests.Query) else 0
        answer = self._answer = SharedAnswer(told, simple=isinstance(exchange[0], requests.Query), offset=offset)
        try:
            connection = pool.take(True, party) or await pool.acquire(True, party=party)
            outcome = await self._run_on(pool, connection, answer, exchange, statement)
        finally:
            self._answer = None
        answer.seconds = outcome.seconds
        if outcome.error is None:
            pool.texts.note(_text_of(statement), outcome.seconds)
        elif isinstance(exchange[0], requests.Parse) and answer.parts[0][:1] != b"1":
            self._state.statements.pop(b"", None)  # it was not parsed
        return answer

    async def _run_on(
        self,
        pool: Pool,
        connection: Connection,
        answer: SharedAnswer,
        exchange: Sequence[object],
        statement: SessionStatement,
    ) -> Outcome:
        try:
            if answer.problem is not None:
                raise answer.problem
            waiter = connection.run_exchange(answer, self._compose(connection, answer, exchange, statement))
        except RowgateError as problem:
            pool.release(connection)
            raise NotShared from problem  # the session says why
        except BaseException:
            pool.release(connection)
            raise
        try:
            outcome = await answer.wait(waiter)
        except Overtaken:
            pool.release(connection)
            raise
        except ConnectionLost as problem:
            pool.discard(connection)
            raise Overtaken from problem  # nothing of it was told, and the connection was not the session's own
        except RowgateError:
            pool.discard(connection)
            raise
        except BaseException:
            pool.abandon(connection)
            raise
        if not answer.status:  # the server's last word came in place of the end
            pool.discard(connection)
            raise Overtaken
        if connection.expired:
            pool.discard(connection)  # a cancel request is on its way to it
        else:
            pool.release(connection)
        return outcome

    def _compose(
        self, connection: Connection, answer: SharedAnswer, exchange: Sequence[object], statement: SessionStatement
    ) -> bytes:
        """Everything in one piece: settings, identity, the client's statement, Sync. Raises NotShared."""
        parts: list[bytes] = []
        for setting in self._state.settings:
            if setting.name == "application_name" and not _reads_settings(statement):
                continue  # nobody would see it for so short a time, and it would cost a third more
            name = connection.statements.find(set_local_key(setting.assignment))
            if name is None or setting.name in TRANSACTION_DEFAULTS:
                raise NotShared
            parts += (messages.bind(b"", name, ()), EXECUTE)
            answer.hidden += 1
        identity = self._identity()
        if identity is not None:
            steps: list[Step] = []
            connection.identities.add(identity, parts, steps)
            answer.hidden += 1
            if steps[0].parsed_here:
                answer.on_parsed = partial(connection.prepared.learn_identity, steps[0])
        connection.statements.unnamed = None  # whoever stands in the lane may parse another
        if isinstance(exchange[0], requests.Query):
            parts += (parse_message(b"", (statement.text.encode(), NO_TYPES)), REST_OF_SIMPLE)
            return b"".join(parts)
        for request in exchange:
            if isinstance(request, requests.Parse):
                definition = self._state.define_unnamed(statement, (statement.text.encode(), request.types))
                parts.append(parse_message(b"", definition.key))
            elif isinstance(request, requests.Bind):
                parts += self._bound(connection, exchange, request)
            elif isinstance(request, requests.Describe):
                parts.append(DESCRIBE_PORTAL)
        parts += (EXECUTE, messages.SYNC)
        return b"".join(parts)

    def _bound(self, connection: Connection, exchange: Sequence[object], request: requests.Bind) -> Sequence[bytes]:
        """Bind, with the backend's name for what the client has prepared."""
        if isinstance(exchange[0], requests.Parse):
            return (request.renamed(b""),)
        key = self._state.statements[request.statement].key
        name = connection.statements.find(key)
        if name is None:
            raise NotShared  # on a connection of its own it is parsed, and then known
        return (request.renamed(name),)


def is_quick(pool: Pool, statement: SessionStatement) -> bool:
    """Whether statements like this one have been quick of late."""
    return pool.texts.is_quick(_text_of(statement))


def note(pool: Pool, statement: SessionStatement, seconds: float) -> None:
    """A statement has run alone, in so many seconds."""
    pool.texts.note(_text_of(statement), seconds)


def _text_of(statement: SessionStatement) -> bytes:
    # The fingerprint, because a simple query has its values in it. Nothing but time hangs on it.
    return b"" if statement.verdict is None else statement.verdict.fingerprint.encode()


def _only_reads(statement: SessionStatement) -> bool:
    verdict = statement.verdict
    return verdict is not None and statement.is_plain_query and verdict.reads_only and not verdict.calls_user_functions


def _reads_settings(statement: SessionStatement) -> bool:
    verdict = statement.verdict
    return verdict is None or any(name.endswith("current_setting") for name in verdict.functions)


def _is_unnamed(exchange: Sequence[object]) -> bool:
    """Whether it uses the unnamed portal alone, which ends with it, and fetches all rows."""
    return all(
        not request.portal
        if isinstance(request, requests.Bind)
        else not request.portal and not request.max_rows
        if isinstance(request, requests.Execute)
        else request.kind == b"P" and not request.name
        if isinstance(request, requests.Describe)
        else True
        for request in exchange
    ) and (
        not isinstance(exchange[0], requests.Parse)
        or (isinstance(exchange[1], requests.Bind) and not exchange[1].statement)
    )


EXCHANGES: Final = (
    [requests.Parse, requests.Bind, requests.Describe, requests.Execute, requests.Sync],
    [requests.Parse, requests.Bind, requests.Execute, requests.Sync],
    [requests.Bind, requests.Describe, requests.Execute, requests.Sync],
    [requests.Bind, requests.Execute, requests.Sync],
)
DESCRIBE_PORTAL: Final = messages.describe_portal(b"")
REST_OF_SIMPLE: Final = messages.bind(b"", b"", ()) + DESCRIBE_PORTAL + EXECUTE + messages.SYNC
# RowDescription, NoData, DataRow, CommandComplete, EmptyQueryResponse; and what only the extended protocol has.
PASSED_SIMPLE: Final = {kind: bytes((kind,)) for kind in (0x54, 0x44, 0x43, 0x49)}
PASSED: Final = {**PASSED_SIMPLE, **{kind: bytes((kind,)) for kind in (0x31, 0x32, 0x6E)}}
UNSEEN: Final = frozenset({0x31, 0x32, 0x44, 0x6E})
"""Of the gateway's own statements, and of the client's in the simple protocol."""
