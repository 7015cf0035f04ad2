"""What an idle client costs that has sent and received something: the resident memory of a process with a thousand of
them, on uvloop."""

import os
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.unit.gateway.fronts import SSL_REQUEST, tls_settings, trusting
from tests.unit.gateway.test_websocket_front import BINARY, frame, request

ROOT = Path(__file__).parents[3]
CLIENTS = 1000
WARM_UP = 100
MOST_PLAIN = 20_000
MOST_TLS = 30_000
DATA = b"x" * 20_000
# Serves until its standard input ends.
SERVER = """
import asyncio, sys, uvloop
from tests.unit.gateway.fronts import running

async def main(cert, key):
    async with running(tls_cert=cert, tls_key=key) as fronts:
        print(fronts.tcp_port, fronts.http_port, flush=True)
        await asyncio.to_thread(sys.stdin.read)

uvloop.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[psutil.Process, int, int]]:
    """A process, its TCP port and its HTTP port."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * CLIENTS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * CLIENTS, hard), hard))
    files = tls_settings(folder)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, files["tls_cert"], files["tls_key"]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        tcp_port, http_port = (int(word) for word in process.stdout.readline().split())
        yield psutil.Process(process.pid), tcp_port, http_port
    finally:
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdout.close()


def echoed(client: socket.socket, data: bytes) -> socket.socket:
    """The client once its session has answered."""
    client.sendall(data)
    left = len(data)
    while left:
        left -= len(client.recv(left))
    return client


def plain(tcp_port: int, http_port: int, context: ssl.SSLContext) -> socket.socket:
    return echoed(socket.create_connection(("127.0.0.1", tcp_port)), DATA)


def with_tls(tcp_port: int, http_port: int, context: ssl.SSLContext) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", tcp_port))
    client.sendall(SSL_REQUEST)
    assert client.recv(1) == b"S"
    return echoed(context.wrap_socket(client, server_hostname="localhost"), DATA)


def websocket(tcp_port: int, http_port: int, context: ssl.SSLContext) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", http_port))
    client.sendall(request())
    assert client.recv(4096).startswith(b"HTTP/1.1 101")
    client.sendall(frame(BINARY, DATA))
    left = len(DATA)
    while left > 0:
        left -= len(client.recv(65536))  # frames around it count too: the last one has come in any case
    return client


@pytest.mark.parametrize(
    ("connect", "most"),
    [(plain, MOST_PLAIN), (websocket, MOST_PLAIN), (with_tls, MOST_TLS)],
    ids=["tcp", "websocket", "tls"],
)
def test_an_idle_client_costs_little(
    server: tuple[psutil.Process, int, int],
    folder: Path,
    connect: Callable[[int, int, ssl.SSLContext], socket.socket],
    most: int,
) -> None:
    process, tcp_port, http_port = server
    context = trusting(folder)
    with ExitStack() as clients:
        for _ in range(WARM_UP):
            clients.enter_context(connect(tcp_port, http_port, context))
        before = process.memory_info().rss
        for _ in range(CLIENTS):
            clients.enter_context(connect(tcp_port, http_port, context))
        each = (process.memory_info().rss - before) / CLIENTS
    print(f"{each:.0f} bytes for each idle client")
    assert each < most
