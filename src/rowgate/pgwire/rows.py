"""Rows of a result as JSON text: bodies of DataRow in, UTF-8 JSON out.

This is the hot path. One loop cuts the rows into texts; after it, work is done column by column and by C code: a
column of integers is one JSON list to decode, a row is a msgspec structure and neither tuple nor dict. What is JSON
already (json, jsonb, the text of a float) is embedded as it came, with all its digits. This module never looks at SQL
and never asks a database.

Source: the Postgres documentation, section "Message Formats", DataRow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from struct import error as StructError
from typing import Final

import msgspec

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.columns import column_converter
from rowgate.pgwire.fields import Field
from rowgate.pgwire.types import ArrayType

STRUCTURE_THRESHOLD: Final = 32
"""From this many rows on, a structure type for a result's rows saves more time than making it costs (15 µs)."""

_LENGTH = Struct(">i").unpack_from
_COUNT = Struct(">H").pack
_json = msgspec.json.Encoder().encode


class RowEncoder:
    """Encodes the rows of one row description. It keeps no row, so it serves every run of a prepared statement."""

    __slots__ = ("_array_mode", "_header", "_make_record", "_names", "_plan", "_width")

    def __init__(
        self,
        fields: Sequence[Field],
        *,
        raw_text: bool,
        array_mode: bool,
        array_types: Mapping[int, ArrayType],
    ) -> None:
        """``raw_text``: every value is Postgres's text or null. ``array_mode``: a row is a list and not an object.

        ``array_types`` maps the OIDs of array types to their elements; a type that is not in it is no array. Of
        several columns with one name an object holds the last, in the place of the first, as ``JSON.parse`` has it.
        """
        self._width = len(fields)
        self._header = _COUNT(len(fields))
        self._array_mode = array_mode
        last_of_name = {field.name: position for position, field in enumerate(fields)}
        self._names = tuple(last_of_name)
        self._plan = tuple(
            (position, None if raw_text else column_converter(fields[position].type_oid, array_types))
            for position in (range(len(fields)) if array_mode else last_of_name.values())
        )
        self._make_record: Callable[..., object] | None = None

    def encode(self, rows: Sequence[bytes]) -> bytes:
        """The JSON text of the list of ``rows``, which are bodies of DataRow.

        Raises ProtocolViolation where a row does not fit the row description. Bytes that are not UTF-8 (a SQL_ASCII
        database) become replacement characters.
        """
        try:
            texts = self._texts(rows, bytes.decode)
        except UnicodeDecodeError:
            texts = self._texts(rows, _decode_replacing)
        if not self._width:
            return _json([[] if self._array_mode else {}] * len(rows))
        columns = [
            texts[position :: self._width] if convert is None else convert(texts[position :: self._width])
            for position, convert in self._plan
        ]
        return self._encode_columns(columns, len(rows))

    def encode_elements(self, rows: Sequence[bytes]) -> bytes:
        """``encode`` without the brackets, for a result that is written in several pieces; b"" for no rows."""
        return self.encode(rows)[1:-1]

    def _texts(self, rows: Sequence[bytes], decode: Callable[[bytes], str]) -> list[str | None]:
        """Every cell of every row, one after the other; None is NULL."""
        texts: list[str | None] = []
        append, read_length, header, columns = texts.append, _LENGTH, self._header, range(self._width)
        try:
            for body in rows:
                if not body.startswith(header):
                    raise _misfit()
                position = 2
                for _ in columns:
                    (length,) = read_length(body, position)
                    position += 4
                    if length >= 0:
                        end = position + length
                        append(decode(body[position:end]))
                        position = end
                    elif length == -1:
                        append(None)
                    else:
                        raise _misfit()
                # A length beyond the row's end shows here, since a slice just stops at the end.
                if position != len(body):
                    raise _misfit()
        except StructError:
            raise _misfit() from None
        return texts

    def _encode_columns(self, columns: Sequence[Sequence[object]], row_count: int) -> bytes:
        if self._make_record is None:
            if row_count < STRUCTURE_THRESHOLD:
                lines = zip(*columns, strict=True)
                names = self._names
                return _json(
                    list(lines) if self._array_mode else [dict(zip(names, line, strict=True)) for line in lines]
                )
            self._make_record = _record_maker(self._names, len(self._plan), self._array_mode)
        return _json(list(map(self._make_record, *columns)))


def fields_json(fields: Sequence[Field]) -> bytes:
    """The JSON text of the list ``fields`` of a response, with exactly the keys that clients compare."""
    return _json(
        [
            {
                "name": field.name,
                "dataTypeID": field.type_oid,
                "tableID": field.table_oid,
                "columnID": field.column_number,
                "dataTypeSize": field.type_size,
                "dataTypeModifier": field.type_modifier,
                "format": "text",
            }
            for field in fields
        ]
    )


def _record_maker(names: tuple[str, ...], width: int, array_mode: bool) -> Callable[..., object]:
    """A constructor: takes one value for each column, gives what encodes to a list, or to an object of ``names``."""
    members = [f"c{position}" for position in range(width)]
    try:
        # Rows cannot be part of a reference cycle, so the collector need not look at them.
        return msgspec.defstruct(
            "Row",
            members,
            array_like=array_mode,
            rename=None if array_mode else dict(zip(members, names, strict=True)),
            gc=False,
        )
    except ValueError:  # msgspec writes the names as they are, so it takes none that JSON would escape
        return lambda *values: dict(zip(names, values, strict=True))


def _decode_replacing(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _misfit() -> ProtocolViolation:
    return ProtocolViolation(
        "A row does not fit its row description.", detail="Expected as many values as columns, each with its length."
    )
