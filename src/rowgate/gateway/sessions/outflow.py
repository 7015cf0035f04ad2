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

    def __init__(self, stream: ClientStream) -> None:
        self._stream = stream
        self._written = 0
        self._draining: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        """Sends bytes, later if need be."""
        self._written += len(data)
        self._stream.write(data)

    def relieve(self, source: Source) -> None:
        """Pauses ``source`` until the client has read, where much was written since it last had."""
        if self._written > WRITE_AHEAD_BYTES and self._draining is None:
            source.pause()
            self._draining = asyncio.get_running_loop().create_task(self._drain(source))

    async def drain(self) -> None:
        """Waits while the client is behind."""
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
