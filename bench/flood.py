"""Somebody who floods: as many connections as asked for, each sending the next statement as soon as the last was
answered, but no more in a second than asked for. A process of its own, so that it disturbs no measurement.

    python -m bench.flood '{"front": "http", "host": ..., "port": ..., "token": ..., "statements": [...], ...}'

It ends when its standard input does, and prints how many answers of which kind it had.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import struct
import sys
from collections import Counter
from typing import Any

import uvloop

RETRY_SECONDS = 0.5
TAIL_BYTES = 2048
READY = b"Z\0\0\0\x05I"
SQLSTATE = re.compile(rb"E....SERROR\0VERROR\0C([0-9A-Z]{5})\0", re.DOTALL)


class Flooder(asyncio.Protocol):
    """One connection. Reads answers only as far as to know where they end."""

    def __init__(self, job: dict[str, Any], number: int, outcomes: Counter[str]) -> None:
        self.outcomes = outcomes
        self.over = asyncio.get_running_loop().create_future()
        statements = job["statements"]
        self._loop = asyncio.get_running_loop()
        self._pause = job["connections"] / job["rate"]
        self._is_http = job["front"] == "http"
        self._login = b"" if self._is_http else _login(job)
        self._messages = [_http(job, sql) if self._is_http else _query(sql) for sql in statements]
        self._next = number
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._missing = 0
        self._sent_at = 0.0
        self._code = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Logs in, or begins at once."""
        self._transport = transport  # type: ignore[assignment]
        self._sent_at = self._loop.time()
        if self._login:
            self._write(self._login)
        else:
            self._send()

    def connection_lost(self, problem: Exception | None) -> None:
        """The gateway has had enough."""
        self.outcomes["connection ended"] += 1
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Skips the answer, and asks again behind its end."""
        if not self._is_http:
            self._read_session(data)
            return
        if self._missing:
            skipped = min(self._missing, len(data))
            self._missing -= skipped
            data = data[skipped:]
            if self._missing or self._answered() or not data:
                return
        self._received += data
        self._read_http()

    def _read_http(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head, rest = self._received[:end].lower(), self._received[end + 4 :]
        self._code = head[9:12].decode()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        self._received = b""
        self._missing = length - len(rest)
        if not self._missing:
            self._answered()

    def _read_session(self, data: bytes) -> None:
        """Looks at the end of what came alone: a client that reads every row would be a load of its own."""
        self._received = (self._received + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        if self._received.endswith(READY):
            refusal = SQLSTATE.search(self._received)
            self._code = "" if refusal is None else refusal[1].decode()
            self._received = b""
            self._answered()

    def _answered(self) -> bool:
        self.outcomes[self._code or "ok"] += 1
        self._code = ""
        wait = self._sent_at + self._pause - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._send)
        else:
            self._send()
        return True

    def _send(self) -> None:
        self._sent_at = self._loop.time()
        self._write(self._messages[self._next % len(self._messages)])
        self._next += 1

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _http(job: dict[str, Any], sql: str) -> bytes:
    body = json.dumps({"query": sql}).encode()
    return (
        f"POST /sql HTTP/1.1\r\nHost: localhost\r\nNeon-Connection-String: {job['connection']}\r\n"
        f"Authorization: Bearer {job['token']}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _query(sql: str) -> bytes:
    return b"Q" + struct.pack(">i", len(sql) + 5) + sql.encode() + b"\0"


def _login(job: dict[str, Any]) -> bytes:
    body = struct.pack(">HH", 3, 0) + b"user\0authenticated\0database\0" + job["database"].encode() + b"\0\0"
    password = job["token"].encode() + b"\0"
    return struct.pack(">i", len(body) + 4) + body + b"p" + struct.pack(">i", len(password) + 4) + password


async def flood(job: dict[str, Any]) -> Counter[str]:
    """Floods until standard input ends."""
    loop = asyncio.get_running_loop()
    outcomes: Counter[str] = Counter()
    over = loop.run_in_executor(None, sys.stdin.read)

    async def one(number: int) -> None:
        while not over.done():
            _, flooder = await loop.create_connection(lambda: Flooder(job, number, outcomes), job["host"], job["port"])
            await flooder.over
            await asyncio.sleep(RETRY_SECONDS)

    tasks = [loop.create_task(one(number)) for number in range(job["connections"])]
    print("ready", flush=True)
    await over
    for task in tasks:
        task.cancel()
    return outcomes


def main() -> None:
    """Runs the job of the command line. Who floods has a machine of their own, so here they take what is left of it."""
    os.nice(19)
    outcomes = uvloop.run(flood(json.loads(sys.argv[1])))
    print(json.dumps(outcomes), flush=True)


if __name__ == "__main__":
    main()
