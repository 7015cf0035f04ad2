"""What somebody who floods costs others: the latency of a user who asks now and then, alone and beside a flood.

Alone and beside it are measured in turns, in one run. The user asks within their own rate; whoever floods sends fifty
times theirs, of one kind of statement or of all. Both have the gateway's defaults but for ``subject_rate``, and for
``subject_connections``, which is half of this machine's cores, as operations.md advises.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psycopg

from bench.sessions import log_in, rowgate_url
from bench.stack import Stack

RATE = 50
CORES = os.cpu_count() or 1
SETTINGS = {
    "ROWGATE_SUBJECT_RATE": str(RATE),
    "ROWGATE_SUBJECT_CONNECTIONS": os.environ.get("ROWGATE_SUBJECT_CONNECTIONS", str(max(CORES // 2, 1))),
}
TIMES = 50
FLOODERS = 60
PAUSE_SECONDS = 0.025
SETTLE_SECONDS = 1.0
LEAST_SECONDS = 5
"""Of a round: the user asks forty times a second, and a 99th percentile needs some hundreds of answers."""
BAR = 2.0
FRONTS = ("http", "session")
POINT = "select id, task from todos where id = 500"
SLEEP = """
create or replace function slowly(seconds float8) returns int language sql security definer
  as 'select pg_sleep(seconds); select 1';
grant execute on function slowly(float8) to authenticated;
"""
KINDS = {
    "point queries": ["select id, task from todos where id = 1"],
    "refused": ["select pg_sleep(10)"],
    "sleeping": ["select slowly(10)"],
    "cross joins": ["select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b"],
    "regular expressions": ["select repeat('a', 30) || '!' ~ '^(((a+)+)+)+$' from generate_series(1, 100000)"],
    "recursion": ["with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r"],
    "1 GB results": ["select repeat('x', 1000000) from generate_series(1, 1000)"],
}
"""A kind of flood and its statements. Postgres's own pg_sleep() is refused, so a function of the owner's sleeps."""


@dataclass
class Fairness:
    """Latencies in milliseconds of one front and one kind of flood, and what the flood was answered."""

    front: str
    kind: str
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    flood: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    """Answers to the user, beside the flood, that were no row."""

    @property
    def ratio(self) -> float:
        """Of the 99th percentiles."""
        return percentile(self.beside, 99) / percentile(self.alone, 99)


def percentile(values: list[float], which: int) -> float:
    """The value that ``which`` in a hundred are below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * which // 100, len(ordered) - 1)]


class HttpAsker:
    """The user over HTTP, on one connection, with as little of a client as there can be."""

    def __init__(self, stack: Stack) -> None:
        host, port = _http_address(stack)
        self._socket = socket.create_connection((host, port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = json.dumps({"query": POINT}).encode()
        self._request = (
            f"POST /sql HTTP/1.1\r\nHost: localhost\r\nNeon-Connection-String: {stack.ready['authenticated_url']}\r\n"
            f"Authorization: Bearer {stack.tokens[0]}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def ask(self) -> bool:
        """One request; whether the row came."""
        self._socket.sendall(self._request)
        received = self._socket.recv(65536)
        while not received.endswith(b"}"):
            data = self._socket.recv(65536)
            if not data:
                raise SystemExit("the gateway has closed the user's connection")
            received += data
        return received.startswith(b"HTTP/1.1 200 ") and b'"id":' in received

    def close(self) -> None:
        """Goes."""
        self._socket.close()


class SessionAsker:
    """The user with one session."""

    def __init__(self, stack: Stack) -> None:
        self._socket = log_in(rowgate_url(stack))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._query = b"Q" + struct.pack(">i", len(POINT) + 5) + POINT.encode() + b"\0"

    def ask(self) -> bool:
        """One query; whether the row came."""
        self._socket.sendall(self._query)
        received = b""
        while not received.endswith(b"Z\0\0\0\x05I"):
            data = self._socket.recv(65536)
            if not data:
                raise SystemExit("the gateway has closed the user's session")
            received += data
        return received.startswith(b"T")

    def close(self) -> None:
        """Goes."""
        self._socket.close()


def measure_fairness(stack: Stack, seconds: int, rounds: int, progress: Any) -> list[Fairness]:
    """Every front, every kind of flood and all of them together."""
    with psycopg.connect(stack.ready["superuser_url"], autocommit=True) as connection:
        for statement in SLEEP.strip().split(";\n"):
            connection.execute(statement.encode())
    kinds = {**KINDS, "all together": [sql for statements in KINDS.values() for sql in statements]}
    found: list[Fairness] = []
    for front in FRONTS:
        for kind, statements in kinds.items():
            one = Fairness(front, kind)
            found.append(one)
            asker = HttpAsker(stack) if front == "http" else SessionAsker(stack)
            for number in range(1, rounds + 1):
                progress(f"fairness, {front}, {kind}, round {number} of {rounds}")
                _ask_for(seconds, asker, one.alone)
                with _flood(stack, front, statements, one.flood):
                    _ask_for(SETTLE_SECONDS, asker, [])
                    one.wrong += _ask_for(seconds, asker, one.beside)
                _ask_for(SETTLE_SECONDS, asker, [])
            asker.close()
    return found


def _ask_for(seconds: float, asker: HttpAsker | SessionAsker, latencies: list[float]) -> int:
    """Asks for so many seconds within the user's rate; how many answers were none."""
    until = time.perf_counter() + seconds
    wrong = 0
    while (began := time.perf_counter()) < until:
        wrong += not asker.ask()
        latencies.append((time.perf_counter() - began) * 1000)
        time.sleep(PAUSE_SECONDS)
    return wrong


@contextmanager
def _flood(stack: Stack, front: str, statements: list[str], outcomes: Counter[str]) -> Iterator[None]:
    host, port = _http_address(stack) if front == "http" else ("127.0.0.1", urlsplit(stack.ready["tcp_url"]).port)
    job = {
        "front": front, "host": host, "port": port, "connection": stack.ready["authenticated_url"],
        "database": "neondb", "token": stack.tokens[1], "statements": statements, "connections": FLOODERS,
        "rate": RATE * TIMES,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.flood", json.dumps(job)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            raise SystemExit("the flood did not start")
        yield
    finally:
        told, _ = process.communicate(timeout=120)
        outcomes.update(json.loads(told or "{}"))


def _http_address(stack: Stack) -> tuple[str, int]:
    return "127.0.0.1", urlsplit(stack.ready["sql_url"]).port or 0


def fairness_table(found: list[Fairness], seconds: int, rounds: int) -> str:
    """For people."""
    lines = [
        f"A user who asks {1 / PAUSE_SECONDS:.0f} times a second at most, alone and beside somebody who sends "
        f"{RATE * TIMES} a second on {FLOODERS} connections, {TIMES} times what the rate allows; {rounds} rounds of "
        f"{seconds} s each, in turns. The bar: p99 within {BAR:.0f} times.",
        "",
        "| front | flood | alone: p50 ms | p99 ms | beside: p50 ms | p99 ms | p99 is | no row | the flood's answers |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for one in found:
        told = ", ".join(f"{code} {count:,}" for code, count in one.flood.most_common(4))
        lines.append(
            f"| {one.front} | {one.kind} | {percentile(one.alone, 50):.2f} | {percentile(one.alone, 99):.2f} "
            f"| {percentile(one.beside, 50):.2f} | {percentile(one.beside, 99):.2f} | {one.ratio:.1f} × | {one.wrong} "
            f"| {told} |"
        )
    return "\n".join(lines) + "\n"
