"""From a token to a Principal: shape, issuer, key, signature, claims, in this order, each by a module of its own.

A token is verified against the registered provider whose issuer it names, with a key from that provider's set, and in
no other way. This module never fetches anything itself, never logs, and never puts a token into an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from rowgate.errors import (
    ProviderConflict,
    TokenAlgorithmRefused,
    TokenIssuerUnknown,
    TokenRoleRefused,
    TokenSignatureInvalid,
)
from rowgate.identity.claims import principal_of
from rowgate.identity.compact import CompactToken, key_unnamed, parse_compact, shown
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.keyset import VerificationKey
from rowgate.identity.principal import Principal
from rowgate.identity.principal_cache import PrincipalCache
from rowgate.identity.provider import Provider
from rowgate.identity.revocation import RevocationSet

DEFAULT_LEEWAY: Final = 30.0
DEFAULT_CACHE_SIZE: Final = 100_000
LONGEST_CACHED: Final = 300.0
"""Seconds after which a token is verified anew, so that its key is looked up again and the key set kept fresh."""


@dataclass(slots=True)
class SeenTokens:
    """How many tokens of a provider were verified, and when the last one (Unix seconds). A token that stays in use is
    verified anew every five minutes, and counts again then."""

    count: int = 0
    last: float = 0.0


class TokenVerifier:
    """Verifies tokens for a set of providers, which may be replaced at any time. Belongs to one event loop.

    ``clock`` gives Unix seconds; ``leeway`` is in seconds; ``cache_size`` counts principals (0 turns the cache off).
    ``revocations`` is what is refused although its signature holds; changes to it count at once.
    Raises ProviderConflict where two providers share a name or an issuer.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        key_sets: KeySetCache,
        clock: Callable[[], float],
        *,
        leeway: float = DEFAULT_LEEWAY,
        cache_size: int = DEFAULT_CACHE_SIZE,
    ) -> None:
        self._key_sets = key_sets
        self._clock = clock
        self._leeway = leeway
        self.revocations = RevocationSet(clock)
        self._cache = PrincipalCache(cache_size, self.revocations)
        self.seen: dict[str, SeenTokens] = {}
        """By provider, the tokens that were verified since the start."""
        self._by_issuer = by_issuer(providers)
        key_sets.on_withdrawal(self._cache.clear)

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The providers as they are now."""
        return tuple(dict.fromkeys(self._by_issuer.values()))

    def replace_providers(self, providers: Iterable[Provider]) -> None:
        """From now on only these providers count; every cached principal is forgotten.

        Raises ProviderConflict, and then nothing has changed.
        """
        self._by_issuer = by_issuer(providers)
        self._cache.clear()
        self._key_sets.retain(self._by_issuer.values())

    def cached(self, token: str) -> Principal | None:
        """The principal of a token that was verified a short while ago, else None. Never waits, never raises."""
        return self._cache.get(token, self._clock())

    async def verify(self, token: str) -> Principal:
        """The principal of ``token``. Raises a TokenRefused, or KeySetUnavailable."""
        principal = self._cache.get(token, self._clock())
        if principal is not None:
            return principal
        parsed, provider = await self.verify_signature(parse_compact(token, needs_key_id=False))
        now = self._clock()
        principal = principal_of(parsed, provider, now=now, leeway=self._leeway)
        self.revocations.check(principal)
        seen = self.seen.setdefault(principal.provider, SeenTokens())
        seen.count += 1
        seen.last = now
        self._cache.put(token, principal, now=now, until=min(principal.expires_at, now + LONGEST_CACHED))
        return principal

    async def verify_signature(self, parsed: CompactToken) -> tuple[CompactToken, Provider]:
        """The token, and the provider that has signed it; its claims are not looked at. Raises like ``verify``."""
        while True:
            providers = self._by_issuer
            provider = _provider(parsed, providers)
            key_id = parsed.key_id or self._key_sets.only_key_id(provider)
            if key_id is None:
                raise key_unnamed(None)
            key = self._key_sets.peek(provider, key_id) or await self._key_sets.key(provider, key_id)
            # Whoever removed a provider while its keys were on their way must not be overtaken by its tokens.
            if self._by_issuer is providers:
                break
        check_suits(parsed, provider, key)
        check_signature(parsed, provider, key)
        return parsed, provider


def authorize(principal: Principal, role: str) -> None:
    """Let ``principal`` use the Postgres role ``role``, or raise TokenRoleRefused."""
    if role not in principal.roles:
        raise TokenRoleRefused(
            "The token may not be used for this role.",
            detail=f"expected one of {', '.join(principal.roles) or 'none'}, got {shown(role)}",
        )


def by_issuer(providers: Iterable[Provider]) -> Mapping[str, Provider]:
    """The providers by each of their issuers. Raises ProviderConflict."""
    found: dict[str, Provider] = {}
    names: set[str] = set()
    for provider in providers:
        taken = next((issuer for issuer in provider.issuers if issuer in found), None)
        if taken or provider.name in names:
            raise ProviderConflict(
                "Two providers have the same name or the same issuer.",
                detail=f"the second one is {provider.name} with the issuer {taken or provider.issuer}",
            )
        found.update(dict.fromkeys(provider.issuers, provider))
        names.add(provider.name)
    return MappingProxyType(found)


def _provider(token: CompactToken, providers: Mapping[str, Provider]) -> Provider:
    provider = provider_of(token.claims, providers)
    check_listed(token.algorithm, provider)
    return provider


def provider_of(claims: Mapping[str, Any], providers: Mapping[str, Provider]) -> Provider:
    """The provider that the claim ``iss`` names, of those by issuer. Raises TokenIssuerUnknown."""
    issuer = claims.get("iss")
    provider = providers.get(issuer) if isinstance(issuer, str) else None
    if provider is None:
        raise TokenIssuerUnknown(
            "No provider is registered for the token's issuer.",
            detail=f"expected {_expected_issuer(issuer, providers)}, got {shown(issuer)}",
        )
    return provider


def check_listed(algorithm: str, provider: Provider) -> None:
    """Raises TokenAlgorithmRefused where the provider was registered without this algorithm."""
    if algorithm not in provider.algorithms:
        raise TokenAlgorithmRefused(
            f"The provider {provider.name} does not sign with this algorithm.",
            detail=f"expected alg to be one of {', '.join(provider.algorithms)}, got {algorithm}",
        )


def _expected_issuer(issuer: object, providers: Mapping[str, Provider]) -> str:
    """A near miss is named, because a slash too many is the commonest mistake; other issuers are nobody's business."""
    if isinstance(issuer, str):
        bare = _without_trimmings(issuer)
        near = next((known for known in providers if _without_trimmings(known) == bare), None)
        if near is not None:
            return f"iss to be exactly {shown(near)}"
    return "iss to be the issuer of a registered provider"


def _without_trimmings(issuer: str) -> str:
    return issuer.removeprefix("https://").removeprefix("http://").rstrip("/").lower()


def check_suits(token: CompactToken, provider: Provider, key: VerificationKey) -> None:
    """Raises TokenAlgorithmRefused where the key verifies other algorithms than the token's."""
    if token.algorithm not in key.algorithms:
        raise TokenAlgorithmRefused(
            "The token's algorithm does not suit the key that it names.",
            detail=f"the key {shown(key.key_id)} of {provider.name} verifies {', '.join(key.algorithms)}, "
            f"the token says {token.algorithm}",
        )


def check_signature(token: CompactToken, provider: Provider, key: VerificationKey) -> None:
    """Raises TokenSignatureInvalid."""
    if not key.verifies(token.algorithm, token.signing_input, token.signature):
        raise TokenSignatureInvalid(
            "The signature of the token does not hold.",
            detail=f"checked with {token.algorithm} and the key {shown(key.key_id)} of the provider {provider.name}",
            hint="The token was changed on its way, or signed with another key. Get a fresh one.",
        )
