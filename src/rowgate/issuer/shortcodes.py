"""The shortcodes of Clerk's JWT templates: ``{{user.id}}``, ``{{org.role}}``, ``{{user.public_metadata.a || 'none'}}``.

A text that is one shortcode becomes the value itself, with its type (null where there is none); within a longer text a
value is written out. Of alternatives the first that is neither null nor false counts, else the last. What a value holds
is never read as a shortcode. This module never decides who a token is about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from rowgate.issuer.organizations import ActiveMembership
from rowgate.issuer.sessions import Session
from rowgate.issuer.users import User

_SHORTCODE: Final = re.compile(r"\{\{((?:[^{}'\"]|'[^']*'|\"[^\"]*\")*)\}\}")
_OPERAND: Final = re.compile(r"((?:'[^']*'|\"[^\"]*\"|(?!\|\|).)*)(?:\|\||\Z)", re.DOTALL)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?", re.ASCII)
_LITERALS: Final = {"true": True, "false": False}

Attributes = Mapping[str, Mapping[str, Any]]


def attributes_of(
    user: User,
    active: ActiveMembership | None = None,
    organizations: Mapping[str, str] | None = None,
    session: Session | None = None,
) -> Attributes:
    """What shortcodes may name. ``organizations`` maps the ids of the user's organizations to the role there."""
    return {
        "user": _user(user, organizations or {}),
        "org": {} if active is None else _organization(active),
        "org_membership": {}
        if active is None
        else {
            "role": active.membership.role,
            "permissions": list(active.permissions),
            "public_metadata": active.membership.public_metadata,
        },
        "session": {} if session is None else {"id": session.id, "actor": session.actor},
    }


def _user(user: User, organizations: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": user.id,
        "external_id": user.external_id,
        "email": user.email or None,
        "primary_email_address": user.email or None,
        "email_verified": bool(user.email),
        "primary_phone_number": None,
        "phone_number_verified": False,
        "first_name": user.first_name or None,
        "last_name": user.last_name or None,
        "full_name": user.full_name or None,
        "username": user.username,
        "image_url": None,
        "has_image": False,
        "two_factor_enabled": False,
        "created_at": user.created_at // 1000,
        "updated_at": user.updated_at // 1000,
        "organizations": dict(organizations),
        "public_metadata": user.public_metadata,
        "unsafe_metadata": user.unsafe_metadata,
    }


def _organization(active: ActiveMembership) -> dict[str, Any]:
    organization = active.organization
    return {
        "id": organization.id,
        "name": organization.name,
        "slug": organization.slug,
        "role": active.membership.role,
        "permissions": list(active.permissions),
        "image_url": None,
        "has_image": False,
        "public_metadata": organization.public_metadata,
    }


def rendered(value: Any, attributes: Attributes) -> Any:
    """``value`` (any JSON) with its shortcodes replaced; the names of members stay as they are."""
    if isinstance(value, str):
        whole = _SHORTCODE.fullmatch(value)
        if whole:
            return _meaning(whole[1], attributes)
        return _SHORTCODE.sub(lambda found: _written(_meaning(found[1], attributes)), value)
    if isinstance(value, Mapping):
        return {name: rendered(member, attributes) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [rendered(member, attributes) for member in value]
    return value


def _meaning(shortcode: str, attributes: Attributes) -> Any:
    value = None
    for found in _OPERAND.finditer(shortcode):
        value = _operand(found[1].strip(), attributes)
        if (value is not None and value is not False) or not found[0].endswith("||"):
            break
    return value


def _operand(term: str, attributes: Attributes) -> Any:
    """A literal, or what stands at a path of names."""
    if len(term) > 1 and term[0] == term[-1] and term[0] in "'\"":
        return term[1:-1]
    if term in _LITERALS:
        return _LITERALS[term]
    number = _NUMBER.fullmatch(term)
    if number:
        return float(term) if number[1] else int(term)
    path = term.split(".")
    if len(path) < 2:
        return None
    value: Any = attributes
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _written(value: Any) -> str:
    """A value within a longer text: as JSON, texts without their quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
