"""What a row of the catalogue says about a provider, and how a URL is told to be that provider's.

Values and pure functions: nothing here is fetched, and a preset never admits a token by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from rowgate.identity.claim_rules import ClaimRules

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
GUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

ORDINARY_RULES: Final = ClaimRules()

AudiencePolicy = Literal["required", "recommended", "none"]
"""``required``: strangers' tokens are signed with the same keys, so without an audience the provider is refused.
``recommended``: other applications of the operator share the keys. ``none``: the tokens have no audience as a rule."""

_PATTERNS: Final = {"domain": r"[a-z0-9.-]+(?::[0-9]+)?", "place": r"https?://[^?#]+?"}
_ORDINARY: Final = r"[A-Za-z0-9._~-]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Something that only the operator may know. ``name`` is the placeholder that it fills, ``option`` how it is given,
    ``where`` where it is found. ``is_required`` is for what must be known though nothing else is made of it."""

    name: str
    option: str
    meaning: str
    where: str
    pattern: str = _ORDINARY
    is_required: bool = True
    is_audience: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentShape:
    """How a provider's discovery document looks at any domain: its issuer, and members with what they must be.

    In the members ``{issuer}`` is the document's issuer without a slash at its end.
    """

    issuer: str
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One row: a provider, or a way of running one.

    ``issuers`` are all the values that ``iss`` may have, the usual one first; ``key_set`` is the URL of the keys. Both
    hold placeholders such as ``{domain}``. ``addresses`` are further URLs that people paste, ``hosts`` are hosts that
    are this provider's whatever the path, ``likely_hosts`` those that are so only with a path of these;
    ``is_known_by_path`` where the paths of its key set and of ``addresses`` are like no other provider's. ``discovery``
    is a document that tells what a URL leaves open. ``algorithms`` empty means: those of the provider's own documents.
    """

    kind: str
    label: str
    documentation: str
    issuers: tuple[str, ...]
    key_set: str
    audience: AudiencePolicy
    algorithms: tuple[str, ...] = ("RS256",)
    rules: ClaimRules = ORDINARY_RULES
    audiences: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    likely_hosts: tuple[str, ...] = ()
    is_known_by_path: bool = False
    discovery: str = ""
    shape: DocumentShape | None = None
    audience_hint: str = ""
    note: str = ""

    def values_in(self, url: str, *, is_named: bool = False) -> dict[str, str] | None:
        """What the placeholders are at ``url``; None where the URL is not this provider's.

        ``is_named``: the operator says that it is, so any domain will do.
        """
        bare = _comparable(url)
        host = urlsplit(bare).hostname or ""
        is_own = _fits(host, self.hosts)
        is_likely = is_own or is_named or _fits(host, self.likely_hosts)
        telling = (self.key_set, *self.addresses) if self.is_known_by_path else ()
        for template in self._templates():
            found = self._matched(template, bare)
            if found is not None and (is_likely or "domain" not in found or template in telling):
                return found
        if (is_own or is_named) and bare.startswith("https://"):
            return {"domain": urlsplit(bare).netloc}
        return None

    def values_in_document(self, document: Mapping[str, Any]) -> dict[str, str] | None:
        """What the placeholders are in a discovery document of this provider at any domain; None where it is none."""
        issuer = document.get("issuer")
        if self.shape is None or not isinstance(issuer, str):
            return None
        found = self._matched(self.shape.issuer, issuer)
        if found is None:
            return None
        for member, expected in self.shape.members:
            if document.get(member) != expected.replace("{issuer}", issuer.rstrip("/")):
                return None
        return found

    def values_in_issuer(self, issuer: object) -> dict[str, str]:
        """What the placeholders are in an issuer that the provider's own document names; empty where it does not fit"""
        if not isinstance(issuer, str):
            return {}
        return next((found for one in self.issuers if (found := self._matched(one, issuer)) is not None), {})

    def _templates(self) -> Iterator[str]:
        for issuer in self.issuers:
            if issuer.startswith("https://"):
                yield issuer.rstrip("/") + DISCOVERY_PATH
        yield self.key_set.partition("?")[0]
        yield from self.addresses
        yield from (issuer for issuer in self.issuers if issuer.startswith("https://"))

    def _matched(self, template: str, text: str) -> dict[str, str] | None:
        patterns = {**_PATTERNS, **{one.name: one.pattern for one in self.inputs}}
        # The slash at the end distinguishes issuers, not the addresses that people paste.
        parts = re.split(r"\{([a-z_]+)\}", template.rstrip("/") if text == _comparable(text) else template)
        expression, seen = "", set()
        for place, part in enumerate(parts):
            if place % 2 == 0:
                expression += re.escape(part).replace(r"\*", ".*")
            elif part in seen:
                expression += f"(?P={part})"
            else:
                seen.add(part)
                expression += f"(?P<{part}>{patterns.get(part, _ORDINARY)})"
        found = re.fullmatch(expression, text, re.ASCII)
        return found.groupdict() if found else None


def _comparable(url: str) -> str:
    """``url`` with scheme and host in small letters, without a slash at its end; its query only where it chooses a
    policy (Azure AD B2C)."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query.startswith("p=") else ""
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}{query}"


def _fits(host: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(host, pattern) for pattern in patterns)
