"""What has ended is freed at once: nothing of a session or a connection waits for the garbage collector, which comes
seldom in a process that serves (``cli/memory.py``)."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from bench.in_memory import Countdown, MemoryClient, MemoryGateway, MemoryStream, simple_query

from rowgate.gateway.http.connection import HttpConnection


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_session_that_has_ended_is_freed(without_collector: None) -> None:
    gateway = MemoryGateway(users=1)
    await gateway.database.start()
    ended = Countdown(1)
    stream = MemoryStream(simple_query, 0, 3, ended.one)
    session = await gateway.session(stream, gateway.tokens[0])
    seen = weakref.ref(session)
    running = asyncio.create_task(session.run([]))
    del session
    stream.feed(simple_query(0))
    await ended.all
    assert seen() is not None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    del running, stream
    await asyncio.sleep(0)
    assert seen() is None
    await gateway.database.close()


async def test_an_http_connection_that_was_lost_is_freed(without_collector: None) -> None:
    gateway = MemoryGateway(users=1)
    client = MemoryClient([b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], 0, 1, lambda: None)
    connection = HttpConnection(gateway.server)
    connection.connection_made(client)  # type: ignore[arg-type]
    connection.data_received(b"GET /healthz HTTP/1.1\r\n")
    seen = weakref.ref(connection)
    connection.connection_lost(None)
    del connection, client
    await asyncio.sleep(0)
    assert seen() is None
