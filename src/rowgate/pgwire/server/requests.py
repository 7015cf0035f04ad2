"""What a client of the Postgres protocol sends, as frozen values that can be made into bytes again.

Strings stay the bytes that came. A message that names a prepared statement can be written again under another name
without its parameters being looked at, because a Bind may be megabytes. What may be secret (a password, a cancel key,
SQL, parameters, COPY data) is in no repr. This module never reads bytes: ``decoding`` does; and it never answers.

Source: PostgreSQL 18, section 54.7, "Message Formats", the messages marked F.
"""

from __future__ import annotations

from struct import Struct
from typing import ClassVar, Final

import msgspec

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.messages import CANCEL_REQUEST_CODE, SSL_REQUEST_CODE

GSSENC_REQUEST_CODE: Final = 80877104
MAJOR_VERSION: Final = 3
NEWEST_MINOR_VERSION: Final = 2
"""3.2, of PostgreSQL 18: cancel keys of up to 256 bytes are what it adds (section 54.1.4)."""
OPTION_PREFIX: Final = b"_pq_."
"""Startup parameters of this prefix are options of the protocol itself (section 54.2.1)."""

_COUNT = Struct(">H").unpack_from
_INT32 = Struct(">i").unpack_from


class SslRequest(msgspec.Struct, frozen=True):
    """SSLRequest: the client asks for TLS and sends nothing before the answer."""

    def encode(self) -> bytes:
        """The packet again."""
        return _packet(SSL_REQUEST_CODE.to_bytes(4, "big"))


class GssEncRequest(msgspec.Struct, frozen=True):
    """GSSENCRequest: the client asks for GSSAPI encryption and sends nothing before the answer."""

    def encode(self) -> bytes:
        """The packet again."""
        return _packet(GSSENC_REQUEST_CODE.to_bytes(4, "big"))


class TlsClientHello(msgspec.Struct, frozen=True):
    """TLS begins with the first byte, without an SSLRequest (section 54.2.10, ``sslnegotiation=direct``).

    All bytes of the chunk that began with it belong to TLS, and TLS must agree on the ALPN protocol ``postgresql``.
    """


class CancelRequest(msgspec.Struct, frozen=True):
    """CancelRequest: cancel what another connection runs. Nothing is ever answered, whether the key fits or not."""

    process_id: int
    key: bytes

    def encode(self) -> bytes:
        """The packet again."""
        head = Struct(">ii").pack(CANCEL_REQUEST_CODE, self.process_id)
        return _packet(head, self.key)

    def __repr__(self) -> str:
        """The process and the key's length; never the key."""
        return f"CancelRequest(process_id={self.process_id}, key={_length(self.key)})"


class StartupMessage(msgspec.Struct, frozen=True):
    """StartupMessage of protocol 3: the minor version that was asked for, and all parameters in their order.

    ``pairs`` are names and values as they came, the protocol's own options included; decoding has made sure that they
    are UTF-8, that no name comes twice and that there is a user.
    """

    asked_minor: int
    pairs: tuple[tuple[bytes, bytes], ...]

    @property
    def minor(self) -> int:
        """The minor version that this connection speaks: the newest known here that is not newer than asked for.

        There is no 3.1 (section 54.1.4 skips it), so who asks for it gets 3.0.
        """
        return NEWEST_MINOR_VERSION if self.asked_minor >= NEWEST_MINOR_VERSION else 0

    @property
    def parameters(self) -> dict[str, str]:
        """The run-time parameters as text, in their order, ``user`` among them; without the protocol's options."""
        return {name.decode(): value.decode() for name, value in self.pairs if not name.startswith(OPTION_PREFIX)}

    @property
    def unknown_options(self) -> tuple[str, ...]:
        """The names of the protocol options that were asked for; none is known here."""
        return tuple(name.decode() for name, _ in self.pairs if name.startswith(OPTION_PREFIX))

    @property
    def needs_negotiation(self) -> bool:
        """Whether NegotiateProtocolVersion must be sent before anything else (section 54.2.1)."""
        return self.asked_minor != self.minor or bool(self.unknown_options)

    def encode(self) -> bytes:
        """The packet again, byte for byte."""
        version = Struct(">HH").pack(MAJOR_VERSION, self.asked_minor)
        return _packet(version, *[name + b"\0" + value + b"\0" for name, value in self.pairs], b"\0")


