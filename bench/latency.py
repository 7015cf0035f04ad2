"""What the gateway adds for a single client: the same statement over HTTP, in a session, and on a direct connection.

The client is the same on every side: a blocking socket, bytes that were made before, and a read until as many bytes
have come as the first answer had. The direct connections send what the gateway sends (the sealed identity and the
statement, both prepared, in one write) to the same server.

Each way is used for seconds at a stretch. When ways take turns more often than that, the scheduler leaves a direct
client and its backend on one core, where none sleeps and has to be woken: a connection such as nobody has. There are
two placements: as the scheduler has it, and everything on one core, where there is nothing to choose.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil
import psycopg

from bench.cases import POINT, own_row
from bench.processes import postmaster, process_tree
from bench.sessions import log_in, rowgate_url
from bench.stack import AUTHENTICATED, ServedGateway, Stack
from bench.wrk import sql_request
from rowgate.pgwire import messages

SQL = POINT.format(table="todos").encode()
KEEP_SQL = b"select auth.jwt_session_init($1, $2)"
TEXT_OID = 25
READY = b"Z\0\0\0\5I"
HTTP, SESSION, DIRECT, DIRECT_TCP = "HTTP", "session over TCP", "direct, Unix socket", "direct, TCP"
AS_SCHEDULED, ONE_CORE = "as the scheduler has it", "all on one core"
SETTLE_PART = 0.25
"""Of a turn, which does not count."""


@dataclass(frozen=True)
class Path:
    """One way to the rows: a connected socket, the bytes to send, and how many come back."""

    client: socket.socket
    request: bytes
    size: int

    def ask(self) -> None:
        """Sends the request and reads the whole answer."""
        self.client.sendall(self.request)
        left = self.size
        while left:
            data = self.client.recv(left)
            if not data:
                raise SystemExit("the connection was closed while latency was measured")
            left -= len(data)


Found = dict[str, dict[str, list[float]]]


def measure_latency(stack: Stack, gateway: ServedGateway, seconds: float, rounds: int) -> Found:
    """Microseconds at p50 for each placement, way and round; a turn of a way takes ``seconds``."""
    with ExitStack() as exit_stack:
        paths = {
            HTTP: _http(stack, gateway, exit_stack),
            SESSION: _session(stack, gateway, exit_stack),
            DIRECT: _direct(stack, exit_stack, stack.postgres[0]),
            DIRECT_TCP: _direct(stack, exit_stack, "127.0.0.1"),
        }
        found: Found = {AS_SCHEDULED: _take_turns(paths, seconds, rounds)}
        backends = psutil.Process(postmaster(stack)).children()
        with _on_one_core([psutil.Process(), *map(psutil.Process, process_tree(gateway.process_id)), *backends]):
            found[ONE_CORE] = _take_turns(paths, seconds, rounds)
    return found


def _take_turns(paths: dict[str, Path], seconds: float, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            _time(path, seconds * SETTLE_PART)
            found[name].append(statistics.median(_time(path, seconds * (1 - SETTLE_PART))) / 1000)
    return found


def _time(path: Path, seconds: float) -> list[int]:
    """Nanoseconds of each request."""
    times: list[int] = []
    clock: Callable[[], int] = time.perf_counter_ns
    deadline = clock() + round(seconds * 1e9)
    ended = 0
    while ended < deadline:
        started = clock()
        path.ask()
        ended = clock()
        times.append(ended - started)
    return times


@contextmanager
def _on_one_core(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """These have the last core together."""
    cores = [(process, process.cpu_affinity()) for process in processes]
    last = range(psutil.cpu_count() or 1)[-1:]
    try:
        for process in processes:
            process.cpu_affinity(last)
        yield
    finally:
        for process, own in cores:
            with suppress(psutil.NoSuchProcess):
                process.cpu_affinity(own)


def _parameter(stack: Stack) -> str:
    return str(own_row(stack)(1)[0])


def _http(stack: Stack, gateway: ServedGateway, exit_stack: ExitStack) -> Path:
    url = gateway.urls["sql_url"]
    body = json.dumps({"query": SQL.decode(), "params": [_parameter(stack)]})
    request = sql_request(url, stack.ready["authenticated_url"], stack.tokens[1], body)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
    data = f"POST {request.path} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}"
    client = exit_stack.enter_context(socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def is_whole(answer: bytes) -> bool:
        start, _, rest = answer.partition(b"\r\n\r\n")
        length = start.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return length.isdigit() and len(rest) == int(length)

    return _learn(client, data.encode(), is_whole, b"HTTP/1.1 200")


def _session(stack: Stack, gateway: ServedGateway, exit_stack: ExitStack) -> Path:
    client = exit_stack.enter_context(log_in(rowgate_url(stack, gateway, 1)))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _exchange(client, messages.parse(b"one", SQL) + messages.SYNC, _is_ready, b"1")
    return _learn(client, _statement(b"one", stack) + messages.SYNC, _is_ready, b"2")


def _direct(stack: Stack, exit_stack: ExitStack, host: str) -> Path:
    login, password = stack.logins[AUTHENTICATED]
    connection = exit_stack.enter_context(psycopg.connect(
        host=host, port=stack.postgres[1], user=login, password=password, dbname="neondb", autocommit=True,
        options=f"-c role={AUTHENTICATED}",
    ))  # fmt: skip
    claims = '{"sub": "user_1"}'
    row = connection.execute("select bench.seal('user_1', %s)", [claims]).fetchone()
    seal = str(row[0]).encode() if row else b""
    # libpq has logged in; from here the socket is ours.
    client = exit_stack.enter_context(socket.socket(fileno=os.dup(connection.fileno())))
    client.setblocking(True)
    prepare = messages.parse(b"keep", KEEP_SQL, (TEXT_OID, TEXT_OID)) + messages.parse(b"one", SQL) + messages.SYNC
    _exchange(client, prepare, _is_ready, b"1")
    identity = messages.bind(b"", b"keep", (seal, claims.encode())) + messages.execute(b"")
    return _learn(client, identity + _statement(b"one", stack) + messages.SYNC, _is_ready, b"2")


def _statement(name: bytes, stack: Stack) -> bytes:
    return messages.bind(b"", name, (_parameter(stack).encode(),)) + messages.execute(b"")


def _is_ready(answer: bytes) -> bool:
    return answer.endswith(READY)


def _learn(client: socket.socket, request: bytes, is_whole: Callable[[bytes], bool], beginning: bytes) -> Path:
    """Asks until two answers are equally long: the first may carry what is said once."""
    sizes = [0]
    while len(sizes) < 3 or sizes[-1] != sizes[-2]:
        sizes.append(len(_exchange(client, request, is_whole, beginning)))
        if len(sizes) > 10:
            raise SystemExit(f"the answers are never equally long: {sizes}")
    return Path(client, request, sizes[-1])


def _exchange(client: socket.socket, request: bytes, is_whole: Callable[[bytes], bool], beginning: bytes) -> bytes:
    client.sendall(request)
    answer = b""
    while not is_whole(answer):
        data = client.recv(65536)
        if not data:
            raise SystemExit(f"no answer: {answer!r}")
        answer += data
    if not answer.startswith(beginning):
        raise SystemExit(f"not the answer that was expected: {answer!r}")
    return answer
