"""The backend that a session holds from the first message of a transaction to its end.

Gives the backend back idle, cleansed where a function of the user may have left something, or drops it. Never decides
what may run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rowgate.errors import RowgateError
from rowgate.gateway.sessions.composer import Composer
from rowgate.gateway.sessions.outflow import Outflow
from rowgate.gateway.sessions.relay import SYNC, Relay, Slot
from rowgate.pgwire import messages
from rowgate.pgwire.server import answers
from rowgate.postgres.connection import Connection
from rowgate.postgres.pool import Pool


class Backend(Composer):
    """One connection of ``pool``, held. ``relay`` turns its answers into the client's, which ``outflow`` takes.
    ``on_lost`` is told where the connection goes in the middle of something, and nobody waits for it."""

    def __init__(
        self,
        pool: Pool,
        connection: Connection,
        relay: Relay,
        outflow: Outflow,
        on_lost: Callable[[RowgateError], None],
    ) -> None:
        super().__init__(connection, relay)
        self._on_lost = on_lost
        self._pool = pool
        self._outflow = outflow
        self._settled: asyncio.Future[None] | None = None
        self._problem: RowgateError | None = None
        self._syncs = 0
        self.was_cancelled = False
        connection.attach(self)
        for message in connection.prepared.closes():
            self.add(message, Slot("close", visible=False))

    # --- what the connection tells ----------------------------------------------------------------------------

    def receive(self, kind: int, body: bytes) -> bool:
        """Takes one message of the backend."""
        if not self._relay.receive(kind, body):
            return False
        self._syncs -= 1
        return True

    def delivered(self) -> None:
        """One read has been taken in."""
        self._outflow.relieve(self.connection)
        if self._settled is not None and not self._settled.done() and not self._syncs:
            self._settled.set_result(None)

    def lost(self, problem: RowgateError) -> None:
        """The connection has gone."""
        self._problem = problem
        if self._settled is not None:
            if not self._settled.done():
                self._settled.set_exception(problem)
        elif not self.is_free:
            self._on_lost(problem)

    def wake(self, problem: BaseException) -> None:
        """Ends the wait of whoever waits for the backend, because the session is to end."""
        if self._settled is not None and not self._settled.done():
            self._settled.set_exception(problem)

    # --- sending ----------------------------------------------------------------------------------------------

    def add_raw(self, data: bytes) -> None:
        """Appends bytes that have no answer of their own (COPY data, Flush)."""
        self._unsent.append(data)

    def flush(self) -> None:
        """Sends what was appended."""
        if self._problem is not None:
            raise self._problem
        if self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            self.connection.send(data)

    def sync(self) -> None:
        """Appends Sync and sends everything."""
        self._syncs += 1
        self.add(messages.SYNC, SYNC)
        self.flush()

    def copy_began(self, swallowed: int) -> None:
        """The backend waits for COPY data, and ignores so many Syncs that were sent ahead of it."""
        self._syncs -= swallowed

    async def settle(self) -> None:
        """Waits until the backend has answered every Sync. Raises ConnectionLost, or what ``wake`` was given."""
        if self._problem is not None:
            raise self._problem
        if self._syncs:
            await self._wait()

    async def settle_one(self, is_settled: Callable[[], bool]) -> None:
        """Waits until ``is_settled``, which is asked after each read from the backend."""
        while not is_settled():
            if self._problem is not None:
                raise self._problem
            await self._wait()

    async def _wait(self) -> None:
        self._settled = asyncio.get_running_loop().create_future()
        try:
            await self._settled
        finally:
            self._settled = None

    # --- the end ----------------------------------------------------------------------------------------------

    @property
    def is_free(self) -> bool:
        """Whether the backend owes nothing and stands outside any transaction."""
        return self._relay.is_settled and self._relay.status == answers.IDLE and not self._unsent

    @property
    def is_working(self) -> bool:
        """Whether the backend owes an answer to something that has gone out."""
        return not self._relay.is_settled and not self._unsent

    def give_back(self) -> None:
        """Gives the connection back to the pool, in whatever state it is."""
        connection, relay = self.connection, self._relay
        if self._problem is not None:
            self._pool.discard(connection)
            return
        if not relay.is_settled or self._unsent or relay.tainted or self.was_cancelled:
            connection.detach(in_transaction=True, cut_short=True)
            self._pool.discard(connection)
            return
        connection.detach(in_transaction=relay.status != answers.IDLE)
        if connection.in_transaction:
            self._pool.abandon(connection, discard=self.discard_after)
        elif self.discard_after:
            self._pool.cleanse(connection)
        else:
            self._pool.release(connection)
