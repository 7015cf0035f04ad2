"""Runs the sessions of both fronts: counts them, watches the clients that need it, ends them when the gateway stops.

Knows nothing of Postgres, of sockets or of frames.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rowgate.errors import TooManySessions
from rowgate.gateway.sessions.stream import ServeSession
from rowgate.settings import Settings

if TYPE_CHECKING:
    from rowgate.gateway.byte_stream import ByteStream

READ_BYTES: Final = 32 * 1024
"""The most that one read takes from a socket."""
SWEEP_SECONDS: Final = 1.0

log = logging.getLogger("rowgate.sessions")


class SessionHost:
    """Every client that is connected over WebSocket or TCP. Make it inside a running event loop."""

    def __init__(self, settings: Settings, serve: ServeSession) -> None:
        """``serve`` is called once for each client; its stream is closed after it, whatever happens."""
        self.serve = serve
        self.loop = asyncio.get_running_loop()
        self.login_seconds = settings.login_timeout_seconds
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.stopping = False
        self.refused = 0
        self._most = settings.max_sessions
        self._shutdown_seconds = settings.shutdown_seconds
        self._streams: set[ByteStream] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched: dict[ByteStream, None] = {}
        self._quiet = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def clients(self) -> int:
        """How many are connected, those apart that only read their refusal."""
        return len(self._streams) - self.refused

    def refusal(self) -> TooManySessions | None:
        """Why no further client can be served now, or None."""
        if self.stopping:
            return TooManySessions("the gateway is shutting down", hint="Connect again in a moment.")
        return None if self.clients < self._most else self.too_many()

    def too_many(self) -> TooManySessions:
        """The refusal where every place is taken."""
        return TooManySessions("too many clients are connected already", detail=f"max_sessions is {self._most}")

    def enter(self, stream: ByteStream) -> None:
        """A client has connected."""
        self._streams.add(stream)
        if self._sweeper is None and not self.stopping:
            self._sweeper = self.loop.create_task(self._sweep())

    def run(self, stream: ByteStream) -> None:
        """Starts the client's session."""
        task = self.loop.create_task(self._run(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self, stream: ByteStream) -> None:
        """A client's connection is gone."""
        self._streams.discard(stream)
        self._watched.pop(stream, None)
        self._check_quiet()

    def watch(self, stream: ByteStream) -> None:
        """``stream.check`` is to be called once a second from now on."""
        self._watched[stream] = None

    def unwatch(self, stream: ByteStream) -> None:
        """It needs no more watching."""
        self._watched.pop(stream, None)

    async def stop(self) -> None:
        """Lets sessions end within ``shutdown_seconds``, then aborts them. The fronts have stopped listening before."""
        self.stopping = True
        self._check_quiet()
        await self._wait_quiet(self._shutdown_seconds)
        for stream in list(self._streams):
            stream.abort()
        await self._wait_quiet(1.0)  # their ends are told in the loop's next round
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)  # a session has a moment to cancel what runs for it
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def _run(self, stream: ByteStream) -> None:
        try:
            await self.serve(stream)
        except Exception:
            log.exception("a defect in Rowgate: please report it")
        finally:
            stream.close()

    async def _wait_quiet(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._quiet.wait()

    def _check_quiet(self) -> None:
        if self.stopping and not self._streams:
            self._quiet.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._check_watched(self.loop.time())

    def _check_watched(self, now: float) -> None:
        """A function of its own: a variable of the sweep's would keep the last client until another came."""
        for stream in list(self._watched):
            stream.check(now)
