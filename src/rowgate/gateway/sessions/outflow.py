"""What flows to a client, no faster than it reads: the backend behind it is paused where the client is behind.

So a result of any size takes a bounded amount of memory. It is charged while it flows, and slows down where its bearer
owes. Never looks at what flows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from rowgate.gateway.sessions.stream import ClientStream

WRITE_AHEAD_BYTES: Final = 256 * 1024
CHARGED_AT_ONCE_BYTES: Final = 256 * 1024
OWING_BYTES_A_SECOND: Final = 2.5 * 1024 * 1024
"""What has begun goes on where its bearer owes, at this pace."""
LONGEST_REST_SECONDS: Final = 1.0
"""After a row of many megabytes: nobody who waits for the end of a result takes it for dead."""


class Source(Protocol):
    """Where the bytes come from."""

    def pause(self) -> None:
        """Reads nothing more for a while."""

    def resume(self) -> None:
        """Reads again."""


class Outflow:
    """The way to one client. Only this object waits for the stream's ``drain``. ``charge`` counts bytes that have
    flowed, and says whether their bearer owes; None where nobody pays."""

    __slots__ = ("_charge", "_draining", "_pieces", "_stream", "_uncharged", "_written", "write")

    def __init__(self, stream: ClientStream, charge: Callable[[int], bool] | None = None) -> None:
        self._stream = stream
        self._charge = charge
        self._pieces: list[bytes] = []
        self._written = 0
        self._uncharged = 0
        self._draining: asyncio.Task[None] | None = None
        self.write = self._pieces.append
        """Takes bytes; they go out with the next ``flush``, because a write to a socket costs more than all else."""

    def flush(self) -> None:
        """Sends what was written."""
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._written += len(data)
            self._uncharged += len(data)
            self._stream.write(data)

    def relieve(self, source: Source) -> None:
        """Sends what was written; pauses ``source`` until the client has read, where that is much, and a while longer
        where its bearer owes."""
        self.flush()
        rest, size = 0.0, self._uncharged
        if size >= CHARGED_AT_ONCE_BYTES and self.charge():
            rest = min(size / OWING_BYTES_A_SECOND, LONGEST_REST_SECONDS)
        if (rest or self._written > WRITE_AHEAD_BYTES) and self._draining is None:
            source.pause()
            self._draining = asyncio.get_running_loop().create_task(self._drain(source, rest))

    def charge(self) -> bool:
        """Counts what has flowed since the last time; whether its bearer owes."""
        size, self._uncharged = self._uncharged, 0
        return self._charge is not None and self._charge(size)

    async def drain(self) -> None:
        """Sends what was written, and waits while the client is behind."""
        self.flush()
        if self._draining is not None:
            await asyncio.shield(self._draining)
        else:
            await self._stream.drain()
            self._written = 0

    async def _drain(self, source: Source, rest: float) -> None:
        try:
            await self._stream.drain()
            if rest:
                await asyncio.sleep(rest)
        finally:
            self._written = 0
            self._draining = None
            source.resume()
