"""Results with one row description share what is made of it, and never another database's array types."""

import json

from rowgate.pgwire.columns import column_converter
from rowgate.pgwire.fields import Field
from rowgate.pgwire.messages import raw
from rowgate.pgwire.result_shape import LONGEST_KEPT, ResultShape, shape_of
from rowgate.pgwire.types import BUILTIN_ARRAYS, ArrayType

USER_ARRAY = 16_401


def description(*columns: tuple[str, int]) -> bytes:
    tail = [oid.to_bytes(4, "big") + b"\xff\xff" + b"\xff" * 4 + b"\0\0" for _, oid in columns]
    parts = [name.encode() + b"\0" + bytes(6) + rest for (name, _), rest in zip(columns, tail, strict=True)]
    return len(columns).to_bytes(2, "big") + b"".join(parts)


def test_equal_descriptions_share_one_shape() -> None:
    first, second = shape_of(description(("a", 25))), shape_of(bytes(bytearray(description(("a", 25)))))
    assert first is second
    assert first is not shape_of(description(("b", 25)))
    assert first.encoder(True, True, BUILTIN_ARRAYS) is second.encoder(True, True, BUILTIN_ARRAYS)
    assert first.encoder(True, True, BUILTIN_ARRAYS) is not first.encoder(True, False, BUILTIN_ARRAYS)
    wide = description(*[("column", 25)] * (LONGEST_KEPT // 20))
    assert shape_of(wide) is not shape_of(wide)


def test_array_types_that_became_known_count_at_once() -> None:
    """Before, what had been made while a type was unknown stayed."""
    shape = shape_of(description(("a", USER_ARRAY)))
    row = [raw(b"D", b"\0\1\0\0\0\5{x,y}")]
    known = {**BUILTIN_ARRAYS, USER_ARRAY: ArrayType(16_400)}
    assert column_converter(USER_ARRAY, BUILTIN_ARRAYS) is None
    assert json.loads(shape.encoder(False, True, BUILTIN_ARRAYS).encode(row)) == [["{x,y}"]]
    assert json.loads(shape.encoder(False, True, known).encode(row)) == [[["x", "y"]]]
    assert json.loads(shape.encoder(False, True, BUILTIN_ARRAYS).encode(row)) == [["{x,y}"]]


def test_lists_of_raw_texts_need_no_more_than_the_number_of_columns() -> None:
    rows = [raw(b"D", b"\0\2" + b"\0\0\0\1a" + b"\xff\xff\xff\xff")]
    one = ResultShape([Field("n", 1, 1, 23, 4, -1), Field("m", 1, 2, 1009, -1, -1)])
    other = ResultShape([Field("x", 2, 1, 16, 1, -1), Field("y", 2, 2, 3802, -1, -1)])
    assert one.encoder(True, True, BUILTIN_ARRAYS) is other.encoder(True, True, {})
    assert one.encoder(True, True, {}) is not ResultShape([]).encoder(True, True, {})
    assert other.encoder(True, True, {}).encode(rows) == b'[["a",null]]'
