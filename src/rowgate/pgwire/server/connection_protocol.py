"""The order of things on one client's connection: what may come when, as a table. Bytes in, requests out.

Everything that the table does not name is refused and ends the connection. Lengths are judged as soon as they are
there, before memory is taken. What a client sends ahead of its login's end is held back, unread and bounded. This
module never answers: its caller does.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import Final

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.server.requests import (
    DECODERS,
    CancelRequest,
    GssEncRequest,
    Request,
    SslRequest,
    StartupMessage,
    decode,
    decode_startup,
)
from rowgate.pgwire.stream import MessageStream

LONGEST_STARTUP: Final = 10_000
"""Bytes of a startup packet, as in Postgres (MAX_STARTUP_PACKET_LENGTH)."""
LONGEST_PASSWORD: Final = 64 * 1024
MOST_HELD_BACK: Final = 1024 * 1024
TLS_CLIENT_HELLO: Final = 0x16
PASSWORD: Final = ord("p")
_LENGTH = Struct(">i").unpack_from


class State(Enum):
    """Where a connection stands."""

    STARTUP = "startup"
    """The first packet, or the next after an encryption request, is due."""
    NEGOTIATING = "negotiating"
    """An encryption request was made; nothing may come before its answer."""
    LOGIN = "login"
    """The startup message has come; the only message that is read is a password."""
    AUTHENTICATING = "authenticating"
    """The password has come; whatever else comes is held back."""
    READY = "ready"
    """The login has succeeded."""
    CLOSED = "closed"
    """Nothing may come any more."""


READ: Final[dict[State, frozenset[int]]] = {
    State.LOGIN: frozenset({PASSWORD}),
    State.AUTHENTICATING: frozenset(),
    State.READY: frozenset(DECODERS) - {PASSWORD},
    State.STARTUP: frozenset(),
    State.NEGOTIATING: frozenset(),
    State.CLOSED: frozenset(),
}
"""Messages with a type byte that are read in each state. The others are refused, or held back during the login."""


class ConnectionProtocol:
    """One client's connection. After a ProtocolViolation it is closed.

    ``max_message_bytes`` bounds each message after the login.
    """

    def __init__(self, *, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._stream: MessageStream | None = None
        self._requests_seen: set[type] = set()
        self._password_seen = False
        self.state = State.STARTUP

    def receive(self, data: bytes) -> list[Request]:
        """The requests that are complete with ``data``. Raises ProtocolViolation."""
        try:
            if self.state is State.READY:
                return self._read(data)
            return self._before_ready(data)
        except ProtocolViolation:
            self.state = State.CLOSED
            raise

    def tls_answered(self) -> None:
        """The encryption request has been answered, and TLS stands where the answer was yes."""
        if self.state is not State.NEGOTIATING:
            raise ProtocolViolation("no encryption request is open")
        self.state = State.STARTUP

    def authenticated(self) -> list[Request]:
        """The login has succeeded; gives what was held back. Raises ProtocolViolation."""
        self.state = State.READY
        self._stream = MessageStream(self._max_message_bytes)
        held, self._buffer = bytes(self._buffer), bytearray()
        return self.receive(held)

    def hand_over(self) -> bytes:
        """The login has succeeded, and somebody else reads from now on; gives what was held back."""
        self.state = State.CLOSED
        held, self._buffer = bytes(self._buffer), bytearray()
        return held

    # --- inside -----------------------------------------------------------------------------------------------

    def _before_ready(self, data: bytes) -> list[Request]:
        if self.state in (State.NEGOTIATING, State.CLOSED):
            if data:
                # Bytes ahead of TLS would be taken for bytes inside it (CVE-2021-23214).
                raise ProtocolViolation("received unencrypted data after an encryption request")
            return []
        self._buffer += data
        found: list[Request] = []
        while True:
            request = self._startup() if self.state is State.STARTUP else self._login()
            if request is None:
                break
            found.append(request)
        if len(self._buffer) > MOST_HELD_BACK:
            raise ProtocolViolation("too much was sent before the login", detail=f"At most {MOST_HELD_BACK} bytes.")
        return found

    def _startup(self) -> Request | None:
        if self._buffer[:1] == bytes((TLS_CLIENT_HELLO,)):
            raise ProtocolViolation("TLS begins where a startup packet was expected")
        if len(self._buffer) < 4:
            return None
        (length,) = _LENGTH(self._buffer)
        if not 8 <= length <= LONGEST_STARTUP:
            raise ProtocolViolation("invalid length of startup packet", detail=f"Got {length} bytes.")
        if len(self._buffer) < length:
            return None
        request = decode_startup(bytes(self._buffer[4:length]))
        del self._buffer[:length]
        self._enter(request)
        return request

    def _enter(self, request: SslRequest | GssEncRequest | CancelRequest | StartupMessage) -> None:
        if isinstance(request, StartupMessage):
            self.state = State.LOGIN
        elif isinstance(request, CancelRequest):
            self.state = State.CLOSED
            self._buffer.clear()
        elif type(request) in self._requests_seen:
            raise ProtocolViolation("the same encryption was asked for twice")
        else:
            self._requests_seen.add(type(request))
            self.state = State.NEGOTIATING
            if self._buffer:
                raise ProtocolViolation("received unencrypted data after an encryption request")

    def _login(self) -> Request | None:
        """The password, if it is what comes next. Everything else waits for the login's end."""
        if self.state is not State.LOGIN or len(self._buffer) < 5 or self._buffer[0] not in READ[self.state]:
            return None
        (length,) = _LENGTH(self._buffer, 1)
        if not 4 <= length <= LONGEST_PASSWORD:
            raise ProtocolViolation("invalid length of a password message", detail=f"Got {length} bytes.")
        if len(self._buffer) < length + 1:
            return None
        request = decode(PASSWORD, bytes(self._buffer[5 : length + 1]))
        del self._buffer[: length + 1]
        self._password_seen = True
        self.state = State.AUTHENTICATING
        return request

    def _read(self, data: bytes) -> list[Request]:
        found: list[Request] = []
        stream = self._stream
        for kind, body in stream.feed(data) if stream is not None else ():
            if kind in READ[State.READY]:
                found.append(decode(kind, body))
            elif kind == PASSWORD and not self._password_seen:
                self._password_seen = True  # drivers send it ahead, also where none is asked for
            else:
                raise ProtocolViolation(f"invalid frontend message type {kind}")
        return found
