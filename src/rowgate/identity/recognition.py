"""From a pasted URL to a provider that can be registered: which one it is, which issuers, which keys, which rules.

The catalogue knows the providers; for all others only what was found in the provider's own documents, or given by the
operator, goes into the result. This module never registers anything, and never lets keys shared by strangers through
without an audience.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from rowgate.errors import ProviderUnrecognised, SettingInvalid
from rowgate.identity.addresses import why_unfetchable
from rowgate.identity.catalogue import (
    CATALOGUE,
    DISCOVERY_PATH,
    KINDS,
    Input,
    Preset,
    preset_of,
    recognised,
    recognised_document,
)
from rowgate.identity.claim_rules import (
    ClaimRules,
    Condition,
    Path,
    RoleGrant,
    filled_rules,
    filled_text,
    placeholders,
)
from rowgate.identity.compact import shown
from rowgate.identity.discovery import LOCAL_MARKER, Found, Search, host_of
from rowgate.identity.fetcher import Fetcher
from rowgate.identity.keyset import KeySet
from rowgate.identity.local_provider import LOCAL_KIND, local_rules
from rowgate.identity.provider import ALGORITHMS, DEFAULT_ROLES, Provider

__all__ = [
    "DISCOVERY_PATH",
    "LOCAL_MARKER",
    "Given",
    "Recognition",
    "custom_rules",
    "keys_of",
    "recognise",
    "static_provider",
]

Values = Mapping[str, tuple[str, ...]]

_SHARED_KEY_HOSTS: Final = frozenset(
    host_of(address) for preset in CATALOGUE if preset.audience == "required" and not preset.key_set.startswith(
        "https://{"
    ) for address in (*preset.issuers, preset.key_set)
) - {""}  # fmt: skip
"""Hosts whose keys sign for customers that have nothing to do with each other: without an audience, anyone's token
would pass, whatever else is said about the provider."""


_KEY_SET_ENDINGS: Final = ("/jwks.json", "/jwks", "/keys", "/certs")


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a URL led to. ``provider`` is ready to be registered; ``key_ids`` are the keys that it can sign with now;
    ``skipped`` says for each other key why it is not used."""

    provider: Provider
    key_ids: tuple[str, ...]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the operator said about a provider. ``kind`` names a row of the catalogue where the URL does not show it;
    ``rules`` are those of a provider that has no row; where it has one, their requirements are added, and their user
    counts where it is not ``sub``."""

    kind: str | None = None
    name: str | None = None
    issuer: str | None = None
    audiences: tuple[str, ...] = ()
    authorized_parties: tuple[str, ...] = ()
    client_ids: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    project: str | None = None
    algorithms: tuple[str, ...] = ()
    roles: tuple[str, ...] = DEFAULT_ROLES
    rules: ClaimRules = field(default_factory=ClaimRules)

    def values(self) -> dict[str, tuple[str, ...]]:
        """What was said, by the names of placeholders."""
        single = {"project": self.project, "issuer": self.issuer}
        listed = {"tenant": self.tenants, "client": self.client_ids}
        return {name: (value,) for name, value in single.items() if value} | {k: v for k, v in listed.items() if v}


async def recognise(
    url: str,
    fetcher: Fetcher,
    *,
    name: str | None = None,
    issuer: str | None = None,
    audiences: Sequence[str] = (),
    authorized_parties: Sequence[str] = (),
    roles: Sequence[str] = DEFAULT_ROLES,
    given: Given | None = None,
    allow_insecure_loopback: bool = False,
) -> Recognition:
    """The provider behind ``url``, which may be its key set's, its issuer's or its discovery document's URL.

    ``issuer`` is asked for where a key set has no discovery document (OpenID Connect Discovery 1.0, section 4) beside
    it. ``given`` holds everything that can be said, and counts instead of the arguments before it.
    ``allow_insecure_loopback`` lets plain http through for loopback addresses, for development.
    Raises ProviderUnrecognised, which says what was tried and what came, or SettingInvalid for the other arguments.
    """
    url = url.strip()
    reason = why_unfetchable(url, allow_insecure_loopback=allow_insecure_loopback)
    if reason:
        raise ProviderUnrecognised("The URL cannot be used.", detail=f"{shown(url)} is refused, because {reason}")
    given = given or Given(
        name=name,
        issuer=issuer,
        audiences=tuple(audiences),
        authorized_parties=tuple(authorized_parties),
        roles=tuple(roles),
    )
    search = Search(fetcher, allow_insecure_loopback)
    known = _known(url, given)
    if known is not None:
        return await _from_preset(url, *known, given, search)
    found = await search.find(url, given.issuer)
    if given.issuer is not None and found.issuer != given.issuer:
        raise ProviderUnrecognised(
            "The provider names another issuer than the one that was given.",
            detail=f"expected {shown(given.issuer)}, its discovery document says {shown(found.issuer)}",
            hint="Leave --issuer out, or give it exactly as the provider writes it.",
        )
    shaped = recognised_document(found.document) if given.kind is None else None
    if shaped is not None:
        return _from_document(shaped[0], shaped[1], found, given)
    shared = {host_of(found.issuer), host_of(found.jwks_url)} & _SHARED_KEY_HOSTS
    if shared and not given.audiences:
        raise ProviderUnrecognised(
            "This provider signs for all of its customers with the same keys, so an audience is needed.",
            detail=f"expected an audience for {', '.join(sorted(shared))}, got none",
            hint="Give your own client or project id with --audience.",
        )
    rules = local_rules(given.rules) if found.kind == LOCAL_KIND else given.rules
    return _made(found, given, rules, given.audiences)


def static_provider(key_set_text: str, key_set: KeySet, given: Given) -> Recognition:
    """A provider whose keys the operator handed over. Raises ProviderUnrecognised where the issuer is missing."""
    if not given.issuer:
        raise ProviderUnrecognised(
            "A key file does not tell whose keys they are.",
            detail="expected an issuer, got none",
            hint="Give the issuer with --issuer: it is the claim iss of a token of this provider, to the letter.",
        )
    return _made(Found("custom", given.issuer, "", key_set), given, given.rules, given.audiences, key_set_text)


def custom_rules(user: str, requirements: Sequence[str], grants: Sequence[str] = ()) -> ClaimRules:
    """Rules for a provider without a row: the claim that names the user, what others must be (``CLAIM=VALUE``), and
    which roles ask for what (``CLAIM=VALUE:ROLE``).

    A claim that begins with a slash is a JSON Pointer (RFC 6901), such as ``/o/rol``. Raises SettingInvalid where a
    text is not of that form.
    """
    conditions = []
    for text in requirements:
        path, values = _claim_and_values(text, "CLAIM=VALUE", "--require token_use=access")
        conditions.append(Condition(path=path, values=values))
    role_grants = []
    for text in grants:
        form, example = "CLAIM=VALUE:ROLE", "--role-from /o/rol=admin:app_admin"
        condition, sign, role = text.rpartition(":")
        if not (sign and role):
            raise _not_of_form(text, form, example)
        path, values = _claim_and_values(condition, form, example)
        role_grants.append(RoleGrant(role=role, path=path, values=values))
    return ClaimRules(user=user, required=tuple(conditions), role_grants=tuple(role_grants))


def _claim_and_values(text: str, form: str, example: str) -> tuple[Path, tuple[str | bool, ...]]:
    """A claim and what it must be; ``true`` and ``false`` are the text and the truth value."""
    claim, sign, value = text.partition("=")
    names = claim.split("/")[1:] if claim.startswith("/") else [claim]
    path = tuple(name.replace("~1", "/").replace("~0", "~") for name in names)
    if not (sign and value and all(path)):
        raise _not_of_form(text, form, example)
    return path, (value, value == "true") if value in ("true", "false") else (value,)


def _not_of_form(text: str, form: str, example: str) -> SettingInvalid:
    return SettingInvalid(
        "A condition on claims is not one.", detail=f"expected {form}, got {shown(text)}", hint=f"Write {example}."
    )


async def keys_of(provider: Provider, fetcher: Fetcher) -> KeySet:
    """The keys of a registered provider as they are now. Raises ProviderUnrecognised where they cannot be had."""
    return await Search(fetcher, True).key_set(provider.jwks_url)


def _known(url: str, given: Given) -> tuple[Preset, dict[str, str]] | None:
    if given.kind is None:
        return recognised(url)
    preset = preset_of(given.kind)
    if preset is None:
        if given.kind in {"oidc", "custom"}:
            return None
        raise ProviderUnrecognised(
            "The catalogue has no such provider.",
            detail=f"expected one of {', '.join(sorted(KINDS))}, got {shown(given.kind)}",
            hint="See `rowgate provider catalogue`.",
        )
    values = preset.values_in(url, is_named=True)
    return preset, values or {}


async def _from_preset(url: str, preset: Preset, captured: dict[str, str], given: Given, search: Search) -> Recognition:
    values = _values(preset, captured, given)
    if _missing(preset, values, given) and preset.discovery:
        try:
            address = filled_text(preset.discovery, values)[0]
        except KeyError:
            address = ""
        if address:
            document = await search.document(address)
            values = _values(preset, captured | preset.values_in_issuer(document.get("issuer")), given)
    missing = _missing(preset, values, given)
    if missing is not None:
        raise ProviderUnrecognised(
            f"{preset.label}: {missing.meaning} is needed.",
            detail=f"expected {missing.meaning}, which the URL does not tell, got none",
            hint=f"Give it with {missing.option}. You find it here: {missing.where}.",
        )
    issuers = [text for template in preset.issuers for text in filled_text(template, values)]
    if given.issuer and given.issuer not in issuers:
        issuers = [given.issuer]
    jwks_url = filled_text(preset.key_set, values)[0]
    # At a domain of its own the key set may lie elsewhere (Stytch, SuperTokens' core); its URL was pasted then.
    if given.kind and preset.key_set.startswith("https://{domain}") and url.rstrip("/").endswith(_KEY_SET_ENDINGS):
        jwks_url = url
    found = Found(preset.kind, issuers[0], jwks_url, await search.key_set(jwks_url), preset.algorithms)
    return _filled(preset, values, found, given, tuple(issuers[1:]))


def _from_document(preset: Preset, captured: dict[str, str], found: Found, given: Given) -> Recognition:
    """At a domain of its own the provider's document says where the keys are, and the preset how claims are read."""
    values = _values(preset, captured, given)
    listed = preset.algorithms or found.listed
    return _filled(preset, values, replace(found, kind=preset.kind, listed=listed), given, ())


