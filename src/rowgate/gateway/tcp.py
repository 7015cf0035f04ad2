"""The TCP front: sockets to streams of bytes, with TLS from the first byte on or after an SSLRequest.

What the bytes mean is the session's business. Of the Postgres protocol it knows one thing: in what form a client can
read that there is no place for it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from enum import Enum
from typing import Final

from rowgate.errors import ProtocolViolation, RowgateError
from rowgate.gateway.byte_stream import ByteStream
from rowgate.gateway.listener import BACKLOG, listen
from rowgate.gateway.session_host import SessionHost
from rowgate.gateway.tls import Application, TlsCertificates
from rowgate.gateway.tls_transport import HANDSHAKE_FAILURE, HANDSHAKE_RECORD, OnHandshake, TlsTransport
from rowgate.pgwire.server import answers
from rowgate.settings import Settings

MOST_REFUSED: Final = 1000
"""Refused clients that may be waiting for their refusal at once; beyond that they are cut off without one."""

log = logging.getLogger("rowgate.tcp")


class Stage(Enum):
    """How far a client has come."""

    SILENT = "nothing has come yet"
    SHAKING = "the TLS handshake is under way"
    SERVED = "its session has started"
    REFUSED = "it reads why there is no session"


class TcpServer:
    """Listens on ``tcp_port`` and hands every client to the sessions."""

    def __init__(self, settings: Settings, sessions: SessionHost, certificates: TlsCertificates | None) -> None:
        self._settings = settings
        self._server: asyncio.Server | None = None
        self.sessions = sessions
        self.certificates = certificates

    async def start(self) -> int:
        """Listens; gives the port. Raises PortTaken."""
        listener = listen(self._settings.host, self._settings.tcp_port or 0, option="--tcp-port")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: TcpStream(self), sock=listener, backlog=BACKLOG)
        port: int = listener.getsockname()[1]
        return port

    async def take(self, client: socket.socket) -> None:
        """A client that somebody else has accepted."""
        await asyncio.get_running_loop().connect_accepted_socket(lambda: TcpStream(self), client)

    def stop(self) -> None:
        """Takes no new client. The sessions end what they have."""
        if self._server is not None:
            self._server.close()


class TcpStream(ByteStream, asyncio.BufferedProtocol):
    """One accepted socket: the event loop's protocol and the session's stream."""

    __slots__ = ("_server", "_stage", "_tls")

    def __init__(self, server: TcpServer) -> None:
        super().__init__(server.sessions)
        self._server = server
        self._stage = Stage.SILENT
        self._tls: TlsTransport | None = None

    # --- what a session uses ----------------------------------------------------------------------------------

    @property
    def has_tls(self) -> bool:
        """Whether TLS has been established."""
        return self._tls is not None and self._stage is Stage.SERVED

    @property
    def can_start_tls(self) -> bool:
        """Whether there are certificates, and no TLS yet."""
        return self._server.certificates is not None and self._tls is None

    @property
    def server_name(self) -> str | None:
        """The name of SNI."""
        return None if self._tls is None else self._tls.server_name

    async def start_tls(self, context: ssl.SSLContext | None = None) -> None:
        """Begins TLS after an SSLRequest was answered with ``S``; at once, before anything else is awaited.

        Raises ConnectionError, and then the connection is lost.
        """
        certificates = self._server.certificates
        if context is None and certificates is not None:
            context = certificates.context(Application.POSTGRESQL)
        transport = self._transport
        if context is None or transport is None or self._tls is not None or self._ahead or transport.is_closing():
            self.abort()
            raise ConnectionError("TLS cannot begin here: bytes came before it, or the client has gone")
        outcome: asyncio.Future[Exception | None] = self._host.loop.create_future()

        def settle(problem: Exception | None) -> None:
            if not outcome.done():
                outcome.set_result(problem)

        self._stage = Stage.SHAKING
        self._tls = self._begin_tls(transport, context, settle)
        try:
            problem = await outcome
        except BaseException:
            self.abort()
            raise
        if problem is not None:
            log.info("no TLS with %s: %s", self.peer, problem)
            self.close()
            raise ConnectionError("the TLS handshake failed") from problem
        self._stage = Stage.SERVED

    # --- asyncio.BufferedProtocol -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; its session starts with its first byte."""
        self._attach(transport)  # type: ignore[arg-type]
        if self._host.refusal() is not None:
            if self._host.refused >= MOST_REFUSED:
                self.abort()
                return
            self._stage = Stage.REFUSED
            self._host.refused += 1
        self._host.enter(self)
        self._watch()

    def connection_lost(self, problem: Exception | None) -> None:
        """The connection is gone."""
        if self._stage is Stage.REFUSED:
            self._host.refused -= 1
        super().connection_lost(problem)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what it reads next: one place for all clients, emptied before the next is read."""
        return self._host.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were read."""
        data = bytes(self._host.buffer[:nbytes])
        if self._stage is Stage.SERVED:
            self._received(data)
        elif not self._closing:
            self._first(data)

    def eof_received(self) -> bool:
        """The client sends no more: without a session there is nobody to answer it, as with probes of the port."""
        return super().eof_received() and self._stage not in (Stage.SILENT, Stage.REFUSED)

    def check(self, now: float) -> None:
        """Once a second: also the clients that say nothing, or do not finish their handshake."""
        if self._stage is Stage.SERVED or self._closing:
            super().check(now)
        elif now - self._since > self._host.login_seconds:
            self.abort()

    # --- the beginning ----------------------------------------------------------------------------------------

    def _first(self, data: bytes) -> None:
        direct = data[0] == HANDSHAKE_RECORD
        if self._stage is Stage.REFUSED:
            self._refuse(HANDSHAKE_FAILURE if direct else _fatal(self._host.refusal() or self._host.too_many()))
        elif not direct:
            self._serve()
            self._received(data)
        elif self._server.certificates is None or self._transport is None:
            log.info("%s wants TLS, and no certificate is set", self.peer)
            self._refuse(HANDSHAKE_FAILURE)
        else:
            self._stage = Stage.SHAKING
            context = self._server.certificates.context(Application.POSTGRESQL)
            self._tls = self._begin_tls(self._transport, context, self._direct_tls_ready)
            self._tls.feed(data)

    def _begin_tls(self, transport: asyncio.Transport, context: ssl.SSLContext, told: OnHandshake) -> TlsTransport:
        tls = TlsTransport(transport, self, context, self._host.buffer, self._received, told)
        self._transport = tls
        return tls

    def _direct_tls_ready(self, problem: Exception | None) -> None:
        """TLS from the first byte needs ALPN, so that no other protocol's client is led here (section 54.2.11)."""
        if problem is not None:
            log.info("no TLS with %s: %s", self.peer, problem)
            self.close()
        elif self._tls is None or self._tls.application != Application.POSTGRESQL.value:
            self._refuse(_fatal(ProtocolViolation(
                "direct TLS needs the ALPN name postgresql", hint="Use sslnegotiation=postgres, or a newer client."
            )))  # fmt: skip
        else:
            self._serve()

    def _serve(self) -> None:
        self._host.unwatch(self)
        self._stage = Stage.SERVED
        self._host.run(self)

    def _refuse(self, answer: bytes) -> None:
        self.write(answer)
        self.close()


def _fatal(problem: RowgateError) -> bytes:
    return answers.error_response(answers.error_fields_of(problem, "FATAL"))
