"""Those who wait for a connection of a pool, in turns by party: whoever has many requests waiting is served no sooner.

A party is any value that says whose a request is; the pool does not know what it means. Each party's own requests keep
their order. None is a party like any other. Pure: it never hands anything out by itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from rowgate.postgres.connection import Connection


@dataclass(frozen=True, slots=True, eq=False)
class Waiter:
    """One request that waits. ``deadline`` is in the loop's time; ``shares``: it may stand in a lane."""

    connection: asyncio.Future[Connection]
    deadline: float
    shares: bool
    party: Hashable


class FairQueue:
    """Waiters of all parties. Parties take turns; one that has just been served goes to the end."""

    def __init__(self) -> None:
        self._parties: OrderedDict[Hashable, deque[Waiter]] = OrderedDict()
        self.length = 0
        """How many wait."""

    def waiting(self, party: Hashable) -> int:
        """How many of one party wait."""
        return len(self._parties.get(party, ()))

    def append(self, waiter: Waiter) -> None:
        """A new request, behind those of its party."""
        self._parties.setdefault(waiter.party, deque()).append(waiter)
        self.length += 1

    def append_first(self, waiter: Waiter) -> None:
        """A request that had its turn already: it is the next of all."""
        self._parties.setdefault(waiter.party, deque()).appendleft(waiter)
        self._parties.move_to_end(waiter.party, last=False)
        self.length += 1

    def remove(self, waiter: Waiter) -> None:
        """A request that waits no more; nothing happens where it has left already."""
        waiters = self._parties.get(waiter.party)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            self.length -= 1
            if not waiters:
                del self._parties[waiter.party]

    def next(self, may_have: Callable[[Waiter], bool]) -> Waiter | None:
        """Takes the first request of the first party whose request ``may_have`` a connection now."""
        gone: list[Hashable] = []
        found: Waiter | None = None
        for party, waiters in self._parties.items():
            while waiters and waiters[0].connection.done():  # its requester has gone
                waiters.popleft()
                self.length -= 1
            if not waiters:
                gone.append(party)
            elif may_have(waiters[0]):
                found = waiters.popleft()
                self.length -= 1
                break
        for party in gone:
            del self._parties[party]
        if found is not None:
            self._end_turn(found.party)
        return found

    def first(self) -> Waiter | None:
        """The one whose turn is next, left where it is."""
        for waiters in self._parties.values():
            for waiter in waiters:
                if not waiter.connection.done():
                    return waiter
        return None

    def late(self, now: float) -> Iterator[Waiter]:
        """Takes those whose deadline has passed. All wait equally long, so each party's first is late first."""
        yield from self._take(lambda waiter: waiter.deadline < now)

    def all(self) -> Iterator[Waiter]:
        """Takes all."""
        yield from self._take(lambda waiter: True)

    def _take(self, ends: Callable[[Waiter], bool]) -> Iterator[Waiter]:
        for party, waiters in list(self._parties.items()):
            while waiters and (waiters[0].connection.done() or ends(waiters[0])):
                waiter = waiters.popleft()
                self.length -= 1
                if not waiter.connection.done():
                    yield waiter
            if not waiters:
                self._parties.pop(party, None)

    def _end_turn(self, party: Hashable) -> None:
        if self._parties[party]:
            self._parties.move_to_end(party)
        else:
            del self._parties[party]
