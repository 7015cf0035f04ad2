"""From a pasted URL to a provider that can be registered: which issuer, which keys, which algorithms.

Only what was found in the provider's own documents, or given by the operator, goes into the result; an issuer is never
guessed from a key set's address, except at Clerk, which documents that the one is the origin of the other. This module
never registers anything and never decides on its own that keys shared by many customers are safe without an audience.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from rowgate.errors import KeySetUnavailable, ProviderUnrecognised
from rowgate.identity.addresses import is_loopback, why_unfetchable
from rowgate.identity.compact import shown
from rowgate.identity.fetcher import Fetcher
from rowgate.identity.keyset import KeySet, parse_key_set
from rowgate.identity.provider import ALGORITHMS, DEFAULT_ROLES, Provider, ProviderKind
from rowgate.identity.strict_json import UnsoundJson, parse_document

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
LOCAL_MARKER: Final = "rowgate_local_issuer"
"""The member of its discovery document by which the local issuer is known."""

_MOST_PARENTS: Final = 6

_SHARED_KEY_HOSTS: Final = frozenset({
    "accounts.google.com",
    "www.googleapis.com",
    "securetoken.google.com",
    "login.microsoftonline.com",
    "sts.windows.net",
    "token.actions.githubusercontent.com",
})  # fmt: skip
"""Hosts whose keys sign for customers that have nothing to do with each other: without an audience, anyone's token
would pass."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a URL led to. ``provider`` is ready to be registered; ``key_ids`` are the keys that it can sign with now;
    ``skipped`` says for each other key why it is not used."""

    provider: Provider
    key_ids: tuple[str, ...]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the keys are and whose they are. ``listed`` is what the discovery document says of algorithms."""

    kind: ProviderKind
    issuer: str
    jwks_url: str
    key_set: KeySet
    listed: tuple[str, ...] = ()


async def recognise(
    url: str,
    fetcher: Fetcher,
    *,
    name: str | None = None,
    issuer: str | None = None,
    audiences: Sequence[str] = (),
    authorized_parties: Sequence[str] = (),
    roles: Sequence[str] = DEFAULT_ROLES,
    allow_insecure_loopback: bool = False,
) -> Recognition:
    """The provider behind ``url``, which may be its key set's, its issuer's or its discovery document's URL.

    ``issuer`` is asked for where a key set has no discovery document (OpenID Connect Discovery 1.0, section 4) beside
    it. ``allow_insecure_loopback`` lets plain http through for loopback addresses, for development.
    Raises ProviderUnrecognised, which says what was tried and what came, or SettingInvalid for the other arguments.
    """
    url = url.strip()
    reason = why_unfetchable(url, allow_insecure_loopback=allow_insecure_loopback)
    if reason:
        raise ProviderUnrecognised("The URL cannot be used.", detail=f"{shown(url)} is refused, because {reason}")
    search = _Search(fetcher, allow_insecure_loopback)
    found = await search.find(url, issuer)
    if issuer is not None and found.issuer != issuer:
        raise ProviderUnrecognised(
            "The provider names another issuer than the one that was given.",
            detail=f"expected {shown(issuer)}, its discovery document says {shown(found.issuer)}",
            hint="Leave --issuer out, or give it exactly as the provider writes it.",
        )
    _require_audience(found, audiences)
    algorithms = _algorithms(found)
    return Recognition(
        Provider(
            name=name or _name(found),
            kind=found.kind,
            issuer=found.issuer,
            jwks_url=found.jwks_url,
            audiences=tuple(audiences),
            authorized_parties=tuple(authorized_parties),
            algorithms=algorithms,
            roles=tuple(roles),
        ),
        key_ids=tuple(key.key_id for key in found.key_set.keys.values() if set(key.algorithms) & set(algorithms)),
        skipped=tuple(f"{shown(key.key_id)}: {key.reason}" for key in found.key_set.skipped),
    )


