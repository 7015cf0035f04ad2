"""A refusal as an error of the tree: the gateway's status, headers and JSON in, the error to raise out. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from rowgate.errors import (
    AnswerUnreadable,
    DatabaseError,
    DatabaseUnavailable,
    LimitExceeded,
    RefusalUnknown,
    RowgateError,
    StatementRefused,
    catalogue,
)
from rowgate.errors.postgres_fields import JSON_NAMES, OWN_ROUTINE


def succeeded(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """The body of an answer with the status 200. Raises the error that any other one stands for."""
    if status != 200:
        raise error_of(status, headers, body)
    return body


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> RowgateError:
    """The error that an answer with another status than 200 stands for, with its details as notes."""
    told = _members(body)
    if told is None:
        return AnswerUnreadable("the answer is neither a result nor a refusal", detail=f"HTTP status {status}")
    routine = told.get("routine", "")
    if not routine.startswith(OWN_ROUTINE):
        error: RowgateError = DatabaseError({code: told[name] for name, code in JSON_NAMES.items() if name in told})
        error.add_note(f"SQLSTATE {told.get('code')}")
    else:
        error = _own(routine.removeprefix(OWN_ROUTINE), told)
    waited = headers.get("retry-after", "")
    if isinstance(error, LimitExceeded | DatabaseUnavailable) and waited.isascii() and waited.isdigit():
        error.retry_after = int(waited[:9])
    for name, text in (("detail", error.detail), ("hint", error.hint), ("request", headers.get("neon-request-id"))):
        if text:
            error.add_note(f"{name}: {text}")
    return error


def _members(body: bytes) -> dict[str, str] | None:
    """The members of an error's JSON that are text; None where it is no such thing."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("message"), str):
        return None
    return {name: value for name, value in told.items() if isinstance(value, str)}


def _own(code: str, told: Mapping[str, Any]) -> RowgateError:
    kind = _kinds().get(code)
    about = {"detail": told.get("detail"), "hint": told.get("hint")}
    if kind is None or issubclass(kind, DatabaseError):
        return RefusalUnknown(told["message"], refusal=code, **about)
    if issubclass(kind, StatementRefused):
        position = told.get("position", "")
        at = int(position) if position.isascii() and position.isdigit() and len(position) < 10 else None
        return kind(told["message"], position=at, sqlstate=told.get("code"), **about)
    return kind(told["message"], **about)


@cache
def _kinds() -> dict[str, type[RowgateError]]:
    return {kind.code: kind for kind in catalogue()}