def _filled(preset: Preset, values: Values, found: Found, given: Given, others: tuple[str, ...]) -> Recognition:
    audiences = given.audiences or tuple(text for one in preset.audiences for text in filled_text(one, values))
    if preset.audience == "required" and not audiences:
        raise ProviderUnrecognised(
            f"{preset.label} signs for strangers with the same keys, so an audience is needed.",
            detail=f"expected {preset.audience_hint or 'an audience'}, got none",
            hint="Give it with --audience.",
        )
    rules = filled_rules(preset.rules, values)
    rules = replace(
        rules,
        user=rules.user if given.rules.user == "sub" else given.rules.user,
        required=(*rules.required, *given.rules.required),
        role_grants=(*rules.role_grants, *given.rules.role_grants),
    )
    return _made(found, given, rules, audiences, others=others)


def _made(
    found: Found,
    given: Given,
    rules: ClaimRules,
    audiences: Sequence[str],
    key_set_text: str = "",
    others: tuple[str, ...] = (),
) -> Recognition:
    algorithms = given.algorithms or _algorithms(found)
    provider = Provider(
        name=given.name or _name(found),
        kind=found.kind,
        issuer=found.issuer,
        jwks_url=found.jwks_url,
        audiences=tuple(audiences),
        authorized_parties=given.authorized_parties,
        algorithms=algorithms,
        roles=given.roles,
        other_issuers=others,
        client_ids=given.client_ids,
        key_set=key_set_text,
        rules=rules,
    )
    keys = found.key_set
    return Recognition(
        provider,
        key_ids=tuple(key.key_id for key in keys.keys.values() if set(key.algorithms) & set(algorithms)),
        skipped=tuple(f"{shown(key.key_id)}: {key.reason}" for key in keys.skipped),
    )


