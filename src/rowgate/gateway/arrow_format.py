"""Results as an Arrow stream, for data frames: a schema, then a record batch for each piece that comes.

Columns are of the Arrow type nearest to Postgres's; where there is none (intervals, arrays, numeric without a scale)
they are texts, as with raw text output all are. Needs pyarrow, so only ``answer_formats`` imports it, and only when
somebody asks. Never decides what may run.

Source: the Arrow columnar format, sections "Variable-size Binary Layout" and "IPC Streaming Format".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow
import pyarrow.compute

from rowgate.errors import ResultUnrepresentable
from rowgate.gateway.answer_formats import ARROW, ArrayTypes
from rowgate.gateway.request import SqlRequest
from rowgate.pgwire import types
from rowgate.pgwire.fields import Field
from rowgate.pgwire.rows import column_texts
from rowgate.postgres.exchange import Prepared, Result

TEXT: Final = pyarrow.string()
_TYPES: Final[Mapping[int, Any]] = {
    types.BOOL: pyarrow.bool_(),
    types.INT2: pyarrow.int16(),
    types.INT4: pyarrow.int32(),
    types.INT8: pyarrow.int64(),
    types.OID: pyarrow.uint32(),
    types.BYTEA: pyarrow.binary(),
    types.FLOAT4: pyarrow.float32(),
    types.FLOAT8: pyarrow.float64(),
    types.DATE: pyarrow.date32(),
    types.TIMESTAMP: pyarrow.timestamp("us"),
    types.TIMESTAMPTZ: pyarrow.timestamp("us", tz="UTC"),
}
MOST_DIGITS: Final = 38  # of Arrow's decimal of 128 bits


class ArrowFormat:
    """The stream of one result."""

    content_type = ARROW

    def __init__(self, request: SqlRequest, array_types: ArrayTypes) -> None:
        self._raw_text = request.raw_text
        self._sink = _Sink()
        self._schema: Any = None
        self._writer: Any = None

    def begin(self) -> bytes:
        """Nothing: the schema needs the fields."""
        return b""

    def open_result(self, position: int, prepared: Prepared) -> bytes:
        """The schema."""
        fields = prepared.columns.fields
        self._schema = pyarrow.schema(
            [(field.name, TEXT if self._raw_text else _arrow_type(field)) for field in fields]
        )
        self._writer = pyarrow.ipc.new_stream(self._sink, self._schema)
        return self._sink.taken()

    def rows(self, position: int, prepared: Prepared, regions: Sequence[bytes], *, first: bool) -> bytes:
        """A record batch. Raises ResultUnrepresentable where a value is beyond its column's Arrow type."""
        count, columns = _text_columns(regions, len(self._schema))
        if not count:
            return b""
        arrays = [_cast(column, field) for column, field in zip(columns, self._schema, strict=True)]
        if arrays:
            self._writer.write_batch(pyarrow.record_batch(arrays, schema=self._schema))
        return self._sink.taken()

    def close_result(self, position: int, result: Result) -> bytes:
        """Nothing."""
        return b""

    def end(self) -> bytes:
        """The end of the stream."""
        if self._writer is not None:
            self._writer.close()
        return self._sink.taken()


class _Sink:
    """A file that pyarrow writes to; what was written is taken piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        """Keeps a piece."""
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to close."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def _arrow_type(field: Field) -> Any:
    if field.type_oid == types.NUMERIC and field.type_modifier >= 4:
        # Precision and scale as numeric's typmod holds them; scales may be negative (PostgreSQL 15, numeric.c).
        packed = field.type_modifier - 4
        digits, scale = packed >> 16 & 0xFFFF, (packed & 0x7FF ^ 1024) - 1024
        if 0 <= scale <= digits <= MOST_DIGITS:
            return pyarrow.decimal128(digits, scale)
    return _TYPES.get(field.type_oid, TEXT)


def _text_columns(regions: Sequence[bytes], width: int) -> tuple[int, list[Any]]:
    count, columns = column_texts(regions, width)
    made = []
    for column in columns:
        if isinstance(column, list):
            made.append(pyarrow.array(column, TEXT))
            continue
        validity, offsets, cells = map(pyarrow.py_buffer, column)
        made.append(pyarrow.StringArray.from_buffers(count, offsets, cells, validity))
    return count, made


def _cast(column: Any, field: Any) -> Any:
    try:
        if field.type == TEXT:
            column.validate(full=True)  # a SQL_ASCII database may hold anything
            return column
        if pyarrow.types.is_boolean(field.type):
            return pyarrow.compute.equal(column, "t")
        if pyarrow.types.is_binary(field.type):
            return pyarrow.array([_bytes(text) for text in column.to_pylist()], field.type)
        return pyarrow.compute.cast(column, field.type)
    except (pyarrow.ArrowInvalid, ValueError) as problem:
        raise ResultUnrepresentable(
            "a value cannot be written as Arrow",
            detail=f"the column {field.name} is {field.type}",
            hint="Cast the column to text, or send Neon-Raw-Text-Output: true for texts alone.",
        ) from problem


def _bytes(text: str | None) -> bytes | None:
    """bytea in its hex format (PostgreSQL 18, section 8.4.1); the older format is not read."""
    if text is None:
        return None
    if not text.startswith("\\x"):
        raise ValueError("not in the hex format")
    return bytes.fromhex(text[2:])
