"""JWT templates as at Clerk: named claims with shortcodes such as ``{{user.id}}``, and a lifetime.

A value that is one shortcode keeps the type of what it stands for (null where the user has no such thing); within a
longer text it is written into the text. ``{{user.username || 'nobody'}}`` takes the first that is not null. This module
never signs anything, and a template never changes who a token is about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rowgate.errors import IssuerInputInvalid, TemplateUnknown
from rowgate.issuer.files import read_records, unusable, write_records
from rowgate.issuer.users import User, is_storable

TEMPLATES_FILE: Final = "templates.json"
DEFAULT_LIFETIME: Final = 60
"""Seconds, as at Clerk."""

SHORTEST_LIFETIME: Final = 1
LONGEST_LIFETIME: Final = 315_360_000
"""Ten years in seconds, as at Clerk."""

RESERVED_CLAIMS: Final = frozenset({"azp", "exp", "iat", "iss", "jti", "nbf", "sid", "sub"})
"""What the issuer says itself; a template that names one of them is refused."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_SHORTCODE: Final = re.compile(r"\{\{([^{}]*)\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template. ``claims`` is a JSON object, ``lifetime`` is in seconds. Raises IssuerInputInvalid."""

    name: str
    claims: dict[str, Any] = field(default_factory=dict)
    lifetime: int = DEFAULT_LIFETIME

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise _invalid("name", "1 to 63 letters, digits, '_' or '-'")
        check_lifetime(self.lifetime)
        if not isinstance(self.claims, dict):
            raise _invalid("claims", "a JSON object")
        reserved = sorted(RESERVED_CLAIMS & set(self.claims))
        if reserved:
            raise _invalid("claims", f"no {', '.join(reserved)}, which the issuer sets itself")
        if not is_storable(self.claims):
            raise _invalid("claims", "a JSON object of at most 8 KiB that Postgres can store")

    def render(self, user: User) -> dict[str, Any]:
        """The claims for ``user``."""
        attributes = _attributes(user)
        return {name: _rendered(value, attributes) for name, value in self.claims.items()}


class Templates:
    """The templates in ``templates.json`` of ``folder``, which is read at every call like that of the users.

    Every method raises DataFolderUnusable where the file is damaged, or cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / TEMPLATES_FILE
        self.list()

    def list(self) -> tuple[Template, ...]:
        """All templates, in the order in which they came."""
        try:
            return tuple(map(template_from, read_records(self._path, "templates") or []))
        except IssuerInputInvalid as error:
            raise unusable(self._path, f"{error.message} {error.detail}") from error

    def find(self, name: str) -> Template:
        """The template of this name. Raises TemplateUnknown."""
        for template in self.list():
            if template.name == name:
                return template
        raise TemplateUnknown("There is no such template.", detail=f"the name was {name[:100]!a}")

    def put(self, template: Template) -> Template:
        """Keep ``template``, in place of an earlier one of its name."""
        self._save({**self._by_name(), template.name: template})
        return template

    def remove(self, name: str) -> None:
        """Forget the template of this name. Raises TemplateUnknown."""
        self.find(name)
        self._save({other: template for other, template in self._by_name().items() if other != name})

    def _by_name(self) -> dict[str, Template]:
        return {template.name: template for template in self.list()}

    def _save(self, templates: dict[str, Template]) -> None:
        write_records(self._path, "templates", [record_of(template) for template in templates.values()])


def template_from(record: Mapping[str, Any]) -> Template:
    """The template in a JSON object with ``name``, ``claims`` and ``lifetime``. Raises IssuerInputInvalid."""
    unknown = set(record) - {"name", "claims", "lifetime"}
    if unknown or "name" not in record:
        raise _invalid("members", "name, claims and lifetime")
    return Template(**record)


def record_of(template: Template) -> dict[str, Any]:
    """The JSON object that ``template_from`` takes."""
    return {"name": template.name, "claims": dict(template.claims), "lifetime": template.lifetime}


def check_lifetime(lifetime: object) -> int:
    """``lifetime`` if it is a number of seconds that a token may live. Raises IssuerInputInvalid."""
    if isinstance(lifetime, bool) or not isinstance(lifetime, int):
        raise _invalid("lifetime", "a whole number of seconds")
    if not SHORTEST_LIFETIME <= lifetime <= LONGEST_LIFETIME:
        raise _invalid("lifetime", f"{SHORTEST_LIFETIME} to {LONGEST_LIFETIME} seconds")
    return lifetime


def _attributes(user: User) -> dict[str, Any]:
    """What shortcodes may name: ``user`` and ``org``, each an object."""
    organization = user.organization
    return {
        "user": {
            "id": user.id,
            "email": user.email,
            "primary_email_address": user.email,
            "first_name": user.first_name,
            "last_name": user.last_name or None,
            "full_name": user.full_name,
            "username": user.username,
            "public_metadata": user.public_metadata,
        },
        "org": {}
        if organization is None
        else {
            "id": organization.id,
            "name": organization.name,
            "slug": organization.slug,
            "role": organization.role,
        },
    }


def _rendered(value: Any, attributes: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        whole = _SHORTCODE.fullmatch(value)
        if whole:
            return _meaning(whole[1], attributes)
        return _SHORTCODE.sub(lambda found: _written(_meaning(found[1], attributes)), value)
    if isinstance(value, Mapping):
        return {name: _rendered(member, attributes) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_rendered(member, attributes) for member in value]
    return value


def _meaning(shortcode: str, attributes: Mapping[str, Any]) -> Any:
    """What a shortcode stands for: the first of its alternatives that is not null."""
    for alternative in shortcode.split("||"):
        term = alternative.strip()
        if len(term) > 1 and term[0] == term[-1] and term[0] in "'\"":
            return term[1:-1]
        value: Any = attributes
        for step in term.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is not None and term not in attributes:
            return value
    return None


def _written(value: Any) -> str:
    """A value within a longer text: null leaves nothing there."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _invalid(name: str, expected: str) -> IssuerInputInvalid:
    return IssuerInputInvalid(f"The template's {name} cannot be used.", detail=f"expected {expected}")
