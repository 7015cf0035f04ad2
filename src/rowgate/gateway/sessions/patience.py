"""How long a session that holds a connection to Postgres waits for its client, to read or to go on.

Connections are shared, so a client that begins something and falls silent, or lets a result lie, would keep others from
theirs. Costs nothing per statement: one timer, which looks at what the session holds when it goes off.
Never looks at bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rowgate.gateway.sessions.stream import ClientStream


class Patience:
    """Calls ``lost`` when the client has let a session wait for ``seconds``, while ``holds`` says that it holds one."""

    __slots__ = ("_holds", "_lost", "_seconds", "_stream", "_timer")

    def __init__(
        self, stream: ClientStream, seconds: float, *, holds: Callable[[], bool], lost: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._seconds = seconds
        self._holds = holds
        self._lost = lost
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A connection is held from now on."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def end(self) -> None:
        """The session is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._holds():
            return
        loop = asyncio.get_running_loop()
        since = self._stream.waiting_since
        left = self._seconds if since is None else since + self._seconds - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look)
        else:
            self._lost()
