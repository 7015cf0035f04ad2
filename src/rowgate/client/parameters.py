"""Parameters of a statement: Python values in, the JSON values of ``POST /sql`` out.

The gateway binds text without a type and Postgres infers it, so a value goes as Postgres would write it. Errors name
a parameter by its number and never show its value. Never guesses: a value of another kind is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Final
from uuid import UUID

from rowgate.errors import MalformedParameter

MOST_NESTED: Final = 100
"""How deep lists may nest; the gateway takes no more."""


@dataclass(frozen=True, slots=True)
class Json:
    """A document for a ``json`` or ``jsonb`` parameter, where a list would become an array."""

    value: Any


def parameters(values: Sequence[object]) -> list[Any]:
    """The JSON values of parameters, in order.

    None, bool, int, float, str, bytes, Decimal, UUID, date, time, datetime, timedelta, dict (as JSON), Json, and lists
    and tuples of all of them (as arrays). Raises MalformedParameter for everything else.
    """
    return [_parameter(value, f"parameter ${number}", 0) for number, value in enumerate(values, 1)]


def _parameter(value: object, what: str, depth: int) -> Any:
    if isinstance(value, Json | dict):
        return _document(value.value if isinstance(value, Json) else value, what)
    if isinstance(value, list | tuple):
        if depth >= MOST_NESTED:
            raise MalformedParameter(f"{what} is nested too deeply", detail=f"at most {MOST_NESTED} levels")
        return [_parameter(one, what, depth + 1) for one in value]
    return _scalar(value, what)


def _scalar(value: object, what: str) -> Any:
    if value is None or isinstance(value, bool | str):
        # Members of an enumeration go as what they are underneath.
        return str.__str__(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return _whole_number(value, what)
    if isinstance(value, float):
        return float(value) if isfinite(value) else _not_finite(isnan(value), value > 0)
    if isinstance(value, Decimal):
        return str(value) if value.is_finite() else _not_finite(value.is_nan(), not value.is_signed())
    if isinstance(value, bytes | bytearray | memoryview):
        return "\\x" + bytes(value).hex()
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"
    if isinstance(value, UUID):
        return str(value)
    raise MalformedParameter(
        f"{what} is of a type that has no form in SQL",
        detail=f"got {type(value).__name__}",
        hint="Give text, a number, a truth value, None, bytes, a date or time, a UUID, a dict, or a list of these.",
    )


def _whole_number(value: int, what: str) -> int:
    """As it is, where Python can write it in decimal (it refuses more than some thousand digits)."""
    try:
        str(value)
    except ValueError as problem:
        raise MalformedParameter(f"{what} has too many digits") from problem
    return int(value)


def _not_finite(is_no_number: bool, is_positive: bool) -> str:
    """JSON has no such numbers; Postgres has."""
    return "NaN" if is_no_number else "Infinity" if is_positive else "-Infinity"


def _document(value: object, what: str) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise MalformedParameter(
            f"{what} holds what JSON has no form for",
            detail=f"json.dumps raised {type(problem).__name__}",
            hint="JSON has text, finite numbers, truth values, null, lists, and dicts with text for keys.",
        ) from None
