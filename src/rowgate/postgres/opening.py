"""Opening connections: socket, TLS, start of the session, and the cancel request beside it.

The startup packet is built from configuration only, never from what a client sent. A value given there beats the
settings of the role and is what RESET returns to (PostgreSQL 18, section 19.1.3).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from rowgate.errors import ConnectFailed, ConnectionLost, DatabaseError, RowgateError, ServerStarting
from rowgate.pgwire import messages
from rowgate.pgwire.startup import Ready, Startup
from rowgate.postgres.connection import Connection
from rowgate.postgres.statement_cache import StatementRoom
from rowgate.postgres.target import Target

OpenedProtocol = TypeVar("OpenedProtocol", bound=asyncio.Protocol)

STARTING_SQLSTATES: Final = frozenset({"57P01", "57P02", "57P03"})


@dataclass(frozen=True, slots=True)
class Login:
    """Who connects, to what, and with which session settings. ``settings`` go into the startup packet."""

    user: str
    password: str | None = field(repr=False)
    database: str
    settings: Mapping[str, str]

    def startup_parameters(self) -> dict[str, str]:
        """The parameters of the startup packet."""
        return {
            "user": self.user,
            "database": self.database,
            "client_encoding": "UTF8",
            "application_name": "rowgate",
            **self.settings,
        }


def exposed_role_settings(role: str, *, search_path: str, statement_timeout_ms: int) -> dict[str, str]:
    """The session settings of an exposed role's connection: the role itself, and all that SQL could bend."""
    quoted = role.replace("\\", "\\\\").replace(" ", "\\ ")
    return {
        "options": f"-c role={quoted}",
        "search_path": search_path,
        "standard_conforming_strings": "on",
        "row_security": "on",
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(statement_timeout_ms),
        "idle_in_transaction_session_timeout": str(statement_timeout_ms),
    }


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens connections to one server. Times are in seconds."""

    target: Target
    connect_timeout: float
    max_result_bytes: int

    async def open(
        self, login: Login, on_lost: Callable[[Connection], None], room: StatementRoom | None = None
    ) -> Connection:
        """A connection that is ready for queries, with its prepared statements in ``room`` (None: it keeps none).

        Raises DatabaseError when Postgres refuses the login, ServerStarting while it starts or stops, ConnectFailed
        when it cannot be reached in time.
        """

        def make(ready: Ready) -> Connection:
            return Connection(
                process_id=ready.process_id,
                secret_key=ready.secret_key,
                parameters=ready.parameters,
                max_result_bytes=self.max_result_bytes,
                room=StatementRoom(0) if room is None else room,
                on_lost=on_lost,
            )

        return await self.open_as(login, make)

    async def open_as(self, login: Login, make: Callable[[Ready], OpenedProtocol]) -> OpenedProtocol:
        """As ``open``, with a protocol of the caller's own, which is made when the session has started."""
        wire = _Wire()
        try:
            async with asyncio.timeout(self.connect_timeout):
                return await self._open(login, wire, make)
        except TimeoutError as problem:
            raise ConnectFailed("Postgres did not answer in time", detail=self._where()) from problem
        except (OSError, ssl.SSLError) as problem:
            raise ConnectFailed("Postgres cannot be reached", detail=f"{self._where()}: {problem}") from problem
        except ConnectionLost as problem:
            raise ConnectFailed("Postgres closed the connection at its start", detail=self._where()) from problem
        except DatabaseError as problem:
            if problem.database_sqlstate in STARTING_SQLSTATES:
                raise ServerStarting("Postgres is starting up or shutting down") from problem
            raise
        finally:
            wire.abandon()

    async def _open(self, login: Login, wire: _Wire, make: Callable[[Ready], OpenedProtocol]) -> OpenedProtocol:
        loop = asyncio.get_running_loop()
        await self._connect(wire)
        context = self.target.tls_context()
        startup = Startup(
            login.startup_parameters(),
            None if login.password is None else login.password.encode(),
            tls="disable" if context is None else "prefer" if self.target.tls == "prefer" else "require",
            allow_cleartext=self.target.is_socket,
        )
        wire.write(startup.start())
        while True:
            step = startup.receive(await wire.read())
            if step.send:
                wire.write(step.send)
            if step.begin_tls and context is not None:
                await wire.start_tls(loop, context, self.target.host)
                wire.write(startup.tls_established())
            if step.ready is not None:
                break
        opened = make(step.ready)
        wire.hand_over(opened)
        if step.ready.rest:
            opened.data_received(step.ready.rest)
        return opened

    async def cancel(self, connection: Connection) -> bool:
        """Asks the server to cancel what the connection runs; see ``cancel_backend``."""
        return await self.cancel_backend(connection.process_id, connection.secret_key)

    async def cancel_backend(self, process_id: int, secret_key: bytes) -> bool:
        """Asks the server to cancel what a backend runs; True when the server has taken the request.

        A cancel that arrives late would hit the next statement, so the caller must not reuse the connection before
        this returns, and never when it gives False: the request may still be on its way (PostgreSQL 18, section
        54.2.8).
        """
        wire = _Wire()
        try:
            async with asyncio.timeout(self.connect_timeout):
                await self._connect(wire)
                wire.write(messages.cancel_request(process_id, secret_key))
                await wire.end()
        except (OSError, TimeoutError, RowgateError):
            return False
        finally:
            wire.abandon()
        return True

    async def _connect(self, wire: _Wire) -> None:
        loop = asyncio.get_running_loop()
        if self.target.is_socket:
            await loop.create_unix_connection(lambda: wire, self.target.socket_path)
        else:
            await loop.create_connection(lambda: wire, self.target.host, self.target.port)

    def _where(self) -> str:
        return f"{self.target.host}:{self.target.port}"


class _Wire(asyncio.Protocol):
    """The bytes of a connection before its session starts."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._problem: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._wake()

    def connection_lost(self, problem: Exception | None) -> None:
        self._closed = True
        self._problem = problem
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> bytes:
        """The next bytes; raises ConnectionLost at the end."""
        while not self._chunks:
            if self._closed:
                raise ConnectionLost("the connection was closed")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._chunks.popleft()

    async def end(self) -> None:
        """Waits until the server has closed; raises ConnectionLost when it broke off instead."""
        while not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._problem is not None:
            raise ConnectionLost("the connection broke") from self._problem

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def start_tls(self, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext, host: str) -> None:
        if self._transport is None:
            raise ConnectionLost("the connection was closed")
        self._transport = await loop.start_tls(self._transport, self, context, server_hostname=host)

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Gives the transport to the session's own protocol."""
        if self._transport is None or self._closed or self._chunks:
            raise ConnectionLost("the connection was closed")
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        self._transport = None

    def abandon(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
