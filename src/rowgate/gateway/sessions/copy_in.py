"""COPY FROM STDIN in a session: what the client may send while the backend reads data, and who ends it first.

Never looks at the data.

Source: PostgreSQL 18, section 54.2.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from rowgate.errors import ProtocolViolation
from rowgate.gateway.sessions.backend import Backend
from rowgate.pgwire import messages
from rowgate.pgwire.server import requests

Data = requests.CopyData | requests.CopyDone | requests.CopyFail
DATA: Final = (requests.CopyData, requests.CopyDone, requests.CopyFail)


class CopyIn:
    """The COPY of a session; there is at most one at a time."""

    __slots__ = ("_over", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        """Whether the backend waits for data."""
        self._over: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """The backend waits for data."""
        self.is_open = True

    def end(self) -> None:
        """It waits no more: the COPY has failed, or the connection has gone."""
        self.is_open = False
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def pass_on(self, backend: Backend, request: Data) -> None:
        """Sends a piece of data, or its end. What comes after an error of the backend's is left unread."""
        if not self.is_open:
            return
        backend.add_raw(request.encode())
        if not isinstance(request, requests.CopyData):
            self.is_open = False
            backend.add_raw(messages.FLUSH)
        backend.flush()

    async def next(self, read: Callable[[], Coroutine[Any, Any, requests.Request]]) -> requests.Request | None:
        """The client's next message, by ``read``; None where the backend has ended the COPY before any came."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        reading = loop.create_task(read())
        ends: set[asyncio.Future[Any]] = {reading, self._over}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return await reading if reading.done() else None
        finally:
            self._over = None
            reading.cancel()
            await asyncio.wait({reading})  # only one may read


def violation_of(request: requests.Request) -> ProtocolViolation | None:
    """What is wrong with a message that is no data: nothing with Sync and Flush, which are ignored then.

    Everything else ends the connection, because where the data goes on nobody can tell.
    """
    if isinstance(request, requests.Sync | requests.Flush):
        return None
    return ProtocolViolation(
        f"A {type(request).__name__} came while a COPY reads data.",
        detail="Expected CopyData, CopyDone or CopyFail.",
        hint="End the COPY before anything else is asked for.",
    )
