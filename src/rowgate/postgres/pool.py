"""A pool of connections of one database and role.

Hands connections out to parties in turn (``fair_queue``), and never one that is in doubt: a connection comes back idle
and unchanged, or it is dropped. It serves one request at a time, except that requests which only read, and have been
quick of late, may stand behind each other on one (a lane): that saves backend and gateway a sleep and a wake-up for
each. Where the first in a lane turns out to be slow, the others run elsewhere. Never looks at SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping
from functools import partial
from typing import Any, Final

from rowgate.errors import ConcurrencyExceeded, ConnectFailed, QueueFull, QueueTimeout, RowgateError, ServerStarting
from rowgate.postgres.connection import Connection
from rowgate.postgres.exchange import Outcome
from rowgate.postgres.fair_queue import FairQueue, Waiter
from rowgate.postgres.holdings import Holdings
from rowgate.postgres.known_texts import KnownTexts
from rowgate.postgres.lanes import Lanes
from rowgate.postgres.opening import Login, Opener
from rowgate.postgres.statement_cache import StatementRoom

SWEEP_SECONDS: Final = 0.25
CANCEL_GRACE_SECONDS: Final = 2.0
# Postgres's own statement_timeout comes first; the sweep is for what it does not end (several statements in one
# request, a server that hangs).
SWEEP_GRACE_SECONDS: Final = 1.0
FIRST_RETRY_SECONDS: Final = 0.05
LAST_RETRY_SECONDS: Final = 0.5


class Pool:
    """Connections of one login. ``size`` bounds them, ``statement_cache_size`` how many statements each of them
    keeps prepared, on average; ``queue_length`` bounds the requests that wait.

    ``queue_timeout`` and ``statement_timeout`` are in seconds. A party that holds a connection gets another one within
    its ``share`` in per cent, and within ``party_connections`` where its requests take long (None: no such bound), as
    ``holdings`` says; ``party_queue_length`` of its requests may wait (None: as many as all). The party None, of
    requests that are nobody's, has no such bounds.
    """

    def __init__(
        self,
        opener: Opener,
        login: Login,
        *,
        size: int,
        queue_length: int,
        queue_timeout: float,
        statement_timeout: float,
        statement_cache_size: int,
        share: int = 100,
        party_queue_length: int | None = None,
        party_connections: int | None = None,
    ) -> None:
        self._opener = opener
        self._login = login
        self._size = size
        self._queue_length = queue_length
        self._queue_timeout = queue_timeout
        self._statement_timeout = statement_timeout
        self._room = StatementRoom(statement_cache_size * size)
        self._party_queue_length = queue_length if party_queue_length is None else party_queue_length
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._waiters = FairQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: set[Connection] = set()
        self._reclaiming: set[Connection] = set()
        self._loop = asyncio.get_running_loop()
        self.holdings = Holdings(self._loop.time, size=size, share=share, few=party_connections)
        self._lanes = Lanes(self._loop, self._cancel_abandoned)
        self.texts = KnownTexts()
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False
        self.parameters: Mapping[str, str] | None = None
        """What the last backend reported of itself at its start; None before the first."""

    @property
    def size(self) -> int:
        """How many connections there may be."""
        return self._size

    @property
    def counts(self) -> tuple[int, int, int]:
        """Connections open, connections idle, requests waiting."""
        return len(self._all), len(self._idle), self._waiters.length

    @property
    def is_waited_for(self) -> bool:
        """Whether requests wait for a connection."""
        return self._waiters.length > 0

    @property
    def prepared(self) -> int:
        """How many statements all its backends together keep prepared."""
        return len(self._room)

    def take(self, shares: bool = False, party: Hashable = None) -> Connection | None:
        """A connection for one request, to be given back as one of ``acquire``; None when there is none.

        ``shares``: the request only reads, so it may run twice, and it is quick: it may stand in a lane. ``party`` says
        whose it is.
        """
        # A lane that more and more readers join would never come free for those who wait for it. Where connections are
        # idle nobody waits for one but parties that hold their share.
        joins = shares and (not self._waiters.length or bool(self._idle))
        if joins and self._lanes.connections:
            lane = self._lanes.find(brisk=True)
            if lane is not None:
                return self._join(lane)
        while self._idle and self._may_hold(party):
            connection = self._idle.pop()
            if connection.is_idle:
                self._hand_out(connection, shares, party)
                return connection
        lane = self._lanes.find() if joins else None
        return None if lane is None else self._join(lane)

    async def acquire(self, shares: bool = False, *, admitted: bool = False, party: Hashable = None) -> Connection:
        """A connection for one request, when it comes free; give it back with ``release``, ``discard``, ``cleanse``,
        or ``abandon``. ``shares`` and ``party`` are as for ``take``; ``admitted``: it had a connection already, so its
        turn is next.

        Raises QueueFull, QueueTimeout, ConcurrencyExceeded, or what the attempt to connect raised.
        """
        connection = self.take(shares, party)
        if connection is not None:
            return connection
        if self._closed:
            raise ConnectFailed("the gateway is stopping")
        if not admitted:
            self._check_places(party)
        deadline = self._loop.time() + self._queue_timeout
        waiter = Waiter(self._loop.create_future(), deadline, shares, party)
        if admitted:
            self._waiters.append_first(waiter)
        else:
            self._waiters.append(waiter)
        while True:
            self._grow()
            try:
                connection = await waiter.connection
            except asyncio.CancelledError:
                # A connection that was handed over in the same moment goes back.
                future = waiter.connection
                if future.done() and not future.cancelled() and future.exception() is None:
                    self.release(future.result())
                else:
                    self._waiters.remove(waiter)
                raise
            if connection.is_idle or (shares and connection in self._lanes):
                return connection
            # It went in the moment of handing over; nothing was sent on it, so the request keeps its turn.
            self.discard(connection)
            waiter = Waiter(self._loop.create_future(), deadline, shares, party)
            self._waiters.append_first(waiter)

    def release(self, connection: Connection) -> None:
        """Takes a connection back. One that is broken, busy or in a transaction is dropped instead."""
        connection.holders -= 1
        if connection.holders > 0:
            if self._waiters.length and self._lanes.has_place(connection, self._loop.time()):
                self._hand_to_reader(connection)
            return
        self._free(connection)

    def discard(self, connection: Connection) -> None:
        """Drops a connection, and opens another one if requests wait. What its backend still runs is cancelled.

        Others who wait on it run elsewhere.
        """
        connection.holders = max(connection.holders - 1, 0)
        self._lanes.remove(connection)
        self.holdings.give_back(connection)
        connection.overtake(head=True)
        connection.terminate()
        if connection.cut_short and not self._closed:
            if connection not in self._ending:
                self._ending.add(connection)
                self._spawn(self._end(connection))
            return
        self._all.discard(connection)
        self._grow()

    def abandon(self, connection: Connection, *, discard: bool = False) -> None:
        """Takes back a connection whose requester has gone while its statement runs: the statement is cancelled.

        ``discard`` asks for DISCARD ALL before the connection serves anyone else.
        """
        if self._closed:
            self.discard(connection)
        elif connection in self._reclaiming:
            self.release(connection)
        elif connection in self._lanes and not connection.turns.is_abandoned:
            # It stands behind somebody else's, whom a cancel would hit. Should it be slow, the watch ends it.
            self.release(connection)
            self._lanes.watch()
        else:
            self._lanes.remove(connection)
            self._reclaiming.add(connection)
            self._spawn(self._reclaim(connection, discard))

    def cleanse(self, connection: Connection) -> None:
        """Takes back a connection whose session may hold something: DISCARD ALL first, or it is dropped."""
        if self._closed:
            self.discard(connection)
            return
        self._spawn(self._discard_session(connection))

    async def close(self) -> None:
        """Closes all connections; requests that wait get ConnectFailed."""
        self._closed = True
        self._refuse_waiters(ConnectFailed("the gateway is stopping"))
        self._lanes.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._all:
            connection.terminate()
        await asyncio.gather(*(self._opener.cancel(one) for one in self._all if one.cut_short))
        self._all.clear()
        self._idle.clear()

    # --- inside -----------------------------------------------------------------------------------------------

    def _check_places(self, party: Hashable) -> None:
        """Raises QueueFull or ConcurrencyExceeded where one more may not wait."""
        # Those for whom a connection may still be opened do not count.
        places = self._queue_length + max(self._size - len(self._all), 0)
        if self._waiters.length >= places:
            raise QueueFull("too many requests wait for a connection", detail=f"queue_length is {self._queue_length}")
        if party is not None and self._waiters.waiting(party) >= self._party_queue_length:
            raise ConcurrencyExceeded(
                "too many requests of this subject wait for a connection",
                detail=f"at most {self._party_queue_length} at once",
            )

    def _may_hold(self, party: Hashable) -> bool:
        """Whether a party may have one of the connections that are idle."""
        return party is None or self.holdings.may_take(party, self._size - len(self._all) + len(self._idle))

    def _hand_out(self, connection: Connection, shares: bool, party: Hashable) -> None:
        connection.holders = 1
        self.holdings.take(connection, party)
        if shares:
            self._lanes.add(connection)

    def _serve_waiters(self) -> None:
        """Idle connections for those who wait, as far as their parties may have them."""
        while self._idle and self._waiters.length:
            waiter = self._waiters.next(lambda one: self._may_hold(one.party))
            if waiter is None:
                return
            connection = self._idle.pop()
            self._hand_out(connection, waiter.shares, waiter.party)
            waiter.connection.set_result(connection)

    def _join(self, lane: Connection) -> Connection:
        lane.holders += 1
        self._lanes.watch()
        return lane

    def _hand_to_reader(self, lane: Connection) -> None:
        """A place in a lane for the first who waits, if that is one who may share."""
        first = self._waiters.first()
        if first is not None and first.shares and self._waiters.next(lambda one: one is first) is not None:
            first.connection.set_result(self._join(lane))

    def _cancel_abandoned(self, lane: Connection) -> None:
        lane.holders += 1
        self.abandon(lane)

    def _free(self, connection: Connection) -> None:
        """Nobody holds the connection any more: it serves the next one, or goes."""
        if connection.holders:
            return
        if self._closed or not connection.is_idle or connection.in_transaction:
            if connection.is_running and connection in self._lanes and not connection.broken:
                return  # what it runs has been abandoned; it comes again when that has ended
            self.discard(connection)
            return
        self._lanes.remove(connection)
        self.holdings.give_back(connection)
        self._idle.append(connection)
        if self._waiters.length:
            self._serve_waiters()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _grow(self) -> None:
        """Opens as many connections as there are requests waiting, within the size."""
        if self._idle and self._waiters.length:
            self._serve_waiters()
        if self._sweeper is None and not self._closed:
            self._sweeper = self._spawn(self._sweep())
        while not self._closed and self._opening < self._waiters.length and len(self._all) + self._opening < self._size:
            self._opening += 1
            self._spawn(self._open_one())

    async def _open_one(self) -> None:
        try:
            connection = await self._open_patiently()
        except RowgateError as problem:
            self._opening -= 1
            # Otherwise those who wait are served by the connections that are there, or about to be.
            if not self._all and not self._opening:
                self._refuse_waiters(problem)
            return
        except BaseException:
            self._opening -= 1
            raise
        self._opening -= 1
        self.parameters = connection.parameters
        connection.on_free = self._free
        connection.inflow.has_company = self.holdings.has_company
        connection.on_rest = self._serve_waiters  # what runs for their party may be less now
        self._all.add(connection)
        self._free(connection)

    async def _open_patiently(self) -> Connection:
        """Tries again while the server is starting or briefly away: a restart costs a wait, not an error."""
        deadline = self._loop.time() + self._opener.connect_timeout
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                return await self._opener.open(self._login, self._lost, self._room)
            except (ConnectFailed, ServerStarting):
                if self._loop.time() + delay > deadline:
                    raise
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_SECONDS)

    def _refuse_waiters(self, problem: RowgateError) -> None:
        for waiter in self._waiters.all():
            waiter.connection.set_exception(problem)

    def _lost(self, connection: Connection) -> None:
        if not connection.cut_short:  # otherwise its backend still lives; who holds it gives it back
            self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._lanes.remove(connection)
        self._grow()

    def _refuse_late(self, now: float) -> None:
        for waiter in self._waiters.late(now):
            held = self.holdings.held(waiter.party)
            waiter.connection.set_exception(QueueTimeout(
                "no connection to Postgres came free in time",
                detail=f"this subject's other requests hold {held} of {self._size}" if held else None,
                hint="Wait for them to end; subject_connections and subject_pool_percent bound them." if held else None,
            ))  # fmt: skip

    async def _end(self, connection: Connection) -> None:
        """Ends what the backend of a dropped connection still runs; its place is free when it has gone."""
        await self._opener.cancel(connection)
        self._ending.discard(connection)
        self._all.discard(connection)
        self._grow()

    async def _reclaim(self, connection: Connection, discard: bool) -> None:
        try:
            is_sound = await self._end_statement(connection)
        except (RowgateError, TimeoutError):
            is_sound = False
        finally:
            self._reclaiming.discard(connection)
        if not is_sound:
            connection.abort()
            self.discard(connection)
        elif discard:
            await self._discard_session(connection)
        else:
            self.release(connection)

    async def _end_statement(self, connection: Connection) -> bool:
        """Cancels what the connection runs; whether it can be used again. Raises RowgateError or TimeoutError."""
        if connection.is_running:
            ended = connection.drained()
            ended.add_done_callback(_look_at)  # where the pool closes meanwhile nobody waits for it any more
            taken = await self._opener.cancel(connection)
            async with asyncio.timeout(CANCEL_GRACE_SECONDS):
                await ended
            if not taken:
                return False
        if connection.expired:  # a cancel request may come at any time
            return False
        # The cancel may still be on its way: it may hit this, never the next request. It also ends a transaction.
        async with asyncio.timeout(CANCEL_GRACE_SECONDS):
            outcome = await connection.run_simple(b"ROLLBACK")
            if outcome.error is not None:
                await connection.run_simple(b"ROLLBACK")
        return True

    async def _discard_session(self, connection: Connection) -> None:
        await self._clean(connection, partial(connection.run_simple, b"DISCARD ALL"))

    async def _clean(self, connection: Connection, clean: Callable[[], asyncio.Future[Outcome]]) -> None:
        try:
            async with asyncio.timeout(CANCEL_GRACE_SECONDS):
                outcome = await clean()
        except (RowgateError, TimeoutError):
            connection.abort()
        else:
            if outcome.error is not None:
                connection.abort()
        self.release(connection)

    async def _sweep(self) -> None:
        """Ends exchanges and waits that took too long; one task for all, so that none costs a timer."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._refuse_late(self._loop.time())
            self._expire_late(self._loop.time() - self._statement_timeout - SWEEP_GRACE_SECONDS)
            self._close_left()

    def _close_left(self) -> None:
        """Idle backends give up what has left their caches: they might have nothing else to do for hours."""
        for connection in [one for one in self._idle if one.prepared.has_many_left and one.is_idle]:
            self._idle.remove(connection)
            self._hand_out(connection, False, None)
            self._spawn(self._clean(connection, connection.run_closes))

    def _expire_late(self, oldest: float) -> None:
        """Ends what has run since before ``oldest`` (the loop's seconds). A variable of the sweep's would keep the last
        connection until there is another."""
        for connection in list(self._all):
            if connection.busy_since is not None and connection.busy_since < oldest and not connection.expired:
                connection.expired = True
                self._spawn(self._expire(connection, connection.busy_since))

    async def _expire(self, connection: Connection, busy_since: float) -> None:
        await self._opener.cancel(connection)
        await asyncio.sleep(CANCEL_GRACE_SECONDS)
        if connection.busy_since == busy_since:
            connection.abort()


def _look_at(ended: asyncio.Future[Any]) -> None:
    """A failure that was looked at is not reported as one that nobody saw."""
    if not ended.cancelled():
        ended.exception()
