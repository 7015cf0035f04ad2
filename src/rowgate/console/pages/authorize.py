"""The page Authorize: the identity providers as cards, a new one from a pasted URL, and the checks of a pasted token.

A pasted token is checked and forgotten: it is kept nowhere, and stands in no answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.api.access import Find
from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.frame import Frame, Refusal, go_to, listed, paged
from rowgate.errors import ProviderUnknown, RowgateError
from rowgate.identity.catalogue import CATALOGUE, Preset, preset_of, recognised
from rowgate.identity.fetcher import Fetcher
from rowgate.identity.inspection import KeySource, inspect
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.keyset import KeySet, parse_key_set
from rowgate.identity.provider import Provider
from rowgate.identity.recognition import Given, Recognition, keys_of
from rowgate.identity.revocation import Revocation, RevocationSet

PATH: Final = "/authorize"
DISABLED: Final = "disabled in the console"
FOR_EVER: Final = 253_402_300_799.0
"""The last second of the year 9999: whenever a token was issued, it was before."""

_SINGLE: Final = {"--project": "project", "--issuer": "issuer"}
_LISTED: Final = {"--audience": "audiences", "--client-id": "client_ids", "--tenant": "tenants"}
_WORDS: Final = {
    "audiences": ("Audience", "What aud of its tokens must hold"),
    "client_ids": ("Client id", "The client that tokens must be made for"),
    "tenants": ("Tenant", "Whose users may sign in"),
    "project": ("Project", "Where the keys are shared by many"),
    "issuer": ("Issuer", "What iss is, to the letter"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """Something that only the operator knows."""

    name: str
    label: str
    meaning: str
    where: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class Card:
    """A provider as the page shows it."""

    provider: Provider
    label: str
    added: str
    is_disabled: bool
    path: str


class Authorize:
    """One method for each address. ``find`` says what a URL leads to, ``fetcher`` gets keys."""

    def __init__(self, frame: Frame, find: Find, fetcher: Fetcher, *, leeway: float) -> None:
        self._frame = frame
        self._find = find
        self._fetcher = fetcher
        self._leeway = leeway

    def routes(self, doorway: Doorway) -> list[Route]:
        """Their addresses."""
        guarded = doorway.guarded
        return [
            Route(PATH, guarded(self.show), methods=["GET"]),
            Route(f"{PATH}/recognise", guarded(self.recognise), methods=["POST"]),
            Route(f"{PATH}/add", guarded(self.add), methods=["POST"]),
            Route(f"{PATH}/inspect", guarded(self.inspect), methods=["POST"]),
            Route(f"{PATH}/{{name}}/keys", guarded(self.keys), methods=["POST"]),
            Route(f"{PATH}/{{name}}/remove", guarded(self.remove), methods=["POST"]),
            Route(f"{PATH}/{{name}}/disable", guarded(self.disable), methods=["POST"]),
            Route(f"{PATH}/{{name}}/enable", guarded(self.enable), methods=["POST"]),
            Route(f"{PATH}/{{name}}/sign-out", guarded(self.sign_everybody_out), methods=["POST"]),
        ]

    async def show(self, visit: Visit) -> Response:
        """All cards, and the two forms."""
        registry = visit.database.registry
        disabled = {one.provider for one in await _disabling(visit)}
        entries, page, pages = paged(await registry.provider_entries(), visit.request.query_params.get("page", ""))
        cards = [
            Card(
                one.provider, _label(one.provider), _date(one.created_at), one.provider.name in disabled,
                f"{PATH}/{quote(one.provider.name)}",
            )
            for one in entries
        ]  # fmt: skip
        return self._frame.page(
            visit.request, visit.session, "authorize.html", cards=cards, roles=sorted(visit.database.exposes),
            known=[one.label for one in CATALOGUE], done=_DONE.get(visit.request.query_params.get("done", "")),
            page=page, pages=pages,
        )  # fmt: skip

    async def recognise(self, visit: Visit) -> Response:
        """A part: what the pasted URL leads to, what must still be said, and the button where nothing is missing."""
        url = visit.fields.get("url", "").strip()
        preset = _preset(url)
        found: Recognition | None = None
        refusal = None
        if url:
            try:
                found = await self._find(url, _given(visit.fields))
            except RowgateError as problem:
                refusal = Refusal.of(problem)
        preset = preset_of(found.provider.kind) if found else preset
        return self._frame.page(
            visit.request, visit.session, "recognised.html", url=url, preset=preset, found=found, refusal=refusal,
            label=_label(found.provider) if found else preset.label if preset else "",
            questions=_questions(preset, is_found=found is not None), given=visit.fields,
        )  # fmt: skip

    async def add(self, visit: Visit) -> Response:
        """Registers what the URL leads to, and back to the cards."""
        found = await self._find(visit.fields.get("url", "").strip(), _given(visit.fields))
        await visit.database.registry.add_provider(found.provider)
        return go_to(f"{PATH}?done=added")

    async def keys(self, visit: Visit) -> Response:
        """A part: the keys of a provider, fetched now."""
        provider = _provider(visit)
        keys: KeySet = parse_key_set(provider.key_set.encode()) if provider.key_set else await keys_of(
            provider, self._fetcher
        )  # fmt: skip
        usable = [key for key in keys.keys.values() if set(key.algorithms) & set(provider.algorithms)]
        skipped = [f"{key.key_id}: {key.reason}" for key in keys.skipped]
        at = datetime.now(UTC).strftime("%H:%M:%S UTC")
        return self._frame.page(
            visit.request, visit.session, "keys.html", keys=usable, skipped=skipped, at=at,
            is_fetched=not provider.key_set,
        )  # fmt: skip

    async def inspect(self, visit: Visit) -> Response:
        """A part: every check of a pasted token."""
        revocations = RevocationSet(time.time)
        revocations.apply(await visit.database.registry.revocation_changes())
        known = {issuer: one for one in visit.database.providers for issuer in one.issuers}
        key_sets = KeySetCache(self._fetcher, time.time)
        providers = visit.database.providers
        try:
            found = await inspect(
                visit.fields.get("token", "").strip(), known, KeySource(key_sets.key, key_sets.only_key_id),
                now=time.time(), leeway=self._leeway, assumed=providers[0] if len(providers) == 1 else None,
                role=visit.fields.get("role") or None, revocations=revocations,
            )  # fmt: skip
        finally:
            await key_sets.close()
        return self._frame.page(visit.request, visit.session, "inspected.html", found=found)

    async def remove(self, visit: Visit) -> Response:
        """Its tokens are refused and its sessions cut from now on."""
        await visit.database.registry.remove_provider(_name(visit))
        return go_to(f"{PATH}?done=removed")

    async def disable(self, visit: Visit) -> Response:
        """Refuses all of its tokens until it is enabled again; what was said about it stays."""
        await self._revoke(visit, FOR_EVER, None, DISABLED)
        return go_to(f"{PATH}?done=disabled")

    async def enable(self, visit: Visit) -> Response:
        """Takes that back."""
        for one in await _disabling(visit):
            if one.provider == _name(visit) and one.id is not None:
                await visit.database.registry.remove_revocation(one.id)
        return go_to(f"{PATH}?done=enabled")

    async def sign_everybody_out(self, visit: Visit) -> Response:
        """Refuses the tokens that were issued until now."""
        now = time.time()
        await self._revoke(visit, now, now + 90 * 86_400, "signed out in the console")
        return go_to(f"{PATH}?done=signed-out")

    async def _revoke(self, visit: Visit, issued_before: float, expires_at: float | None, reason: str) -> None:
        await visit.database.registry.revoke(
            [
                Revocation(
                    provider=_provider(visit).name, kind="provider", issued_before=issued_before,
                    expires_at=expires_at, reason=reason, revoked_by="console",
                )
            ]
        )  # fmt: skip


_DONE: Final[Mapping[str, str]] = {
    "added": "The provider was added. Its tokens are taken from now on.",
    "removed": "The provider was removed. Its tokens are refused, and its sessions were cut.",
    "disabled": "The provider is disabled. All of its tokens are refused until you enable it.",
    "enabled": "The provider is enabled. Its tokens are taken again.",
    "signed-out": "Every token that the provider issued until now is refused.",
}


async def _disabling(visit: Visit) -> list[Revocation]:
    """The revocations by which providers are disabled."""
    found: list[Revocation] = []
    after = 0
    while page := await visit.database.registry.revocations(after=after):
        found += [one for one in page if one.kind == "provider" and one.issued_before == FOR_EVER]
        after = page[-1].id or 0
    return found


def _name(visit: Visit) -> str:
    name: str = visit.request.path_params["name"]
    return name


def _provider(visit: Visit) -> Provider:
    for one in visit.database.providers:
        if one.name == _name(visit):
            return one
    raise ProviderUnknown("No provider has this name.")


def _label(provider: Provider) -> str:
    preset = preset_of(provider.kind)
    generic = {"local": "Local identity provider", "oidc": "OpenID Connect"}
    return preset.label if preset else generic.get(provider.kind, "Custom provider")


def _preset(url: str) -> Preset | None:
    try:
        found = recognised(url)
    except ValueError:
        return None
    return found[0] if found else None


def _given(fields: Mapping[str, str]) -> Given:
    return Given(
        name=fields.get("name", "").strip() or None,
        issuer=fields.get("issuer", "").strip() or None,
        project=fields.get("project", "").strip() or None,
        audiences=listed(fields.get("audiences", "")),
        client_ids=listed(fields.get("client_ids", "")),
        tenants=listed(fields.get("tenants", "")),
        authorized_parties=listed(fields.get("authorized_parties", "")),
    )


def _questions(preset: Preset | None, *, is_found: bool) -> list[Question]:
    """What to ask for. Of a provider without a row only what its documents do not tell."""
    asked: dict[str, Question] = {}
    for one in preset.inputs if preset else ():
        name = _SINGLE.get(one.option) or _LISTED.get(one.option)
        if name is not None:
            asked[name] = Question(name, _WORDS[name][0], one.meaning, one.where, one.is_required)
    if preset is None:
        for name in ("audiences", "issuer") if not is_found else ("audiences",):
            asked[name] = Question(name, *_WORDS[name], "", is_required=False)
    elif preset.audience != "none" and "audiences" not in asked:
        hint = preset.audience_hint or "your own client or project id"
        asked["audiences"] = Question("audiences", "Audience", hint, "", preset.audience == "required")
    return list(asked.values())


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
