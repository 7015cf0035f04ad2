"""Answers of the management API: JSON, and errors in one form with their stable codes."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from rowgate.errors import AdminTokenRefused, RowgateError


def json_answer(value: Any, status: int = 200) -> Response:
    """``value`` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def error_answer(problem: RowgateError) -> Response:
    """The error: ``code`` and ``message`` as the hosted original has them, and what ours say besides."""
    headers = {"WWW-Authenticate": 'Bearer realm="rowgate"'} if isinstance(problem, AdminTokenRefused) else {}
    retry_after = getattr(problem, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    body = {"code": problem.code, "message": problem.message, "detail": problem.detail, "hint": problem.hint}
    return Response(msgspec.json.encode(body), problem.status, headers, media_type="application/json")
