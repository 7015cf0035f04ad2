"""JWT templates as at Clerk: named claims with shortcodes such as ``{{user.id}}``, and a lifetime.

This module never signs anything, and a template never changes who a token is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rowgate.errors import TemplateUnknown
from rowgate.issuer.files import RecordFile
from rowgate.issuer.records import invalid, is_storable
from rowgate.issuer.shortcodes import Attributes, rendered

TEMPLATES_FILE: Final = "templates.json"
DEFAULT_LIFETIME: Final = 60
"""Seconds, as at Clerk."""

SHORTEST_LIFETIME: Final = 1
LONGEST_LIFETIME: Final = 315_360_000
"""Ten years in seconds, as at Clerk."""

RESERVED_CLAIMS: Final = frozenset({"azp", "exp", "iat", "iss", "jti", "nbf", "sid", "sub"})
"""What the issuer says itself; a template that names one of them is refused."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template. ``claims`` is a JSON object, ``lifetime`` is in seconds. Raises IssuerInputInvalid."""

    name: str
    claims: dict[str, Any] = field(default_factory=dict)
    lifetime: int = DEFAULT_LIFETIME

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise invalid("template", "name", "1 to 63 letters, digits, '_' or '-'")
        check_lifetime(self.lifetime)
        if not isinstance(self.claims, dict):
            raise invalid("template", "claims", "a JSON object")
        reserved = sorted(RESERVED_CLAIMS & set(self.claims))
        if reserved:
            raise invalid("template", "claims", f"no {', '.join(reserved)}, which the issuer sets itself")
        if not is_storable(self.claims):
            raise invalid("template", "claims", "a JSON object of at most 8 KiB that Postgres can store")

    def render(self, attributes: Attributes) -> dict[str, Any]:
        """The claims, with what ``attributes`` say in place of the shortcodes."""
        return {name: rendered(value, attributes) for name, value in self.claims.items()}


class Templates:
    """The templates in ``templates.json`` of ``folder``.

    Every method raises DataFolderUnusable where the file is damaged, or cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = RecordFile(folder / TEMPLATES_FILE, "templates", template_from, record_of)
        self.list()

    def list(self) -> tuple[Template, ...]:
        """All templates, in the order in which they came."""
        return self._file.list()

    def find(self, name: str) -> Template:
        """The template of this name. Raises TemplateUnknown."""
        for template in self.list():
            if template.name == name:
                return template
        raise TemplateUnknown("There is no such template.", detail=f"the name was {name[:100]!a}")

    def put(self, template: Template) -> Template:
        """Keep ``template``, in place of an earlier one of its name."""
        self._file.change(lambda templates: {**{one.name: one for one in templates}, template.name: template}.values())
        return template

    def remove(self, name: str) -> None:
        """Forget the template of this name. Raises TemplateUnknown."""
        self.find(name)
        self._file.change(lambda templates: (one for one in templates if one.name != name))


def template_from(record: Mapping[str, Any]) -> Template:
    """The template in a JSON object with ``name``, ``claims`` and ``lifetime``. Raises IssuerInputInvalid."""
    unknown = set(record) - {"name", "claims", "lifetime"}
    if unknown or "name" not in record:
        raise invalid("template", "members", "name, claims and lifetime")
    return Template(**record)


def record_of(template: Template) -> dict[str, Any]:
    """The JSON object that ``template_from`` takes."""
    return {"name": template.name, "claims": dict(template.claims), "lifetime": template.lifetime}


def check_lifetime(lifetime: object) -> int:
    """``lifetime`` if it is a number of seconds that a token may live. Raises IssuerInputInvalid."""
    if isinstance(lifetime, bool) or not isinstance(lifetime, int):
        raise invalid("template", "lifetime", "a whole number of seconds")
    if not SHORTEST_LIFETIME <= lifetime <= LONGEST_LIFETIME:
        raise invalid("template", "lifetime", f"{SHORTEST_LIFETIME} to {LONGEST_LIFETIME} seconds")
    return lifetime