class PasswordMessage(msgspec.Struct, frozen=True):
    """PasswordMessage: a cleartext password, or a token in its place. It may be empty."""

    password: bytes

    def encode(self) -> bytes:
        """The message again."""
        return _message(b"p", self.password, b"\0")

    def __repr__(self) -> str:
        """No password, and not its length either."""
        return "PasswordMessage(...)"


class Query(msgspec.Struct, frozen=True):
    """Query: the simple protocol; any number of statements in one text (section 54.2.2)."""

    sql: bytes

    def encode(self) -> bytes:
        """The message again."""
        return _message(b"Q", self.sql, b"\0")

    def __repr__(self) -> str:
        """The length of the SQL, which may hold secrets."""
        return f"Query(sql={_length(self.sql)})"


class Parse(msgspec.Struct, frozen=True):
    """Parse: prepare ``sql`` as ``name`` (b"" for the unnamed statement).

    ``types`` are the parameter types as they came: a 16-bit count, and as many OIDs.
    """

    name: bytes
    sql: bytes
    types: bytes

    @property
    def type_oids(self) -> tuple[int, ...]:
        """The type OIDs in order; 0 leaves the type to the server."""
        (count,) = _COUNT(self.types)
        return Struct(f">{count}I").unpack_from(self.types, 2)

    def renamed(self, statement: bytes) -> bytes:
        """The message with another statement name, which must hold no NUL."""
        return _message(b"P", statement, b"\0", self.sql, b"\0", self.types)

    def encode(self) -> bytes:
        """The message again, byte for byte."""
        return self.renamed(self.name)

    def __repr__(self) -> str:
        """The name and the length of the SQL, which may hold secrets."""
        return f"Parse(name={self.name!r}, sql={_length(self.sql)}, type_oids={self.type_oids})"


class Bind(msgspec.Struct, frozen=True):
    """Bind: make ``portal`` from ``statement``.

    ``tail`` is everything behind the names as it came: format codes, values, result format codes. Decoding has checked
    its structure, not its sense: whether the codes exist and fit the values is for Postgres to say.
    """

    portal: bytes
    statement: bytes
    tail: bytes | memoryview

    @property
    def format_codes(self) -> tuple[int, ...]:
        """The values' format codes: none (all text), one for all, or one for each; 0 is text, 1 is binary."""
        return _codes(self.tail, 0)

    @property
    def result_format_codes(self) -> tuple[int, ...]:
        """The format codes of the result's columns: none (all text), one for all, or one for each."""
        position = 2 + 2 * _COUNT(self.tail)[0]
        (count,) = _COUNT(self.tail, position)
        return _codes(self.tail, self._after_values(position + 2, count))

    @property
    def parameter_count(self) -> int:
        """How many values there are."""
        return _COUNT(self.tail, 2 + 2 * _COUNT(self.tail)[0])[0]  # type: ignore[no-any-return]

    def parameter(self, number: int) -> bytes | None:
        """The value of the parameter ``$number``, from 1; None for NULL. Raises ProtocolViolation if there is none."""
        count = self.parameter_count
        if not 1 <= number <= count:
            raise ProtocolViolation("A Bind lacks a parameter.", detail=f"Expected ${number}, got {count} parameters.")
        first = 4 + 2 * _COUNT(self.tail)[0]
        return self._value(self._after_values(first, number - 1))

    def renamed(self, statement: bytes) -> bytes:
        """The message with another statement name, which must hold no NUL; its values are copied in one piece."""
        return _message(b"B", self.portal, b"\0", statement, b"\0", self.tail)

    def encode(self) -> bytes:
        """The message again, byte for byte."""
        return self.renamed(self.statement)

    def _after_values(self, position: int, count: int) -> int:
        for _ in range(count):
            position += 4 + max(_INT32(self.tail, position)[0], 0)
        return position

    def _value(self, position: int) -> bytes | None:
        (length,) = _INT32(self.tail, position)
        return None if length < 0 else bytes(self.tail[position + 4 : position + 4 + length])

    def __repr__(self) -> str:
        """The names and the number of the values; never a value."""
        return f"Bind(portal={self.portal!r}, statement={self.statement!r}, parameter_count={self.parameter_count})"


