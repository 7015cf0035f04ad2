"""Records of sessions whose role has a password: that they began, how they ended, and what went through.

Their statements pass as bytes that nobody reads, so nothing is known of them. Never holds the password.
"""

from __future__ import annotations

import time
from typing import Final

from rowgate.errors import RowgateError
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.audit.record import NOBODY, RequestRecord, outcome_of, sqlstate_of
from rowgate.gateway.sessions.passthrough import PassedBackend

BACKEND_GONE: Final = "backend_gone"
GATEWAY_STOPS: Final = "gateway_stops"


class PasswordRecords:
    """Those of one session, from ``client`` (address and port) for ``role``. Without a journal it does nothing."""

    def __init__(self, journal: Journal | None, *, endpoint: str, database: str, role: str, client: str) -> None:
        self._journal = journal
        self._endpoint = endpoint
        self._database = database
        self._role = role
        self._client = client
        self._started = time.time()
        self._began = time.monotonic()

    def refused(self, problem: RowgateError) -> None:
        """Postgres, or the gateway, did not let it in."""
        self._add("session_refused", problem)

    def opened(self) -> None:
        """It begins."""
        self._add("session_opened", None)

    def closed(self, backend: PassedBackend, *, by_client: bool | None) -> None:
        """It is over; ``by_client`` is None where neither side ended it, because the gateway stops."""
        problem = GATEWAY_STOPS if by_client is None else None if by_client else BACKEND_GONE
        self._add("session_closed", problem, size=backend.sent, received=backend.received)

    def _add(self, event: str, problem: RowgateError | str | None, *, size: int = 0, received: int = 0) -> None:
        if self._journal is None:
            return
        self._journal.add(RequestRecord(
            time=self._started,
            front="session",
            endpoint=self._endpoint,
            database=self._database,
            role=self._role,
            **NOBODY,
            fingerprints=[],
            tables=[],
            verdict="",
            outcome=outcome_of(problem),
            sqlstate=sqlstate_of(problem),
            rows=0,
            size=size,
            milliseconds=round((time.monotonic() - self._began) * 1000, 3),
            event=event,
            client=self._client,
            received=received,
        ))  # fmt: skip
