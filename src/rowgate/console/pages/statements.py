"""Statements of the SQL editor, by the gateway's own way: the same verification, guard, limits and roles as any client.

There is no second way to Postgres here. A token or password goes into the request, and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import msgspec

from rowgate.console.pages.access import Visit
from rowgate.console.pages.development import Development
from rowgate.errors import RequestRefused
from rowgate.gateway.gateway import Gateway
from rowgate.gateway.http.message import HttpRequest

MOST_ROWS_SHOWN: Final = 200
ANONYMOUS: Final = "anonymous"
AUTHENTICATED: Final = "authenticated"
OWNER: Final = "owner"
TOKEN: Final = "token"  # noqa: S105 - a name
USER: Final = "user:"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who a statement runs as: an exposed role and perhaps a token, or the owner (``url`` with a password)."""

    name: str
    role: str
    token: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a statement. ``rows`` are texts, None for NULL. ``error`` holds Postgres's fields, or the gateway's
    own; ``position`` counts characters of the statement from 1."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    command: str = ""
    row_count: int = 0
    milliseconds: float = 0.0
    error: Mapping[str, Any] | None = None
    position: int | None = None


class Statements:
    """Runs them, and knows who there is to run them as."""

    def __init__(self, gateway: Gateway, development: Development | None) -> None:
        self._gateway = gateway
        self._development = development

    def choices(self) -> list[tuple[str, str]]:
        """Value and text of everybody that can be chosen."""
        people = self._development.people.people() if self._development else ()
        found = [(USER + user_id, f"{name} ({user_id})") for user_id, name in people]
        found += [(TOKEN, "a pasted token"), (ANONYMOUS, "anonymous")]
        return [*found, (OWNER, "owner")] if self._development else found

    def actor(self, choice: str, token: str = "", role: str = AUTHENTICATED) -> Actor:
        """The one that was chosen. Raises RequestRefused, UserUnknown."""
        if choice == ANONYMOUS:
            return Actor(ANONYMOUS, ANONYMOUS)
        if choice == TOKEN and token.strip():
            return Actor("the pasted token", role or AUTHENTICATED, token.strip())
        if choice == OWNER and self._development:
            return Actor(OWNER, OWNER, url=self._development.owner_url)
        if choice.startswith(USER) and self._development:
            user_id = choice.removeprefix(USER)
            return Actor(user_id, AUTHENTICATED, self._development.people.token(user_id))
        raise RequestRefused("Choose who the statement runs as.", hint="A pasted token needs the token.")

    async def run(self, visit: Visit, actor: Actor, text: str) -> Ran:
        """Runs one statement as ``actor`` in the database of the visit."""
        host = visit.endpoint.name or "any"
        url = actor.url or f"postgresql://{quote(actor.role, safe='')}@{host}/{quote(visit.database.name, safe='')}"
        headers = {
            b"neon-connection-string": url.encode(),
            b"neon-raw-text-output": b"true",
            b"neon-array-mode": b"true",
        }
        if actor.token is not None:
            headers[b"authorization"] = b"Bearer " + actor.token.encode("utf-8", "replace")
        body = msgspec.json.encode({"query": text, "params": []})
        began = time.perf_counter()
        answer = await self._gateway.answer_sql(HttpRequest(b"POST", b"/sql", headers, body))
        took = (time.perf_counter() - began) * 1000
        told = msgspec.json.decode(answer.body)
        if answer.status != 200:
            position = str(told.get("position") or "")
            return Ran(milliseconds=took, error=told, position=int(position) if position.isdigit() else None)
        return Ran(
            tuple(one["name"] for one in told["fields"]),
            tuple(tuple(row) for row in told["rows"]),
            told["command"] or "",
            told["rowCount"] or 0,
            took,
        )
