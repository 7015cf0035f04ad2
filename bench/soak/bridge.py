"""Carries libpq's bytes over WebSocket, so that a real driver is heard through that front too."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

LARGEST_READ = 64 * 1024


class Bridge:
    """Listens on a port of its own; each connection to it becomes one WebSocket to ``url``."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._url = url
        self._context = context
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with connect(self._url, ssl=self._context, max_size=None, ping_interval=None) as gateway:
                downward = asyncio.get_running_loop().create_task(_to_client(gateway, writer))
                with suppress(ConnectionClosed, ConnectionError):
                    while data := await reader.read(LARGEST_READ):
                        await gateway.send(data)
                await gateway.close()
                await downward
        except (OSError, WebSocketException):
            pass  # the client sees the end of its connection and judges it
        finally:
            writer.close()


async def _to_client(gateway: ClientConnection, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionClosed, ConnectionError):
        async for data in gateway:
            writer.write(data if isinstance(data, bytes) else data.encode())
            await writer.drain()
    writer.close()
