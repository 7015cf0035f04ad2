"""What a server of the Postgres protocol says itself: values in, bytes out.

A gateway passes most answers on as they came; these are the ones that it makes: the login, errors, and the answers to
what it does in Postgres's place. This module never reads a message and never decides what to say.

Source: PostgreSQL 18, section 54.7, "Message Formats", the messages marked B, and section 54.8 for the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Final, Literal

from rowgate.errors import DatabaseError, InternalFault, RowgateError, StatementRefused, UnsupportedStatement
from rowgate.pgwire.fields import Field
from rowgate.pgwire.messages import text
from rowgate.pgwire.server.requests import MAJOR_VERSION

Severity = Literal["ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "DEBUG", "INFO", "LOG"]
TEXT_FORMAT: Final = 0
BINARY_FORMAT: Final = 1

IDLE: Final = ord("I")
IN_TRANSACTION: Final = ord("T")
IN_FAILED_TRANSACTION: Final = ord("E")
"""The transaction's status in ReadyForQuery."""

_INT16 = Struct(">h").pack
_COUNT = Struct(">H").pack
_INT32 = Struct(">i").pack
_COLUMN = Struct(">IHIhih").pack
_HEADER = Struct(">ci").pack
_NULL = _INT32(-1)


def _message(kind: bytes, body: bytes = b"") -> bytes:
    return _HEADER(kind, len(body) + 4) + body


TLS_ACCEPTED: Final = b"S"
ENCRYPTION_DECLINED: Final = b"N"
"""The single bytes that answer SSLRequest and GSSENCRequest."""

