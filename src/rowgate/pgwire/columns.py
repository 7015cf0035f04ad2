"""One column of a result at a time: Postgres's text to what a JSON encoder takes.

int2, int4, float4, float8, bool, json, jsonb and arrays become JSON values; every other type stays the text that
Postgres wrote, int8 and numeric too, because a JSON reader would lose their digits. This module never decides for a
whole row and never asks a database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Final

import msgspec

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.literals import Converter, array_values
from rowgate.pgwire.types import BOOL, FLOAT4, FLOAT8, INT2, INT4, JSON, JSONB, ArrayType

_TRUTH: Final[Mapping[str, bool]] = {"t": True, "f": False}
_NOT_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_decode_integers = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]]).decode


def column_converter(type_oid: int, array_types: Mapping[int, ArrayType]) -> Converter | None:
    """The converter for a column of this type; None where its text is its value."""
    array_type = array_types.get(type_oid)
    if array_type is None:
        return _CONVERTERS.get(type_oid)
    return partial(_arrays, array_type.delimiter, _CONVERTERS.get(array_type.element_oid))


# How ``compiled.RowWriter`` names what becomes of a text.
AS_TEXT: Final = 0
_AS_INTEGER, _AS_FLOAT, _AS_TRUTH, _AS_DOCUMENT = 1, 2, 3, 4


def compiled_kind(type_oid: int, array_types: Mapping[int, ArrayType]) -> int | None:
    """The same for the compiled module: what it makes of a column of this type; None where it does not know how.

    For an array what it makes of the elements, and their delimiter in the upper byte.
    """
    array_type = array_types.get(type_oid)
    if array_type is None:
        return _COMPILED_KINDS.get(type_oid, AS_TEXT)
    kind, delimiter = _COMPILED_KINDS.get(array_type.element_oid, AS_TEXT), array_type.delimiter
    return kind | ord(delimiter) << 8 if delimiter.isascii() and delimiter not in '{}"\\' else None


def holds_documents(type_oid: int, array_types: Mapping[int, ArrayType]) -> bool:
    """Whether a column of this type has JSON documents in it, which may be written over several lines."""
    array_type = array_types.get(type_oid)
    return (type_oid if array_type is None else array_type.element_oid) in (JSON, JSONB)


def _arrays(delimiter: str, convert: Converter | None, column: list[str | None]) -> list[object]:
    return [None if text is None else array_values(text, delimiter, convert) for text in column]


def _each(convert: Callable[[str], object], column: list[str | None]) -> list[object]:
    return [None if text is None else convert(text) for text in column]


def _integers(column: list[str | None]) -> Sequence[object]:
    """All integers of a column in one call of the JSON decoder, which is twice as fast as ``int`` for each."""
    texts = [text for text in column if text is not None]
    try:
        integers = _decode_integers("[" + ",".join(texts) + "]")
    except msgspec.MsgspecError:
        raise _unexpected("an integer of 32 bits") from None
    if len(integers) != len(texts):
        raise _unexpected("an integer of 32 bits")
    if len(texts) == len(column):
        return integers
    remaining = iter(integers)
    return [None if text is None else next(remaining) for text in column]


def _float(text: str) -> object:
    """The text itself is the JSON number. JSON has no name for what is not finite, so that becomes a string."""
    if text in _NOT_FINITE:
        return text
    if _NUMBER.fullmatch(text) is None:
        raise _unexpected("a floating-point number")
    return msgspec.Raw(text)


def _truth(text: str) -> bool:
    try:
        return _TRUTH[text]
    except KeyError:
        raise _unexpected("t or f") from None


def _document(text: str) -> object:
    """JSON that Postgres has checked goes out as it is; only emptiness would take the list around it apart."""
    if not text:
        raise _unexpected("a JSON text")
    return msgspec.Raw(text)


def _unexpected(expected: str) -> ProtocolViolation:
    return ProtocolViolation(
        "A value is not of the type that its column has.", detail=f"Expected {expected}; the value is not shown."
    )


_CONVERTERS: Final[Mapping[int, Converter]] = {
    INT2: _integers,
    INT4: _integers,
    FLOAT4: partial(_each, _float),
    FLOAT8: partial(_each, _float),
    BOOL: partial(_each, _truth),
    JSON: partial(_each, _document),
    JSONB: partial(_each, _document),
}
_COMPILED_KINDS: Final[Mapping[int, int]] = {
    INT2: _AS_INTEGER,
    INT4: _AS_INTEGER,
    FLOAT4: _AS_FLOAT,
    FLOAT8: _AS_FLOAT,
    BOOL: _AS_TRUTH,
    JSON: _AS_DOCUMENT,
    JSONB: _AS_DOCUMENT,
}
