"""The organization of a token and what the user may do there, one model over the shapes of all providers.

Whatever is missing or of another shape counts as not there: this module never raises and never guesses. No role found
here is ever the name of a database role.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from rowgate.identity.claim_rules import ORGANIZATION, ClaimRules, Reading, value_at

LONGEST_NAME: Final = 1024
MOST_NAMES: Final = 1000
"""Texts longer, and lists beyond that, are not what a provider puts into a token; the rest of them does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """``organization`` is its id, ``role`` the user's role in it; each is None where the token has none. ``roles`` and
    ``permissions`` are without repetition, in the order of the token."""

    organization: str | None = None
    role: str | None = None
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()


NO_MEMBERSHIP: Final = Membership()

LARGEST_WRITTEN: Final = 16 * 1024
"""Bytes of what Postgres is told. Permissions beyond that are left out, and nobody has what is left out."""


def written_membership(membership: Membership) -> bytes:
    """The membership as Postgres's functions read it: an object of JSON on one line; empty where there is nothing."""
    members: dict[str, object] = {"org_id": membership.organization, "org_role": membership.role}
    found = {name: value for name, value in members.items() if value is not None}
    permissions = membership.permissions
    if not found and not permissions:
        return b""
    while True:
        written = msgspec.json.encode({**found, "permissions": permissions})
        if len(written) <= LARGEST_WRITTEN or not permissions:
            return written
        permissions = permissions[: len(permissions) // 2]


def membership_of(claims: Mapping[str, Any], rules: ClaimRules) -> Membership:
    """What ``claims`` say by ``rules``."""
    if not (rules.organization or rules.organization_role or rules.roles or rules.permissions):
        return NO_MEMBERSHIP
    organization = first_text(claims, rules.organization)
    return Membership(
        organization=organization,
        role=first_text(claims, rules.organization_role, organization),
        roles=_all_texts(claims, rules.roles, organization),
        permissions=_all_texts(claims, rules.permissions, organization),
    )


def first_text(claims: Mapping[str, Any], readings: Sequence[Reading], organization: str | None = None) -> str | None:
    """The first text that one of ``readings`` leads to, else None."""
    return next((text for reading in readings for text in _texts(claims, reading, organization)), None)


def _all_texts(claims: Mapping[str, Any], readings: Sequence[Reading], organization: str | None) -> tuple[str, ...]:
    found = (text for reading in readings for text in _texts(claims, reading, organization))
    return tuple(dict.fromkeys(found))[:MOST_NAMES]


def _texts(claims: Mapping[str, Any], reading: Reading, organization: str | None) -> Iterator[str]:
    if ORGANIZATION in reading.path and organization is None:
        return
    path = [organization if name == ORGANIZATION and organization else name for name in reading.path]
    for text in _candidates(claims, value_at(claims, path), reading, organization):
        if isinstance(text, str) and 0 < len(text) <= LONGEST_NAME:
            yield text


def _candidates(
    claims: Mapping[str, Any], found: Any, reading: Reading, organization: str | None
) -> Iterator[Any] | list[Any]:
    match reading.shape, found:
        case "text", str():
            return [found]
        case "words", str():
            return found.split()
        case "commas", str():
            return found.split(",")
        case "list", list():
            return found
        case "objects", list():
            return [entry.get(reading.member) for entry in found if isinstance(entry, dict)]
        case "keys", dict():
            return list(found)
        case "granted_keys", dict():
            return [name for name, places in found.items() if isinstance(places, dict) and organization in places]
        case "clerk_role", str() if found:
            # Both versions of Clerk's tokens, and its SDKs, then say the same: org:admin.
            return [f"org:{found}"]
        case "clerk_permissions", str():
            return _clerk_permissions(claims, found)
        case _:
            return []


def _clerk_permissions(claims: Mapping[str, Any], names: str) -> Iterator[str]:
    """Clerk's second version: ``fea`` lists features with their scope (``o:`` is the organization's), ``o.per`` names
    of permissions, and ``o.fpm`` a number for each feature of the organization whose lowest bit is the first name."""
    features, masks = claims.get("fea"), value_at(claims, ("o", "fpm"))
    if not isinstance(features, str) or not isinstance(masks, str):
        return
    scoped = [feature.strip().partition(":") for feature in features.split(",")]
    own = [feature for scope, _, feature in scoped if "o" in scope and feature]
    for feature, mask in zip(own, map(str.strip, masks.split(",")), strict=False):
        if not (mask.isascii() and mask.isdigit() and len(mask) < 16):
            return
        for place, name in enumerate(names.split(",")):
            if int(mask) >> place & 1:
                yield f"org:{feature}:{name.strip()}"
