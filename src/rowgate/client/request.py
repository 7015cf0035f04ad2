"""A call of the gateway as values: address, headers, body. Pure; tokens and passwords are in no repr and no error."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from rowgate.client.parameters import parameters
from rowgate.errors import CredentialsMissing, MalformedBody, MalformedHeader, SettingInvalid, TokenMalformed

Isolation = Literal["ReadUncommitted", "ReadCommitted", "RepeatableRead", "Serializable"]
Statement = str | tuple[str, *tuple[object, ...]]
"""SQL alone, or a tuple of SQL and its parameters."""

DEFAULT_TIMEOUT: Final = 60.0
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750 section 2.1, b64token
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client asks: the gateway's ``/sql``, and the connection string that names role and database."""

    sql_url: str
    database_url: str = field(repr=False)

    def __post_init__(self) -> None:
        """Raises SettingInvalid or MalformedHeader."""
        try:
            parts = urlsplit(self.sql_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.username is not None or parts.password is not None:
            raise SettingInvalid(
                "the gateway's address cannot be used",
                detail="expected http:// or https://, a host and no user in front of it",
                hint="Give something like https://sql.example.com/sql.",
            )
        if _CONTROL.search(self.database_url) or not self.database_url:
            raise MalformedHeader("the connection string is empty or holds control characters")


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent."""

    headers: list[tuple[bytes, bytes]] = field(repr=False)
    body: bytes = field(repr=False)


def query_call(target: Target, token: str | None, sql: str, values: Sequence[object]) -> Call:
    """One statement. Raises MalformedParameter or MalformedBody."""
    return Call(_headers(target, token), _json(_query(sql, values)))


def batch_call(
    target: Target,
    token: str | None,
    statements: Sequence[Statement],
    isolation: Isolation | None,
    read_only: bool,
    deferrable: bool,
) -> Call:
    """Several statements, which are one transaction. Raises MalformedParameter or MalformedBody."""
    headers = _headers(target, token)
    if isolation is not None:
        headers.append((b"Neon-Batch-Isolation-Level", isolation.encode("ascii", "replace")))
    headers += [
        (name, b"true")
        for name, wanted in ((b"Neon-Batch-Read-Only", read_only), (b"Neon-Batch-Deferrable", deferrable))
        if wanted
    ]
    queries = [
        _query(one, ()) if isinstance(one, str) else _query(one[0] if one else None, one[1:]) for one in statements
    ]
    return Call(headers, _json({"queries": queries}))


def checked_token(token: object) -> str:
    """The token that ``auth_token`` gave. Raises CredentialsMissing or TokenMalformed, which do not show it."""
    if token is None:
        # A connection string with a password would be somebody else's way in.
        raise CredentialsMissing(
            "auth_token gave no token", hint="For requests without a token, make a client without auth_token."
        )
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise TokenMalformed(
            "what auth_token gave is no token",
            detail="it is of the type " + type(token).__name__ if not isinstance(token, str) else "its characters",
        )
    return token


def _headers(target: Target, token: str | None) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"Neon-Connection-String", target.database_url.encode("utf-8", "surrogatepass")),
        (b"Neon-Array-Mode", b"true"),
        (b"Content-Type", b"application/json"),
    ]
    if token is not None:
        headers.append((b"Authorization", b"Bearer " + token.encode("ascii")))
    return headers


def _query(sql: object, values: Sequence[object]) -> dict[str, Any]:
    if not isinstance(sql, str):
        raise MalformedBody("a statement is text, or a tuple of it and parameters", detail=f"got {type(sql).__name__}")
    return {"query": sql, "params": parameters(values)}


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii")
