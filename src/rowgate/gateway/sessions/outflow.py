"""What flows to a client, no faster than it reads: the backend behind it is paused where the client is behind.

So a result of any size takes a bounded amount of memory. Never looks at what flows.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from rowgate.gateway.sessions.stream import ClientStream

WRITE_AHEAD_BYTES: Final = 256 * 1024


class Source(Protocol):
    """Where the bytes come from."""

    def pause(self) -> None:
        """Reads nothing more for a while."""

    def resume(self) -> None:
        """Reads again."""


class Outflow:
    """The way to one client. Only this object waits for the stream's ``drain``."""

    __slots__ = ("_draining", "_pieces", "_stream", "_written", "sent", "write")

    def __init__(self, stream: ClientStream) -> None:
        self._stream = stream
        self._pieces: list[bytes] = []
        self._written = 0
        self.sent = 0
        """Bytes in all; whoever counts them sets it back."""
        self._draining: asyncio.Task[None] | None = None
        self.write = self._pieces.append
        """Takes bytes; they go out with the next ``flush``, because a write to a socket costs more than all else."""

    def flush(self) -> None:
        """Sends what was written."""
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._written += len(data)
            self.sent += len(data)
            self._stream.write(data)

    def relieve(self, source: Source) -> None:
        """Sends what was written; pauses ``source`` until the client has read, where that is much."""
        self.flush()
        if self._written > WRITE_AHEAD_BYTES and self._draining is None:
            source.pause()
            self._draining = asyncio.get_running_loop().create_task(self._drain(source))

    async def drain(self) -> None:
        """Sends what was written, and waits while the client is behind."""
        self.flush()
        if self._draining is not None:
            await asyncio.shield(self._draining)
        else:
            await self._stream.drain()
            self._written = 0

    async def _drain(self, source: Source) -> None:
        try:
            await self._stream.drain()
        finally:
            self._written = 0
            self._draining = None
            source.resume()
