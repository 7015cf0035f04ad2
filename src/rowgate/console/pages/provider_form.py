"""The form for a new provider: what a pasted URL already tells, and what must still be asked. Pure; fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rowgate.console.pages.frame import listed
from rowgate.identity.catalogue import Preset, preset_of, recognised
from rowgate.identity.provider import Provider
from rowgate.identity.recognition import Given

_SINGLE: Final = {"--project": "project", "--issuer": "issuer"}
_LISTED: Final = {"--audience": "audiences", "--client-id": "client_ids", "--tenant": "tenants"}
_WORDS: Final = {
    "audiences": ("Audience", "What aud of its tokens must hold"),
    "client_ids": ("Client id", "The client that tokens must be made for"),
    "tenants": ("Tenant", "Whose users may sign in"),
    "project": ("Project", "Where the keys are shared by many"),
    "issuer": ("Issuer", "What iss is, to the letter"),
    "authorized_parties": ("Authorized parties", "Your application's origins, one of which azp of its tokens must be"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """Something that only the operator knows."""

    name: str
    label: str
    meaning: str
    where: str
    is_required: bool


def label_of(provider: Provider) -> str:
    """What people call the service."""
    preset = preset_of(provider.kind)
    generic = {"local": "Local identity provider", "oidc": "OpenID Connect"}
    return preset.label if preset else generic.get(provider.kind, "Custom provider")


def preset_at(url: str) -> Preset | None:
    """The row of the catalogue that a URL alone tells of; None where it tells of none."""
    try:
        found = recognised(url)
    except ValueError:
        return None
    return found[0] if found else None


def given_by(fields: Mapping[str, str]) -> Given:
    """What the form says besides the URL."""
    return Given(
        name=fields.get("name", "").strip() or None,
        issuer=fields.get("issuer", "").strip() or None,
        project=fields.get("project", "").strip() or None,
        audiences=listed(fields.get("audiences", "")),
        client_ids=listed(fields.get("client_ids", "")),
        tenants=listed(fields.get("tenants", "")),
        authorized_parties=listed(fields.get("authorized_parties", "")),
    )


def questions_for(preset: Preset | None, *, is_found: bool) -> list[Question]:
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
    elif preset.audience == "none":  # what else tells its applications apart
        asked["authorized_parties"] = Question(
            "authorized_parties", *_WORDS["authorized_parties"], "", is_required=False
        )
    return list(asked.values())
