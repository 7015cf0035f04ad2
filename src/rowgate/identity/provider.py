"""An identity provider as it is registered: who signs, where the keys are, and what its tokens may be used for.

A value, checked when it is made. This module never fetches anything and never sees a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from rowgate.errors import SettingInvalid

ProviderKind = Literal["clerk", "local", "oidc", "custom"]

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

    Raises SettingInvalid when a field is not so.
    """

    name: str
    kind: ProviderKind
    issuer: str
    jwks_url: str
    audiences: tuple[str, ...] = ()
    authorized_parties: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("RS256",)
    roles: tuple[str, ...] = DEFAULT_ROLES

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise _invalid("name", self.name, "1 to 63 lower-case letters, digits, '.', '_' or '-'")
        if self.kind not in get_args(ProviderKind):
            raise _invalid("kind", self.kind, f"one of {', '.join(get_args(ProviderKind))}")
        _require_texts("issuer", (self.issuer,))
        _require_web_address(self.jwks_url)
        for field in ("audiences", "authorized_parties", "algorithms", "roles"):
            values = getattr(self, field)
            if not isinstance(values, tuple):
                raise _invalid(field, values, "a tuple of texts")
            _require_texts(field, values)
        unknown = [algorithm for algorithm in self.algorithms if algorithm not in ALGORITHMS]
        if unknown or not self.algorithms:
            raise _invalid("algorithms", ", ".join(unknown) or "none", f"some of {', '.join(ALGORITHMS)}")
        if not self.roles:
            raise _invalid("roles", "none", "the Postgres roles that the provider's tokens may be used for")


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
