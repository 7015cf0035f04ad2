"""The WebSocket front: binary frames to a stream of bytes, for the serverless driver and for browsers.

Frames and handshakes are the library's (websockets, sans-I/O). What this adds: bytes go on as they come, so that no
frame is ever held whole; a text frame ends the connection; the stream's back-pressure. Knows nothing of Postgres.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN, Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.typing import Origin

from rowgate.gateway.byte_stream import ByteStream
from rowgate.gateway.session_host import SessionHost
from rowgate.gateway.tls_transport import TlsTransport
from rowgate.gateway.websocket_frames import MOST_FRAME_BYTES, FrameCutter

# The library writes a line for each connection at level INFO, and frames at DEBUG, which may hold tokens.
quiet = logging.getLogger("rowgate.websocket.frames")
quiet.setLevel(logging.ERROR)


class Handshake:
    """The answer to a request with ``Upgrade: websocket`` (RFC 6455, section 4.2.2)."""

    def __init__(self, origins: Sequence[str]) -> None:
        """``origins`` are those whose pages may connect; ``*`` allows all. Programs that send none may always."""
        self._origins = None if "*" in origins else [None, *(Origin(origin) for origin in origins)]

    def answer(self, target: bytes, version: str, headers: Mapping[bytes, bytes]) -> tuple[int, bytes]:
        """Status and bytes of the answer: 101 where the connection is a WebSocket from now on.

        With another status the bytes are a sentence that says why not. ``version`` is the request's, such as 1.1.
        """
        protocol = ServerProtocol(origins=self._origins, logger=quiet)
        fields = Headers()
        for name, value in headers.items():
            fields[name.decode("latin-1")] = value.decode("latin-1")
        protocol.parser.close()  # it holds its protocol, and nothing is read with it
        response = protocol.accept(Request(target.decode("latin-1"), fields, protocol=f"HTTP/{version}"))
        if response.status_code != 101:
            return response.status_code, str(protocol.handshake_exc).encode()
        protocol.send_response(response)
        return 101, b"".join(protocol.data_to_send())


class WebSocketStream(ByteStream, asyncio.BufferedProtocol):
    """One WebSocket after its handshake: the transport's protocol and the session's stream."""

    __slots__ = ("_cutter", "_has_tls", "_protocol", "_server_name")

    def __init__(self, host: SessionHost, server_name: str | None) -> None:
        """``server_name`` is the name in the request's Host header."""
        super().__init__(host)
        self._server_name = server_name
        self._has_tls = False
        self._cutter = FrameCutter()
        self._protocol = Protocol(Side.SERVER, state=OPEN, max_size=(None, MOST_FRAME_BYTES), logger=quiet)

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Serves the client from here on; ``data`` is what came behind the handshake."""
        self._attach(transport)
        self._host.enter(self)
        if isinstance(transport, TlsTransport):
            self._has_tls = True
            transport.set_protocol(self)
            transport.set_receiver(self.data_received)
        else:
            # The loop changes how it reads only when it starts to read.
            transport.pause_reading()
            transport.set_protocol(self)
            transport.resume_reading()
        self._host.run(self)
        self.data_received(data)

    # --- what a session uses ----------------------------------------------------------------------------------

    @property
    def has_tls(self) -> bool:
        """Whether the WebSocket came through TLS of this process."""
        return self._has_tls

    @property
    def server_name(self) -> str | None:
        """The name of the Host header."""
        return self._server_name

    # --- asyncio.BufferedProtocol -----------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what it reads next: one place for all clients, emptied before the next is read."""
        return self._host.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were read."""
        self.data_received(bytes(self._host.buffer[:nbytes]))

    def eof_received(self) -> bool:
        """The client sends no more. A WebSocket has no half-closed state: what is unsent goes out, and it closes."""
        super().eof_received()
        return False

    def connection_lost(self, problem: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(problem)
        # The library's generator holds its protocol, and so does the traceback of what it could not read.
        self._protocol.parser.close()
        self._protocol.parser_exc = None

    def data_received(self, data: bytes) -> None:
        """Takes frames, or parts of them."""
        if self._ended:
            return
        for piece in self._cutter.cut(data):
            self._protocol.receive_data(piece)
        payload = []
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                continue
            if event.opcode is Opcode.TEXT:
                self._fail(CloseCode.UNSUPPORTED_DATA, "binary frames only")
                break
            if event.opcode in (Opcode.BINARY, Opcode.CONT):
                payload.append(bytes(event.data))
                event.data = b""  # the library holds its last frame until the next one comes
        if payload:
            self._received(b"".join(payload))
        self._flush()

    # --- inside -----------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(data)
            self._flush()

    def _say_end(self, transport: asyncio.Transport) -> None:
        """The closing handshake: our Close frame, then the client's, then the end of the connection."""
        try:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        except InvalidState:
            transport.close()
        else:
            self._flush()

    def _fail(self, code: CloseCode, reason: str) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.fail(code, reason)

    def _flush(self) -> None:
        """Sends what the library has written: answers to pings, Close frames; an empty one means the end."""
        transport = self._transport
        for data in self._protocol.data_to_send():
            if transport is None or transport.is_closing():
                return
            if data:
                transport.write(data)
                continue
            self._end()
            # Bytes that are still on their way would reset the connection, and the Close frame with it.
            transport.write_eof()
