"""What a client of the Postgres protocol sends, as values. Bytes in, values out.

Strings stay the bytes that they were. A Bind is checked in linear time, and its parameters are neither decoded nor
copied one by one, because they may be megabytes. This module never answers and never remembers.

Source: PostgreSQL 18, section 54.7, "Message Formats", the messages marked F.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from rowgate.errors import ProtocolViolation
from rowgate.pgwire import messages

_INT16 = Struct(">H").unpack_from
_INT32 = Struct(">i").unpack_from
_VERSION = Struct(">HH").unpack_from
SSL_REQUEST: Final = 80877103
GSSENC_REQUEST: Final = 80877104
CANCEL_REQUEST: Final = 80877102
NEWEST_MINOR: Final = 2
LONGEST_CANCEL_KEY: Final = 256


@dataclass(frozen=True, slots=True)
class SslRequest:
    """The client asks for TLS."""


@dataclass(frozen=True, slots=True)
class GssEncRequest:
    """The client asks for GSSAPI encryption."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The client asks to cancel what another connection runs, with that one's key."""

    process_id: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """Who the client is and what it wants. ``minor`` is the version of protocol 3 that both speak; ``asked_minor`` and
    ``unknown_options`` are what NegotiateProtocolVersion answers where they are not known here."""

    minor: int
    asked_minor: int
    parameters: Mapping[str, str]
    unknown_options: tuple[str, ...] = ()

    @property
    def needs_negotiation(self) -> bool:
        """Whether the client must be told what is not spoken here."""
        return self.asked_minor > NEWEST_MINOR or bool(self.unknown_options)


@dataclass(frozen=True, slots=True)
class PasswordMessage:
    """A password, or a token in its place."""

    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Query:
    """The simple protocol: SQL text, one or more statements."""

    sql: bytes


@dataclass(frozen=True, slots=True)
class Parse:
    """``types`` are the parameter types as the message carries them: a count and OIDs."""

    name: bytes
    sql: bytes
    types: bytes


@dataclass(frozen=True, slots=True)
class Bind:
    """``rest`` is everything behind the names: formats, values, result formats."""

    portal: bytes
    statement: bytes
    rest: bytes = field(repr=False)

    def renamed(self, statement: bytes) -> bytes:
        """The message with another statement name."""
        return messages.raw(b"B", self.portal + b"\0" + statement + b"\0" + self.rest)

    def parameter(self, number: int) -> bytes | None:
        """The value of parameter ``number`` (from 1), None for NULL. Raises ProtocolViolation where there is none."""
        position = _after_formats(self.rest, 0)
        (count,) = _INT16(self.rest, position)
        position += 2
        if not 1 <= number <= count:
            raise ProtocolViolation("A parameter is missing.", detail=f"Expected parameter {number} of {count}.")
        for _ in range(number - 1):
            position += 4 + max(_INT32(self.rest, position)[0], 0)
        (length,) = _INT32(self.rest, position)
        return None if length < 0 else self.rest[position + 4 : position + 4 + length]


@dataclass(frozen=True, slots=True)
class Describe:
    """``kind`` is b"S" for a statement, b"P" for a portal."""

    kind: bytes
    name: bytes


@dataclass(frozen=True, slots=True)
class Execute:
    """Run a portal; 0 rows means all."""

    portal: bytes
    max_rows: int


@dataclass(frozen=True, slots=True)
class Close:
    """``kind`` is b"S" for a statement, b"P" for a portal."""

    kind: bytes
    name: bytes


@dataclass(frozen=True, slots=True)
class Sync:
    """The end of an extended exchange."""


@dataclass(frozen=True, slots=True)
class Flush:
    """The client wants what is ready."""


@dataclass(frozen=True, slots=True)
class CopyData:
    """A piece of COPY data."""

    data: bytes = field(repr=False)

    def encode(self) -> bytes:
        """The message again."""
        return messages.raw(b"d", self.data)


@dataclass(frozen=True, slots=True)
class CopyDone:
    """The COPY data is complete."""

    def encode(self) -> bytes:
        """The message again."""
        return messages.raw(b"c", b"")


