"""Whose end it was when a session of a role with a password ends: the record of it says so."""

import asyncio
from typing import Any

import pytest
from bench.in_memory import MemoryStream

from rowgate.gateway.sessions.passthrough import PassedBackend, pass_through
from rowgate.pgwire import messages
from rowgate.pgwire.startup import Ready

QUERY = messages.raw(b"Q", b"select 1\0")


class Postgres(asyncio.Transport):
    """Takes what is sent, and has gone as soon as that ends with ``last``, before the client's own end is read."""

    def __init__(self, last: bytes) -> None:
        super().__init__()
        self._last = last
        self._taken = b""
        self.backend: PassedBackend | None = None

    def write(self, data: Any) -> None:
        self._taken += data
        if self._taken.endswith(self._last) and self.backend is not None:
            self.backend.connection_lost(None)

    def is_closing(self) -> bool:
        return self.backend is not None and self.backend.ended.done()


@pytest.mark.parametrize(
    ("sent", "by_client"),
    [
        ([QUERY], False),
        ([QUERY, messages.TERMINATE], True),
        ([QUERY + messages.TERMINATE], True),
        ([QUERY + messages.TERMINATE[:2], messages.TERMINATE[2:]], True),
    ],
)
async def test_whose_end_it_was(sent: list[bytes], by_client: bool) -> None:
    stream = MemoryStream(lambda number: b"", 0, 0, lambda: None)
    transport = Postgres(b"".join(sent))
    backend = transport.backend = PassedBackend(Ready({}, 1, b""), stream)
    backend.connection_made(transport)
    running = asyncio.create_task(pass_through(stream, backend, b""))
    for data in sent:
        await asyncio.sleep(0)
        stream.feed(data)
        await asyncio.sleep(0)
    assert await asyncio.wait_for(running, 10) is by_client
