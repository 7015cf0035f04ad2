"""An identity provider as it is registered: who signs, where the keys are, and what its tokens may be used for.

A value, checked when it is made. This module never fetches anything and never sees a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from rowgate.errors import SettingInvalid
from rowgate.identity.catalogue import KINDS, preset_of
from rowgate.identity.claim_rules import ClaimRules

ALGORITHMS: Final[tuple[str, ...]] = (
    "RS256", "RS384", "RS512",
    "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512",
    "EdDSA",
)  # fmt: skip
"""Every signature algorithm that Rowgate verifies (RFC 7518 section 3.1, RFC 8037). HMAC and ``none`` never are:
a key set is public, so a secret in it signs for everyone."""

DEFAULT_ROLES: Final[tuple[str, ...]] = ("authenticated", "anonymous")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_LONGEST_TEXT: Final = 2048
_LONGEST_KEY_SET: Final = 256 * 1024
_LISTS: Final = ("audiences", "authorized_parties", "algorithms", "roles", "other_issuers", "client_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One registered identity provider.

    ``name`` is what the operator calls it (lower-case letters, digits, ``.``, ``_``, ``-``; at most 63).
    ``issuer`` is compared with ``iss`` character by character (RFC 7519 section 4.1.1), trailing slash included.
    ``audiences`` holds the values of which ``aud`` must have one; empty means that ``aud`` is not checked.
    ``authorized_parties`` holds the values that ``azp`` may have; empty means that ``azp`` is not checked, and a token
    without ``azp`` passes, because Clerk leaves it out when the browser sent no Origin.
    ``algorithms`` is a subset of ``ALGORITHMS``, never empty.
    ``roles`` are the Postgres roles that its tokens may be used for, never empty.
    ``other_issuers`` are further values that ``iss`` may have, for keys that serve several.
    ``client_ids`` holds the values that the claims ``rules.client_claims`` must have; unlike ``azp`` above, one of them
    must be there. Empty means that clients are not checked.
    ``key_set`` is the text of a key set that never changes, for a provider without ``jwks_url``; exactly one of the two
    is not empty.
    ``rules`` say how claims are read. None stands for those of the kind, which only a kind without questions has.

    Raises SettingInvalid when a field is not so.
    """

    name: str
    kind: str
    issuer: str
    jwks_url: str = ""
    audiences: tuple[str, ...] = ()
    authorized_parties: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("RS256",)
    roles: tuple[str, ...] = DEFAULT_ROLES
    other_issuers: tuple[str, ...] = ()
    client_ids: tuple[str, ...] = ()
    key_set: str = ""
    rules: ClaimRules | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise _invalid("name", self.name, "1 to 63 lower-case letters, digits, '.', '_' or '-'")
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise _invalid("kind", self.kind, "a kind that `rowgate provider catalogue` lists")
        _require_texts("issuer", (self.issuer,))
        if self.key_set:
            if self.jwks_url or not isinstance(self.key_set, str) or len(self.key_set) > _LONGEST_KEY_SET:
                raise _invalid("key_set", "another value", "the text of a key set, and no jwks_url")
        else:
            _require_web_address(self.jwks_url)
        for field in _LISTS:
            values = getattr(self, field)
            if not isinstance(values, tuple):
                raise _invalid(field, values, "a tuple of texts")
            _require_texts(field, values)
        unknown = [algorithm for algorithm in self.algorithms if algorithm not in ALGORITHMS]
        if unknown or not self.algorithms:
            raise _invalid("algorithms", ", ".join(unknown) or "none", f"some of {', '.join(ALGORITHMS)}")
        if not self.roles:
            raise _invalid("roles", "none", "the Postgres roles that the provider's tokens may be used for")
        self._check_rules()

    def _check_rules(self) -> None:
        preset = preset_of(self.kind)
        if self.rules is None:
            if preset is not None and (preset.inputs or preset.audience == "required"):
                raise _invalid("rules", "none", f"the rules for the claims of {preset.label}")
            object.__setattr__(self, "rules", preset.rules if preset else ClaimRules())
        elif not isinstance(self.rules, ClaimRules):
            raise _invalid("rules", "another value", "rules for claims")
        stray = sorted({grant.role for grant in self.claim_rules.role_grants} - set(self.roles))
        if stray:
            raise _invalid("roles", ", ".join(self.roles), f"also {', '.join(stray)}, which its rules grant")
        if preset is not None and preset.audience == "required" and not self.audiences:
            raise _invalid("audiences", "none", f"an audience, because {preset.label} signs for others with these keys")

    @property
    def issuers(self) -> tuple[str, ...]:
        """Every value that ``iss`` may have."""
        return (self.issuer, *self.other_issuers)

    @property
    def claim_rules(self) -> ClaimRules:
        """The rules for its claims, those of its kind where it was made without any."""
        return self.rules or ClaimRules()


def _require_texts(field: str, values: tuple[object, ...]) -> None:
    for value in values:
        if not isinstance(value, str) or not value or len(value) > _LONGEST_TEXT or not value.isprintable():
            raise _invalid(field, value, f"printable text of 1 to {_LONGEST_TEXT} characters")


def _require_web_address(url: object) -> None:
    """The scheme is the fetcher's to judge, because only it knows whether loopback addresses may be insecure."""
    _require_texts("jwks_url", (url,))
    expected = "an absolute http(s) URL without user name, password or fragment"
    try:
        parts = urlsplit(str(url))
        _ = parts.port
    except ValueError as error:
        raise _invalid("jwks_url", url, expected) from error
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.fragment or "@" in parts.netloc:
        raise _invalid("jwks_url", "a URL that is not", expected)


def _invalid(field: str, got: object, expected: str) -> SettingInvalid:
    return SettingInvalid(
        f"The provider's {field} cannot be used.",
        detail=f"expected {expected}, got {str(got)[:200]!r}",
        hint="Mend it in the call to `rowgate provider add`.",
    )
