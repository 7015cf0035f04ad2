"""Bytes of a client, one packet or message at a time, made into the values of ``requests``.

A body that is cut short, that lies about a count or a length or that has bytes left over raises ProtocolViolation and
nothing else. Time is linear in the body, and the values of a Bind are stepped over, not taken out. This module never
joins chunks, never knows which message may come when, and never puts what it reads into an error.

Source: PostgreSQL 18, section 54.7, "Message Formats", the messages marked F.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from struct import error as StructError
from types import MappingProxyType
from typing import Final

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.messages import CANCEL_REQUEST_CODE, SSL_REQUEST_CODE
from rowgate.pgwire.server.requests import (
    GSSENC_REQUEST_CODE,
    MAJOR_VERSION,
    NEWEST_MINOR_VERSION,
    Bind,
    CancelRequest,
    Close,
    CopyData,
    CopyDone,
    CopyFail,
    Describe,
    Execute,
    Flush,
    FunctionCall,
    GssEncRequest,
    Message,
    Packet,
    Parse,
    PasswordMessage,
    Query,
    SslRequest,
    StartupMessage,
    Sync,
    Terminate,
)
from rowgate.pgwire.server.state_table import Kind

_COUNT = Struct(">H").unpack_from
_INT32 = Struct(">i").unpack_from
_OID = Struct(">I").unpack_from

_MIN_KEY_BYTES = 4
_MAX_KEY_BYTES = 256


def packet_kind(code: int) -> Kind:
    """The kind of a packet without a type byte, by its first four bytes: a request code or a protocol version.

    Raises ProtocolViolation for every version that is not 3 (2.0 ended with PostgreSQL 14) and for what is no version
    at all. Source: section 54.7, StartupMessage, SSLRequest, GSSENCRequest, CancelRequest.
    """
    if code >> 16 == MAJOR_VERSION:
        return Kind.STARTUP
    kind = _REQUEST_CODES.get(code)
    if kind is None:
        raise ProtocolViolation(
            "The client speaks another protocol.",
            detail=f"Expected version 3.0 to 3.{NEWEST_MINOR_VERSION}, got {code >> 16}.{code & 0xFFFF}.",
            hint="Connect with a client of PostgreSQL 7.4 or later.",
        )
    return kind


def decode_packet(kind: Kind, body: bytes) -> Packet:
    """The value of a packet; ``body`` is everything behind its length. Raises ProtocolViolation."""
    if kind is Kind.STARTUP:
        return _startup(body)
    if kind is Kind.CANCEL_REQUEST:
        if not 8 + _MIN_KEY_BYTES <= len(body) <= 8 + _MAX_KEY_BYTES:
            raise ProtocolViolation(
                "The key of a CancelRequest has an impossible length.",
                detail=f"Expected {_MIN_KEY_BYTES} to {_MAX_KEY_BYTES} bytes, got {len(body) - 8}.",
            )
        return CancelRequest(_INT32(body, 4)[0], body[8:])
    request = SslRequest() if kind is Kind.SSL_REQUEST else GssEncRequest()
    _finished(body, 4, type(request).__name__)
    return request


def decode_message(kind: int, body: bytes) -> Message:
    """The value of a message of a known type; ``kind`` is its type byte. Raises ProtocolViolation."""
    return DECODERS[kind](body)


def _startup(body: bytes) -> StartupMessage:
    what = "StartupMessage"
    pairs: dict[bytes, bytes] = {}
    position = 4
    while True:
        name, position = _string(body, position, what)
        if not name:
            break
        value, position = _string(body, position, what)
        if name in pairs:
            # Postgres takes the last one; who checked the first one would have checked for nothing.
            raise ProtocolViolation("A startup parameter comes twice.", detail=f"It is number {len(pairs) + 1}.")
        pairs[name] = value
    _finished(body, position, what)
    try:
        b"\0".join([*pairs, *pairs.values()]).decode()
    except UnicodeDecodeError:
        raise ProtocolViolation(
            "A startup parameter is not UTF-8.", detail="Expected names and values as UTF-8."
        ) from None
    if not pairs.get(b"user"):
        raise ProtocolViolation("The StartupMessage names no user.", detail="Expected the parameter user.")
    return StartupMessage(_COUNT(body, 2)[0], tuple(pairs.items()))


def _password(body: bytes) -> PasswordMessage:
    return PasswordMessage(_only_string(body, "PasswordMessage"))


def _query(body: bytes) -> Query:
    return Query(_only_string(body, "Query"))


def _parse(body: bytes) -> Parse:
    what = "Parse"
    name, position = _string(body, 0, what)
    sql, position = _string(body, position, what)
    if len(body) - position < 2:
        raise _cut_short(body, what)
    _finished(body, position + 2 + 4 * _COUNT(body, position)[0], what)
    return Parse(name, sql, body[position:])


def _bind(body: bytes) -> Bind:
    what = "Bind"
    portal, position = _string(body, 0, what)
    statement, start = _string(body, position, what)
    position = _after_codes(body, _after_values(body, _after_codes(body, start, what), what), what)
    _finished(body, position, what)
    # A view, because a copy of megabytes would be the second one: the body itself was copied from the stream.
    return Bind(portal, statement, memoryview(body)[start:])


def _function_call(body: bytes) -> FunctionCall:
    what = "FunctionCall"
    if len(body) < 4:
        raise _cut_short(body, what)
    _finished(body, _after_values(body, _after_codes(body, 4, what), what) + 2, what)
    return FunctionCall(_OID(body)[0], body[4:])


def _describe(body: bytes) -> Describe:
    return Describe(*_kind_and_name(body, "Describe"))


def _close(body: bytes) -> Close:
    return Close(*_kind_and_name(body, "Close"))


def _execute(body: bytes) -> Execute:
    what = "Execute"
    portal, position = _string(body, 0, what)
    _finished(body, position + 4, what)
    (max_rows,) = _INT32(body, position)
    if max_rows < 0:
        raise ProtocolViolation("An Execute asks for a negative number of rows.", detail=f"Got {max_rows}.")
    return Execute(portal, max_rows)


def _copy_fail(body: bytes) -> CopyFail:
    return CopyFail(_only_string(body, "CopyFail"))


def _empty(value: Message) -> Callable[[bytes], Message]:
    """A decoder for messages without a body, which all are one and the same value."""

    def decode(body: bytes) -> Message:
        _finished(body, 0, type(value).__name__)
        return value

    return decode


DECODERS: Final[Mapping[int, Callable[[bytes], Message]]] = MappingProxyType(
    {
        Kind.PASSWORD: _password,
        Kind.QUERY: _query,
        Kind.PARSE: _parse,
        Kind.BIND: _bind,
        Kind.DESCRIBE: _describe,
        Kind.EXECUTE: _execute,
        Kind.CLOSE: _close,
        Kind.SYNC: _empty(Sync()),
        Kind.FLUSH: _empty(Flush()),
        Kind.COPY_DATA: CopyData,
        Kind.COPY_DONE: _empty(CopyDone()),
        Kind.COPY_FAIL: _copy_fail,
        Kind.FUNCTION_CALL: _function_call,
        Kind.TERMINATE: _empty(Terminate()),
    }
)
"""The decoder of each message with a type byte."""

KIND_OF: Final[Mapping[type, Kind]] = MappingProxyType(
    {
        PasswordMessage: Kind.PASSWORD,
        Query: Kind.QUERY,
        Parse: Kind.PARSE,
        Bind: Kind.BIND,
        Describe: Kind.DESCRIBE,
        Execute: Kind.EXECUTE,
        Close: Kind.CLOSE,
        Sync: Kind.SYNC,
        Flush: Kind.FLUSH,
        CopyData: Kind.COPY_DATA,
        CopyDone: Kind.COPY_DONE,
        CopyFail: Kind.COPY_FAIL,
        FunctionCall: Kind.FUNCTION_CALL,
        Terminate: Kind.TERMINATE,
    }
)
"""The way back: the kind of each value of a message with a type byte."""

_REQUEST_CODES: Final[Mapping[int, Kind]] = {
    CANCEL_REQUEST_CODE: Kind.CANCEL_REQUEST,
    SSL_REQUEST_CODE: Kind.SSL_REQUEST,
    GSSENC_REQUEST_CODE: Kind.GSSENC_REQUEST,
}


def _string(body: bytes, position: int, what: str) -> tuple[bytes, int]:
    end = body.find(b"\0", position)
    if end < 0:
        raise _cut_short(body, what)
    return body[position:end], end + 1


def _only_string(body: bytes, what: str) -> bytes:
    value, position = _string(body, 0, what)
    _finished(body, position, what)
    return value


def _kind_and_name(body: bytes, what: str) -> tuple[bytes, bytes]:
    kind = body[:1]
    if kind not in (b"S", b"P"):
        raise ProtocolViolation(
            f"A {what} names neither a statement nor a portal.", detail=f"Expected b'S' or b'P', got {kind!r}."
        )
    return kind, _only_string(body[1:], what)


def _after_codes(body: bytes, position: int, what: str) -> int:
    """Step over a count and as many format codes. Counts are unsigned, as Postgres reads them: up to 65,535."""
    if len(body) - position < 2:
        raise _cut_short(body, what)
    return int(position + 2 + 2 * _COUNT(body, position)[0])


def _after_values(body: bytes, position: int, what: str) -> int:
    """Step over a count and as many values, each a length (-1 is NULL) and its bytes."""
    try:
        (count,) = _COUNT(body, position)
        position += 2
        for _ in range(count):
            (length,) = _INT32(body, position)
            position += 4
            if length > 0:
                position += length
            elif length < -1:
                raise ProtocolViolation(
                    f"A value of a {what} has a negative length.", detail=f"Expected -1 or more, got {length}."
                )
    except StructError:
        raise _cut_short(body, what) from None
    return position


def _finished(body: bytes, position: int, what: str) -> None:
    if position > len(body):
        raise _cut_short(body, what)
    if position < len(body):
        raise ProtocolViolation(
            f"A {what} has bytes left over.", detail=f"Expected {position} bytes in its body, got {len(body)}."
        )


def _cut_short(body: bytes, what: str) -> ProtocolViolation:
    return ProtocolViolation(f"A {what} is cut short.", detail=f"Its body ends after {len(body)} bytes.")
