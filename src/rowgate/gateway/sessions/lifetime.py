"""How long a session lives, and what its client reads when it ends.

It ends at once, or as soon as nothing is open in it: with the client, with its token, with the gateway, or after an
error. Whatever the reason, the client reads at most one FATAL. Never reads a request, and never touches a connection to
Postgres: what the session waits for is told to wait no more.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from rowgate.errors import DatabaseError, RowgateError, TokenExpired
from rowgate.gateway.audit.record import CLIENT_GONE
from rowgate.gateway.meter import Meter
from rowgate.gateway.sessions.outflow import Outflow
from rowgate.gateway.sessions.statement_records import StatementRecords
from rowgate.gateway.sessions.stream import ClientStream
from rowgate.pgwire.server import answers

# How long a client that has just had an answer may take to ask again, and so to read why its session ends.
LAST_WORD_SECONDS: Final = 1.0
STOPPED: Final = DatabaseError(
    {"S": "FATAL", "V": "FATAL", "C": "57P01", "M": "terminating connection because the gateway is stopping"}
)


class SessionOver(Exception):
    """The session ends; the client has gone or been told."""


class Work(Protocol):
    """What a session may be in the middle of."""

    @property
    def is_free(self) -> bool:
        """Whether nothing is open in it."""

    def wake(self, problem: BaseException) -> None:
        """Raises ``problem`` in whoever waits for it."""


class Lifetime:
    """The life of the session whose client ``stream`` is and which does ``work``. ``records`` are those of its
    statements, if any."""

    __slots__ = ("_meter", "_outflow", "_records", "_stream", "_timer", "_work", "ending", "has_last_word", "is_over")

    def __init__(
        self, stream: ClientStream, outflow: Outflow, meter: Meter, records: StatementRecords | None, *work: Work
    ) -> None:
        self._stream = stream
        self._outflow = outflow
        self._meter = meter
        self._records = records
        self._work = work
        self._timer: asyncio.TimerHandle | None = None
        self.is_over = False
        """Whether the session was ended from outside."""
        self.has_last_word = False
        """Whether the client has read a FATAL."""
        self.ending: RowgateError | None = None
        """Why the session ends as soon as it is free."""

    def begin(self) -> None:
        """From now on it ends with its client."""
        self._stream.gone.add_done_callback(self._client_gone)

    @property
    def is_free(self) -> bool:
        """Whether nothing is open."""
        return all(work.is_free for work in self._work)

    def end(self, problem: RowgateError) -> None:
        """Ends the session from outside: the client reads ``problem`` as FATAL."""
        if self.is_over:
            return
        self.is_over = True
        self.fail(problem)
        self._wake()

    def end_when_free(self, problem: RowgateError) -> None:
        """Ends it as soon as nothing is open."""
        self.ending = problem
        self.end_if_free()

    def end_if_free(self) -> None:
        """Ends it where it is to end, and nothing is open any more."""
        if self.ending is not None and self.is_free:
            self.end(self.ending)

    def fail(self, problem: RowgateError) -> None:
        """The session itself cannot go on: the client reads ``problem`` as FATAL."""
        if self._records is not None:
            self._records.end(problem)
        if not self.has_last_word:  # after a second one clients do not know which statement it is about
            self.has_last_word = True
            self._meter.errors["session", problem.code] += 1
            self._outflow.write(answers.error_of(problem, "FATAL"))
        self._outflow.flush()
        self._stream.close()

    def token_renewed(self) -> None:
        """A fresh token is there: no older one ends the session."""
        if isinstance(self.ending, TokenExpired):
            self.ending = None

    def await_last_request(self) -> None:
        """Everything is answered: a session that is to end, and is free, waits a moment for its client's next request.

        Right behind an answer libpq would take the FATAL for a notice: the next request reads it, or nobody does.
        """
        if self.ending is not None and self.is_free:
            self._stop_timer()
            self._timer = asyncio.get_running_loop().call_later(LAST_WORD_SECONDS, self.end_if_free)

    def close(self) -> None:
        """The session has ended: nothing ends it any more."""
        if self._records is not None:
            self._records.end(CLIENT_GONE)
        self._outflow.flush()
        self._stream.gone.remove_done_callback(self._client_gone)
        self._stop_timer()

    # --- inside -----------------------------------------------------------------------------------------------

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _client_gone(self, gone: asyncio.Future[None]) -> None:
        self._wake()

    def _wake(self) -> None:
        for work in self._work:
            work.wake(SessionOver())
