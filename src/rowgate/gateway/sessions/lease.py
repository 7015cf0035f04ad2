"""A session's lease of a backend: taken from the pool with a transaction's first message, given back at its end.

With the backend come a place among what its subject runs at once, the relay that reads its answers, the COPY that it
may read, and patience with the client while it is held. Never decides what is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from rowgate.errors import ClientStalled, ConnectionLost, DatabaseError, RowgateError
from rowgate.gateway.callbacks import nobody_is_told
from rowgate.gateway.database import Database
from rowgate.gateway.sessions.backend import Backend
from rowgate.gateway.sessions.bearer import Bearer
from rowgate.gateway.sessions.copy_in import CopyIn, Data
from rowgate.gateway.sessions.lifetime import SessionOver
from rowgate.gateway.sessions.outflow import Outflow
from rowgate.gateway.sessions.patience import Patience, Turn
from rowgate.gateway.sessions.relay import Relay, Slot
from rowgate.gateway.sessions.stream import ClientStream

log = logging.getLogger("rowgate.sessions")


class Lease:
    """For a session of ``role`` in ``database``, whose statements ``bearer`` pays.

    ``outflow`` takes what the client is to see, and ``relay`` makes what tells it from the rest. ``on_error`` is called
    with every error of the backend that the client is to be told, ``on_lost`` where the session must end: the
    connection went in the middle of something, or the client let it wait for ``stall_seconds``. ``is_kept`` holds the
    backend from the first transaction to the end of the session.
    """

    __slots__ = (
        "_bearer", "_database", "_make_relay", "_on_error", "_on_lost", "_outflow", "_patience", "_role", "_stream",
        "backend", "copy_in", "is_kept", "relay",
    )  # fmt: skip

    def __init__(
        self,
        database: Database,
        role: str,
        bearer: Bearer,
        stream: ClientStream,
        outflow: Outflow,
        make_relay: type[Relay],
        *,
        is_kept: bool,
        stall_seconds: float,
        on_error: Callable[[DatabaseError, Slot | None], None],
        on_lost: Callable[[RowgateError], None],
    ) -> None:
        self._database = database
        self._role = role
        self._bearer = bearer
        self._stream = stream
        self._outflow = outflow
        self._make_relay = make_relay
        self._on_error = on_error
        self._on_lost = on_lost
        self._patience = Patience(stream, stall_seconds, turn=self._turn, lost=self._client_stalled)
        self.is_kept = is_kept
        self.backend: Backend | None = None
        """The backend that is held."""
        self.copy_in = CopyIn()
        self.relay = self._new_relay()

    @property
    def is_free(self) -> bool:
        """Whether no transaction is open. A backend is held only while something is open, unless it is kept."""
        return self.backend is None or (self.is_kept and self.backend.is_free)

    def wake(self, problem: BaseException) -> None:
        """Raises ``problem`` in whoever waits for the backend."""
        if self.backend is not None:
            self.backend.wake(problem)

    async def take(self) -> Backend:
        """A backend of the pool. Raises ConcurrencyExceeded, the pool's errors, and after a wait RateExceeded where the
        bearer owes, and SessionOver where the client has gone."""
        self._bearer.admit()
        try:
            self.backend = await self._take_connection()
        except BaseException:
            self._bearer.leave()
            raise
        self._patience.begin()
        return self.backend

    def pass_on(self, request: Data) -> None:
        """Sends a piece of a COPY's data, or its end, to the backend."""
        if self.backend is not None:
            self.copy_in.pass_on(self.backend, request)

    def give_back(self) -> None:
        """Holds nothing any more, in whatever state it is."""
        backend, self.backend = self.backend, None
        self.copy_in.end()
        if backend is not None:
            backend.discard_after = backend.discard_after or self.is_kept
            backend.give_back()
            self.relay = self._new_relay()  # what the old one knows is of that backend
            self._bearer.leave()

    def close(self) -> None:
        """The session is over, has given back what it held, and is not held by its lease any longer."""
        self._patience.end()
        self.relay.close()
        self._on_error = self._on_lost = nobody_is_told

    # --- inside -----------------------------------------------------------------------------------------------

    async def _take_connection(self) -> Backend:
        pool = self._database.pool(self._role)
        party = self._bearer.party
        while True:
            at_once = pool.take(False, party)
            connection = at_once or await pool.acquire(party=party)
            try:
                if self._stream.gone.done():
                    raise SessionOver
                if at_once is None:
                    self._bearer.check_debt()
            except BaseException:
                pool.release(connection)
                raise
            try:
                return Backend(pool, connection, self.relay, self._outflow, on_lost=self._on_lost)
            except ConnectionLost:
                pool.discard(connection)  # it went in this moment; nothing was sent on it

    def _new_relay(self) -> Relay:
        return self._make_relay(self._outflow.write, on_copy_in=self._copy_began, on_error=self._on_error)

    def _copy_began(self, swallowed: int) -> None:
        self.copy_in.begin()
        if self.backend is not None:
            self.backend.copy_began(swallowed)

    def _turn(self) -> Turn:
        if self.backend is None or self.is_free:
            return Turn.NOBODY
        return Turn.SERVER if self.backend.is_working and not self.copy_in.is_open else Turn.CLIENT

    def _client_stalled(self) -> None:
        log.info("a client is ended, for which a connection to Postgres waited too long: %s", self._stream.peer)
        self._on_lost(ClientStalled("the client neither read what it was owed nor went on with what it had begun"))
