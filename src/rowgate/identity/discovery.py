"""From a URL to issuer and keys by the provider's own documents (OpenID Connect Discovery 1.0).

An issuer is never guessed from a key set's address: a document has to say it, or the operator. This module does not
know one provider from another, and never registers anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from rowgate.errors import KeySetUnavailable, ProviderUnrecognised
from rowgate.identity.addresses import is_loopback, why_unfetchable
from rowgate.identity.catalogue import DISCOVERY_PATH
from rowgate.identity.compact import shown
from rowgate.identity.fetcher import Fetcher
from rowgate.identity.keyset import KeySet, parse_key_set
from rowgate.identity.provider import ALGORITHMS
from rowgate.identity.strict_json import UnsoundJson, parse_document

LOCAL_MARKER: Final = "rowgate_local_issuer"
"""The member of its discovery document by which the local issuer is known."""

_MOST_PARENTS: Final = 6


@dataclass(frozen=True, slots=True)
class Found:
    """Where the keys are and whose they are. ``listed`` is what the discovery document says of algorithms, ``document``
    that document itself, empty where there is none."""

    kind: str
    issuer: str
    jwks_url: str
    key_set: KeySet
    listed: tuple[str, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)


class Search:
    """The ways from a URL to a provider, tried in order."""

    def __init__(self, fetcher: Fetcher, allow_insecure_loopback: bool) -> None:
        self._fetcher = fetcher
        self._allow_insecure_loopback = allow_insecure_loopback

    async def find(self, url: str, issuer: str | None) -> Found:
        """What ``url`` leads to: a discovery document, or a key set, with one beside it or the issuer as given.

        Raises ProviderUnrecognised.
        """
        parts = urlsplit(url)
        if parts.path.endswith(DISCOVERY_PATH):
            return await self._discovered(url, await self.document(url))
        document, failure = await self._attempt(url)
        if document is not None and "keys" in document:
            return await self._beside_key_set(url, issuer)
        discovery_url = _discovery_url(parts, parts.path)
        discovery, _ = await self._attempt(discovery_url)
        if discovery is None:
            raise _nothing_found(url, discovery_url, failure)
        return await self._discovered(discovery_url, discovery)

    async def _beside_key_set(self, url: str, issuer: str | None) -> Found:
        """The URL is a key set's. Its discovery document lies in one of the folders above it."""
        key_set = await self.key_set(url)
        if issuer is not None:
            return Found("custom", issuer, url, key_set)
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

    async def _discovered(self, discovery_url: str, document: dict[str, Any]) -> Found:
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
        local = document.get(LOCAL_MARKER) is True and is_loopback(host_of(issuer))
        key_set = await self.key_set(str(jwks_url))
        return Found("local" if local else "oidc", issuer, str(jwks_url), key_set, algorithms, document)

    def _require_key_address(self, issuer: str, jwks_url: object) -> None:
        """A provider elsewhere must not make the gateway ask this machine's own services."""
        near = self._allow_insecure_loopback and is_loopback(host_of(issuer))
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

    async def key_set(self, url: str) -> KeySet:
        """The key set at ``url``, with at least one usable key. Raises ProviderUnrecognised."""
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

    async def document(self, url: str) -> dict[str, Any]:
        """The JSON object at ``url``. Raises ProviderUnrecognised."""
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
            return await self.document(url), None
        except ProviderUnrecognised as error:
            cause = error.__cause__
            if isinstance(cause, KeySetUnavailable) and cause.http_status is None:
                raise
            return None, error


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


def host_of(address: str) -> str:
    """The host of ``address``, empty where it has none: an issuer need not be a URL (Stytch, Descope)."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
