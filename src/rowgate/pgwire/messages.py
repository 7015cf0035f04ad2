"""Messages from the client to Postgres, protocol 3.0: values in, bytes out.

Every function returns one complete message. Parameters and results are always in text format. This module never
reads a message, never joins messages into a conversation and never logs what it encodes.

Source: the Postgres documentation, chapter "Frontend/Backend Protocol", section "Message Formats".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Final

from rowgate.errors import MalformedParameter
from rowgate.pgwire.implementation import IS_COMPILED, compiled

PROTOCOL_VERSION: Final = 196608
"""3.0: the major version in the upper 16 bits, the minor version in the lower 16."""

SSL_REQUEST_CODE: Final = 80877103
CANCEL_REQUEST_CODE: Final = 80877102

MAX_PARAMETERS: Final = 65535
"""Bind counts parameters in 16 bits."""

MAX_MESSAGE_BYTES: Final = 0x3FFFFFFE
"""The longest message that a server reads: one byte below its largest single allocation of 1 GiB."""

SYNC: Final = b"S\x00\x00\x00\x04"
FLUSH: Final = b"H\x00\x00\x00\x04"
TERMINATE: Final = b"X\x00\x00\x00\x04"

_INT16 = Struct(">H").pack
_INT32 = Struct(">i").pack
_NULL = _INT32(-1)
_HEADER = Struct(">ci").pack


def text(value: str, what: str = "A text") -> bytes:
    """Encode ``value`` as the UTF-8 that Postgres takes; ``what`` names it in the error, never by its content.

    Raises MalformedParameter for U+0000 and for a lone surrogate.
    """
    if "\0" in value:
        raise MalformedParameter(
            f"{what} contains a NUL character.", detail="Expected text without U+0000, which Postgres cannot store."
        )
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise MalformedParameter(
            f"{what} contains a lone surrogate.",
            detail=f"Expected text that has a UTF-8 form; the character at index {error.start} has none.",
        ) from None


def startup(parameters: Mapping[str, str]) -> bytes:
    """StartupMessage: the protocol version, then name and value of each parameter (``user`` is the one required).

    Raises MalformedParameter for an empty name, which would end the list early, and for what ``text`` refuses.
    """
    parts = [_INT32(PROTOCOL_VERSION)]
    for name, value in parameters.items():
        if not name:
            raise MalformedParameter("A startup parameter has an empty name.", detail="Expected a name, got ''.")
        parts += (text(name, "A startup parameter's name"), b"\0", text(value, f"Startup parameter {name!r}"), b"\0")
    parts.append(b"\0")
    payload = b"".join(parts)
    return _INT32(len(payload) + 4) + payload


def ssl_request() -> bytes:
    """SSLRequest: asks for TLS before anything else is said."""
    return _INT32(8) + _INT32(SSL_REQUEST_CODE)


def cancel_request(process_id: int, secret: bytes) -> bytes:
    """CancelRequest for a connection of its own; both values as BackendKeyData gave them."""
    return _INT32(12 + len(secret)) + _INT32(CANCEL_REQUEST_CODE) + _INT32(process_id) + secret


def password(secret: bytes) -> bytes:
    """PasswordMessage: the cleartext password, or the md5 answer. Raises MalformedParameter for a NUL byte."""
    return _message(b"p", _terminated(secret, "The password"))


def sasl_initial(mechanism: bytes, data: bytes) -> bytes:
    """SASLInitialResponse: the chosen mechanism and the client's first message."""
    return _message(b"p", _terminated(mechanism, "The SASL mechanism") + _INT32(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    """SASLResponse: a later message of the client."""
    return _message(b"p", data)


def parse(statement: bytes, sql: bytes, parameter_types: Sequence[int] = ()) -> bytes:
    """Parse: prepare ``sql`` under the name ``statement`` (b"" for the unnamed one).

    ``parameter_types`` are type OIDs, 0 for "the server infers it". Raises MalformedParameter for a NUL byte in the
    name or the SQL, and for more than 65,535 types.
    """
    types = b"".join([oid.to_bytes(4, "big") for oid in parameter_types])
    return _message(
        b"P",
        _terminated(statement, "The statement's name")
        + _terminated(sql, "The statement")
        + _count(len(parameter_types))
        + types,
    )


def bind(portal: bytes, statement: bytes, parameters: Sequence[bytes | None]) -> bytes:
    """Bind: ``parameters`` in text format (None is NULL) to a prepared statement; all results in text format.

    Raises MalformedParameter for a NUL byte in a name, and for more than 65,535 parameters.
    """
    parts = [
        _terminated(portal, "The portal's name"),
        _terminated(statement, "The statement's name"),
        b"\0\0",  # no format codes: every parameter is text
        _count(len(parameters)),
    ]
    for value in parameters:
        if value is None:
            parts.append(_NULL)
        elif len(value) > MAX_MESSAGE_BYTES:
            raise _too_long(len(value))
        else:
            parts.append(_INT32(len(value)))
            parts.append(value)
    parts.append(b"\0\0")  # no format codes: every result column is text
    return _message(b"B", b"".join(parts))


def bind_head(statement: bytes, parameter_count: int) -> bytes:
    """What every Bind of one prepared statement to the unnamed portal begins with, for ``bind_to``."""
    return b"\0" + _terminated(statement, "The statement's name") + b"\0\0" + _count(parameter_count)


def bind_to(head: bytes, parameters: Sequence[bytes | None]) -> bytes:
    """The message that ``bind`` makes, from a head that was made once for as many parameters."""
    if IS_COMPILED:
        message = compiled.bind_to(head, parameters, MAX_MESSAGE_BYTES)
        if message is not None:
            return message
    return bind_to_in_python(head, parameters)


def bind_to_in_python(head: bytes, parameters: Sequence[bytes | None]) -> bytes:
    """The same, without the compiled module."""
    parts = [head]
    for value in parameters:
        if value is None:
            parts.append(_NULL)
        else:
            parts.append(_INT32(len(value)))
            parts.append(value)
    parts.append(b"\0\0")
    return _message(b"B", b"".join(parts))


def describe_statement(statement: bytes) -> bytes:
    """Describe for a prepared statement: asks for ParameterDescription and RowDescription (or NoData)."""
    return _message(b"D", b"S" + _terminated(statement, "The statement's name"))


def describe_portal(portal: bytes) -> bytes:
    """Describe for a portal: asks for RowDescription (or NoData)."""
    return _message(b"D", b"P" + _terminated(portal, "The portal's name"))


def execute(portal: bytes, max_rows: int = 0) -> bytes:
    """Execute: run a portal; after ``max_rows`` rows the server suspends it, 0 means never."""
    return _message(b"E", _terminated(portal, "The portal's name") + _INT32(max_rows))


def close_statement(statement: bytes) -> bytes:
    """Close for a prepared statement; closing a name that does not exist is no error."""
    return _message(b"C", b"S" + _terminated(statement, "The statement's name"))


def query(sql: bytes) -> bytes:
    """Query: the simple protocol. Raises MalformedParameter for a NUL byte."""
    return _message(b"Q", _terminated(sql, "The statement"))


def copy_fail(reason: bytes) -> bytes:
    """CopyFail: ends a COPY FROM STDIN that was not wanted; the server answers with an ErrorResponse."""
    return _message(b"f", _terminated(reason, "The reason"))


def raw(kind: bytes, body: bytes) -> bytes:
    """A message of any type from a body that is ready. Raises MalformedParameter for one that is too long."""
    return _message(kind, body)


def _message(kind: bytes, payload: bytes) -> bytes:
    if len(payload) > MAX_MESSAGE_BYTES - 4:
        raise _too_long(len(payload))
    return _HEADER(kind, len(payload) + 4) + payload


def _terminated(value: bytes, what: str) -> bytes:
    if b"\0" in value:
        raise MalformedParameter(
            f"{what} contains a NUL character.", detail="Expected bytes without 0x00, which ends a string here."
        )
    return value + b"\0"


def _count(count: int) -> bytes:
    if count > MAX_PARAMETERS:
        raise MalformedParameter(
            "The statement has too many parameters.",
            detail=f"Expected at most {MAX_PARAMETERS}, got {count}.",
            hint="Send one array and use unnest($1::type[]) instead of one parameter per value.",
        )
    return _INT16(count)


def _too_long(length: int) -> MalformedParameter:
    return MalformedParameter(
        "The message is longer than Postgres reads.",
        detail=f"Expected at most {MAX_MESSAGE_BYTES} bytes, got {length}.",
        hint="Send the data in several statements.",
    )
