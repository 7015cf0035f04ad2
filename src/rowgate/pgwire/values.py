"""Values of a JSON request to bind parameters: Python values in, the text of a Postgres parameter out.

A string goes as it is, a number, a truth value or an object as its JSON text, a list as an array literal, null as NULL.
Numbers keep every digit, so integers must come as int of any size and fractions as float or, to keep their digits, as
``decimal.Decimal``. Errors name a parameter by its number and never show its value. This module never guesses a
parameter's type: the server infers it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from json.encoder import encode_basestring
from math import isfinite
from typing import Final

from rowgate.errors import MalformedParameter
from rowgate.pgwire.messages import text

MAX_DEPTH: Final = 100
"""How deep lists and objects of one parameter may nest. Deeper documents can be sent as a string."""

_ALWAYS_CONVERTED_BITS = 12_000
"""Below this many bits ``str(int)`` is never refused (Python limits it to 4,300 digits by default)."""


def parameter(value: object, number: int = 1) -> bytes | None:
    """The text of one parameter, None for NULL. ``number`` counts from 1 and names it in errors.

    Raises MalformedParameter (22021) for a NUL character, a lone surrogate, a number that is not finite, a value that
    JSON does not have and a nesting deeper than ``MAX_DEPTH``.
    """
    if value is None:
        return None
    if isinstance(value, str) and "\0" not in value:
        try:
            return value.encode()
        except UnicodeEncodeError:
            pass  # told below, with its number: nearly all parameters never need that
    what = f"Parameter ${number}"
    if isinstance(value, str):
        return text(value, what)
    if isinstance(value, list):
        return text(_array(value, 1, what), what)
    return text(_document(value, 1, what), what)


def parameters(values: Iterable[object]) -> list[bytes | None]:
    """``parameter`` for each value, numbered from 1."""
    return [parameter(value, number) for number, value in enumerate(values, 1)]


def _array(values: list[object], depth: int, what: str) -> str:
    """An array literal. Only the quotation mark and the backslash have a meaning inside an element's quotes."""
    if depth > MAX_DEPTH:
        raise _too_deep(what)
    elements: list[str] = []
    for value in values:
        if value is None:
            elements.append("NULL")
        elif isinstance(value, list):
            elements.append(_array(value, depth + 1, what))
        elif isinstance(value, (str, dict)):
            content = value if isinstance(value, str) else _document(value, depth + 1, what)
            elements.append('"' + content.replace("\\", "\\\\").replace('"', '\\"') + '"')
        else:
            elements.append(_document(value, depth + 1, what))
    return "{" + ",".join(elements) + "}"


def _document(value: object, depth: int, what: str) -> str:
    """The compact JSON text of a value; characters beyond ASCII stay as they are."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)):
        return _number(value, what)
    if not isinstance(value, (list, dict)):
        raise MalformedParameter(
            f"{what} is not a JSON value.",
            detail=f"Expected what a JSON decoder gives, got {type(value).__name__}.",
            hint="Send the value's text as a string.",
        )
    if depth > MAX_DEPTH:
        raise _too_deep(what)
    if isinstance(value, list):
        return "[" + ",".join([_document(item, depth + 1, what) for item in value]) + "]"
    members: list[str] = []
    for name, item in value.items():
        if not isinstance(name, str):
            raise MalformedParameter(
                f"{what} has an object whose key is no string.", detail=f"Expected str, got {type(name).__name__}."
            )
        members.append(encode_basestring(name) + ":" + _document(item, depth + 1, what))
    return "{" + ",".join(members) + "}"


def _number(value: int | float | Decimal, what: str) -> str:
    if isinstance(value, int):
        if value.bit_length() < _ALWAYS_CONVERTED_BITS:
            return int.__repr__(value)
        return format(Decimal(value), "f")
    if not (isfinite(value) if isinstance(value, float) else value.is_finite()):
        raise MalformedParameter(
            f"{what} holds a number that is not finite.",
            detail="Expected a JSON number, which NaN and the infinities are not.",
            hint="Send 'NaN', 'Infinity' or '-Infinity' as a string.",
        )
    return float.__repr__(value) if isinstance(value, float) else str(value)


def _too_deep(what: str) -> MalformedParameter:
    return MalformedParameter(
        f"{what} is nested too deeply.",
        detail=f"Expected at most {MAX_DEPTH} levels of lists and objects.",
        hint="Send the document as a string.",
    )
