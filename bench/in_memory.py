"""A gateway without sockets, without Postgres and without a load generator: what is left is what its own code costs.

Real objects from the client's connection to the backend's, between transports that are not sockets: clients whose next
request is there as soon as the last is answered, and backends that answer in the loop's next round, with bytes such as
Postgres 18 gives. Never measures anything itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from rowgate.gateway.database import Database
from rowgate.gateway.http.connection import HttpConnection
from rowgate.gateway.http.server import HttpServer
from rowgate.gateway.limits import Limits
from rowgate.gateway.meter import Meter
from rowgate.gateway.pipeline import Pipeline
from rowgate.gateway.sessions.session import Session
from rowgate.guard.catalog import FunctionCatalog
from rowgate.guard.guard import Guard
from rowgate.guard.statements import CLIENT
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.provider import Provider
from rowgate.identity.revocation import NO_CHANGES, RevocationChanges
from rowgate.pgwire import messages
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol
from rowgate.postgres.connection import Connection
from rowgate.postgres.statement_cache import StatementRoom
from rowgate.registry.registry import ExposedRole, RegistrySnapshot, SessionKey
from rowgate.settings import Settings

POINT: Final = "select id, user_id, task, done from todos where id = $1"
ROLE: Final = "authenticated"
ISSUER: Final = "https://issuer.example"
USERS: Final = 500
READY: Final = b"Z\0\0\0\5I"
# A seal is longer than any parameter here, and the gateway shows the rows of its own statements to nobody.
SHORTEST_SEAL: Final = 150


def describe_rows(columns: Sequence[tuple[bytes, int, int]]) -> bytes:
    """RowDescription of columns of one table: name, type and size of each."""
    parts = [
        name + b"\0" + (16386).to_bytes(4, "big") + b"\0\1" + oid.to_bytes(4, "big")
        + size.to_bytes(2, "big", signed=True) + b"\xff\xff\xff\xff\0\0"
        for name, oid, size in columns
    ]  # fmt: skip
    return messages.raw(b"T", len(columns).to_bytes(2, "big") + b"".join(parts))


def data_row(*values: bytes) -> bytes:
    """DataRow with these values in text."""
    cells = b"".join(len(value).to_bytes(4, "big") + value for value in values)
    return messages.raw(b"D", len(values).to_bytes(2, "big") + cells)


DESCRIPTION: Final = describe_rows(((b"id", 20, 8), (b"user_id", 25, -1), (b"task", 25, -1), (b"done", 16, 1)))
ROW: Final = data_row(b"48213", b"user_213", b"task number 48213", b"f")
VOID: Final = data_row(b"")


class MemoryBackend:
    """The transport of a backend's connection: each exchange is answered in the loop's next round."""

    def __init__(self, rows: int) -> None:
        """``rows`` is how many every statement of a client gives."""
        self.connection: Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._rows = rows

    def write(self, data: bytes) -> None:
        """Takes an exchange."""
        self._loop.call_soon(self._answer, data)

    def _answer(self, data: bytes) -> None:
        parts: list[bytes] = []
        position, bound = 0, b""
        while position < len(data):
            kind, length = data[position : position + 1], int.from_bytes(data[position + 1 : position + 5], "big")
            body = data[position + 5 : position + 1 + length]
            position += 1 + length
            if kind == b"B":
                bound = body
            parts += self._answer_one(kind, body, len(bound) > SHORTEST_SEAL)
        if self.connection is not None:
            self.connection.data_received(b"".join(parts))

    def _answer_one(self, kind: bytes, body: bytes, is_seal: bool) -> tuple[bytes, ...]:
        if kind == b"P":
            return (messages.raw(b"1", b""),)
        if kind == b"D":
            return (messages.raw(b"t", b"\0\1\0\0\0\x17"), DESCRIPTION) if body[:1] == b"S" else (DESCRIPTION,)
        if kind == b"B":
            return (messages.raw(b"2", b""),)
        if kind == b"E":
            rows = (VOID,) if is_seal else (ROW,) * self._rows
            return (*rows, messages.raw(b"C", b"SELECT %d\0" % len(rows)))
        return (messages.raw(b"Z", b"I"),) if kind == b"S" else ()

    def is_closing(self) -> bool:
        """It never is."""
        return False

    def close(self) -> None:
        """Nothing is open."""

    abort = close


class MemoryOpener:
    """Opens connections whose backend is not there."""

    connect_timeout = 1.0

    def __init__(self, rows: int) -> None:
        self._rows = rows

    async def open(self, login: object, on_lost: Callable[[Connection], None], room: StatementRoom) -> Connection:
        """A connection that is past its start."""
        backend = MemoryBackend(self._rows)
        connection = Connection(
            process_id=4711, secret_key=b"key!", parameters={}, max_result_bytes=1 << 24, room=room,
            on_lost=on_lost,
        )  # fmt: skip
        backend.connection = connection
        connection.connection_made(backend)  # type: ignore[arg-type]
        return connection

    async def cancel(self, connection: Connection) -> bool:
        """Nothing runs for longer than a round."""
        return True


class MemoryRegistry:
    """A registry that never changes."""

    is_connected = True

    def __init__(self, provider: Provider) -> None:
        role = ExposedRole(ROLE, "rowgate_login_authenticated", "secret")
        key = SessionKey("k1", b"k" * 32, True)
        self._snapshot = RegistrySnapshot((provider,), (role,), (key,), "db", 180004, 0.0)

    async def snapshot(self) -> RegistrySnapshot:
        """What it holds."""
        return self._snapshot

    async def revocation_changes(self) -> RevocationChanges:
        """Nothing is revoked."""
        return RevocationChanges(is_complete=True)

    async def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The one question that is asked: what there is for the gate of row-level security."""
        return [([(16386, "public", "todos", "public.todos", "r", True, None, [ROLE], [])], [], [], [], [])]

    async def watch(self) -> AsyncIterator[tuple[RegistrySnapshot, RevocationChanges]]:
        """Nothing ever changes."""
        await asyncio.get_running_loop().create_future()
        yield self._snapshot, NO_CHANGES

    async def close(self) -> None:
        """Nothing is open."""


