"""JSON objects of tokens, read in the strictest way: what two parsers could read differently is refused.

Refused are duplicate members (RFC 7515 section 4, RFC 7519 section 4), NaN and Infinity, text that is not UTF-8, U+0000
and lone surrogates (which Postgres's ``jsonb`` refuses), numbers outside the range of a double, and deep nesting.
Documents that a provider publishes are read less strictly, by a function of their own. This module never interprets a
claim.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

DEEPEST: Final = 32
_LONGEST_NUMBER: Final = 400
_LARGEST_EXPONENT: Final = 400


class UnsoundJson(ValueError):
    """The text is not a JSON object that everyone reads alike. Its text names the rule, never the content."""


def parse_object(text: bytes) -> dict[str, Any]:
    """The JSON object in ``text`` (UTF-8). Raises UnsoundJson, whose str is a clause such as "it is not UTF-8"."""
    try:
        value = _DECODER.decode(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UnsoundJson("it is not UTF-8") from error
    except RecursionError as error:
        raise UnsoundJson(f"it is nested deeper than {DEEPEST} levels") from error
    except json.JSONDecodeError as error:
        raise UnsoundJson("it is not JSON") from error
    if not isinstance(value, dict):
        raise UnsoundJson("it is not a JSON object")
    _refuse_depth(value)
    # Only an escape can smuggle these in: raw ones are refused by the decoders of UTF-8 and of JSON strings.
    if b"\\u" in text:
        _refuse_unstorable_text(value)
    return value


def parse_document(text: bytes) -> dict[str, Any]:
    """The JSON object in a document that a provider publishes, read as most clients read it. Raises UnsoundJson.

    A provider's own document forges nothing, and one odd member must not cost all keys of a set.
    """
    try:
        value = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UnsoundJson("it is not UTF-8") from error
    except (RecursionError, ValueError) as error:
        raise UnsoundJson("it is not JSON") from error
    if not isinstance(value, dict):
        raise UnsoundJson("it is not a JSON object")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise UnsoundJson("it has a member twice")
    return members


def _integer(literal: str) -> int:
    if len(literal) > _LONGEST_NUMBER or math.isinf(float(literal)):
        raise UnsoundJson("it has a number outside the range of a double")
    return int(literal)


def _fraction(literal: str) -> float:
    mantissa, _, exponent = literal.replace("E", "e").partition("e")
    # numeric_in of Postgres overflows on exponents that float() quietly turns into 0 or infinity.
    if len(literal) > _LONGEST_NUMBER or len(exponent) > 5 or (exponent and abs(int(exponent)) > _LARGEST_EXPONENT):
        raise UnsoundJson("it has a number outside the range of a double")
    value = float(literal)
    if math.isinf(value) or (value == 0 and mantissa.strip("-0.")):
        raise UnsoundJson("it has a number outside the range of a double")
    return value


def _constant(name: str) -> NoReturn:
    raise UnsoundJson("it has NaN or Infinity, which JSON has not")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_fraction, parse_constant=_constant, strict=True
)


def _refuse_depth(value: dict[str, Any]) -> None:
    """Level by level, so that the depth of the input is never the depth of our own stack."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise UnsoundJson(f"it is nested deeper than {DEEPEST} levels")


def _refuse_unstorable_text(value: dict[str, Any]) -> None:
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, str):
            if "\x00" in item:
                raise UnsoundJson("it has the character U+0000, which Postgres cannot hold")
            if not is_unicode(item):
                raise UnsoundJson("it has half of a surrogate pair")


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8: it has no half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
