"""What the tests of both fronts share: a session that echoes, running fronts, certificates, and measuring memory."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rowgate.gateway.dev_certificates import DevelopmentCertificates, ensure_certificates
from rowgate.gateway.http.message import HttpRequest
from rowgate.gateway.http.server import HttpServer
from rowgate.gateway.response import Response
from rowgate.gateway.session_host import SessionHost
from rowgate.gateway.sessions.stream import ClientStream
from rowgate.gateway.tcp import TcpServer
from rowgate.gateway.tls import TlsCertificates
from rowgate.settings import Settings

DEADLINE = 10
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


class EchoSessions:
    """Sends back what comes, and keeps what it has seen. The first bytes can ask for something else."""

    def __init__(self) -> None:
        self.streams: list[ClientStream] = []
        self.ended = 0
        self.seen = b""
        self.failures: list[Exception] = []
        self.waiting = asyncio.Event()

    async def serve(self, stream: ClientStream) -> None:
        self.streams.append(stream)
        try:
            while data := await stream.read():
                self.seen = (self.seen + data)[-100:]
                if data == SSL_REQUEST:
                    stream.write(b"S" if stream.can_start_tls else b"N")
                    if stream.can_start_tls:
                        await self._start_tls(stream)
                elif data.startswith(b"goodbye"):
                    stream.write(b"last word")
                    return
                elif data.startswith(b"break"):
                    raise ZeroDivisionError("secret detail")
                elif data.startswith(b"wait"):
                    self.waiting.set()
                    await asyncio.wait({stream.gone})
                elif data.startswith(b"flood"):
                    await self._flood(stream)
                else:
                    stream.write(data)
                    await stream.drain()
                data = b""  # not held while the session is idle
        finally:
            self.ended += 1

    async def _start_tls(self, stream: ClientStream) -> None:
        try:
            await stream.start_tls()
        except ConnectionError as problem:
            self.failures.append(problem)

    async def _flood(self, stream: ClientStream) -> None:
        """As much as the client takes, until it has gone."""
        self.waiting.set()
        while not stream.gone.done():
            stream.write(b"x" * 65536)
            await stream.drain()
            self.written = getattr(self, "written", 0) + 65536

    @property
    def stream(self) -> ClientStream:
        """The last client's."""
        return self.streams[-1]


class Fronts:
    """Both fronts, running on free ports."""

    def __init__(self, settings: Settings, sessions: EchoSessions) -> None:
        certificates = TlsCertificates.of(settings)
        self.sessions = sessions
        self.host = SessionHost(settings, sessions.serve)
        self.tcp = TcpServer(settings, self.host, certificates)
        self.http = HttpServer(
            settings, answer_sql=answer, answer_health=answer, sessions=self.host, certificates=certificates
        )
        self.tcp_port = self.http_port = 0

    async def start(self) -> None:
        self.tcp_port, self.http_port = await self.tcp.start(), await self.http.start()

    async def stop(self) -> None:
        self.tcp.stop()
        await asyncio.gather(self.http.stop(), self.host.stop())


async def answer(request: HttpRequest) -> Response:
    return Response(200, b"[" + request.body + b"]")


@contextlib.asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Fronts]:
    """Both fronts with these settings, stopped at the end."""
    chosen = {"port": 0, "tcp_port": 0, "shutdown_seconds": 0, **settings}
    fronts = Fronts(Settings(**chosen), EchoSessions())  # type: ignore[arg-type]
    await fronts.start()
    try:
        yield fronts
    finally:
        await fronts.stop()


def tls_settings(folder: Path, *names: str) -> dict[str, str]:
    """Settings with a development certificate."""
    made = ensure_certificates(folder, names)
    return {"tls_cert": str(made.cert_file), "tls_key": str(made.key_file)}


def trusting(folder: Path, *alpn: str) -> ssl.SSLContext:
    """A client's context that trusts the development authority of ``folder`` and nothing else."""
    made: DevelopmentCertificates = ensure_certificates(folder)
    context = ssl.create_default_context(cafile=str(made.authority_file))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


async def until(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Waits until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def connected(
    port: int, context: ssl.SSLContext | None = None, name: str = "localhost"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client's socket, closed at the end."""
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name if context else None), DEADLINE
    )
    try:
        yield reader, writer
    finally:
        aborted = writer.transport.is_closing()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 0.2 if aborted else DEADLINE)


async def exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    return await asyncio.wait_for(reader.readexactly(size), DEADLINE)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end."""
    return await asyncio.wait_for(reader.read(), DEADLINE)
