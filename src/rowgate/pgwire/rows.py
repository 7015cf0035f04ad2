"""Rows of a result as JSON text: regions of DataRow messages in, UTF-8 JSON out.

This is the hot path. The compiled module writes what it understands (``compiled.RowWriter``); all rows where it is not
there, and whatever is out of the ordinary, are Python's. There one loop cuts the rows into texts; after it, work
is done column by column and by C code: a column of integers is one JSON list to decode, a row is a msgspec structure
and neither tuple nor dict. What is JSON already (json, jsonb, the text of a float) is embedded as it came, with all its
digits. This module never looks at SQL and never asks a database.

Source: the Postgres documentation, section "Message Formats", DataRow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from struct import error as StructError
from typing import Final

import msgspec

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.columns import AS_TEXT, column_converter, compiled_kind, holds_documents
from rowgate.pgwire.fields import Field
from rowgate.pgwire.implementation import IS_COMPILED, compiled
from rowgate.pgwire.stream import DATA_ROW, HEADER_BYTES
from rowgate.pgwire.types import ArrayType

STRUCTURE_THRESHOLD: Final = 32
"""From this many rows on, a structure type for a result's rows saves more time than making it costs (15 µs)."""

_LENGTH = Struct(">i").unpack_from
_HEADER = Struct(">Bi").unpack_from
_COUNT = Struct(">H").pack
_LINE_BREAKS = {10: " ", 13: " "}
_json = msgspec.json.Encoder().encode


class RowEncoder:
    """Encodes the rows of one row description. It keeps no row, so it serves every run of a prepared statement."""

    __slots__ = ("_array_mode", "_documents", "_make_record", "_names", "_plan", "_width", "_writer")

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
        self._array_mode = array_mode
        last_of_name = {field.name: position for position, field in enumerate(fields)}
        self._names = tuple(last_of_name)
        order = tuple(range(len(fields)) if array_mode else last_of_name.values())
        self._plan = tuple(
            (position, None if raw_text else column_converter(fields[position].type_oid, array_types))
            for position in order
        )
        self._documents = () if raw_text else tuple(
            position for position in order if holds_documents(fields[position].type_oid, array_types)
        )  # fmt: skip
        self._make_record: Callable[..., object] | None = None
        self._writer = None
        if IS_COMPILED:
            known = [AS_TEXT if raw_text else compiled_kind(field.type_oid, array_types) for field in fields]
            kinds = [kind for kind in known if kind is not None]
            if len(kinds) == len(fields):
                heads, tail = _frame(None if array_mode else self._names, len(order))
                self._writer = compiled.RowWriter(kinds, order, heads, tail)

    def encode(self, regions: Sequence[bytes]) -> bytes:
        """The JSON text of the list of all rows in ``regions``, which are whole DataRow messages.

        Raises ProtocolViolation where a row does not fit the row description. Bytes that are not UTF-8 (a SQL_ASCII
        database) become replacement characters.
        """
        return b"[%b]" % self.encode_elements(regions)

    def encode_elements(self, regions: Sequence[bytes]) -> bytes:
        """``encode`` without the brackets, for a result that is written in several pieces; b"" for no rows."""
        if self._writer is not None:
            written = self._writer.write(regions, False)
            if written is not None:
                return written
        return self.encode_in_python(regions)[1:-1]

    def encode_lines(self, regions: Sequence[bytes]) -> bytes:
        """Each row as a line of JSON (NDJSON), with the line feed behind it. Line breaks in documents become spaces."""
        if self._writer is not None:
            written = self._writer.write(regions, True)
            if written is not None:
                return written
        return self._encode_rows(regions, msgspec.json.Encoder().encode_lines, self._documents)

    def encode_in_python(self, regions: Sequence[bytes]) -> bytes:
        """``encode`` without the compiled module."""
        return self._encode_rows(regions, _json)

    def _encode_rows(
        self, regions: Sequence[bytes], encode: Callable[[list[object]], bytes], one_line: Sequence[int] = ()
    ) -> bytes:
        try:
            count, texts = read_texts(regions, self._width, bytes.decode)
        except UnicodeDecodeError:
            count, texts = read_texts(regions, self._width, _decode_replacing)
        if not self._width:
            return encode([[] if self._array_mode else {}] * count)
        for position in one_line:
            texts[position :: self._width] = [
                None if text is None else text.translate(_LINE_BREAKS) for text in texts[position :: self._width]
            ]
        columns = [
            texts[position :: self._width] if convert is None else convert(texts[position :: self._width])
            for position, convert in self._plan
        ]
        return encode(self._records(columns, count))

    def _records(self, columns: Sequence[Sequence[object]], row_count: int) -> list[object]:
        if self._make_record is None:
            if row_count < STRUCTURE_THRESHOLD:
                lines = zip(*columns, strict=True)
                names = self._names
                return list(lines) if self._array_mode else [dict(zip(names, line, strict=True)) for line in lines]
            self._make_record = _record_maker(self._names, len(self._plan), self._array_mode)
        return list(map(self._make_record, *columns))


def _frame(names: Sequence[str] | None, width: int) -> tuple[list[bytes], bytes]:
    """What stands ahead of each value of a row, and at its end; ``names`` is None for a row that is a list."""
    if names is None:
        return [b"[", *[b","] * (width - 1)][:width], b"]" if width else b"[]"
    heads = [b"%b%b:" % (b"," if position else b"{", _json(name)) for position, name in enumerate(names)]
    return heads, b"}" if width else b"{}"


def read_texts(regions: Sequence[bytes], width: int, decode: Callable[[bytes], str]) -> tuple[int, list[str | None]]:
    """How many rows there are, and every cell of every row, one after the other; None is NULL.

    Raises ProtocolViolation where a row does not have ``width`` columns, and what ``decode`` raises.
    """
    texts: list[str | None] = []
    append, read_length, header, columns = texts.append, _LENGTH, _COUNT(width), range(width)
    count = 0
    try:
        for region in regions:
            row_end = 0
            while row_end < len(region):
                kind, length = _HEADER(region, row_end)
                position = row_end + HEADER_BYTES + 2
                row_end += length + 1
                if kind != DATA_ROW or region[position - 2 : position] != header or row_end < position:
                    raise _misfit()
                count += 1
                for _ in columns:
                    (length,) = read_length(region, position)
                    position += 4
                    if length >= 0:
                        end = position + length
                        append(decode(region[position:end]))
                        position = end
                    elif length == -1:
                        append(None)
                    else:
                        raise _misfit()
                # A length beyond the row's end shows here; a slice just stops at the region's end.
                if position != row_end:
                    raise _misfit()
            if row_end != len(region):
                raise _misfit()
    except StructError:
        raise _misfit() from None
    return count, texts


def column_texts(
    regions: Sequence[bytes], width: int
) -> tuple[int, Sequence[tuple[bytes, bytes, bytes] | list[str | None]]]:
    """How many rows there are, and the cells of each column: as Arrow's buffers (a bit for each row that is not NULL,
    32-bit offsets, the cells' bytes), or as texts.

    Raises ProtocolViolation where a row does not have ``width`` columns.
    """
    if IS_COMPILED:
        found = compiled.column_buffers(regions, width)
        if found is not None:
            return found
    return column_texts_in_python(regions, width)


def column_texts_in_python(regions: Sequence[bytes], width: int) -> tuple[int, list[list[str | None]]]:
    """The same without the compiled module, always as texts."""
    count, texts = read_texts(regions, width, _decode_replacing)
    return count, [texts[position::width] for position in range(width)]


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
