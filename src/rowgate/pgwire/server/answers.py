"""What a server of the Postgres protocol says of its own: login, errors, and a few answers.

Everything else it passes on as it came. Values in, bytes out; this module never reads a message.

Source: PostgreSQL 18, section 54.7, "Message Formats", the messages marked B, and section 54.8 for the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Final

from rowgate.errors import DatabaseError, RowgateError, StatementRefused
from rowgate.pgwire.messages import raw

_INT32 = Struct(">i").pack

TLS_ACCEPTED: Final = b"S"
TLS_REFUSED: Final = b"N"
AUTHENTICATION_OK: Final = raw(b"R", _INT32(0))
AUTHENTICATION_CLEARTEXT_PASSWORD: Final = raw(b"R", _INT32(3))
PARSE_COMPLETE: Final = raw(b"1", b"")
EMPTY_QUERY_RESPONSE: Final = raw(b"I", b"")


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus: a setting of the session and its value."""
    return raw(b"S", name.encode() + b"\0" + value.encode("utf-8", "replace") + b"\0")


def backend_key_data(process_id: int, key: bytes) -> bytes:
    """BackendKeyData: what a CancelRequest needs. The key has 4 bytes in protocol 3.0 and up to 256 in 3.2."""
    return raw(b"K", _INT32(process_id) + key)


def negotiate_protocol_version(minor: int, unknown_options: Sequence[str]) -> bytes:
    """NegotiateProtocolVersion: the newest minor version spoken here, and the options that are not known."""
    options = b"".join(option.encode() + b"\0" for option in unknown_options)
    return raw(b"v", _INT32(3 << 16 | minor) + _INT32(len(unknown_options)) + options)


def ready_for_query(status: int) -> bytes:
    """ReadyForQuery; ``status`` is I, T or E."""
    return raw(b"Z", bytes((status,)))


def error_response(fields: Mapping[str, str]) -> bytes:
    """ErrorResponse from its field codes."""
    body = b"".join(
        code.encode() + value.encode("utf-8", "replace").replace(b"\0", b"") + b"\0" for code, value in fields.items()
    )
    return raw(b"E", body + b"\0")


def error_fields_of(error: RowgateError, severity: str) -> dict[str, str]:
    """The fields of an error: Postgres's own for its own, the gateway's with its stable code as ``R`` (routine)."""
    if isinstance(error, DatabaseError):
        return {**error.fields, "S": severity, "V": severity}
    sqlstate = error.refused_sqlstate if isinstance(error, StatementRefused) else error.sqlstate
    fields = {"S": severity, "V": severity, "C": sqlstate, "M": error.message}
    if error.detail:
        fields["D"] = error.detail
    if error.hint:
        fields["H"] = error.hint
    if isinstance(error, StatementRefused) and error.position is not None:
        fields["P"] = str(error.position)
    return {**fields, "R": "rowgate:" + error.code}