AUTHENTICATION_OK: Final = _message(b"R", _INT32(0))
AUTHENTICATION_CLEARTEXT_PASSWORD: Final = _message(b"R", _INT32(3))
PARSE_COMPLETE: Final = _message(b"1")
BIND_COMPLETE: Final = _message(b"2")
CLOSE_COMPLETE: Final = _message(b"3")
EMPTY_QUERY_RESPONSE: Final = _message(b"I")
NO_DATA: Final = _message(b"n")
PORTAL_SUSPENDED: Final = _message(b"s")
COPY_DONE: Final = _message(b"c")


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus: a run-time parameter and its value. Raises MalformedParameter for NUL or a lone surrogate."""
    body = (text(name, "A parameter's name"), b"\0", text(value, "A parameter's value"), b"\0")
    return _message(b"S", b"".join(body))


def backend_key_data(process_id: int, key: bytes) -> bytes:
    """BackendKeyData: what a CancelRequest needs; the key has 4 bytes in protocol 3.0 and up to 256 in 3.2."""
    return _message(b"K", _INT32(process_id) + key)


def negotiate_protocol_version(minor: int, unknown_options: Sequence[str]) -> bytes:
    """NegotiateProtocolVersion: the minor version that is spoken instead, and the options that are not known.

    It holds the whole version, as Postgres sends it and libpq reads it. Raises MalformedParameter for an option with
    NUL or a lone surrogate.
    """
    options = [text(option, "An option") + b"\0" for option in unknown_options]
    return _message(b"v", _INT32(MAJOR_VERSION << 16 | minor) + _INT32(len(options)) + b"".join(options))


def ready_for_query(status: int) -> bytes:
    """ReadyForQuery: ``status`` is IDLE, IN_TRANSACTION or IN_FAILED_TRANSACTION."""
    return _message(b"Z", bytes((status,)))


def command_complete(tag: str) -> bytes:
    """CommandComplete with its tag. Raises MalformedParameter for NUL or a lone surrogate."""
    return _message(b"C", text(tag, "A command tag") + b"\0")


def parameter_description(type_oids: Sequence[int]) -> bytes:
    """ParameterDescription: the type OID of each parameter."""
    return _message(b"t", Struct(f">H{len(type_oids)}I").pack(len(type_oids), *type_oids))


def row_description(fields: Sequence[Field], format_code: int = TEXT_FORMAT) -> bytes:
    """RowDescription: the columns, all in one format. Raises MalformedParameter for a name with NUL or a surrogate."""
    columns = [
        text(field.name, "A column's name")
        + b"\0"
        + _COLUMN(
            field.table_oid,
            field.column_number,
            field.type_oid,
            field.type_size,
            field.type_modifier,
            format_code,
        )
        for field in fields
    ]
    return _message(b"T", _COUNT(len(columns)) + b"".join(columns))


def data_row(values: Sequence[bytes | None]) -> bytes:
    """DataRow: one value for each column, None for NULL."""
    parts = [_COUNT(len(values))]
    for value in values:
        parts += (_NULL,) if value is None else (_INT32(len(value)), value)
    return _message(b"D", b"".join(parts))


def copy_in_response(format_code: int, column_format_codes: Sequence[int]) -> bytes:
    """CopyInResponse: the server waits for COPY data in this format."""
    return _copy_response(b"G", format_code, column_format_codes)


def copy_out_response(format_code: int, column_format_codes: Sequence[int]) -> bytes:
    """CopyOutResponse: COPY data in this format follows."""
    return _copy_response(b"H", format_code, column_format_codes)


def error_response(fields: Mapping[str, str]) -> bytes:
    """ErrorResponse from field codes (section 54.8) and their texts, in the order of the mapping.

    An error must always arrive, so a NUL becomes U+FFFD and a lone surrogate a question mark. Raises InternalFault for
    a code that is not one byte other than NUL.
    """
    return _message(b"E", _fields(fields))


def notice_response(fields: Mapping[str, str]) -> bytes:
    """NoticeResponse; as ``error_response``."""
    return _message(b"N", _fields(fields))


def error_fields_of(error: RowgateError, severity: Severity) -> dict[str, str]:
    """The fields of one of our errors.

    Postgres's own error keeps all of its fields, its severity too, and gets only what it lacks of those that are always
    there. The stable code of any other travels as the routine, ``rowgate:<code>``, as it does over HTTP.
    """
    always = {"S": severity, "V": severity, "C": error.sqlstate, "M": error.message}
    if isinstance(error, DatabaseError):
        return always | error.fields
    fields: dict[str, str] = dict(always)
    if error.detail is not None:
        fields["D"] = error.detail
    if error.hint is not None:
        fields["H"] = error.hint
    if isinstance(error, StatementRefused):
        fields["C"] = error.refused_sqlstate
        if error.position is not None:
            fields["P"] = str(error.position)
    fields["R"] = "rowgate:" + error.code
    return fields


def error_of(error: RowgateError, severity: Severity) -> bytes:
    """ErrorResponse for one of our errors."""
    return error_response(error_fields_of(error, severity))


def _copy_response(kind: bytes, format_code: int, column_format_codes: Sequence[int]) -> bytes:
    codes = b"".join([_INT16(code) for code in column_format_codes])
    return _message(kind, bytes((format_code,)) + _COUNT(len(column_format_codes)) + codes)


def _fields(fields: Mapping[str, str]) -> bytes:
    parts: list[bytes] = []
    for code, value in fields.items():
        if len(code) != 1 or not 0 < ord(code) < 256:
            raise InternalFault("An error has a field that cannot be sent.", detail=f"Its code is {code[:8]!r}.")
        parts += (code.encode("latin-1"), value.replace("\0", "\ufffd").encode("utf-8", "replace"), b"\0")
    return b"".join((*parts, b"\0"))


FUNCTION_CALL_REFUSED: Final = error_of(
    UnsupportedStatement(
        "Function calls by the protocol are not supported.",
        detail="A FunctionCall has no SQL that could be judged.",
        hint="Call the function in a SELECT.",
    ),
    "ERROR",
)
"""The answer to a FunctionCall, to be followed by ReadyForQuery (section 54.2.5)."""