def _values(preset: Preset, captured: Mapping[str, str], given: Given) -> dict[str, tuple[str, ...]]:
    """What is known of the placeholders. Raises ProviderUnrecognised where URL and operator disagree."""
    values: dict[str, tuple[str, ...]] = {name: (value,) for name, value in captured.items()}
    for name, said in given.values().items():
        if name in values and name != "client" and not set(values[name]) <= set(said):
            raise ProviderUnrecognised(
                "The URL is that of another one than what was given.",
                detail=f"expected {name} to be {shown(values[name][0])}, got {', '.join(map(shown, said))}",
                hint="Give the URL alone, or the URL that belongs to it.",
            )
        if name not in values or name == "tenant":
            values[name] = said
    for one in preset.inputs:
        if one.is_audience and one.name not in values and given.audiences:
            values[one.name] = given.audiences[:1]
        for value in values.get(one.name, ()):
            if one.name in {"project", "tenant"} and not re.fullmatch(one.pattern, value, re.ASCII):
                raise ProviderUnrecognised(
                    f"{preset.label}: this is not {one.meaning}.",
                    detail=f"expected {one.option} to be {one.meaning}, got {shown(value)}",
                    hint=f"You find it here: {one.where}.",
                )
    for name in ("server", "policy", "database"):
        if given.project and name not in values and any(one.name == name for one in preset.inputs):
            values[name] = (given.project,)
    return values