class MemoryEndpoint:
    """One database, open."""

    name = "db"

    def __init__(self, database: Database) -> None:
        self._database = database

    def ready_database(self, name: str) -> Database:
        """Always the same."""
        return self._database


class MemoryClient:
    """The transport of an HTTP client that sends its next request as soon as the last is answered."""

    def __init__(self, requests: Sequence[bytes], start: int, count: int, done: Callable[[], None]) -> None:
        self._requests = requests
        self._next = start
        self._left = count
        self._done = done
        self._loop = asyncio.get_running_loop()
        self.protocol: HttpConnection | None = None
        self.last = b""

    def write(self, data: bytes) -> None:
        """Takes an answer, or a part of one: the next request goes out when the loop has come round."""
        self.last = data
        self._left -= 1
        if self._left:
            self._loop.call_soon(self.send)
        else:
            self._done()

    def send(self) -> None:
        """Sends the next request."""
        self._next = (self._next + 1) % len(self._requests)
        if self.protocol is not None:
            self.protocol.data_received(self._requests[self._next])

    def is_closing(self) -> bool:
        """It never is."""
        return False

    def get_extra_info(self, name: str) -> Any:
        """The peer's address."""
        return ("127.0.0.1", 50000) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        """Everything has been taken."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


class MemoryStream:
    """The stream of a session's client that asks again as soon as it is answered."""

    server_name = None
    is_private = True
    has_tls = False
    can_start_tls = False
    peer = "memory"
    silent_since = None
    unread_since = None

    def __init__(self, request: Callable[[int], bytes], start: int, count: int, done: Callable[[], None]) -> None:
        self._request = request
        self._number = start
        self._left = count
        self._done = done
        self._ahead = b""
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self.last = b""

    async def read(self) -> bytes:
        """What the client has sent; waits for it."""
        if not self._ahead:
            self._waiter = self._loop.create_future()
            await self._waiter
            self._waiter = None
        data, self._ahead = self._ahead, b""
        return data

    def feed(self, data: bytes) -> None:
        """The client sends."""
        self._ahead = data
        if self._waiter is not None:
            self._waiter.set_result(None)

    def write(self, data: bytes) -> None:
        """Takes an answer; at its end the client asks again."""
        self.last = data
        if not data.endswith(READY):
            return
        self._left -= 1
        if self._left > 0:
            self._number += 1
            self._loop.call_soon(self.feed, self._request(self._number))
        elif self._left == 0:
            self._done()

    async def drain(self) -> None:
        """Nothing is ever left unread."""

    def close(self) -> None:
        """Nothing is open."""

    abort = close


