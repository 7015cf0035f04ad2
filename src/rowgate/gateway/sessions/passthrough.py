"""A session of a role with a password: Postgres judges it, and then every byte goes through as it is.

One backend for one client, from login to end: such roles own the database, so nothing is guarded and nothing shared.
Never keeps the password.
"""

from __future__ import annotations

import asyncio

from rowgate.gateway.sessions.outflow import Outflow
from rowgate.gateway.sessions.stream import ClientStream
from rowgate.pgwire import messages
from rowgate.pgwire.startup import Ready


class PassedBackend(asyncio.Protocol):
    """The backend's side: what it sends goes to ``stream``, no faster than the client reads."""

    def __init__(self, ready: Ready, stream: ClientStream) -> None:
        self.ready = ready
        self.ended = asyncio.get_running_loop().create_future()
        self._outflow = Outflow(stream)
        self._transport: asyncio.Transport | None = None
        self.sent = self.received = 0
        """Bytes for the client, and of the client."""
        self._sent_last = b""
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def was_told_to_end(self) -> bool:
        """Whether the client's last bytes are a Terminate: after it Postgres goes, often before the client does."""
        return self._sent_last == messages.TERMINATE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes over the transport after the start."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Passes bytes on; pauses where the client is behind."""
        self.sent += len(data)
        self._outflow.write(data)
        self._outflow.relieve(self)

    def pause(self) -> None:
        """Reads nothing more for a while."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, problem: Exception | None) -> None:
        """The backend has gone; what it said last has been passed on."""
        self._writable.set()
        if not self.ended.done():
            self.ended.set_result(None)

    def pause_writing(self) -> None:
        """The backend reads slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The backend has caught up."""
        self._writable.set()

    async def send(self, data: bytes) -> None:
        """Sends the client's bytes; waits while the backend is behind."""
        if self._transport is not None and not self.ended.done():
            self.received += len(data)
            self._sent_last = (self._sent_last + data[-len(messages.TERMINATE) :])[-len(messages.TERMINATE) :]
            self._transport.write(data)
            await self._writable.wait()

    def close(self) -> None:
        """Ends the backend's session."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(messages.TERMINATE)
            self._transport.close()


async def pass_through(stream: ClientStream, backend: PassedBackend, first: bytes) -> bool:
    """Passes bytes both ways until one side ends; whether that was the client. ``first`` is what it has sent ahead."""
    upward = asyncio.get_running_loop().create_task(_pump(stream, backend, first))
    try:
        done, _ = await asyncio.wait({upward, backend.ended}, return_when=asyncio.FIRST_COMPLETED)
        return upward in done or backend.was_told_to_end
    finally:
        upward.cancel()
        await asyncio.gather(upward, return_exceptions=True)
        backend.close()


async def _pump(stream: ClientStream, backend: PassedBackend, first: bytes) -> None:
    data = first or await stream.read()
    while data:
        await backend.send(data)
        data = await stream.read()
