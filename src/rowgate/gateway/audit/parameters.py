"""A statement's parameters as an audit record shows them: as text, cut to a bound, and never a token. Pure.

What is a token by its header (RFC 7515, RFC 7516) is replaced wherever it stands in a value, whoever has issued it.
Other secrets look like nothing in particular: whoever turns ``audit_parameters`` on keeps what applications send.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from typing import Final

import msgspec

from rowgate.pgwire.server.requests import Bind

LONGEST_VALUE: Final = 256
"""Characters shown of one value."""
MOST_VALUES: Final = 100
"""Values shown of one statement."""
SEARCHED_BYTES: Final = 16 * 1024
"""Of one value: a header that begins within what is shown is no longer."""
REDACTED: Final = "[token]"
CUT: Final = "…"
_RUN: Final = re.compile(r"[A-Za-z0-9_.-]{20,}")
_HEADER_BEGINS: Final = "ey"
"""What the base64url of a JSON object begins with, as everybody writes it."""


def shown_parameters(values: Sequence[bytes | None]) -> list[str | None]:
    """Those of a statement over HTTP, which are text."""
    return [None if value is None else shown_value(value) for value in values[:MOST_VALUES]]


def shown_bind(bind: Bind) -> list[str | None]:
    """Those that a session has bound; what is binary is shown as ``\\x`` and its bytes in hexadecimal."""
    codes = bind.format_codes
    shown: list[str | None] = []
    for number in range(1, min(bind.parameter_count, MOST_VALUES) + 1):
        value = bind.parameter(number)
        is_binary = bool(codes) and codes[0 if len(codes) == 1 else min(number, len(codes)) - 1] != 0
        shown.append(None if value is None else shown_value(value, is_binary=is_binary))
    return shown


def shown_value(value: bytes, *, is_binary: bool = False) -> str:
    """One value, without tokens. A text in binary format is the same bytes, so tokens are looked for there too."""
    text = value[:SEARCHED_BYTES].decode("latin-1" if is_binary else "utf-8", "replace")
    told = without_tokens(text)
    if is_binary:
        told = "\\x" + value[:LONGEST_VALUE].hex() if told == text else REDACTED
    return told if len(told) <= LONGEST_VALUE and len(value) <= SEARCHED_BYTES else told[:LONGEST_VALUE] + CUT


def without_tokens(text: str) -> str:
    """``text`` with REDACTED in place of every token in it."""
    return _RUN.sub(lambda run: REDACTED if _is_token(run[0]) else run[0], text) if "." in text else text


def _is_token(run: str) -> bool:
    """Whether a JOSE header stands before one of its dots (RFC 7515, section 3.1; RFC 7516, section 3.1)."""
    return any(
        _is_header(part) or _is_header(part[max(part.find(_HEADER_BEGINS), 0) :]) for part in run.split(".")[:-1]
    )


def _is_header(part: str) -> bool:
    try:
        header = msgspec.json.decode(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header
