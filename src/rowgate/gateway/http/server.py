"""The HTTP server: listens, routes the few paths there are, watches slow clients, and stops without losing answers.

WebSockets leave it for the sessions as soon as they are open.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rowgate.errors import InternalFault, MalformedHeader, RowgateError
from rowgate.gateway.http.connection import HttpConnection
from rowgate.gateway.http.message import AnswerWriter, HttpRequest
from rowgate.gateway.listener import BACKLOG, listen
from rowgate.gateway.notices import Notices
from rowgate.gateway.response import Response, error_response
from rowgate.gateway.session_host import READ_BYTES, SessionHost
from rowgate.gateway.tls import TlsCertificates
from rowgate.settings import Settings

if TYPE_CHECKING:
    from rowgate.gateway.websocket import Handshake

LONGEST_LOGGED_PATH: Final = 200
NOT_SUPPORTED: Final = Response(400, b'"query is not supported"')

log = logging.getLogger("rowgate.http")

Answer = Callable[[HttpRequest], Awaitable[Response]]


class HttpServer:
    """Serves ``POST /sql`` by ``answer_sql``, ``GET /healthz`` by ``answer_health``, WebSockets by ``sessions``, and
    what identity providers tell by ``notices``.

    With certificates it speaks TLS, and plain HTTP to this machine alone.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        answer_sql: Answer,
        answer_health: Answer,
        notices: Notices | None = None,
        sessions: SessionHost | None = None,
        certificates: TlsCertificates | None = None,
    ) -> None:
        self._settings = settings
        self._answer_sql = answer_sql
        self._answer_health = answer_health
        self._notices = notices
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.connections: set[HttpConnection] = set()
        self.max_body_bytes = settings.max_body_bytes
        self.writer = AnswerWriter(settings.cors_origins)
        self.sessions = sessions
        self.certificates = certificates
        self._handshake: Handshake | None = None
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.stopping = False
        self._quiet = asyncio.Event()
        self.now = self.loop.time()
        self.answer: Answer = self._log if settings.log_requests else self._route

    @property
    def handshake(self) -> Handshake:
        """What answers those who ask for a WebSocket; imported with the first of them."""
        if self._handshake is None:
            from rowgate.gateway.websocket import Handshake

            self._handshake = Handshake(self._settings.cors_origins)
        return self._handshake

    def begin(self) -> None:
        """Ready for clients that somebody else accepts."""
        self.writer.tick(time.time())
        self._sweeper = self.loop.create_task(self._sweep())

    async def start(self) -> int:
        """Listens; gives the port. Raises PortTaken."""
        listener = listen(self._settings.host, self._settings.port)
        self.begin()
        self._server = await self.loop.create_server(lambda: HttpConnection(self), sock=listener, backlog=BACKLOG)
        port: int = listener.getsockname()[1]
        return port

    async def take(self, client: socket.socket) -> None:
        """A client that somebody else has accepted."""
        transport, _ = await self.loop.connect_accepted_socket(lambda: HttpConnection(self), client)
        if self.stopping:
            transport.close()

    async def stop(self) -> None:
        """Takes no new connection, lets requests under way end within ``shutdown_seconds``, then closes."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            if not connection.is_busy:
                connection.close()
        deadline = self.loop.time() + self._settings.shutdown_seconds
        self._check_quiet()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._quiet.wait()
        for connection in list(self.connections):
            connection.abort()
        with suppress(TimeoutError):  # their ends are told in the loop's next round
            async with asyncio.timeout(1.0):
                await self._quiet.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def forget(self, connection: HttpConnection) -> None:
        """A client's connection has gone."""
        self.connections.discard(connection)
        self._check_quiet()

    def _check_quiet(self) -> None:
        if self.stopping and not self.connections:
            self._quiet.set()

    async def _log(self, request: HttpRequest) -> Response:
        """Answers one request and writes a line about it: never headers, SQL or parameters."""
        started = time.monotonic()
        response = await self._route(request)
        record = {
            "time": time.time(),
            "method": request.method.decode("latin-1"),
            "path": request.path.decode("latin-1")[:LONGEST_LOGGED_PATH],
            "status": response.status,
            "milliseconds": round((time.monotonic() - started) * 1000, 3),
            "request_bytes": len(request.body),
            "response_bytes": response.size,
        }
        sys.stderr.write(json.dumps(record) + "\n")
        return response

    async def _route(self, request: HttpRequest) -> Response:
        """Every exception becomes an answer."""
        try:
            if request.path == b"/sql":
                if request.method == b"POST":
                    return await self._answer_sql(request)
                if request.method == b"OPTIONS":
                    return self.writer.preflight()
            elif request.path == b"/healthz" and request.method == b"GET":
                return await self._answer_health(request)
            elif self._notices is not None and self._notices.takes(request):
                return await self._notices.answer(request)
        except RowgateError as problem:
            return error_response(problem)
        except Exception:
            log.exception("a defect in Rowgate: please report it")
            return error_response(InternalFault("an internal error occurred"))
        return NOT_SUPPORTED

    async def _sweep(self) -> None:
        """Once a second: the clock, and the clients that are too slow. One task for all connections."""
        while True:
            await asyncio.sleep(1.0)
            self.now = self.loop.time()
            self.writer.tick(time.time())
            self._end_slow()

    def _end_slow(self) -> None:
        """A function of its own: a variable of the sweep's would keep the last client until another came."""
        slow = self._settings.request_timeout_seconds
        idle = self._settings.keep_alive_seconds
        for connection in list(self.connections):
            unwritten = connection.unwritten_bytes
            if unwritten and unwritten < connection.unwritten:
                connection.since = self.now  # the client reads, however slowly
            connection.unwritten = unwritten
            age = self.now - connection.since
            if connection.receiving and age > slow:
                connection.time_out(MalformedHeader("the request did not arrive in time"))
            elif unwritten and age > slow:
                connection.abort()
            elif not unwritten and not connection.is_busy and not connection.receiving and age > idle:
                connection.close()
