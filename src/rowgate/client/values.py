"""Values of a result: what ``POST /sql`` gives in, Python's own types out.

The gateway gives numbers, truth values, documents and arrays as JSON, and everything else as Postgres's text; from the
column's type that text becomes an int, a Decimal, a date. What Python's type cannot hold (``infinity``, years before 1,
another DateStyle than ISO) and types without a row below stay text. Never fails on a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

Convert = Callable[[Any], Any]


def _bytes(text: str) -> bytes:
    if not text.startswith("\\x"):
        raise ValueError("not in the hex format")  # bytea_output = escape
    return bytes.fromhex(text[2:])


# OIDs that Postgres fixes for ever: the type's, its array's, and what its text becomes.
_TYPES: Final[tuple[tuple[int, int, Convert], ...]] = (
    (20, 1016, int),  # int8
    (26, 1028, int),  # oid
    (700, 1021, float),  # float4, whose NaN and infinities come as text
    (701, 1022, float),  # float8
    (1700, 1231, Decimal),  # numeric
    (17, 1001, _bytes),  # bytea
    (1082, 1182, date.fromisoformat),
    (1083, 1183, time.fromisoformat),
    (1266, 1270, time.fromisoformat),  # timetz
    (1114, 1115, datetime.fromisoformat),  # timestamp
    (1184, 1185, datetime.fromisoformat),  # timestamptz
    (2950, 2951, UUID),
)
SCALARS: Final[Mapping[int, Convert]] = MappingProxyType({oid: convert for oid, _, convert in _TYPES})
ARRAYS: Final[Mapping[int, Convert]] = MappingProxyType({array: convert for _, array, convert in _TYPES})


def converter(type_oid: int) -> Convert | None:
    """What makes a value of a column of this type; None where it is right as it comes."""
    if type_oid in SCALARS:
        return _lenient(SCALARS[type_oid])
    if type_oid in ARRAYS:
        return _each(_lenient(ARRAYS[type_oid]))
    return None


def _lenient(convert: Convert) -> Convert:
    def converted(value: Any) -> Any:
        if value is None:
            return None
        try:
            return convert(value)
        except (ValueError, TypeError, InvalidOperation):
            return value

    return converted


def _each(convert: Convert) -> Convert:
    def converted(value: Any) -> Any:
        return [converted(one) for one in value] if isinstance(value, list) else convert(value)

    return converted