class _Search:
    """The ways from a URL to a provider, tried in order."""

    def __init__(self, fetcher: Fetcher, allow_insecure_loopback: bool) -> None:
        self._fetcher = fetcher
        self._allow_insecure_loopback = allow_insecure_loopback

    async def find(self, url: str, issuer: str | None) -> _Found:
        parts = urlsplit(url)
        if _is_clerk(parts):
            origin = _origin(parts)
            jwks_url = f"{origin}/.well-known/jwks.json"
            return _Found("clerk", origin, jwks_url, await self._key_set(jwks_url), ("RS256",))
        if parts.path.endswith(DISCOVERY_PATH):
            return await self._discovered(url, await self._object(url))
        document, failure = await self._attempt(url)
        if document is not None and "keys" in document:
            return await self._beside_key_set(url, issuer)
        discovery_url = _discovery_url(parts, parts.path)
        discovery, _ = await self._attempt(discovery_url)
        if discovery is None:
            raise _nothing_found(url, discovery_url, failure)
        return await self._discovered(discovery_url, discovery)

    async def _beside_key_set(self, url: str, issuer: str | None) -> _Found:
        """The URL is a key set's. Its discovery document lies in one of the folders above it."""
        key_set = await self._key_set(url)
        if issuer is not None:
            return _Found("custom", issuer, url, key_set)
        tried = []
        for discovery_url in _discovery_urls_above(urlsplit(url)):
            tried.append(discovery_url)
            document, _ = await self._attempt(discovery_url)
            # Another provider may live on the same host: only a document that names this key set speaks for it.
            if document is not None and document.get("jwks_uri") == url:
                return await self._discovered(discovery_url, document)
        raise ProviderUnrecognised(
            "The URL is a key set, but nothing says which issuer its tokens have.",
            detail=f"no discovery document that names this key set at {', '.join(tried)}",
            hint="Give the issuer with --issuer: it is the claim iss of a token of this provider, to the letter.",
        )

    async def _discovered(self, discovery_url: str, document: dict[str, Any]) -> _Found:
        issuer, jwks_url = document.get("issuer"), document.get("jwks_uri")
        place = discovery_url.removesuffix(DISCOVERY_PATH)
        # Section 4.3: the issuer must be the one that the URL was made of; a slash at its end is dropped there.
        if not isinstance(issuer, str) or issuer not in {place, f"{place}/"}:
            raise ProviderUnrecognised(
                "The discovery document belongs to another issuer.",
                detail=f"expected the issuer {shown(place)} at {discovery_url}, got {shown(issuer)}",
                hint="Give the URL of the issuer that the document names, if that is your provider.",
            )
        self._require_key_address(issuer, jwks_url)
        listed = document.get("id_token_signing_alg_values_supported", [])
        algorithms = tuple(entry for entry in listed if entry in ALGORITHMS) if isinstance(listed, list) else ()
        local = document.get(LOCAL_MARKER) is True and is_loopback(_host(issuer))
        return _Found(
            "local" if local else "oidc", issuer, str(jwks_url), await self._key_set(str(jwks_url)), algorithms
        )

    def _require_key_address(self, issuer: str, jwks_url: object) -> None:
        """A provider elsewhere must not make the gateway ask this machine's own services."""
        near = self._allow_insecure_loopback and is_loopback(_host(issuer))
        reason = (
            "it is missing"
            if not isinstance(jwks_url, str)
            else why_unfetchable(jwks_url, allow_insecure_loopback=near)
        )
        if reason:
            raise ProviderUnrecognised(
                "The discovery document names no usable key set.",
                detail=f"expected jwks_uri to be an https URL, got {shown(jwks_url)}: {reason}",
            )

    async def _key_set(self, url: str) -> KeySet:
        try:
            key_set = parse_key_set((await self._fetcher.fetch(url)).body)
        except KeySetUnavailable as error:
            raise _unrecognised(error) from error
        if not key_set.keys:
            reasons = "; ".join(f"{shown(key.key_id)}: {key.reason}" for key in key_set.skipped[:8])
            raise ProviderUnrecognised(
                "The key set has no key that Rowgate can verify tokens with.",
                detail=f"expected a public RSA, EC or Ed25519 key with a kid at {url}, got {reasons or 'no keys'}",
                hint="Have the provider sign with an asymmetric key (RS256, ES256 or EdDSA).",
            )
        return key_set

    async def _object(self, url: str) -> dict[str, Any]:
        try:
            return parse_document((await self._fetcher.fetch(url)).body)
        except KeySetUnavailable as error:
            raise _unrecognised(error) from error
        except UnsoundJson as error:
            raise ProviderUnrecognised(
                "The answer is not a JSON object.", detail=f"expected JSON at {url}, but {error}"
            ) from None

    async def _attempt(self, url: str) -> tuple[dict[str, Any] | None, ProviderUnrecognised | None]:
        """The document, or why there is none. A host that cannot be reached at all ends the search instead."""
        try:
            return await self._object(url), None
        except ProviderUnrecognised as error:
            cause = error.__cause__
            if isinstance(cause, KeySetUnavailable) and cause.http_status is None:
                raise
            return None, error


