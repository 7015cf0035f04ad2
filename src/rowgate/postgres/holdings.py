"""What each party holds of a pool's connections, and whether it may have one more.

Nobody may have all: a party that holds some gets another only within its share of what no other party holds. And
whoever's statements take long may have few running at once, however many connections are free, because a statement
that computes takes a core of Postgres's machine from everybody. A party begins with few, and gains one each time that
it gave back one of all it may have and nothing had taken long on it; one long statement takes it back to few, and it
gains nothing for a while. A transaction that waits for its client runs nothing, and does not count: whoever holds some
may need another connection before they can end.

A party is any value that says whose a request is; None, of requests that are nobody's, has no bounds. Never looks at
statements, and never hands anything out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import inf
from typing import Final

from rowgate.postgres.connection import Connection

LONG_SECONDS: Final = 0.01
CAREFUL_SECONDS: Final = 10.0
COMPANY_SECONDS: Final = 1.0
MOST_STANDINGS: Final = 10_000


@dataclass(slots=True)
class _Standing:
    """What a party has earned: how many it may hold, and until when it earns no more."""

    allowed: int
    careful_until: float = 0.0


class Holdings:
    """Those of one pool of ``size`` connections. ``clock`` is in seconds and never goes back.

    ``share`` is in per cent; ``few`` (None: no such bound) is how many may run for a party whose statements take long.
    """

    def __init__(self, clock: Callable[[], float], *, size: int, share: int, few: int | None) -> None:
        self._clock = clock
        self._size = size
        self._share = share
        self._few = size if few is None else min(few, size)
        self._held: dict[Hashable, set[Connection]] = {}
        self._standings: OrderedDict[Hashable, _Standing] = OrderedDict()
        self._latest: Hashable = None
        self._met_at = -inf

    def __len__(self) -> int:
        """How many parties hold something."""
        return len(self._held)

    def held(self, party: Hashable) -> int:
        """How many connections it has."""
        return len(self._held.get(party, ()))

    def may_take(self, party: Hashable, free: int) -> bool:
        """Whether ``party`` may have one more; ``free`` are those that nobody holds, or that are not there yet."""
        held = self._held.get(party)
        if held is None:
            return True
        if self._few < self._size and len(held) >= self._few and self._running(held) >= self._allowed(party, held):
            return False
        return self._share >= 100 or (len(held) + 1) * 100 <= self._share * (len(held) + free)

    def has_company(self) -> bool:
        """Whether more than one party was served of late."""
        return self._clock() - self._met_at < COMPANY_SECONDS

    def take(self, connection: Connection, party: Hashable) -> None:
        """``party`` has the connection from now on."""
        if party != self._latest or len(self._held) > (party in self._held):
            self._latest = party
            self._met_at = self._clock()
        if party is not None:
            connection.party = party
            connection.longest = None
            held = self._held.get(party)
            if held is None:
                self._held[party] = {connection}
            else:
                held.add(connection)

    def give_back(self, connection: Connection) -> None:
        """Whoever has the connection has it no more; nothing where nobody has."""
        party = connection.party
        if party is None:
            return
        connection.party = None
        held = self._held[party]
        # What was broken off would have taken longer.
        longest = inf if connection.cut_short else connection.longest or 0.0
        if self._few < self._size and (longest > LONG_SECONDS or len(held) >= self._few):
            self._learn(party, held, longest)
        held.discard(connection)
        if not held:
            del self._held[party]

    def _running(self, held: set[Connection]) -> int:
        """On how many something runs, or is about to."""
        return sum(one.busy_since is not None or one.longest is None for one in held)

    def _allowed(self, party: Hashable, held: set[Connection]) -> int:
        standing = self._standings.get(party)
        if standing is None:
            return self._few
        latest = self._clock() - LONG_SECONDS
        is_slow = any(one.busy_since is not None and one.busy_since < latest for one in held)
        return self._few if is_slow else standing.allowed

    def _learn(self, party: Hashable, held: set[Connection], seconds: float) -> None:
        """The longest on one took so long, beside the others of ``held``."""
        if seconds > LONG_SECONDS:
            self._remember(party, _Standing(self._few, self._clock() + CAREFUL_SECONDS))
            return
        standing = self._standings.get(party) or _Standing(self._few)
        if len(held) >= standing.allowed and standing.allowed < self._size and self._clock() >= standing.careful_until:
            standing.allowed += 1
            self._remember(party, standing)

    def _remember(self, party: Hashable, standing: _Standing) -> None:
        self._standings[party] = standing
        self._standings.move_to_end(party)
        if len(self._standings) > MOST_STANDINGS:
            self._standings.popitem(last=False)
