"""``/projects/{id}/jwks`` as the hosted original's management API has it, so that tools written for it can move.

A project is an endpoint (any name where there is one only), and a branch a database of it.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.api.access import Access, Find, body_of, require_database
from rowgate.console.api.answers import json_answer
from rowgate.console.hosted_form import HostedKeySet, given_of, is_same, shown_entry
from rowgate.errors import ProviderUnknown, SettingInvalid
from rowgate.registry.registry import ProviderEntry


class ProjectJwks:
    """The three calls. ``find`` says what a URL leads to."""

    def __init__(self, access: Access, find: Find) -> None:
        self._access = access
        self._find = find

    def routes(self) -> list[Route]:
        """At the address that the original's tools add to their base, and below its ``/api/v2``."""
        return [
            route
            for prefix in ("", "/api/v2")
            for route in (
                Route(f"{prefix}/projects/{{project}}/jwks", self.list_all, methods=["GET"]),
                Route(f"{prefix}/projects/{{project}}/jwks", self.add, methods=["POST"]),
                Route(f"{prefix}/projects/{{project}}/jwks/{{jwks}}", self.remove, methods=["DELETE"]),
            )
        ]

    async def list_all(self, request: Request) -> Response:
        """200 and ``{"jwks": [...]}``."""
        project = request.path_params["project"]
        database, _ = await self._access.database(request, project, None)
        entries = await database.registry.provider_entries()
        return json_answer({"jwks": [shown_entry(one, project) for one in entries if one.provider.jwks_url]})

    async def add(self, request: Request) -> Response:
        """201 and ``{"jwks": {...}, "operations": []}``. The same again gives the entry that is there."""
        project = request.path_params["project"]
        await self._access.database(request, project, None)
        form = await body_of(request, HostedKeySet)
        database, _ = await self._access.database(request, project, require_database(form.branch_id))
        entries = await database.registry.provider_entries()
        given, missing = given_of(form, database.exposes, [one.provider.name for one in entries])
        if missing and form.role_names:
            raise SettingInvalid(
                "Some of the roles are not exposed in this database, and the gateway may not make roles.",
                detail=f"not exposed: {', '.join(missing)}",
                hint="Run `rowgate setup --role NAME` first, leave them out, or send skip_role_creation.",
            )
        known = next((one for one in entries if is_same(form, one.provider, given.roles)), None)
        if known is None:
            found = await self._find(form.jwks_url, given)
            await database.registry.add_provider(found.provider, label=form.provider_name)
            known = _entry(await database.registry.provider_entries(), name=found.provider.name)
        return json_answer({"jwks": shown_entry(known, project, form.branch_id), "operations": []}, 201)

    async def remove(self, request: Request) -> Response:
        """200 and the entry that was there; its tokens are refused and its sessions cut from now on."""
        project = request.path_params["project"]
        database, _ = await self._access.database(request, project, None)
        entry = _entry(await database.registry.provider_entries(), entry_id=request.path_params["jwks"])
        await database.registry.remove_provider(entry.provider.name)
        return json_answer(shown_entry(entry, project))


def _entry(
    entries: tuple[ProviderEntry, ...], *, name: str | None = None, entry_id: str | None = None
) -> ProviderEntry:
    for one in entries:
        if one.provider.name == name or one.id == entry_id:
            return one
    raise ProviderUnknown("No provider has this id.")
