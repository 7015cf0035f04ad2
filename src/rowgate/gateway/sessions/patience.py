"""How long a session that holds a connection to Postgres waits for its client, to read or to go on.

Connections are shared, so a client that begins something and falls silent, or lets a result lie, would keep others from
theirs. Costs nothing per statement: one timer, which looks at what the session holds when it goes off.
Never looks at bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from math import inf

from rowgate.gateway.callbacks import nobody_is_told
from rowgate.gateway.sessions.stream import ClientStream


class Turn(Enum):
    """For whom a session waits."""

    NOBODY = "the session holds no connection"
    CLIENT = "the client is to send more"
    SERVER = "Postgres works, and the client waits for it"


class Patience:
    """Calls ``lost`` when the client has let a session wait for ``seconds``. ``turn`` says whose turn it is."""

    __slots__ = ("_lost", "_not_before", "_seconds", "_stream", "_timer", "_turn")

    def __init__(
        self, stream: ClientStream, seconds: float, *, turn: Callable[[], Turn], lost: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._seconds = seconds
        self._turn = turn
        self._lost = lost
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A connection is held from now on."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def end(self) -> None:
        """The session is over, and is not held by its patience any longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._turn, self._lost = (lambda: Turn.NOBODY), nobody_is_told

    def _look(self) -> None:
        self._timer = None
        turn = self._turn()
        if turn is Turn.NOBODY:
            return
        loop = asyncio.get_running_loop()
        left = self._waiting_since(turn, loop.time()) + self._seconds - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look)
        else:
            self._lost()

    def _waiting_since(self, turn: Turn, now: float) -> float:
        """Since when the client is waited for; ``now`` where it is not."""
        unread, silent = self._stream.unread_since, self._stream.silent_since
        if unread is not None:
            return unread
        if turn is Turn.SERVER:
            self._not_before = inf
            return now
        if self._not_before == inf:
            self._not_before = now  # Postgres has answered since the last look, and nobody knows when
        return now if silent is None else max(silent, self._not_before)
