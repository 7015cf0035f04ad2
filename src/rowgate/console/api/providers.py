"""``/api/v1/providers``: the registered providers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.api.access import Access, Find, body_of, query_of
from rowgate.console.api.answers import json_answer
from rowgate.identity.provider import DEFAULT_ROLES
from rowgate.identity.recognition import Given, custom_rules
from rowgate.registry.registry import ProviderEntry


class ProviderForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``POST`` takes: the options of ``rowgate provider add``."""

    url: str
    name: str | None = None
    preset: str | None = None
    issuer: str | None = None
    audiences: tuple[str, ...] = ()
    client_ids: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    project: str | None = None
    authorized_parties: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    user_claim: str = "sub"
    require: tuple[str, ...] = ()
    roles: tuple[str, ...] = DEFAULT_ROLES
    role_from: tuple[str, ...] = ()

    def given(self) -> Given:
        """The same as the operator's words. Raises SettingInvalid."""
        rules = custom_rules(self.user_claim, self.require, self.role_from)
        return Given(
            kind=self.preset,
            name=self.name,
            issuer=self.issuer,
            audiences=self.audiences,
            authorized_parties=self.authorized_parties,
            client_ids=self.client_ids,
            tenants=self.tenants,
            project=self.project,
            algorithms=self.algorithms,
            roles=tuple(dict.fromkeys([*self.roles, *(grant.role for grant in rules.role_grants)])),
            rules=rules,
        )


class Providers:
    """The calls. ``find`` says what a URL leads to."""

    def __init__(self, access: Access, find: Find) -> None:
        self._access = access
        self._find = find

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route("/api/v1/providers", self.list_all, methods=["GET"]),
            Route("/api/v1/providers", self.add, methods=["POST"]),
            Route("/api/v1/providers/{name}", self.remove, methods=["DELETE"]),
        ]

    async def list_all(self, request: Request) -> Response:
        """200 and ``{"providers": [...]}``."""
        database, _ = await self._access.database(request, *query_of(request))
        return json_answer({"providers": [_shown(one) for one in await database.registry.provider_entries()]})

    async def add(self, request: Request) -> Response:
        """201 and the provider; exactly the same again changes nothing."""
        database, _ = await self._access.database(request, *query_of(request))
        form = await body_of(request, ProviderForm)
        found = await self._find(form.url, form.given())
        await database.registry.add_provider(found.provider)
        entries = await database.registry.provider_entries()
        entry = next(one for one in entries if one.provider.name == found.provider.name)
        return json_answer({**_shown(entry), "key_ids": list(found.key_ids), "skipped": list(found.skipped)}, 201)

    async def remove(self, request: Request) -> Response:
        """204; its tokens are refused and its sessions cut from now on."""
        database, _ = await self._access.database(request, *query_of(request))
        await database.registry.remove_provider(request.path_params["name"])
        return Response(status_code=204)


def _shown(entry: ProviderEntry) -> dict[str, Any]:
    return {"id": entry.id, "created_at": entry.created_at, "updated_at": entry.updated_at, **asdict(entry.provider)}
