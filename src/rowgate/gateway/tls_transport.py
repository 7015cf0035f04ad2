"""TLS between a socket's transport and a protocol, as a transport of its own.

It can begin at any byte of a connection, which the event loop's own TLS cannot: after an SSLRequest was answered, or
when a connection's first byte turns out to be a TLS record. It takes little memory while a connection is idle. OpenSSL
does the work through two memory buffers; nothing here judges certificates or knows what is carried.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from rowgate.gateway.callbacks import nobody_is_told
from rowgate.gateway.tls import ServerTls

# OpenSSL's memory buffers never shrink, so they are filled and emptied in pieces: an idle connection keeps this much.
READ_PIECE_BYTES: Final = 2 * 1024
WRITE_PIECE_BYTES: Final = 4 * 1024
LONGEST_RECORD: Final = 16 * 1024
HANDSHAKE_RECORD: Final = 0x16
HANDSHAKE_FAILURE: Final = b"\x15\x03\x01\x00\x02\x02\x28"
"""A fatal alert (RFC 8446, section 6.2): the one clear refusal that a client which speaks TLS can read."""

NOBODY: Final = asyncio.Protocol()
"""Whom a transport serves after its end."""

OnHandshake = Callable[[Exception | None], None]


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The server's side of one TLS connection: a transport for ``protocol``, and the protocol of ``raw``."""

    def __init__(
        self,
        raw: asyncio.Transport,
        protocol: asyncio.Protocol | asyncio.BufferedProtocol,
        context: ssl.SSLContext,
        buffer: memoryview,
        receive: Callable[[bytes], None],
        on_handshake: OnHandshake,
    ) -> None:
        """Takes over ``raw``.

        Args:
            raw: the socket's transport.
            protocol: hears of slow writing, of the end and of the loss.
            context: certificates to show.
            buffer: what the event loop reads into; connections of one loop may share it.
            receive: takes what was decrypted.
            on_handshake: called once, with None or with what went wrong, before the first ``receive``.
        """
        super().__init__()
        self._raw = raw
        self._protocol = protocol
        self._buffer = buffer
        self._receive = receive
        self._on_handshake: OnHandshake | None = on_handshake
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ended = False
        # The loop changes how it reads only when it starts to read.
        raw.pause_reading()
        raw.set_protocol(self)
        raw.resume_reading()

    @property
    def server_name(self) -> str | None:
        """The name that the client asked for."""
        return self._tls.requested_name if isinstance(self._tls, ServerTls) else None

    @property
    def application(self) -> str | None:
        """The ALPN name that both sides agreed on."""
        return self._tls.selected_alpn_protocol()

    # --- the protocol of the socket ---------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what it reads next."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were read."""
        self.feed(bytes(self._buffer[:nbytes]))

    def feed(self, data: bytes) -> None:
        """Takes bytes of the client, as they came."""
        for start in range(0, len(data), READ_PIECE_BYTES):
            if self._ended:
                return
            self._incoming.write(data[start : start + READ_PIECE_BYTES])
            if self._on_handshake is None or self._shake():
                self._decrypt()

    def eof_received(self) -> bool:
        """The client sends no more. Without its own word for that the end may be somebody else's: the same here."""
        return self._end()

    def connection_lost(self, problem: Exception | None) -> None:
        """The socket has gone."""
        self._ended = True
        self._tell_handshake(problem or ConnectionResetError("the client has gone"))
        protocol, self._protocol, self._receive = self._protocol, NOBODY, nobody_is_told  # neither holds the other
        protocol.connection_lost(problem)

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._protocol.resume_writing()

    # --- the transport of the protocol ------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol takes over; it says with ``set_receiver`` where decrypted bytes go."""
        self._protocol = protocol  # type: ignore[assignment]

    def set_receiver(self, receive: Callable[[bytes], None]) -> None:
        """Decrypted bytes go to ``receive`` from now on."""
        self._receive = receive

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Encrypts and sends. Before the handshake has ended, and after the end, bytes are forgotten."""
        if self._on_handshake is not None or self._raw.is_closing():
            return
        pieces = []
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view[:WRITE_PIECE_BYTES]) :]
                pieces.append(self._outgoing.read())
        except ssl.SSLError:
            self.abort()
            return
        self._raw.write(b"".join(pieces) if len(pieces) != 1 else pieces[0])

    def write_eof(self) -> None:
        """Says that nothing follows (RFC 8446, section 6.1), and ends the sending."""
        self._say_end()
        if not self._raw.is_closing():
            self._raw.write_eof()

    def can_write_eof(self) -> bool:
        """Reading goes on after ``write_eof``."""
        return True

    def close(self) -> None:
        """Says that nothing follows, and closes once everything has gone out."""
        self._say_end()
        self._raw.close()

    def abort(self) -> None:
        """Closes at once."""
        self._raw.abort()

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        """Leaves the client's bytes in the socket."""
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Reads on."""
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        """Whether the socket is read."""
        return self._raw.is_reading()

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes that the client has not taken yet."""
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the socket's transport knows."""
        return self._raw.get_extra_info(name, default)

    # --- inside -----------------------------------------------------------------------------------------------

    def _shake(self) -> bool:
        """A step of the handshake; whether it has ended well."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as problem:
            self._fail(problem)
            return False
        self._flush()
        self._tell_handshake(None)
        return not self._ended

    def _decrypt(self) -> None:
        while not self._ended:
            try:
                data = self._tls.read(LONGEST_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as problem:
                self._fail(problem)
                return
            if data:
                self._receive(data)
            elif not self._end():
                self.close()
        self._flush()  # the answer to a key update

    def _end(self) -> bool:
        """The client's last byte has come; whether the connection stays open for what is still to be written."""
        if self._ended:
            return True
        self._ended = True
        if self._on_handshake is not None:
            self._tell_handshake(ConnectionResetError("the client left during the TLS handshake"))
            return False
        return bool(self._protocol.eof_received())

    def _fail(self, problem: ssl.SSLError) -> None:
        """OpenSSL has written the alert that tells the client why."""
        self._ended = True
        self._flush()
        self._raw.close()
        self._tell_handshake(problem)

    def _tell_handshake(self, problem: Exception | None) -> None:
        told, self._on_handshake = self._on_handshake, None
        if told is not None:
            told(problem)

    def _say_end(self) -> None:
        if self._on_handshake is not None or self._raw.is_closing():
            return
        with suppress(ssl.SSLError):  # the client's own word comes later, or never
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())
