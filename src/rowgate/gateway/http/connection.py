"""One client's HTTP connection: bytes to requests, one answer at a time, in order.

Parsing is httptools' (llhttp). What this adds are bounds: header bytes, body bytes, pipelined requests, and times,
which the server's sweep watches. A client that goes away takes its running request with it. With certificates a
connection whose first byte is a TLS record gets TLS; a WebSocket is handed on. Never reads a body's meaning.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import httptools
import msgspec

from rowgate.errors import BodyTooLarge, MalformedHeader, RequestRefused, RowgateError
from rowgate.gateway.byte_stream import is_loopback
from rowgate.gateway.http.message import HttpRequest
from rowgate.gateway.response import Response, error_response
from rowgate.gateway.tls import Application
from rowgate.gateway.tls_transport import HANDSHAKE_RECORD, TlsTransport

if TYPE_CHECKING:
    from rowgate.gateway.http.server import HttpServer

MOST_HEADER_BYTES: Final = 32 * 1024
MOST_PIPELINED: Final = 16
HEADERS_TOO_LARGE: Final = "request header fields are too large"
# Headers whose meaning changes when they come twice: a request with two of one of these is refused.
SINGLE_HEADERS: Final = frozenset({b"authorization", b"neon-connection-string", b"host", b"origin"})
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpConnection(asyncio.Protocol):
    """The protocol object of one accepted socket."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._refusal: Response | None = None
        self._waiting: deque[tuple[HttpRequest | Response, bytes | None, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None  # what the task waits for where nothing waits for it
        self._closing = False
        self._is_last = False
        self._is_http_1_0 = False
        self._is_new = server.certificates is not None
        self._is_private = True
        self._behind: asyncio.Future[None] | None = None  # while the client reads slowly: done when it has caught up
        self.on_writable: Callable[[], None] | None = None
        self._answering: tuple[bytes | None, bool] = (None, False)  # Origin and keep-alive of the request at hand
        self._chunked: bool | None = None  # how the body that is being written in pieces is framed; None: none is
        self.since = server.now
        self.receiving = False
        self.unwritten = 0

    # --- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = transport  # type: ignore[assignment]
        if self._is_new:
            self._is_private = is_loopback(transport.get_extra_info("peername"))
        self._server.connections.add(self)

    def connection_lost(self, problem: Exception | None) -> None:
        """The client has gone: what runs for it is cancelled."""
        self._server.forget(self)
        self._closing = True
        self._parser = None  # it holds this object, and the collector comes seldom
        self._catch_up()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client reads slowly: its next request waits."""
        if self._behind is None:
            self._behind = self._server.loop.create_future()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._catch_up()
        self.since = self._server.now
        if self.on_writable is not None:
            self.on_writable()

    def _catch_up(self) -> None:
        behind, self._behind = self._behind, None
        if behind is not None and not behind.done():
            behind.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser. What it cannot read is answered with 400 and the connection is closed."""
        if self._closing or self._is_last:
            return
        if not self.receiving:
            self.receiving = True
            self.since = self._server.now
        if self._is_new:
            self._is_new = False
            if data[0] == HANDSHAKE_RECORD:
                self._begin_tls(data)
                return
        if self._header_bytes >= 0:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._is_last:
                self._upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse_and_close(error_response(MalformedHeader("the request is not HTTP/1.1")))
        if self._header_bytes > MOST_HEADER_BYTES:
            self._refuse_and_close(Response(431, msgspec.json.encode(HEADERS_TOO_LARGE)))

    # --- httptools callbacks ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request starts."""
        self._url = b""
        self._body_bytes = 0
        self._refusal = None

    def on_url(self, url: bytes) -> None:
        """The request target, possibly in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        name = name.lower()
        if name in self._headers and name in SINGLE_HEADERS:
            self._refusal = error_response(MalformedHeader(f"the header {name.decode('latin-1')} came twice"))
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """The headers are there: sizes are judged before any of the body is kept."""
        if self._is_last:
            return  # what follows the last request is nobody's
        if self._header_bytes > MOST_HEADER_BYTES:  # a chunk may hold much of the body as well: counted exactly
            exact = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items())
            if exact > MOST_HEADER_BYTES:
                self._refusal = Response(431, msgspec.json.encode(HEADERS_TOO_LARGE))
        self._header_bytes = -1
        headers = self._headers
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._server.max_body_bytes:
            self._refuse_body()
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            self._refusal = error_response(MalformedHeader("compressed request bodies are not supported"))
        if not self._is_private:
            self._refusal = error_response(RequestRefused(
                "this port speaks TLS: use https:// or wss://", hint="Plain HTTP is served to this machine alone."
            ))  # fmt: skip
        expected = headers.get(b"expect")
        if expected is not None and expected.lower() == b"100-continue":
            if self._refusal is None:
                self._write(CONTINUE)
            else:  # it sends no body before it has been told to (RFC 9110, section 10.1.1)
                self._refuse_and_close(self._refusal)

    def on_body(self, body: bytes) -> None:
        """A piece of the body; over the limit it is read and forgotten, so that the client can read our answer."""
        if self._is_last:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._server.max_body_bytes:
            self._refuse_body()
        if self._refusal is None:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole: it waits its turn."""
        self._header_bytes = 0
        self.receiving = False
        if self._is_last:
            return
        if self._parser.should_upgrade():
            return  # the parser stops behind it and says so
        origin = self._headers.get(b"origin")
        keep_alive = bool(self._parser.should_keep_alive()) and self._refusal is None
        self._is_last = not keep_alive
        if self._refusal is not None:
            self._waiting.append((self._refusal, origin, keep_alive))
        else:
            path = self._url.partition(b"?")[0]
            request = HttpRequest(self._parser.get_method(), path, self._headers, b"".join(self._body), self)
            self._is_http_1_0 = self._parser.get_http_version() == "1.0"
            self._waiting.append((request, origin, keep_alive))
        self._body = []
        self._headers = {}  # an idle client's token would stay in memory
        if self._task is None:
            self._task = self._server.loop.create_task(self._serve())
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        elif len(self._waiting) > MOST_PIPELINED:
            self._refuse_and_close(error_response(MalformedHeader("too many pipelined requests")))

    # --- what is not HTTP -------------------------------------------------------------------------------------

    def _begin_tls(self, data: bytes) -> None:
        """TLS from the first byte on; what is decrypted comes back to ``data_received``."""
        certificates, transport = self._server.certificates, self._transport
        if certificates is None or transport is None:
            return
        context = certificates.context(Application.HTTP)
        tls = TlsTransport(transport, self, context, self._server.buffer, self.data_received, self._tls_ready)
        self._transport = tls
        self._is_private = True
        tls.feed(data)

    def _tls_ready(self, problem: Exception | None) -> None:
        self.receiving = False  # a client may open a connection long before it uses it
        self.since = self._server.now
        if problem is not None:
            self.close()

    def _upgrade(self, data: bytes) -> None:
        """A request with Upgrade: a WebSocket leaves this server, with ``data`` that came behind the request."""
        sessions, transport, headers = self._server.sessions, self._transport, self._headers
        # RFC 6455, section 4.1: a GET of HTTP/1.1 or later, and what came later has no Upgrade.
        is_websocket = self._parser.get_method() == b"GET" and headers[b"upgrade"].lower() == b"websocket"
        if sessions is None or not is_websocket or self._parser.get_http_version() != "1.1":
            self._refuse_and_close(error_response(MalformedHeader("no Upgrade but that to a WebSocket is served here")))
            return
        if self._refusal is not None or transport is None or self.is_busy or self._waiting:
            self._refuse_and_close(self._refusal or error_response(MalformedHeader("a WebSocket needs its connection")))
            return
        full = sessions.refusal()
        if full is not None:
            self._refuse_and_close(error_response(full))
            return
        from rowgate.gateway.websocket import WebSocketStream  # with its library, where there is one

        status, answer = self._server.handshake.answer(self._url, self._parser.get_http_version(), headers)
        if status != 101:
            body = error_response(MalformedHeader("no WebSocket can be opened", detail=answer.decode())).body
            self._refuse_and_close(Response(status, body))
            return
        self._write(answer)
        self._closing = True
        self._server.forget(self)
        self._parser = None  # nothing of this object stays behind
        if self._task is not None:
            self._task.cancel()
        WebSocketStream(sessions, _host_name(headers.get(b"host", b""))).take_over(transport, data)

    # --- answering --------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Answers what comes, in order, until the connection closes: to make a task for each request costs more than to
        wake the one that there is."""
        try:
            while not self._closing:
                if not self._waiting:
                    self.since = self._server.now
                    self._idle = self._server.loop.create_future()
                    await self._idle
                    self._idle = None
                    continue
                waiting, origin, keep_alive = self._waiting.popleft()
                self._answering = origin, keep_alive
                response = waiting if isinstance(waiting, Response) else await self._server.answer(waiting)
                self.since = self._server.now
                if self._chunked is None:
                    keep_alive = keep_alive and not self._server.stopping
                    self._write(self._server.writer.write(response, origin=origin, keep_alive=keep_alive))
                    if response.rest:
                        await self._write_rest(response.rest)
                else:
                    keep_alive = self._end_body(response)
                if not keep_alive:
                    self.close()
                del waiting, response  # a client that asks no more would keep its token here, and megabytes
                if self._behind is not None:
                    await self._behind
        finally:
            self._task = self._idle = None
            self.since = self._server.now

    async def _write_rest(self, pieces: Sequence[bytes]) -> None:
        """As fast as the client reads, and with a turn for everybody else after each piece."""
        for piece in pieces:
            if self._behind is not None:
                await self._behind
            self._write(piece)
            await asyncio.sleep(0)

    def begin_body(self, head: Response) -> None:
        """The answer to the request at hand begins, and its body comes in pieces (see ``Channel``)."""
        origin, keep_alive = self._answering
        # Before HTTP/1.1 there are no chunks: there the end of the connection ends the body.
        self._chunked = not self._is_http_1_0
        keep_alive = keep_alive and self._chunked
        self._answering = origin, keep_alive
        self._write(self._server.writer.begin(head, origin=origin, keep_alive=keep_alive, chunked=self._chunked))

    def write_body(self, data: bytes) -> bool:
        """A piece of it, not empty."""
        self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        return self._behind is None

    def _end_body(self, response: Response) -> bool:
        """The body has ended, or what ran for it has failed; whether another request may follow."""
        chunked, self._chunked = self._chunked, None
        if response.written is None:
            self.abort()  # nothing else tells the client that this is not all
            self._closing = True
            return True
        if chunked:
            self._write(b"0\r\n\r\n")
        return self._answering[1]

    def _refuse_body(self) -> None:
        if self._refusal is None:
            limit = self._server.max_body_bytes
            self._refusal = error_response(BodyTooLarge(f"request is too large (max is {limit} bytes)"))
            self._body = []

    def _refuse_and_close(self, response: Response) -> None:
        """Ends the connection with ``response``, behind the answers to what came before it."""
        if self._closing or self._is_last:
            return
        if not self.is_busy:
            self._write(self._server.writer.write(response, origin=None, keep_alive=False))
            self.close()
        else:
            self._is_last = True
            self._waiting.append((response, None, False))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # --- for the server's sweep -------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a request of this connection is being answered."""
        return self._task is not None and (self._idle is None or bool(self._waiting))

    @property
    def unwritten_bytes(self) -> int:
        """Bytes of answers that the client has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def time_out(self, problem: RowgateError) -> None:
        """Ends a connection whose client is too slow to send its request."""
        self._refuse_and_close(Response(408, error_response(problem).body))

    def close(self) -> None:
        """Closes once everything written has gone out."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()


def _host_name(host: bytes) -> str | None:
    """The name in a Host header, without its port (RFC 9110, section 7.2)."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        return name.partition("]")[0][1:] or None
    return name.partition(":")[0] or None