def _is_clerk(parts: SplitResult) -> bool:
    """Clerk's Frontend API: ``*.clerk.accounts.dev`` in development, ``clerk.<your domain>`` in production."""
    host = parts.hostname or ""
    if parts.scheme != "https":
        return False
    if host.endswith(".clerk.accounts.dev"):
        return True
    usual = parts.path in {"", "/", "/.well-known/jwks.json", DISCOVERY_PATH}
    return host.startswith("clerk.") and host.count(".") >= 2 and usual


def _origin(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _discovery_url(parts: SplitResult, path: str) -> str:
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/") + DISCOVERY_PATH, "", ""))


def _discovery_urls_above(parts: SplitResult) -> Iterator[str]:
    """The folders above a key set, nearest first: Keycloak's lies three above, most others' at the origin."""
    folders = [folder for folder in parts.path.split("/") if folder][:-1]
    depths = list(range(len(folders), -1, -1))
    for depth in [*depths[: _MOST_PARENTS - 1], *depths[_MOST_PARENTS - 1 :][-1:]]:
        if depth == 0 or folders[depth - 1] != ".well-known":
            yield _discovery_url(parts, "/".join(["", *folders[:depth]]))


def _nothing_found(url: str, discovery_url: str, failure: ProviderUnrecognised | None) -> ProviderUnrecognised:
    at_url = (failure.detail or failure.message) if failure else "a JSON object that is neither"
    return ProviderUnrecognised(
        "The URL leads neither to a key set nor to an issuer.",
        detail=f"{at_url}; and there is no discovery document at {discovery_url}",
        hint="Give the JWKS URL or the issuer URL of your identity provider; its documents name both.",
    )


def _unrecognised(error: KeySetUnavailable) -> ProviderUnrecognised:
    return ProviderUnrecognised(error.message, detail=error.detail, hint=_STATUS_HINTS.get(error.http_status or 0))


_STATUS_HINTS: Final = {
    401: "This URL wants credentials; give the provider's public JWKS URL instead.",
    403: "This URL wants credentials; give the provider's public JWKS URL instead.",
    404: "Compare the URL with the one in your identity provider's settings.",
}


def _require_audience(found: _Found, audiences: Sequence[str]) -> None:
    shared = {_host(found.issuer), _host(found.jwks_url)} & _SHARED_KEY_HOSTS
    if shared and not audiences:
        raise ProviderUnrecognised(
            "This provider signs for all of its customers with the same keys, so an audience is needed.",
            detail=f"expected an audience for {', '.join(sorted(shared))}, got none",
            hint="Give your own client or project id with --audience.",
        )


def _algorithms(found: _Found) -> tuple[str, ...]:
    """What the present keys can sign, narrowed to what the provider lists. RSA keys without ``alg`` sign RS256."""
    able = {algorithm for key in found.key_set.keys.values() for algorithm in key.algorithms}
    if listed := able & set(found.listed):
        return tuple(algorithm for algorithm in ALGORITHMS if algorithm in listed)
    plain = {
        algorithm
        for key in found.key_set.keys.values()
        for algorithm in (("RS256",) if len(key.algorithms) > 1 else key.algorithms)
    }
    return tuple(algorithm for algorithm in ALGORITHMS if algorithm in plain)


def _name(found: _Found) -> str:
    if found.kind in {"clerk", "local"}:
        return found.kind
    host = (_host(found.issuer) or _host(found.jwks_url)).lower()
    return re.sub("[^a-z0-9.-]+", "-", host).strip(".-")[:63] or found.kind


def _host(address: str) -> str:
    """The host of ``address``, empty where it has none: an issuer need not be a URL (Stytch, Descope)."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
