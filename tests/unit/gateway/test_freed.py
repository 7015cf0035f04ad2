"""What has ended is freed at once: nothing of a session or a connection waits for the garbage collector, which comes
seldom in a process that serves (``cli/memory.py``)."""

import asyncio
import gc
import ssl
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from bench.in_memory import Countdown, MemoryClient, MemoryGateway, MemoryStream, simple_query
from websockets.protocol import Protocol

from rowgate.gateway.byte_stream import ByteStream
from rowgate.gateway.http.connection import HttpConnection
from rowgate.gateway.sessions.bearer import Bearer
from rowgate.gateway.sessions.lease import Lease
from rowgate.gateway.sessions.lifetime import Lifetime
from rowgate.gateway.sessions.patience import Patience
from rowgate.gateway.sessions.relay import Relay
from rowgate.gateway.sessions.session import Session
from rowgate.gateway.sessions.shared_path import SharedPath
from rowgate.gateway.tls_transport import TlsTransport
from tests.unit.gateway.fronts import SSL_REQUEST, connected, exactly, running, tls_settings, trusting, until


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


SESSION_KINDS = (Session, Lifetime, Lease, SharedPath, Bearer, Patience, Relay)


def alive(*kinds: type, but: frozenset[int] = frozenset()) -> list[object]:
    """Every object of these ``kinds`` that exists in this process, ``but`` those."""
    return [one for one in gc.get_objects() if isinstance(one, kinds) and id(one) not in but]


async def test_a_session_that_has_ended_is_freed(without_collector: None) -> None:
    before = frozenset(map(id, alive(*SESSION_KINDS)))
    gateway = MemoryGateway(users=1)
    await gateway.database.start()
    ended = Countdown(1)
    stream = MemoryStream(simple_query, 0, 3, ended.one)
    session = await gateway.session(stream, gateway.tokens[0])
    running = asyncio.create_task(session.run([]))
    del session
    stream.feed(simple_query(0))
    await ended.all
    assert {type(one) for one in alive(*SESSION_KINDS, but=before)} == set(SESSION_KINDS)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    del running, stream
    await asyncio.sleep(0)
    assert not alive(*SESSION_KINDS, but=before)
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


# --- over real sockets ----------------------------------------------------------------------------------------

UPGRADE = (
    b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PLAIN_HTTP = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CONNECTION_KINDS = (HttpConnection, ByteStream, TlsTransport, ssl.SSLObject, Protocol)


def connections(but: frozenset[int] = frozenset()) -> list[object]:
    """Every object of a client's connection that exists in this process, on the server's side, ``but`` those."""
    kept = alive(*CONNECTION_KINDS, but=but)
    return [one for one in kept if not (isinstance(one, ssl.SSLObject) and not one.server_side)]


@pytest.mark.parametrize(
    ("front", "first", "has_tls"),
    [
        ("tcp_port", b"hello", False),
        ("tcp_port", b"hello", True),
        ("tcp_port", SSL_REQUEST, True),
        ("http_port", PLAIN_HTTP, False),
        ("http_port", PLAIN_HTTP, True),
        ("http_port", UPGRADE, False),
        ("http_port", UPGRADE, True),
        ("http_port", UPGRADE + b"no frame at all", False),
    ],
)
@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_client_that_has_left_is_freed(
    without_collector: None, tmp_path: Path, front: str, first: bytes, has_tls: bool, end: str
) -> None:
    async def visit() -> None:
        before = frozenset(map(id, connections()))
        async with running(**tls_settings(tmp_path)) as fronts:
            for _ in range(3):
                context = trusting(tmp_path, *(["postgresql"] if front == "tcp_port" else [])) if has_tls else None
                direct = None if first is SSL_REQUEST else context
                async with connected(getattr(fronts, front), direct) as (reader, writer):
                    writer.write(first)
                    await exactly(reader, 1)
                    if first is SSL_REQUEST:
                        await writer.start_tls(context, server_hostname="localhost")  # type: ignore[arg-type]
                        writer.write(b"more")
                        await exactly(reader, 4)
                    assert connections(but=before)
                    getattr(writer.transport, end)()
            await until(lambda: not fronts.host.clients and not fronts.http.connections)
            fronts.sessions.streams.clear()
            await until(lambda: not connections(but=before))

    uvloop.run(visit())


@pytest.mark.parametrize("front", ["tcp_port", "http_port"])
def test_a_client_that_was_seen_by_a_sweep_is_freed(without_collector: None, front: str) -> None:
    """Once a second clients are looked at, and nothing of that look stays with the last one of them."""

    async def visit() -> None:
        before = frozenset(map(id, connections()))
        async with running() as fronts:
            async with connected(getattr(fronts, front)):
                seen = fronts.http.now
                await until(lambda: bool(connections(but=before)) and fronts.http.now > seen + 1)
            await until(lambda: not fronts.host.clients and not fronts.http.connections)
            fronts.sessions.streams.clear()
            await until(lambda: not connections(but=before))

    uvloop.run(visit())
