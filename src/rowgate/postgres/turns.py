"""The exchanges that one backend has been sent and has not answered yet, in the order in which it answers them.

Usually there is one. Reads that are known to be quick may be sent behind each other, which saves the backend and the
gateway a sleep and a wake-up for each. Whoever waits behind something slow, or on a connection that fails, is told so
by ``Overtaken`` and runs the same once more elsewhere. Never sends anything, and never decides what may share.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from rowgate.errors import DatabaseError
from rowgate.postgres.exchange import Outcome, Step

FIRST_PACE_SECONDS: Final = 0.005
"""What is thought of a backend before it has answered anything: nobody stands behind another until it is known."""
PACE_WEIGHT: Final = 0.1
"""Of the last exchange, among all before it."""


class Overtaken(Exception):
    """The exchange was given up before its answer came, through no fault of its own; it only reads, so run it again.

    Never leaves this package.
    """


class Answered(Protocol):
    """What takes a backend's answer to one exchange: ``exchange.Exchange``, or whoever relays it to a client."""

    error: DatabaseError | None
    copy_refused: bool
    discards: bool
    """Whether rows are forgotten, because there were too many of them."""

    def discard_rows(self) -> None:
        """There are too many."""

    @property
    def status(self) -> int:
        """The transaction's status after the answer; 0 before."""
        ...

    @property
    def flows(self) -> bool:
        """Whether rows are passed on as they come, and not kept."""
        ...

    @property
    def state_changed(self) -> bool:
        """Whether the backend's session is not as it was."""
        ...

    @property
    def parsed_steps(self) -> Sequence[Step]:
        """The steps whose statement the backend has parsed."""
        ...

    def receive(self, kind: int, body: bytes) -> bool:
        """Takes one message; True when it was ReadyForQuery. Raises ProtocolViolation."""
        ...

    def receive_whole(self, data: bytes, position: int) -> int:
        """Takes the whole answer from ``position`` on where that can be done at once; where it ends, 0 where nothing
        was taken."""
        ...

    def outcome(self, seconds: float) -> Outcome:
        """The end, once ``receive`` has returned True; ``seconds`` is how long it took."""
        ...


class Turns:
    """``head`` is the exchange that is being answered, None when the backend has nothing to do. ``pace`` is how many
    seconds one takes, of late, from when its turn came."""

    __slots__ = ("_following", "_waiter", "head", "pace")

    def __init__(self) -> None:
        self.pace = FIRST_PACE_SECONDS
        self.head: Answered | None = None
        self._waiter: asyncio.Future[Outcome] | None = None
        self._following: deque[tuple[Answered, asyncio.Future[Outcome] | None]] = deque()

    def __len__(self) -> int:
        return 0 if self.head is None else 1 + len(self._following)

    @property
    def has_followers(self) -> bool:
        """Whether somebody waits behind the head for an answer."""
        return any(waiter is not None and not waiter.done() for _, waiter in self._following)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for the answer to the head any more."""
        return self.head is not None and (self._waiter is None or self._waiter.done())

    def add(self, exchange: Answered, waiter: asyncio.Future[Outcome]) -> None:
        """``exchange`` has been sent last; ``waiter`` is told its outcome."""
        if self.head is None:
            self.head, self._waiter = exchange, waiter
        else:
            self._following.append((exchange, waiter))

    def advance(self, outcome: Outcome) -> bool:
        """The head has been answered, the next one's turn has come; whether anybody had waited for it."""
        self.pace += (outcome.seconds - self.pace) * PACE_WEIGHT
        waiter = self._waiter
        if self._following:
            self.head, self._waiter = self._following.popleft()
        else:
            self.head = self._waiter = None
        if waiter is None or waiter.done():
            return False
        waiter.set_result(outcome)
        return True

    def overtake(self, *, head: bool = False) -> None:
        """Those who wait behind the head go elsewhere; with ``head`` the one who waits for the head as well."""
        for _, waiter in self._following:
            _tell(waiter, Overtaken())
        if head:
            _tell(self._waiter, Overtaken())

    def give_up(self, problem: Exception) -> None:
        """Whoever waits for the head is told ``problem`` and has no answer; those behind go elsewhere."""
        _tell(self._waiter, problem)
        self.overtake()

    def fail(self, problem: Exception) -> None:
        """The connection is of no use any more: the head has failed with it, the others go elsewhere."""
        _tell(self._waiter, problem)
        self.overtake()
        self.head = self._waiter = None
        self._following.clear()

    def drained(self, waiter: asyncio.Future[Outcome]) -> None:
        """Whoever waits now goes elsewhere; ``waiter`` is told the outcome of the last exchange instead."""
        self.overtake(head=True)
        if self._following:
            self._following[-1] = (self._following[-1][0], waiter)
        else:
            self._waiter = waiter


def _tell(waiter: asyncio.Future[Outcome] | None, problem: Exception) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_exception(problem)