def _missing(preset: Preset, values: Values, given: Given) -> Input | None:
    """The first thing that the operator has to say."""
    for one in preset.inputs:
        if one.is_required and not values.get(one.name):
            return one
    texts = (preset.key_set,) if given.issuer else (preset.key_set, *preset.issuers)
    unknown = next((name for text in texts for name in placeholders(text) if not values.get(name)), None)
    if unknown is None:
        return None
    return Input(
        name=unknown,
        option="the URL",
        meaning="the URL of the key set",
        where=f"{preset.documentation} (it looks like {preset.key_set})",
    )


def _algorithms(found: Found) -> tuple[str, ...]:
    """What the present keys can sign, narrowed to what the provider lists. RSA keys without ``alg`` sign RS256."""
    able = {algorithm for key in found.key_set.keys.values() for algorithm in key.algorithms}
    listed = able & set(found.listed)
    preset = preset_of(found.kind)
    if preset is not None and preset.algorithms:
        if listed:
            return tuple(algorithm for algorithm in ALGORITHMS if algorithm in preset.algorithms)
        raise ProviderUnrecognised(
            f"{preset.label} has no key for the algorithms that it is known to sign with.",
            detail=f"expected keys for {', '.join(preset.algorithms)}, got keys for {', '.join(sorted(able))}",
            hint="If that is on purpose, say so with --algorithm.",
        )
    if listed:
        return tuple(algorithm for algorithm in ALGORITHMS if algorithm in listed)
    plain = {
        algorithm
        for key in found.key_set.keys.values()
        for algorithm in (("RS256",) if len(key.algorithms) > 1 else key.algorithms)
    }
    return tuple(algorithm for algorithm in ALGORITHMS if algorithm in plain)


def _name(found: Found) -> str:
    if found.kind in {"clerk", "local"}:
        return found.kind
    host = (host_of(found.issuer) or host_of(found.jwks_url)).lower()
    return re.sub("[^a-z0-9.-]+", "-", host).strip(".-")[:63] or found.kind
