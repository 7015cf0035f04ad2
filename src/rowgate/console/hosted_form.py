"""A key set as the hosted original's management API writes it: read as a provider of ours, shown as an entry of theirs.

Tools that spoke to that API send and expect this form; ``rowgate provider import`` reads lists of it. Pure: fetches and
registers nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import msgspec

from rowgate.errors import SettingInvalid
from rowgate.identity.provider import DEFAULT_ROLES, Provider
from rowgate.identity.recognition import Given
from rowgate.registry.registry import ProviderEntry

_LONGEST_LABEL = 200


class HostedKeySet(msgspec.Struct, frozen=True):
    """What ``POST /projects/{id}/jwks`` takes, and what its list holds; members that are not here are let by."""

    jwks_url: str
    provider_name: str
    branch_id: str | None = None
    jwt_audience: str | None = None
    role_names: tuple[str, ...] | None = None
    skip_role_creation: bool = False

    def __post_init__(self) -> None:
        name = self.provider_name
        if not name.strip() or len(name) > _LONGEST_LABEL or not name.isprintable():
            raise SettingInvalid(
                "The provider_name cannot be used.",
                detail=f"expected printable text of 1 to {_LONGEST_LABEL} characters",
            )


class HostedList(msgspec.Struct, frozen=True):
    """What ``GET /projects/{id}/jwks`` gives."""

    jwks: tuple[HostedKeySet, ...]


def given_of(form: HostedKeySet, exposed: Collection[str], taken: Collection[str]) -> tuple[Given, tuple[str, ...]]:
    """What the form says about a provider, and the roles of it that are not exposed in this database.

    Without ``role_names`` the usual roles are meant. ``taken`` are names that are in use already. The roles that are
    left out are the caller's to judge. Raises SettingInvalid where none is left.
    """
    wanted = tuple(dict.fromkeys(DEFAULT_ROLES if not form.role_names else form.role_names))
    roles = wanted if form.skip_role_creation else tuple(role for role in wanted if role in exposed)
    if not roles:
        raise SettingInvalid(
            "None of the provider's roles is exposed in this database.",
            detail=f"expected some of {', '.join(sorted(exposed))}, got {', '.join(wanted)}",
            hint="Expose them first: `rowgate setup --role NAME`.",
        )
    audiences = (form.jwt_audience,) if form.jwt_audience else ()
    given = Given(name=_free_name(form.provider_name, taken), audiences=audiences, roles=roles)
    return given, tuple(role for role in wanted if role not in roles)


def is_same(form: HostedKeySet, provider: Provider, roles: tuple[str, ...]) -> bool:
    """Whether ``provider`` is what the form would register for ``roles``."""
    audiences = (form.jwt_audience,) if form.jwt_audience else ()
    has_url = form.jwks_url.rstrip("/") in (provider.jwks_url, provider.jwks_url.partition("?")[0])
    return has_url and set(provider.roles) == set(roles) and (not audiences or provider.audiences == audiences)


def shown_entry(entry: ProviderEntry, project_id: str, branch_id: str | None = None) -> dict[str, Any]:
    """The entry as the original shows it. Times are ISO 8601 in UTC."""
    provider = entry.provider
    shown: dict[str, Any] = {
        "id": entry.id,
        "project_id": project_id,
        "jwks_url": provider.jwks_url,
        "provider_name": entry.label or provider.name,
        "created_at": _iso(entry.created_at),
        "updated_at": _iso(entry.updated_at),
        "role_names": list(provider.roles),
    }
    if branch_id is not None:
        shown["branch_id"] = branch_id
    if provider.audiences:
        shown["jwt_audience"] = provider.audiences[0]
    return shown


def _free_name(label: str, taken: Collection[str]) -> str:
    base = re.sub("[^a-z0-9]+", "-", label.lower()).strip("-")[:50] or "provider"
    return next(name for name in (base, *(f"{base}-{n}" for n in range(2, 10_000))) if name not in taken)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
