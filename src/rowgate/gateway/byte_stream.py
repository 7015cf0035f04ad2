"""What the streams of both fronts share: bytes read ahead, back-pressure, the end, and closing so that the client can
read the last word.

Never looks at the bytes. One small object for each client: it takes buffers only while something is in them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from ipaddress import ip_address
from typing import Any, Final

from rowgate.gateway.session_host import READ_BYTES, SessionHost
from rowgate.gateway.sessions.stream import READ_AHEAD_BYTES
from rowgate.gateway.tls_transport import LONGEST_RECORD

PAUSE_BYTES: Final = READ_AHEAD_BYTES - READ_BYTES - LONGEST_RECORD
"""Reading stops when so many bytes wait: one more read, and a TLS record begun before it, still fit in."""
LINGER_SECONDS: Final = 5.0
"""How long a closed connection waits while the client takes nothing of what is left, and does not close its side."""
# Linux's TCP_INFO begins with the state. In these (netinet/tcp.h) the peer has closed or is gone.
PEER_CLOSED_STATES: Final = frozenset({7, 8, 9})
KEEP_ALIVE_OPTIONS: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class ByteStream:
    """One client's bytes, both ways. The fronts' streams add what carries them."""

    __slots__ = (
        "_address", "_ahead", "_closing", "_ended", "_gone", "_host", "_paused", "_reader", "_silent_since", "_since",
        "_transport", "_unread_since", "_unwritten", "_writable",
    )  # fmt: skip

    def __init__(self, host: SessionHost) -> None:
        self._host = host
        self._transport: asyncio.Transport | None = None
        self._address: Any = None
        self._ahead = b""
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] = host.loop.create_future()
        self._ended = False
        self._paused = False
        self._closing = False
        self._since = 0.0
        self._silent_since = 0.0
        self._unread_since = 0.0
        self._unwritten = 0

    # --- what a session uses ----------------------------------------------------------------------------------

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done when the client has ended its sending or the connection is lost."""
        return self._gone

    @property
    def is_private(self) -> bool:
        """Whether a password may cross it."""
        return self.has_tls or is_loopback(self._address)

    @property
    def has_tls(self) -> bool:
        """Whether it came through TLS of this process."""
        return False

    @property
    def can_start_tls(self) -> bool:
        """Whether ``start_tls`` can be called now."""
        return False

    @property
    def server_name(self) -> str | None:
        """The host that the client asked for."""
        return None

    @property
    def peer(self) -> str:
        """The client's address and port."""
        if not isinstance(self._address, tuple):
            return "unknown"
        host, port = self._address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def silent_since(self) -> float | None:
        """Since when a read waits for bytes."""
        return None if self._reader is None else self._silent_since

    @property
    def unread_since(self) -> float | None:
        """Since when the client is behind with reading."""
        return None if self._writable is None else self._unread_since

    async def read(self) -> bytes:
        """The next bytes; ``b""`` at the end."""
        while not self._ahead and not self._ended and not self._closing:
            if self._reader is not None:
                raise RuntimeError("two tasks read one stream")
            self._reader = self._host.loop.create_future()
            self._silent_since = self._host.loop.time()
            try:
                await self._reader
            finally:
                self._reader = None
        if self._closing:
            return b""
        data, self._ahead = self._ahead, b""
        if self._paused:
            self._resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Sends bytes; forgotten where nobody is left to read them."""
        if data and not self._closing and self._transport is not None and not self._transport.is_closing():
            self._send(data)

    async def drain(self) -> None:
        """Waits while the client reads too slowly."""
        while self._writable is not None:
            await asyncio.shield(self._writable)
        if self._transport is None or self._transport.is_closing():
            await asyncio.sleep(0)  # whoever writes without end is to learn of it

    async def start_tls(self, context: ssl.SSLContext | None = None) -> None:
        """Only a TCP connection can begin TLS later. Raises ConnectionError."""
        raise ConnectionError("TLS cannot begin here")

    def close(self) -> None:
        """Ends it once everything written has gone out, and the client has been able to read it."""
        if self._closing:
            return
        self._closing = True
        self._ahead = b""
        self._wake_reader()
        self.resume_writing()  # whoever waits to write more has nothing left to wait for
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._paused:
            self._resume_reading()  # bytes left unread would reset the connection, and our last word with it
        self._watch()
        self._say_end(transport)

    def abort(self) -> None:
        """Ends it now."""
        self._closing = True
        self._wake_reader()
        if self._transport is not None:
            self._transport.abort()

    # --- for the fronts ---------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Once a second for a watched stream: a closed one that nobody takes, a paused one whose client has gone."""
        if self._transport is None:
            return
        if self._closing:
            unwritten = self._transport.get_write_buffer_size()
            if unwritten < self._unwritten:
                self._since = now  # the client reads, however slowly
            self._unwritten = unwritten
            if now - self._since > LINGER_SECONDS:
                self._transport.abort()
        elif self._paused and _peer_has_closed(self._transport):
            self._tell_gone()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        if self._writable is None:
            self._writable = self._host.loop.create_future()
            self._unread_since = self._host.loop.time()

    def resume_writing(self) -> None:
        """The client has caught up."""
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def eof_received(self) -> bool:
        """The client sends no more. What was read ahead is still read, and answered."""
        self._end()
        return not self._closing

    def connection_lost(self, problem: Exception | None) -> None:
        """The connection is gone."""
        self._end()
        self._transport = None
        self.resume_writing()
        self._host.leave(self)

    def _attach(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._address = transport.get_extra_info("peername")
        _keep_alive(transport)

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _say_end(self, transport: asyncio.Transport) -> None:
        if self._ended:
            transport.close()
        else:
            transport.write_eof()

    def _received(self, data: bytes) -> None:
        if self._closing or self._ended:
            return
        self._ahead = self._ahead + data if self._ahead else data
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        elif len(self._ahead) >= PAUSE_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
            self._watch()

    def _resume_reading(self) -> None:
        self._paused = False
        self._host.unwatch(self)
        if self._transport is not None and not self._transport.is_closing() and not self._ended:
            self._transport.resume_reading()

    def _watch(self) -> None:
        self._since = self._host.loop.time()
        self._unwritten = 0
        self._host.watch(self)

    def _end(self) -> None:
        self._ended = True
        self._wake_reader()
        self._tell_gone()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _tell_gone(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)


def is_loopback(address: Any) -> bool:
    """Whether a socket's address is of this machine."""
    if not isinstance(address, tuple):
        return False
    found = ip_address(address[0].partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _keep_alive(transport: asyncio.Transport) -> None:
    """A client whose machine has vanished is noticed within two minutes."""
    found = transport.get_extra_info("socket")
    if found is None:
        return
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in KEEP_ALIVE_OPTIONS:
            if hasattr(socket, name):
                found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    except OSError:
        return  # the client has gone already


def _peer_has_closed(transport: asyncio.Transport) -> bool:
    """Asked of the kernel, because an end behind unread bytes is not read yet. Known on Linux only."""
    found = transport.get_extra_info("socket")
    if found is None or not sys.platform.startswith("linux"):
        return False
    try:
        return found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in PEER_CLOSED_STATES
    except OSError:
        return True
