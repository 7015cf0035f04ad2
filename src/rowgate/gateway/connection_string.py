"""The connection string that a client sends with each request: which role, database and endpoint it means.

Reads text, never connects, and never shows a password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from rowgate.errors import MalformedHeader

LONGEST: Final = 4096
SCHEMES: Final = frozenset({"postgres", "postgresql"})


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """What a client's connection string says. ``endpoint`` is the first label of the host, in small letters."""

    role: str
    password: str | None = field(repr=False)
    endpoint: str
    database: str


def parse(text: str) -> ConnectionString:
    """Reads ``postgresql://role[:password]@host[:port]/database[?anything]`` (PostgreSQL 18, section 34.1.1.2).

    Query parameters are accepted and ignored: drivers add their own. Raises MalformedHeader.
    """
    if not text:
        raise MalformedHeader("invalid header: neon-connection-string", detail="the header is missing or empty")
    if len(text) > LONGEST:
        raise MalformedHeader("invalid connection string: too long", detail=f"at most {LONGEST} characters")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError as problem:
        raise MalformedHeader("invalid connection string: not a URL") from problem
    if parts.scheme not in SCHEMES:
        raise MalformedHeader("invalid connection string: incorrect scheme", detail="expected postgresql://")
    if not host:
        raise MalformedHeader("invalid connection string: missing host")
    role = _decode(parts.username or "", "username")
    if not role:
        raise MalformedHeader("invalid connection string: missing username")
    return ConnectionString(role, _password(parts), host.split(".")[0].lower(), _database(parts) or role)


def _password(parts: SplitResult) -> str | None:
    return _decode(parts.password, "password") if parts.password else None


def _database(parts: SplitResult) -> str:
    return _decode(parts.path.removeprefix("/"), "database")


def _decode(text: str, what: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError as problem:
        raise MalformedHeader(f"invalid connection string: the {what} is not UTF-8") from problem
    if "\0" in decoded or any(0xD800 <= ord(letter) < 0xE000 for letter in decoded):
        raise MalformedHeader(f"invalid connection string: the {what} holds a forbidden character")
    return decoded
