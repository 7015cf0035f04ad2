"""The local identity provider among others: whoever reaches it can be anyone, so a gateway must not trust it unasked.

This module never fetches anything and never changes a registry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from rowgate.errors import LocalIssuerRefused
from rowgate.identity.catalogue import preset_of
from rowgate.identity.claim_rules import ClaimRules
from rowgate.identity.provider import Provider

LOCAL_KIND: Final = "local"


def local_rules(given: ClaimRules | None = None) -> ClaimRules:
    """How its claims are read: as Clerk's, which it writes; ``given`` adds what the operator requires."""
    clerk = preset_of("clerk")
    rules = clerk.rules if clerk else ClaimRules()
    if given is None:
        return rules
    return replace(
        rules,
        user=given.user,
        required=(*rules.required, *given.required),
        role_grants=(*rules.role_grants, *given.role_grants),
    )


def local_providers(providers: Iterable[Provider]) -> tuple[Provider, ...]:
    """Those that are local identity providers."""
    return tuple(provider for provider in providers if provider.kind == LOCAL_KIND)


def refuse_local(providers: Iterable[Provider]) -> None:
    """Raises LocalIssuerRefused where one of ``providers`` is a local identity provider."""
    for provider in local_providers(providers):
        raise LocalIssuerRefused(
            f"The provider {provider.name} is the local identity provider, which asks nobody for a password.",
            detail=f"expected providers that know their users; {provider.issuer} gives anyone a token for anybody",
            hint=f"Run `rowgate provider remove {provider.name}`. Where only you can reach this gateway, set "
            "ROWGATE_TRUST_LOCAL_ISSUER=true instead.",
        )
