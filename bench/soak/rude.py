"""Clients without manners: they vanish in the middle of anything, or never read what they asked for.

Each is one coroutine that does its harm and is gone. What they write and do not commit must never be seen; their user
has no other client, and ``left_behind`` says afterwards what is there.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import cycle

from websockets.asyncio.client import connect as connect_websocket

from bench.soak.http_client import head
from bench.soak.http_users import CONNECTION
from bench.soak.stack import DATABASE, SoakStack
from bench.soak.watch import both_ends, is_served
from rowgate.pgwire import messages

PATIENCE_SECONDS = 30.0
"""By when the gateway must have ended a client that lets it wait, far above its time-outs: the machine may be busy."""
LARGE = "select user_id, repeat('x', 500) from facts, generate_series(1, 900)"
UNCOMMITTED = "insert into todos (key, value) values ('uncommitted', 0)"
BEGUN = f"begin; {UNCOMMITTED}".encode()
"""In one query: where no connection comes free for BEGIN, an INSERT of its own would be committed by itself."""


class StillServed(Exception):
    """The gateway has not ended a client that it ought to have ended."""


class RudeClients:
    """Those of ``users``, in turns: one subject alone would wait for itself."""

    def __init__(self, stack: SoakStack, users: list[str]) -> None:
        self._stack = stack
        self._users = cycle(users)
        self.vanishing: tuple[Callable[[], Awaitable[None]], ...] = (
            self._half_a_head, self._half_a_body, self._before_the_answer, self._half_an_answer, self._half_a_handshake,
            self._half_a_login, self._half_a_message, self._in_a_transaction, self._in_a_statement,
            self._half_a_frame, self._in_a_websocket_transaction,
        )  # fmt: skip
        self.slow: tuple[Callable[[], Awaitable[None]], ...] = (
            self._read_no_answer,
            self._read_no_rows,
            self._never_commit,
        )

    async def _until_ended(self, client: socket.socket, owed: str) -> None:
        """Waits, without reading, until the gateway has ended the connection: the client's own end cannot tell, because
        the end stands behind what it does not take. Raises StillServed where that never comes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while await asyncio.to_thread(is_served, client, self._stack):
            if _was_refused(client):
                return
            if time.monotonic() > deadline:
                ends = await asyncio.to_thread(both_ends, client, self._stack)
                raise StillServed(f"a client with {owed} is served for more than {PATIENCE_SECONDS} s; {ends}")
            await asyncio.sleep(0.5)

    # --- over HTTP --------------------------------------------------------------------------------------------

    async def _open(self, port: int, context: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader,
                                                                                     asyncio.StreamWriter]:  # fmt: skip
        host = "127.0.0.1" if context is None else "localhost"
        return await asyncio.open_connection(host, port, ssl=context)

    def _request(self, sql: str) -> bytes:
        body = json.dumps({"query": sql}).encode()
        return head(CONNECTION, self._stack.token(next(self._users), 60), len(body)) + body

    async def _half_a_head(self) -> None:
        _, writer = await self._open(self._stack.http_port)
        writer.write(self._request(UNCOMMITTED)[:40])
        await _vanish(writer)

    async def _half_a_body(self) -> None:
        _, writer = await self._open(self._stack.http_port, self._stack.tls)
        writer.write(self._request(UNCOMMITTED)[:-10])
        await _vanish(writer)

    async def _before_the_answer(self) -> None:
        _, writer = await self._open(self._stack.http_port, self._stack.tls)
        writer.write(self._request("select slowly(3)"))
        await _vanish(writer, after=0.2)

    async def _half_an_answer(self) -> None:
        reader, writer = await self._open(self._stack.http_port)
        writer.write(self._request(LARGE))
        await reader.read(1000)
        await _vanish(writer)

    async def _read_no_answer(self) -> None:
        """A small window, and no reading: the gateway keeps the answer until it has had enough."""
        with _narrow_socket() as narrow:
            await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", self._stack.http_port))
            await asyncio.get_running_loop().sock_sendall(narrow, self._request(LARGE))
            await self._until_ended(narrow, "an answer")

    # --- sessions ---------------------------------------------------------------------------------------------

    def _login(self) -> bytes:
        startup = messages.startup({"user": "authenticated", "database": DATABASE})
        return startup + messages.raw(b"p", self._stack.token(next(self._users), 60).encode() + b"\0")

    async def _session(self, *, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = None
        if tls:
            context = self._stack.tls
            context.set_alpn_protocols(["postgresql"])
        reader, writer = await self._open(self._stack.tcp_port, context)
        writer.write(self._login())
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"Z\0\0\0\x05I")
        return reader, writer

    async def _half_a_handshake(self) -> None:
        _, writer = await self._open(self._stack.tcp_port)
        writer.write(struct.pack(">II", 8, 80877103) + b"\x16\x03\x01\x02\x00\x01\x00")
        await _vanish(writer)

    async def _half_a_login(self) -> None:
        _, writer = await self._open(self._stack.tcp_port)
        writer.write(self._login()[:-20])
        await _vanish(writer)

    async def _half_a_message(self) -> None:
        _, writer = await self._session(tls=True)
        writer.write(messages.query(UNCOMMITTED.encode())[:-5])
        await _vanish(writer)

    async def _in_a_transaction(self) -> None:
        _, writer = await self._session(tls=True)
        writer.write(messages.query(BEGUN))
        await _vanish(writer, after=0.2)

    async def _in_a_statement(self) -> None:
        _, writer = await self._session(tls=False)
        writer.write(messages.query(b"select slowly(3)"))
        await _vanish(writer, after=0.2)

    async def _read_no_rows(self) -> None:
        with _narrow_socket() as narrow:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(narrow, ("127.0.0.1", self._stack.tcp_port))
            await loop.sock_sendall(narrow, self._login() + messages.query(LARGE.encode()))
            await self._until_ended(narrow, "rows")

    async def _never_commit(self) -> None:
        reader, writer = await self._session(tls=False)
        writer.write(messages.query(b"begin"))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await reader.readuntil(b"Z\0\0\0\x05T")
        except (TimeoutError, asyncio.IncompleteReadError):
            pass  # no connection came free, or none is left: there is nothing to commit
        else:
            writer.write(messages.query(UNCOMMITTED.encode()))
            await self._until_ended(writer.get_extra_info("socket"), "a transaction")
        writer.transport.abort()

    # --- over WebSocket ---------------------------------------------------------------------------------------

    async def _half_a_frame(self) -> None:
        async with connect_websocket(self._stack.urls["ws_url"].replace("127.0.0.1", "localhost"),
                                     ssl=self._stack.tls) as client:  # fmt: skip
            client.transport.write(b"\x82\xfe\xff\xff\x01\x02\x03\x04" + b"x" * 1000)
            await asyncio.sleep(0.05)
            client.transport.abort()

    async def _in_a_websocket_transaction(self) -> None:
        async with connect_websocket(self._stack.urls["ws_url"].replace("127.0.0.1", "localhost"),
                                     ssl=self._stack.tls) as client:  # fmt: skip
            await client.send(self._login() + messages.query(BEGUN))
            await client.recv()
            await asyncio.sleep(0.2)
            client.transport.abort()


def _was_refused(client: socket.socket) -> bool:
    """Whether it was told that no connection came free, and so holds none."""
    if not isinstance(client, socket.socket):
        return False  # asyncio reads it
    try:
        return b"queue_timeout" in client.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False


def _narrow_socket() -> socket.socket:
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    return narrow


async def _vanish(writer: asyncio.StreamWriter, *, after: float = 0.02) -> None:
    """Drops the connection, unread bytes and all."""
    await asyncio.sleep(after)
    writer.transport.abort()
