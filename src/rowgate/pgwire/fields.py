"""Bodies of messages from Postgres, except rows: bytes in, values out.

A body that is cut short, that lies about a length or that has bytes left over raises ProtocolViolation and nothing
else. Text is decoded as UTF-8 with replacement characters, because a SQL_ASCII database may hold anything. This
module never keeps state between messages.

Source: the Postgres documentation, sections "Message Formats" and "Error and Notice Message Fields".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from rowgate.errors import ProtocolViolation

_COUNT = Struct(">H").unpack_from
_INT32 = Struct(">i").unpack_from
_COLUMN = Struct(">IHIhih")

_MIN_KEY_BYTES = 4
_MAX_KEY_BYTES = 256
_MAX_COUNT_DIGITS = 20  # an unsigned 64-bit number, the widest that a command tag can hold


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a RowDescription, with its numbers as Postgres sent them.

    ``table_oid`` and ``column_number`` are 0 for what is no table's column; ``type_size`` is in bytes, negative for
    variable width.
    """

    name: str
    table_oid: int
    column_number: int
    type_oid: int
    type_size: int
    type_modifier: int


@dataclass(frozen=True, slots=True)
class Notification:
    """One NOTIFY, from the backend ``process_id``."""

    process_id: int
    channel: str
    payload: str = field(repr=False)


def error_fields(body: bytes) -> dict[str, str]:
    """ErrorResponse or NoticeResponse: every one-letter field code with its text; codes unknown here are kept."""
    fields: dict[str, str] = {}
    position = 0
    while body[position : position + 1] not in (b"\0", b""):
        code = chr(body[position])
        fields[code], position = _string(body, position + 1)
    _finished(body, position + 1)
    return fields


def row_description(body: bytes) -> tuple[Field, ...]:
    """RowDescription: the columns in order. A column in binary format is refused, since only text is asked for."""
    columns: list[Field] = []
    count, position = _counted(body, smallest=1 + _COLUMN.size)
    for _ in range(count):
        name, position = _string(body, position)
        if len(body) - position < _COLUMN.size:
            raise _cut_short(body)
        table_oid, column_number, type_oid, type_size, type_modifier, text_format = _COLUMN.unpack_from(body, position)
        if text_format != 0:
            raise ProtocolViolation(
                "A column came in binary format.",
                detail=f"Expected format code 0, got {text_format}.",
                hint="Do not read from a binary cursor.",
            )
        position += _COLUMN.size
        columns.append(Field(name, table_oid, column_number, type_oid, type_size, type_modifier))
    _finished(body, position)
    return tuple(columns)


def parameter_description(body: bytes) -> tuple[int, ...]:
    """ParameterDescription: the type OID of each parameter."""
    count, position = _counted(body, smallest=4)
    _finished(body, position + 4 * count)
    return Struct(f">{count}I").unpack_from(body, position)


def parameter_status(body: bytes) -> tuple[str, str]:
    """ParameterStatus: a run-time parameter's name and its value."""
    name, position = _string(body, 0)
    value, position = _string(body, position)
    _finished(body, position)
    return name, value


def backend_key(body: bytes) -> tuple[int, bytes]:
    """BackendKeyData: process id and cancel key (4 bytes in protocol 3.0, up to 256 in 3.2)."""
    if not 4 + _MIN_KEY_BYTES <= len(body) <= 4 + _MAX_KEY_BYTES:
        raise ProtocolViolation(
            "The cancel key has an impossible length.",
            detail=f"Expected {_MIN_KEY_BYTES} to {_MAX_KEY_BYTES} bytes, got {len(body) - 4}.",
        )
    return _INT32(body)[0], body[4:]


def command_tag(body: bytes) -> tuple[str, int | None]:
    """CommandComplete: the first word of the tag and the number of rows, None where the tag has no number.

    An INSERT's number is its third word: the second was once the OID of the row.
    """
    tag, position = _string(body, 0)
    _finished(body, position)
    words = tag.split(" ")
    index = 2 if words[0] == "INSERT" else 1
    number = words[index] if len(words) > index else ""
    if number.isascii() and number.isdigit() and len(number) <= _MAX_COUNT_DIGITS:
        return words[0], int(number)
    return words[0], None


def notification(body: bytes) -> Notification:
    """NotificationResponse."""
    if len(body) < 4:
        raise _cut_short(body)
    channel, position = _string(body, 4)
    payload, position = _string(body, position)
    _finished(body, position)
    return Notification(_INT32(body)[0], channel, payload)


def strings(body: bytes, position: int) -> tuple[str, ...]:
    """The NUL-terminated strings from ``position`` up to an empty one that ends the body (the SASL mechanisms)."""
    found: list[str] = []
    while True:
        value, position = _string(body, position)
        if not value:
            _finished(body, position)
            return tuple(found)
        found.append(value)


def protocol_negotiation(body: bytes) -> tuple[int, tuple[str, ...]]:
    """NegotiateProtocolVersion: the newest version that the server speaks, and the options it did not know."""
    if len(body) < 8:
        raise _cut_short(body)
    version, count = _INT32(body, 0)[0], _INT32(body, 4)[0]
    if not 0 <= count <= len(body) - 8:
        raise _cut_short(body)
    position = 8
    options: list[str] = []
    for _ in range(count):
        option, position = _string(body, position)
        options.append(option)
    _finished(body, position)
    return version, tuple(options)


def data_row(body: bytes) -> list[bytes | None]:
    """DataRow: the values in order, None for NULL."""
    count, position = _counted(body, smallest=4)
    values: list[bytes | None] = []
    for _ in range(count):
        if len(body) - position < 4:
            raise _cut_short(body)
        length: int = _INT32(body, position)[0]
        position += 4
        values.append(None if length < 0 else body[position : position + length])
        position += max(length, 0)
    _finished(body, position)
    return values


def _counted(body: bytes, *, smallest: int) -> tuple[int, int]:
    """Read a 16-bit count whose entries take ``smallest`` bytes at least; return it and where the entries begin."""
    if len(body) < 2:
        raise _cut_short(body)
    count: int = _COUNT(body)[0]
    if count * smallest > len(body) - 2:
        raise _cut_short(body)
    return count, 2


def _string(body: bytes, position: int) -> tuple[str, int]:
    end = body.find(b"\0", position)
    if end < 0:
        raise _cut_short(body)
    return body[position:end].decode("utf-8", "replace"), end + 1


def _finished(body: bytes, position: int) -> None:
    if position > len(body):
        raise _cut_short(body)
    if position < len(body):
        raise ProtocolViolation(
            "A message has bytes left over.", detail=f"Expected {position} bytes in its body, got {len(body)}."
        )


def _cut_short(body: bytes) -> ProtocolViolation:
    return ProtocolViolation("A message is cut short.", detail=f"Its body ends after {len(body)} bytes.")