@dataclass(frozen=True, slots=True)
class CopyFail:
    """The client gives up its COPY; ``reason`` is for the error."""

    reason: bytes

    def encode(self) -> bytes:
        """The message again."""
        return messages.raw(b"f", self.reason + b"\0")


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The legacy call of a function by OID. It has no SQL that could be judged."""


@dataclass(frozen=True, slots=True)
class Terminate:
    """The client leaves."""


Request = (
    SslRequest | GssEncRequest | CancelRequest | StartupMessage | PasswordMessage | Query | Parse | Bind | Describe
    | Execute | Close | Sync | Flush | CopyData | CopyDone | CopyFail | FunctionCall | Terminate
)  # fmt: skip


def decode_startup(body: bytes) -> SslRequest | GssEncRequest | CancelRequest | StartupMessage:
    """The first packet of a connection, without its length. Raises ProtocolViolation."""
    if len(body) < 4:
        raise _violation("The startup packet is too short.", f"Got {len(body)} bytes.")
    (code,) = _INT32(body)
    if code in (SSL_REQUEST, GSSENC_REQUEST):
        if len(body) != 4:
            raise _violation("An encryption request has bytes left over.", f"Got {len(body)} bytes.")
        return SslRequest() if code == SSL_REQUEST else GssEncRequest()
    if code == CANCEL_REQUEST:
        if not 12 <= len(body) <= 8 + LONGEST_CANCEL_KEY:
            raise _violation("A cancel request has an impossible length.", f"Got {len(body)} bytes.")
        return CancelRequest(_INT32(body, 4)[0], body[8:])
    major, minor = _VERSION(body)
    if major != 3:
        raise _violation(
            f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{NEWEST_MINOR}",
            "The first packet is not that of a Postgres client.",
        )
    return _startup_message(body, minor)


def _startup_message(body: bytes, minor: int) -> StartupMessage:
    parameters: dict[str, str] = {}
    unknown: list[str] = []
    position = 4
    while True:
        name, position = _string(body, position)
        if not name:
            break
        value, position = _string(body, position)
        key = _text(name)
        if key.startswith("_pq_."):
            unknown.append(key)
        elif key in parameters:
            raise _violation("The startup packet names a parameter twice.", f"The parameter is {key[:63]!r}.")
        else:
            parameters[key] = _text(value)
    _finished(body, position)
    return StartupMessage(min(minor, NEWEST_MINOR), minor, parameters, tuple(unknown))


def decode(kind: int, body: bytes) -> Request:
    """A message with a type byte. Raises ProtocolViolation for an unknown type and for a body that does not fit."""
    decoder = DECODERS.get(kind)
    if decoder is None:
        raise _violation(f"invalid frontend message type {kind}", "It is not a message that clients send.")
    return decoder(body)


def _password(body: bytes) -> PasswordMessage:
    return PasswordMessage(_only_string(body))


def _parse(body: bytes) -> Parse:
    name, position = _string(body, 0)
    sql, position = _string(body, position)
    if len(body) - position < 2 or len(body) - position != 2 + 4 * _INT16(body, position)[0]:
        raise _violation("A Parse message does not fit its number of parameter types.")
    return Parse(name, sql, body[position:])


def _bind(body: bytes) -> Bind:
    portal, position = _string(body, 0)
    statement, start = _string(body, position)
    position = _after_formats(body, start)
    (count,) = _INT16(body, _within(body, position, 2))
    position += 2
    for _ in range(count):
        (length,) = _INT32(body, _within(body, position, 4))
        if length < -1:
            raise _violation("A parameter of Bind has a negative length.", f"Got {length}.")
        position = _within(body, position + 4, max(length, 0)) + max(length, 0)
    _finished(body, _after_formats(body, position))
    return Bind(portal, statement, body[start:])


def _after_formats(body: bytes, position: int) -> int:
    (count,) = _INT16(body, _within(body, position, 2))
    for index in range(count):
        if _INT16(body, _within(body, position + 2 + 2 * index, 2))[0] > 1:
            raise _violation("A format code of Bind is neither 0 nor 1.")
    return int(position + 2 + 2 * count)


def _describe(body: bytes) -> Describe:
    return Describe(*_kind_and_name(body))


def _close(body: bytes) -> Close:
    return Close(*_kind_and_name(body))


def _kind_and_name(body: bytes) -> tuple[bytes, bytes]:
    if body[:1] not in (b"S", b"P"):
        raise _violation("A message names neither a statement nor a portal.", "Expected S or P.")
    return body[:1], _only_string(body[1:])


def _execute(body: bytes) -> Execute:
    portal, position = _string(body, 0)
    (rows,) = _INT32(body, _within(body, position, 4))
    _finished(body, position + 4)
    return Execute(portal, max(rows, 0))


def _empty(make: Callable[[], Request]) -> Callable[[bytes], Request]:
    def decoder(body: bytes) -> Request:
        _finished(body, 0)
        return make()

    return decoder


DECODERS: Final[Mapping[int, Callable[[bytes], Request]]] = {
    ord("p"): _password,
    ord("Q"): lambda body: Query(_only_string(body)),
    ord("P"): _parse,
    ord("B"): _bind,
    ord("D"): _describe,
    ord("E"): _execute,
    ord("C"): _close,
    ord("S"): _empty(Sync),
    ord("H"): _empty(Flush),
    ord("d"): CopyData,
    ord("c"): _empty(CopyDone),
    ord("f"): lambda body: CopyFail(_only_string(body)),
    ord("F"): lambda body: FunctionCall(),
    ord("X"): _empty(Terminate),
}
"""Every message that a client may send after its startup."""


def _string(body: bytes, position: int) -> tuple[bytes, int]:
    end = body.find(b"\0", position)
    if end < 0:
        raise _violation("A string in a message has no end.")
    return body[position:end], end + 1


def _only_string(body: bytes) -> bytes:
    value, position = _string(body, 0)
    _finished(body, position)
    return value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as problem:
        raise _violation("The startup packet is not UTF-8.") from problem


def _within(body: bytes, position: int, length: int) -> int:
    if position + length > len(body):
        raise _violation("A message is cut short.", f"Its body ends after {len(body)} bytes.")
    return position


def _finished(body: bytes, position: int) -> None:
    if position != len(body):
        raise _violation("A message has bytes left over.", f"Expected {position} bytes in its body, got {len(body)}.")


def _violation(message: str, detail: str | None = None) -> ProtocolViolation:
    return ProtocolViolation(message, detail=detail)
