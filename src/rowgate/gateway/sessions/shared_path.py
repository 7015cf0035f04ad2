"""A session's way to an answer without a backend of its own: which reads take it, and what is paid and recorded.

A read that was not known to be quick is remembered until it has run alone, so that the next one like it may be. Never
says anything to the client itself: gives the whole answer, or nothing where the read must run elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from rowgate.errors import ConnectionLost, DatabaseError, InternalFault, RowgateError, TokenExpired
from rowgate.gateway.database import Database
from rowgate.gateway.meter import Meter
from rowgate.gateway.sessions.bearer import Bearer
from rowgate.gateway.sessions.judging import Judging
from rowgate.gateway.sessions.relay import error_told
from rowgate.gateway.sessions.shared_reads import NotShared, SharedReads, is_quick, note
from rowgate.gateway.sessions.state import SessionState
from rowgate.gateway.sessions.statement_records import StatementRecords
from rowgate.guard.sessions.statement import SessionStatement
from rowgate.pgwire.server import answers, requests
from rowgate.pgwire.server.connection_protocol import Event
from rowgate.postgres.pool import Pool
from rowgate.postgres.turns import Overtaken

BEGINNINGS: Final = frozenset({requests.Query, requests.Parse, requests.Bind})
"""What a read can begin with."""
CANCELLED: Final = DatabaseError(
    {"S": "ERROR", "V": "ERROR", "C": "57014", "M": "canceling statement due to user request"}
)


class SharedRead(msgspec.Struct, frozen=True):
    """A quick read: the ``exchange`` that the client sent for it, and where it is to run."""

    pool: Pool
    exchange: list[object]
    statement: SessionStatement


class ReadCancelled(Exception):
    """The client has cancelled a read that shares its connection."""


class SharedPath:
    """That of the session of ``state``, of ``role`` in ``database``, whose statements ``judging`` judges and ``bearer``
    pays. ``records`` are those of its statements, if any."""

    __slots__ = ("_bearer", "_database", "_judging", "_measured", "_meter", "_reads", "_records", "_role", "_state")

    def __init__(
        self,
        database: Database,
        role: str,
        state: SessionState,
        bearer: Bearer,
        judging: Judging,
        meter: Meter,
        records: StatementRecords | None,
    ) -> None:
        self._database = database
        self._role = role
        self._state = state
        self._bearer = bearer
        self._judging = judging
        self._meter = meter
        self._records = records
        self._reads = SharedReads(state, judging.at_once, bearer.identity)
        self._measured: SessionStatement | None = None

    @property
    def is_free(self) -> bool:
        """Whether no answer is waited for."""
        return not self._reads.is_reading

    def wake(self, problem: BaseException) -> None:
        """Raises ``problem`` in whoever waits for an answer."""
        self._reads.interrupt(problem)

    def cancel(self) -> bool:
        """The client wants the answer no more; False: it waits for none."""
        if self.is_free:
            return False
        self._reads.interrupt(ReadCancelled())
        return True

    def find(self, request: requests.Request, waiting: Sequence[Event]) -> SharedRead | None:
        """The quick read that ``request`` and the first of ``waiting`` are; None: they are none, or not known to be."""
        found = self._reads.find(request, waiting)
        if found is None:
            return None
        count, statement = found
        if not self._judging.passes_gate(statement):
            return None  # decided, or refused, where it can be waited for
        pool = self._database.pool(self._role)
        if not is_quick(pool, statement):
            self._measured = statement
            return None
        return SharedRead(pool, [request, *islice(waiting, count - 1)], statement)

    async def answer(self, read: SharedRead) -> bytes | None:
        """The answer to what ``find`` has found; None: it must run elsewhere after all, and nothing was done.

        Raises ConnectionLost, InternalFault, TokenExpired, and what ``wake`` was given.
        """
        records, bearer, statement = self._records, self._bearer, read.statement
        execution = None if records is None else records.begin(statement, self._shown(statement, read.exchange))
        try:
            bearer.spend()
            bearer.admit()
            try:
                answer = await self._reads.run(read.pool, read.exchange, statement, error_told, bearer.party)
            finally:
                bearer.leave()
        except (NotShared, Overtaken):
            if records is not None:
                records.forget()
            bearer.is_paid = True
            return None
        except ReadCancelled:
            if records is not None:
                records.end(CANCELLED)
            return _refusal(CANCELLED)
        except (ConnectionLost, InternalFault, TokenExpired):
            raise
        except RowgateError as problem:
            if records is not None:
                records.end(problem)
            self._meter.errors["session", problem.code] += 1
            return _refusal(problem)
        self._meter.read(answer.seconds, answer.error)
        if records is not None and execution is not None:
            records.answered(execution, answer.parts, answer.error)
        return b"".join(answer.parts)

    def ran_alone(self, seconds: float, *, succeeded: bool) -> None:
        """What was asked last has run on a backend of the session's own, in so many seconds."""
        if self._measured is not None:
            if succeeded:
                note(self._database.pool(self._role), self._measured, seconds)
            self._measured = None

    # --- inside -----------------------------------------------------------------------------------------------

    def _shown(self, statement: SessionStatement, exchange: Sequence[object]) -> Sequence[str | None] | None:
        """The parameters of a shared read, as its record shows them."""
        bind = next((one for one in exchange if isinstance(one, requests.Bind)), None)
        return None if self._records is None or bind is None else self._records.shown(statement, bind)


def _refusal(problem: RowgateError) -> bytes:
    """What the client reads in place of an answer."""
    return answers.error_of(problem, "ERROR") + answers.ready_for_query(answers.IDLE)