class _Named(msgspec.Struct, frozen=True):
    """Describe and Close: ``kind`` is b"S" for a prepared statement and b"P" for a portal; ``name`` names it."""

    type_byte: ClassVar[bytes]
    kind: bytes
    name: bytes

    def renamed(self, statement: bytes) -> bytes:
        """The message with another statement name, which must hold no NUL; a portal keeps its own name."""
        return _message(self.type_byte, self.kind, statement if self.kind == b"S" else self.name, b"\0")

    def encode(self) -> bytes:
        """The message again."""
        return self.renamed(self.name)


class Describe(_Named, frozen=True):
    """Describe: what a statement takes and gives, or what a portal gives."""

    type_byte: ClassVar[bytes] = b"D"


class Close(_Named, frozen=True):
    """Close a statement or a portal; one that does not exist is no error (section 54.2.3)."""

    type_byte: ClassVar[bytes] = b"C"


class Execute(msgspec.Struct, frozen=True):
    """Execute: run ``portal`` and suspend it after ``max_rows`` rows; 0 means never."""

    portal: bytes
    max_rows: int

    def encode(self) -> bytes:
        """The message again."""
        return _message(b"E", self.portal, b"\0", self.max_rows.to_bytes(4, "big"))


class _Empty(msgspec.Struct, frozen=True):
    """A message without a body."""

    type_byte: ClassVar[bytes]

    def encode(self) -> bytes:
        """The message again."""
        return _message(self.type_byte)


class Sync(_Empty, frozen=True):
    """Sync: the end of an extended exchange; ReadyForQuery answers it, also after an error (section 54.2.3)."""

    type_byte: ClassVar[bytes] = b"S"


class Flush(_Empty, frozen=True):
    """Flush: send what is ready; nothing of its own answers it."""

    type_byte: ClassVar[bytes] = b"H"


class CopyDone(_Empty, frozen=True):
    """CopyDone: the COPY data is complete."""

    type_byte: ClassVar[bytes] = b"c"


class Terminate(_Empty, frozen=True):
    """Terminate: the client leaves (section 54.2.9)."""

    type_byte: ClassVar[bytes] = b"X"


class CopyData(msgspec.Struct, frozen=True):
    """CopyData: a piece of COPY data, cut anywhere."""

    data: bytes

    def encode(self) -> bytes:
        """The message again."""
        return _message(b"d", self.data)

    def __repr__(self) -> str:
        """The length of the data."""
        return f"CopyData(data={_length(self.data)})"


class CopyFail(msgspec.Struct, frozen=True):
    """CopyFail: the client gives up its COPY; ``reason`` goes into the error."""

    reason: bytes

    def encode(self) -> bytes:
        """The message again."""
        return _message(b"f", self.reason, b"\0")


class FunctionCall(msgspec.Struct, frozen=True):
    """FunctionCall: calls a function by its OID, with no SQL that could be judged (section 54.2.5); to be refused.

    ``tail`` is everything behind the OID as it came.
    """

    function_oid: int
    tail: bytes

    def encode(self) -> bytes:
        """The message again."""
        return _message(b"F", self.function_oid.to_bytes(4, "big"), self.tail)

    def __repr__(self) -> str:
        """The function; never an argument."""
        return f"FunctionCall(function_oid={self.function_oid})"


Packet = SslRequest | GssEncRequest | CancelRequest | StartupMessage
"""What a connection begins with, without a type byte."""

Message = (
    PasswordMessage | Query | Parse | Bind | Describe | Execute | Close | Sync | Flush
    | CopyData | CopyDone | CopyFail | FunctionCall | Terminate
)  # fmt: skip
"""What comes after the startup packet, with a type byte."""

Request = Packet | TlsClientHello | Message
"""Everything that a client sends."""


def _packet(*parts: bytes) -> bytes:
    return b"".join(((4 + sum(map(len, parts))).to_bytes(4, "big"), *parts))


def _message(kind: bytes, *parts: bytes | memoryview) -> bytes:
    return b"".join((kind, (4 + sum(map(len, parts))).to_bytes(4, "big"), *parts))


def _codes(tail: bytes | memoryview, position: int) -> tuple[int, ...]:
    (count,) = _COUNT(tail, position)
    return Struct(f">{count}h").unpack_from(tail, position + 2)


def _length(secret: bytes) -> str:
    return f"<{len(secret)} bytes>"
