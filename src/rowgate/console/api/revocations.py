"""``/api/v1/revocations``: what was revoked. Times are Unix seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.api.access import Access, body_of, query_of
from rowgate.console.api.answers import json_answer
from rowgate.errors import MalformedHeader, ProviderUnknown, RevocationUnknown
from rowgate.identity.revocation import KEPT_SECONDS, Revocation, RevocationKind

MOST_AT_ONCE = 1000


class RevocationForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``POST`` takes. Without ``expires_at`` it counts for as long as by ``rowgate revoke``; null is for ever."""

    provider: str
    kind: RevocationKind
    value: str = ""
    issued_before: float | None = None
    expires_at: float | msgspec.UnsetType | None = msgspec.UNSET
    reason: str = ""

    def revocation(self, holder: str, now: float) -> Revocation:
        """The same as a row. Raises SettingInvalid."""
        usual = None if self.kind == "subject" and self.issued_before is None else now + KEPT_SECONDS
        return Revocation(
            provider=self.provider,
            kind=self.kind,
            value=self.value,
            issued_before=self.issued_before,
            expires_at=usual if self.expires_at is msgspec.UNSET else self.expires_at,
            reason=self.reason,
            revoked_by=f"api {holder}",
        )


class Revocations:
    """The calls. ``clock`` gives Unix seconds."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.time) -> None:
        self._access = access
        self._clock = clock

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route("/api/v1/revocations", self.list_all, methods=["GET"]),
            Route("/api/v1/revocations", self.add, methods=["POST"]),
            Route("/api/v1/revocations/prune", self.prune, methods=["POST"]),
            Route("/api/v1/revocations/{id}", self.remove, methods=["DELETE"]),
        ]

    async def list_all(self, request: Request) -> Response:
        """200 and ``{"revocations": [...]}``, by id, at most a thousand; ``?after=ID`` gives the next ones."""
        database, _ = await self._access.database(request, *query_of(request))
        rows = await database.registry.revocations(after=_number(request, "after", 0), limit=MOST_AT_ONCE)
        return json_answer({"revocations": [asdict(row) for row in rows]})

    async def add(self, request: Request) -> Response:
        """201 and the row. Revoking again what is revoked never narrows it."""
        database, holder = await self._access.database(request, *query_of(request))
        form = await body_of(request, RevocationForm)
        if form.provider not in [one.name for one in database.providers]:
            raise ProviderUnknown("No provider has this name.")
        rows = await database.registry.revoke([form.revocation(holder, self._clock())])
        return json_answer(asdict((rows or [])[0]), 201)

    async def remove(self, request: Request) -> Response:
        """204; what was revoked and has not expired counts again."""
        database, _ = await self._access.database(request, *query_of(request))
        text = request.path_params["id"]
        if not (text.isascii() and text.isdigit() and len(text) < 18):
            raise RevocationUnknown("No revocation in force has this id.")
        await database.registry.remove_revocation(int(text))
        return Response(status_code=204)

    async def prune(self, request: Request) -> Response:
        """200 and ``{"pruned": NUMBER}``."""
        database, _ = await self._access.database(request, *query_of(request))
        return json_answer({"pruned": await database.registry.prune_revocations()})


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise MalformedHeader(f"the query's {name} is not a whole number")
    return int(text)
