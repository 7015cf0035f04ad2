"""The page Authorize: the identity providers as cards, a new one from a pasted URL, and the checks of a pasted token.

A pasted token is checked and forgotten: it is kept nowhere, and stands in no answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.api.access import Find
from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.development import Development
from rowgate.console.pages.frame import Frame, Refusal, go_to, paged
from rowgate.console.pages.provider_form import given_by, label_of, preset_at, questions_for
from rowgate.console.pages.times_and_numbers import time_of_day, to_the_minute
from rowgate.errors import KeySetUnavailable, ProviderUnknown, RequestRefused, RowgateError
from rowgate.gateway.gateway import Gateway
from rowgate.identity.catalogue import CATALOGUE, preset_of
from rowgate.identity.fetcher import Fetcher
from rowgate.identity.inspection import KeySource, inspect
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.keyset import VerificationKey
from rowgate.identity.local_provider import LOCAL_KIND
from rowgate.identity.provider import Provider
from rowgate.identity.recognition import Recognition
from rowgate.identity.revocation import KEPT_SECONDS, Revocation, RevocationSet

PATH: Final = "/authorize"
DISABLED: Final = "disabled in the console"
SIGNED_OUT: Final = "signed out in the console"
_AND_BEFORE: Final = ", signed out before: "
FOLLOWS_SECONDS: Final = 2.0
"""How long a page waits for this gateway to hear of a change; it takes milliseconds."""
FOR_EVER: Final = 253_402_300_799.0
"""The last second of the year 9999: whenever a token was issued, it was before."""


@dataclass(frozen=True, slots=True)
class Card:
    """A provider as the page shows it."""

    provider: Provider
    label: str
    added: str
    is_disabled: bool
    path: str
    seen: str
    can_rotate: bool
    keys: Keys | None


@dataclass(frozen=True, slots=True)
class Keys:
    """The key set that tokens are verified with. ``skipped`` says which keys are not used and why; ``at`` is when it
    was fetched, empty where the registry holds it."""

    usable: tuple[VerificationKey, ...]
    skipped: tuple[str, ...]
    at: str


class Authorize:
    """One method for each address. ``find`` says what a URL leads to, ``fetcher`` gets keys for tokens that are only
    tested."""

    def __init__(
        self, frame: Frame, gateway: Gateway, find: Find, fetcher: Fetcher, development: Development | None, *,
        leeway: float,
    ) -> None:  # fmt: skip
        self._frame = frame
        self._gateway = gateway
        self._find = find
        self._fetcher = fetcher
        self._development = development
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
            Route(f"{PATH}/{{name}}/renew", guarded(self.renew), methods=["POST"]),
            Route(f"{PATH}/{{name}}/rotate", guarded(self.rotate), methods=["POST"]),
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
                one.provider, label_of(one.provider), to_the_minute(one.created_at), one.provider.name in disabled,
                f"{PATH}/{quote(one.provider.name)}", self._seen(visit, one.provider.name),
                self._development is not None and one.provider.kind == LOCAL_KIND,
                await _keys(visit, one.provider) if _has_keys(visit, one.provider) else None,
            )
            for one in entries
        ]  # fmt: skip
        return self._frame.page(
            visit.request, visit.session, "authorize.html", cards=cards, roles=sorted(visit.database.exposes),
            known=[one.label for one in CATALOGUE], done=visit.session.take_message(),
            page=page, pages=pages,
        )  # fmt: skip

    async def recognise(self, visit: Visit) -> Response:
        """A part: what the pasted URL leads to, what must still be said, and the button where nothing is missing."""
        url = visit.fields.get("url", "").strip()
        preset = preset_at(url)
        found: Recognition | None = None
        refusal = None
        if url:
            try:
                found = await self._find(url, given_by(visit.fields))
            except RowgateError as problem:
                refusal = Refusal.of(problem)
        preset = preset_of(found.provider.kind) if found else preset
        return self._frame.page(
            visit.request, visit.session, "recognised.html", url=url, preset=preset, found=found, refusal=refusal,
            label=label_of(found.provider) if found else preset.label if preset else "",
            questions=questions_for(preset, is_found=found is not None), given=visit.fields,
        )  # fmt: skip

    async def add(self, visit: Visit) -> Response:
        """Registers what the URL leads to, and back to the cards."""
        found = await self._find(visit.fields.get("url", "").strip(), given_by(visit.fields))
        await visit.database.registry.add_provider(found.provider)
        name = found.provider.name
        follows = await _follows(lambda: name in [one.name for one in visit.database.providers])
        return _back(visit, f"The provider was added as {name}. Its tokens are taken from now on.", follows)

    async def keys(self, visit: Visit) -> Response:
        """A part: the keys of a provider that tokens are verified with, fetched where none were needed yet."""
        return await self._keys_part(visit, "")

    async def renew(self, visit: Visit) -> Response:
        """A part: the keys of a provider, fetched now."""
        provider = _provider(visit)
        try:
            await visit.database.key_sets.renew(provider)
        except KeySetUnavailable as problem:
            if visit.database.key_sets.fetched_at(provider) is None:
                raise
            return await self._keys_part(visit, "", Refusal.of(problem))
        return await self._keys_part(visit, "Fetched now. A key that is gone opens nothing any more.")

    async def rotate(self, visit: Visit) -> Response:
        """The local provider signs with a new key, and the gateway has fetched it."""
        provider = _provider(visit)
        if self._development is None or provider.kind != LOCAL_KIND:
            raise RequestRefused("Only its own service can rotate the keys of this provider.")
        await asyncio.to_thread(self._development.people.rotate_key)
        await visit.database.key_sets.renew(provider)
        said = (
            f"{provider.name} signs with a new key, and the gateway has it. Earlier tokens are good until they expire."
        )
        return _back(visit, said, True)

    async def _keys_part(self, visit: Visit, said: str, refusal: Refusal | None = None) -> Response:
        keys = await _keys(visit, _provider(visit))
        return self._frame.page(visit.request, visit.session, "keys.html", keys=keys, said=said, refusal=refusal)

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
        name = _name(visit)
        await visit.database.registry.remove_provider(name)
        follows = await _follows(lambda: name not in [one.name for one in visit.database.providers])
        return _back(visit, f"{name} was removed. Its tokens are refused, and its sessions were cut.", follows)

    async def disable(self, visit: Visit) -> Response:
        """Refuses all of its tokens until it is enabled again; what was said about it stays."""
        name = _provider(visit).name
        before = next((one.issued_before for one in await _bounded(visit) if one.provider == name), None)
        if before != FOR_EVER:
            reason = DISABLED if before is None else f"{DISABLED}{_AND_BEFORE}{before}"
            follows = await self._revoke(visit, FOR_EVER, None, reason)
        else:
            follows = True
        return _back(visit, f"{name} is disabled. All of its tokens are refused until you enable it.", follows)

    async def enable(self, visit: Visit) -> Response:
        """Takes that back; who was signed out before stays so."""
        name = _provider(visit).name
        row = next((one for one in await _disabling(visit) if one.provider == name), None)
        follows = True
        if row is not None and row.id is not None:
            before = _signed_out_before(row.reason)
            left = None if before is None else _revocation(name, before, time.time() + KEPT_SECONDS, SIGNED_OUT)
            await visit.database.registry.remove_revocation(row.id, left=left)
            follows = await _follows(lambda: not visit.database.revocations.knows(row))
        return _back(visit, f"{name} is enabled. Its tokens are taken again.", follows)

    async def sign_everybody_out(self, visit: Visit) -> Response:
        """Refuses the tokens that were issued until now."""
        name = _provider(visit).name
        if name in {one.provider for one in await _disabling(visit)}:
            raise RequestRefused(
                f"{name} is disabled: all of its tokens are refused already.", hint="Enable it first, then sign out."
            )
        now = time.time()
        follows = await self._revoke(visit, now, now + KEPT_SECONDS, SIGNED_OUT)
        return _back(visit, f"Every token that {name} issued until now is refused.", follows)

    async def _revoke(self, visit: Visit, issued_before: float, expires_at: float | None, reason: str) -> bool:
        row = _revocation(_provider(visit).name, issued_before, expires_at, reason)
        await visit.database.registry.revoke([row])
        return await _follows(lambda: visit.database.revocations.knows(row))

    def _seen(self, visit: Visit, name: str) -> str:
        """How many tokens this gateway has verified, and when one was used last."""
        seen = visit.database.seen_tokens.get(name)
        if seen is None:
            return "none since this gateway started"
        journal = self._gateway.journal
        activity = (journal.activity or {}).get(visit.endpoint.name) if journal is not None else None
        used = activity.providers.of(name) if activity is not None else None
        last = max(seen.last, used.last if used else 0.0)
        return f"{seen.count} verified, the last one used at {time_of_day(last)} UTC"


def _has_keys(visit: Visit, provider: Provider) -> bool:
    return bool(provider.key_set) or visit.database.key_sets.fetched_at(provider) is not None


async def _keys(visit: Visit, provider: Provider) -> Keys:
    """Raises KeySetUnavailable."""
    found = await visit.database.key_sets.key_set(provider)
    fetched_at = visit.database.key_sets.fetched_at(provider)
    return Keys(
        tuple(key for key in found.keys.values() if set(key.algorithms) & set(provider.algorithms)),
        tuple(f"{key.key_id}: {key.reason}" for key in found.skipped),
        "" if fetched_at is None or provider.key_set else time_of_day(fetched_at),
    )


async def _follows(holds: Callable[[], bool]) -> bool:
    """Whether this gateway has heard of a change of the registry, given a moment."""
    deadline = time.monotonic() + FOLLOWS_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def _back(visit: Visit, said: str, follows: bool) -> Response:
    late = "" if follows else " This gateway has not heard of it yet: it is out of touch with the registry."
    visit.session.message = said + late
    return go_to(PATH)


def _revocation(name: str, issued_before: float, expires_at: float | None, reason: str) -> Revocation:
    return Revocation(
        provider=name, kind="provider", issued_before=issued_before, expires_at=expires_at, reason=reason,
        revoked_by="console",
    )  # fmt: skip


def _signed_out_before(reason: str) -> float | None:
    """What a disabled provider's users were signed out by, as ``disable`` has noted it."""
    _, found, moment = reason.partition(_AND_BEFORE)
    try:
        return float(moment) if found and reason.startswith(DISABLED) else None
    except ValueError:
        return None


async def _bounded(visit: Visit) -> list[Revocation]:
    """The revocations of all tokens of a provider that were issued before some moment."""
    found: list[Revocation] = []
    after = 0
    while page := await visit.database.registry.revocations(after=after):
        found += [one for one in page if one.kind == "provider" and one.issued_before is not None]
        after = page[-1].id or 0
    return found


async def _disabling(visit: Visit) -> list[Revocation]:
    """The revocations by which providers are disabled."""
    return [one for one in await _bounded(visit) if one.issued_before == FOR_EVER]


def _name(visit: Visit) -> str:
    name: str = visit.request.path_params["name"]
    return name


def _provider(visit: Visit) -> Provider:
    for one in visit.database.providers:
        if one.name == _name(visit):
            return one
    raise ProviderUnknown("No provider has this name.")
