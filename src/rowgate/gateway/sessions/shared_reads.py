"""Reads of a session that need no connection of their own: they stand behind other sessions' and requests' in a lane.

A simple query of one statement, or one Bind to Execute with its Sync, that only reads, that has been quick of late, and
that has come whole while no transaction is open. The answer is held until it is complete, so that nothing was said yet
where the read must run elsewhere after all: the session then serves the same requests on a connection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from rowgate.errors import DatabaseError, RowgateError
from rowgate.gateway.sessions.composer import Composer
from rowgate.gateway.sessions.conversation import Conversation
from rowgate.gateway.sessions.relay import SYNC, Relay, Slot
from rowgate.guard.sessions.statement import SessionStatement
from rowgate.pgwire import messages
from rowgate.pgwire.server import answers, requests
from rowgate.postgres.connection import Connection
from rowgate.postgres.exchange import Outcome, Step
from rowgate.postgres.pool import Pool
from rowgate.postgres.shared_statements import StatementKey
from rowgate.postgres.turns import Overtaken

LONGEST_ANSWER_BYTES: Final = 64 * 1024
LONGEST_EXCHANGE: Final = 5
"""Parse, Bind, Describe, Execute, Sync."""


class NotShared(Exception):
    """The read needs a connection of its own; nothing was sent."""


class SharedAnswer:
    """What a backend answers to one shared read, collected for the client by ``relay``."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._bytes = 0
        self.relay = Relay(self._take, on_copy_in=self._refuse_copy, on_error=self._told)
        self.on_error: Callable[[DatabaseError, Slot | None], bytes] = _as_it_came
        self.error: DatabaseError | None = None
        self.copy_refused = False
        self.waiter: asyncio.Future[Outcome] | None = None
        self.problem: BaseException | None = None

    # --- as the connection knows it ---------------------------------------------------------------------------

    parsed_steps: Sequence[Step] = ()
    """None: the relay's slots see to what was parsed."""

    @property
    def status(self) -> int:
        """The transaction's status after the answer."""
        return self.relay.status

    @property
    def state_changed(self) -> bool:
        """Whether the backend's session is not as it was."""
        return self.relay.tainted

    def receive(self, kind: int, body: bytes) -> bool:
        """Takes one message of the backend; True when it was the last. Raises ProtocolViolation."""
        return self.relay.receive(kind, body)

    def outcome(self, seconds: float) -> Outcome:
        """How it ended."""
        return Outcome([], self.error, None, seconds=seconds)

    # --- inside -----------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes <= LONGEST_ANSWER_BYTES:
            self.parts.append(data)
            return
        # Others wait behind it, and the client may read slowly.
        self.parts.clear()
        self.interrupt(Overtaken())

    def interrupt(self, problem: BaseException) -> None:
        """Whoever waits for the answer, or to ask for it, is told ``problem`` instead."""
        self.problem = problem
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(problem)

    def _told(self, error: DatabaseError, slot: Slot | None) -> None:
        self.error = error
        self._take(self.on_error(error, slot))

    def _refuse_copy(self, swallowed: int) -> None:
        self.copy_refused = True


class LaneComposer(Composer):
    """Puts together one shared read. Only statements that the backend knows already can be used by name."""

    def parse_shared(self, key: StatementKey) -> bytes:
        """The backend's name of a statement. Raises NotShared where it does not know it."""
        name = self.connection.statements.find(key)
        if name is None:
            raise NotShared
        return name

    def exchange(self) -> bytes:
        """Everything, with its Sync."""
        self.connection.statements.unnamed = None  # the next one in the lane may parse another
        self.add(messages.SYNC, SYNC)
        return b"".join(self._unsent)


class SharedReads:
    """Those of one session. ``judge`` decides about a short text, or raises RowgateError."""

    def __init__(
        self, conversation: Conversation, judge: Callable[[bytes], tuple[SessionStatement, ...] | None]
    ) -> None:
        self._conversation = conversation
        self._judge = judge
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
        return self._conversation.definition(first.statement).statement if isinstance(first, requests.Bind) else None

    async def run(
        self,
        pool: Pool,
        exchange: Sequence[object],
        statement: SessionStatement,
        told: Callable[[DatabaseError, Slot | None], bytes],
    ) -> bytes:
        """The answer to the read ``exchange``. ``told`` makes an error what the client reads.

        Raises NotShared or Overtaken where it must run on a connection of its own, what ``interrupt`` was given, and
        the pool's errors.
        """
        answer = self._answer = SharedAnswer()
        answer.on_error = told
        try:
            connection = pool.take(shares=True) or await pool.acquire(shares=True)
            outcome = await self._run_on(pool, connection, answer, exchange, statement)
        finally:
            self._answer = None
        if outcome.error is None:
            pool.texts.note(_text_of(statement), outcome.seconds)
        return b"".join(answer.parts)

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
            data = self._compose(connection, answer.relay, exchange, statement)
            answer.waiter = connection.run_exchange(answer, data)
        except RowgateError as problem:
            pool.release(connection)
            raise NotShared from problem  # the session says why
        except BaseException:
            pool.release(connection)
            raise
        try:
            outcome = await answer.waiter
        except Overtaken:
            pool.release(connection)
            raise
        except RowgateError:
            pool.discard(connection)
            raise
        except BaseException:
            pool.abandon(connection)
            raise
        if connection.expired:
            pool.discard(connection)  # a cancel request is on its way to it
        else:
            pool.release(connection)
        return outcome

    def _compose(
        self, connection: Connection, relay: Relay, exchange: Sequence[object], statement: SessionStatement
    ) -> bytes:
        composer = LaneComposer(connection, relay)
        conversation = self._conversation
        for request in exchange:
            if isinstance(request, requests.Query):
                conversation.run_simple(composer, statement, status=answers.IDLE)
            elif isinstance(request, requests.Parse):
                conversation.define(composer, request, statement)
            elif isinstance(request, requests.Bind):
                conversation.bind(composer, request, status=answers.IDLE)
            elif isinstance(request, requests.Describe):
                conversation.describe(composer, request)
            elif isinstance(request, requests.Execute):
                conversation.execute(composer, request)
        return composer.exchange()


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


def _as_it_came(error: DatabaseError, slot: Slot | None) -> bytes:
    return answers.error_response(error.fields)


EXCHANGES: Final = (
    [requests.Parse, requests.Bind, requests.Describe, requests.Execute, requests.Sync],
    [requests.Parse, requests.Bind, requests.Execute, requests.Sync],
    [requests.Bind, requests.Describe, requests.Execute, requests.Sync],
    [requests.Bind, requests.Execute, requests.Sync],
)
