"""What the local issuer's records have in common: identifiers, texts and metadata, and how each is judged.

This module never reads or writes a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar

from rowgate.errors import IssuerInputInvalid
from rowgate.identity.strict_json import UnsoundJson, parse_object

LONGEST_TEXT: Final = 255
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:-]{0,254}", re.ASCII)
_LARGEST_OBJECT: Final = 8192

Made = TypeVar("Made")


def invalid(what: str, name: str, expected: str) -> IssuerInputInvalid:
    """The refusal of the member ``name`` of ``what``, such as "user"."""
    return IssuerInputInvalid(f"The {what}'s {name} cannot be used.", detail=f"expected {expected}")


def check_identifier(what: str, value: object, example: str) -> None:
    """Raises IssuerInputInvalid where ``value`` is no identifier."""
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise invalid(what, "id", f"up to 255 letters, digits and . _ @ | : -, such as {example}")


def check_text(what: str, name: str, value: object) -> None:
    """Raises IssuerInputInvalid where ``value`` is no text that people could read."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise invalid(what, name, f"printable text of up to {LONGEST_TEXT} characters")


def check_metadata(what: str, record: object, names: tuple[str, ...]) -> None:
    """Raises IssuerInputInvalid where a member of ``names`` is not a JSON object of bounded size."""
    for name in names:
        if not is_storable(getattr(record, name)):
            raise invalid(what, name, "a JSON object of at most 8 KiB that Postgres can store")


def check_dates(what: str, record: object) -> None:
    """Raises IssuerInputInvalid where ``created_at`` or ``updated_at`` is not milliseconds since 1970."""
    for name in ("created_at", "updated_at"):
        check_moment(what, name, getattr(record, name))


def check_moment(what: str, name: str, value: object) -> None:
    """Raises IssuerInputInvalid where ``value`` is not milliseconds since 1970."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise invalid(what, name, "milliseconds since 1970 as a whole number")


def is_storable(value: object) -> bool:
    """Whether ``value`` is a JSON object that a gateway would take in a token, and small enough for one."""
    try:
        text = json.dumps(value, allow_nan=False).encode()
        parse_object(text)
    except (ValueError, TypeError, RecursionError, UnsoundJson):
        return False
    return len(text) <= _LARGEST_OBJECT


def made_from(kind: type[Made], what: str, record: Mapping[str, Any]) -> Made:
    """A ``kind`` (a dataclass) of the members of ``record``. Raises IssuerInputInvalid for unknown or missing ones."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if set(record) - known:
        raise invalid(what, "members", f"some of {', '.join(sorted(known))}")
    members = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    try:
        return kind(**members)
    except TypeError as error:
        raise invalid(what, "members", f"at least those of {', '.join(sorted(known))} that have no default") from error


def merged(metadata: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata`` with ``changes`` laid over it, level by level; a member that is null goes away (as at Clerk)."""
    result = dict(metadata)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            below = result.get(name)
            result[name] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[name] = value
    return result