class MemoryGateway:
    """A gateway in memory, with one database, one provider and the tokens of so many ``users``."""

    def __init__(self, rows: int = 1, users: int = USERS) -> None:
        """``rows`` is how many every statement gives. Needs a running loop."""
        key = RSAKey.generate_key(2048)
        key_set = json.dumps({"keys": [{**key.as_dict(private=False), "kid": "one", "alg": "RS256"}]})
        provider = Provider(name="bench", kind="custom", issuer=ISSUER, key_set=key_set)
        self.settings = Settings(cors_origins=("*",), subject_concurrency=10_000)
        self.tokens = sign_tokens(key, users)
        self.database = Database(
            "db", self.settings, MemoryOpener(rows), MemoryRegistry(provider),  # type: ignore[arg-type]
            KeySetCache(None, time.time), Guard(CLIENT, FunctionCatalog.default()),  # type: ignore[arg-type]
        )  # fmt: skip
        self.limits = Limits(self.settings)
        endpoint = MemoryEndpoint(self.database)
        self.pipeline = Pipeline(self.settings, self.limits, lambda _: endpoint, Meter())  # type: ignore[arg-type, return-value]
        self.server = HttpServer(self.settings, answer_sql=self.pipeline.answer, answer_health=self.pipeline.answer)

    async def run_requests(self, requests: Sequence[bytes], count: int, connections: int) -> bytes:
        """Answers ``count`` requests over so many connections; gives the last answer."""
        ended = Countdown(connections)
        clients = [MemoryClient(requests, n * 31, count // connections, ended.one) for n in range(connections)]
        for client in clients:
            client.protocol = HttpConnection(self.server)
            client.protocol.connection_made(client)  # type: ignore[arg-type]
            client.send()
        await ended.all
        return clients[0].last

    async def run_session_requests(self, request: Callable[[int], bytes], count: int, sessions: int) -> bytes:
        """Answers ``count`` requests of so many sessions, each of its own user; gives the last answer."""
        ended = Countdown(sessions)
        streams = [MemoryStream(request, n * 1000, count // sessions, ended.one) for n in range(sessions)]
        tasks = [
            asyncio.create_task((await self.session(stream, self.tokens[n])).run([]))
            for n, stream in enumerate(streams)
        ]
        for number, stream in enumerate(streams):
            stream.feed(request(number * 1000))
        await ended.all
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return streams[0].last

    async def session(self, stream: MemoryStream, token: str) -> Session:
        """A session of the user whose ``token`` it is, ready to run."""
        protocol = ConnectionProtocol()
        protocol.receive(messages.startup({"user": ROLE, "database": "db"}))
        protocol.receive(messages.password(token.encode()))
        protocol.authenticated()
        principal = await self.database.identify(ROLE, token)
        return Session(
            stream, protocol, self.database, ROLE, principal, (),  # type: ignore[arg-type]
            limits=self.limits, settings=self.settings, meter=Meter(), parameters={},
        )  # fmt: skip


class Countdown:
    """Waits for so many ends: ``one`` tells of each, ``all`` is done after the last."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.all: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def one(self) -> None:
        """One more has ended."""
        self._left -= 1
        if not self._left:
            self.all.set_result(None)


def sign_tokens(key: RSAKey, users: int) -> list[str]:
    """One token for each user, with the claims that Clerk's have."""
    now = int(time.time())
    algorithm = JWSRegistry.algorithms["RS256"]
    header = _base64url({"alg": "RS256", "kid": "one", "typ": "JWT"})
    tokens = []
    for number in range(users):
        claims = {
            "iss": ISSUER, "sub": f"user_{number}", "iat": now, "exp": now + 3600, "azp": "http://localhost:3000",
            "sid": f"sess_{number}", "org_id": "org_1", "jti": f"{number:032x}",
        }  # fmt: skip
        signed = header + b"." + _base64url(claims)
        signature = urlsafe_b64encode(algorithm.sign(signed, key)).rstrip(b"=")
        tokens.append((signed + b"." + signature).decode())
    return tokens


def _base64url(value: object) -> bytes:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def http_requests(tokens: Sequence[str], sql: str = POINT, *, typed: bool = False) -> list[bytes]:
    """A ``POST /sql`` of each user, as the serverless driver sends it; ``typed`` asks for JSON values and objects."""
    modes = "" if typed else "Neon-Raw-Text-Output: true\r\nNeon-Array-Mode: true\r\n"
    requests = []
    for number, token in enumerate(tokens):
        body = json.dumps({"query": sql, "params": [str(number + USERS)]}).encode()
        head = (
            f"POST /sql HTTP/1.1\r\nHost: 127.0.0.1:4444\r\n{modes}"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Neon-Connection-String: postgresql://{ROLE}@localhost:4444/neondb\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    return requests


def simple_query(number: int) -> bytes:
    """A simple query with its value in the text, as psql and pgbench send it."""
    return messages.query(b"select id, task from todos where id = %d;" % (number * 7919 % 100_000))


def extended_query(number: int) -> bytes:
    """Parse, Bind, Describe, Execute and Sync in one write, as drivers send a statement with parameters."""
    sql = b"select id, task from todos where id = $1"
    parts = (messages.parse(b"", sql), messages.bind(b"", b"", [b"%d" % number]), messages.describe_portal(b""))
    return b"".join((*parts, messages.execute(b""), messages.SYNC))
