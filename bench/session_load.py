"""Load on sessions over TCP or WebSocket by one client program, so that the two fronts can be compared.

A process of its own (``python -m bench.session_load URL``), with as little of a client as there can be: connections of
an event loop, bytes that were made before, frames whose mask is zero (RFC 6455, section 5.3, leaves the choice). Each
connection asks again as soon as it has been answered. Prints one line of JSON: seconds, and the counted latencies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import uvloop

from bench.measurement import Measurement, from_histogram, histogram_of
from bench.processes import accounted, postmaster
from bench.sessions import CLIENTS, PLAIN, prepare
from bench.stack import HERE, ServedGateway, Stack
from rowgate.pgwire import messages

SQL = b"select id, task from plain where id = $1"
READY = b"Z\0\0\0\5I"
UPGRADED = b"\r\n\r\n"
FRONTS = {"websocket": "ws_url", "tcp": "tcp_url"}


def frame(data: bytes) -> bytes:
    """A binary frame of a client (RFC 6455, section 5.2)."""
    if len(data) < 126:
        return b"\x82" + bytes((0x80 | len(data),)) + b"\0\0\0\0" + data
    return b"\x82\xfe" + len(data).to_bytes(2, "big") + b"\0\0\0\0" + data


def handshake(host: str) -> bytes:
    """The request for a WebSocket."""
    return (
        f"GET /v2 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class Client(asyncio.Protocol):
    """One session. ``wrap`` makes what is sent of messages; ``opening`` comes before them."""

    def __init__(self, token: str, number: int, opening: bytes, wrap: Callable[[bytes], bytes]) -> None:
        self._token = token
        self._opening = opening
        self._wrap = wrap
        self._number = number * 1000
        self._received = b""
        self._asked_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._is_open = not opening
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies: list[int] = []
        self.is_measured = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins with a handshake, or with the login."""
        self._transport = transport  # type: ignore[assignment]
        if self._is_open:
            self._log_in()
        else:
            self._write(self._opening)

    def data_received(self, data: bytes) -> None:
        """An answer is whole where it ends with ReadyForQuery, in a frame or not."""
        self._received += data
        if not self._is_open:
            if not self._received.endswith(UPGRADED):
                return
            self._is_open = True
            self._received = b""
            self._log_in()
        elif self._received.endswith(READY):
            if not self.ready.done():
                self.ready.set_result(None)
            elif self.is_measured:
                if b"C\0\0\0\rSELECT 1\0" not in self._received:
                    raise SystemExit(f"not the answer that was expected: {self._received!r}")
                self.latencies.append(int((time.perf_counter() - self._asked_at) * 1e6))
                self.ask()
            self._received = b""

    def connection_lost(self, problem: Exception | None) -> None:
        """Nobody else closes it."""
        if self.is_measured or not self.ready.done():
            raise SystemExit(f"a session was lost: {self._received!r}")

    def ask(self) -> None:
        """One statement that is prepared."""
        self._number += 1
        value = b"%d" % (self._number * 7919 % PLAIN + 1)
        self._asked_at = time.perf_counter()
        self._write(self._wrap(
            messages.bind(b"", b"one", (value,)) + messages.describe_portal(b"") + messages.execute(b"") + messages.SYNC
        ))  # fmt: skip

    def _log_in(self) -> None:
        start = messages.startup({"user": "authenticated", "database": "neondb"})
        prepare_one = messages.parse(b"one", SQL) + messages.SYNC
        self._write(self._wrap(start) + self._wrap(messages.password(self._token.encode())) + self._wrap(prepare_one))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def load(url: str, tokens: list[str], seconds: float) -> tuple[float, list[int]]:
    """Seconds that it took, and the latencies in microseconds."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 0
    is_websocket = parts.scheme == "ws"
    opening, wrap = (handshake(f"{host}:{port}"), frame) if is_websocket else (b"", bytes)
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(CLIENTS):
        _, client = await loop.create_connection(
            lambda: Client(tokens[number % len(tokens)], number, opening, wrap), host, port  # noqa: B023
        )  # fmt: skip
        await client.ready
        clients.append(client)
    await asyncio.sleep(0.2)  # the answer to the statement's preparation
    started = time.perf_counter()
    for client in clients:
        client.is_measured = True
        client.ask()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - started
    for client in clients:
        client.is_measured = False
    return took, [latency for client in clients for latency in client.latencies]


def measure_fronts(
    stack: Stack, gateway: ServedGateway, seconds: float, rounds: int
) -> dict[str, dict[str, list[Measurement]]]:
    """Both fronts, all rounds."""
    prepare(stack)
    server = postmaster(stack)
    sides: dict[str, list[Measurement]] = {name: [] for name in FRONTS}
    for _ in range(rounds):
        for name, url in FRONTS.items():
            sides[name].append(
                accounted(gateway.process_id, server, lambda: _measure(gateway.urls[url], stack, seconds))  # noqa: B023
            )
    return {"session, one client": sides}


def _measure(url: str, stack: Stack, seconds: float) -> Measurement:
    done = subprocess.run(
        [sys.executable, "-m", "bench.session_load", url, "--seconds", str(seconds)],
        cwd=HERE.parent, input="\n".join(stack.tokens), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"the load on sessions failed: {done.stderr}")
    found = json.loads(done.stdout)
    return from_histogram(tuple(map(tuple, found["latencies"])), found["seconds"])


def main() -> None:
    """Loads one front; tokens come from standard input, one a line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.session_load")
    parser.add_argument("url", help="ws://HOST:PORT/v2 or postgresql://HOST:PORT")
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    seconds, latencies = uvloop.run(load(options.url, sys.stdin.read().split(), options.seconds))
    print(json.dumps({"seconds": seconds, "latencies": histogram_of(latencies)}))


if __name__ == "__main__":
    main()
