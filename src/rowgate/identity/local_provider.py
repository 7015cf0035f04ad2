"""The local identity provider among others: whoever reaches it can be anyone, so a gateway must not trust it unasked.

This module never fetches anything and never changes a registry.
"""

from __future__ import annotations

from collections.abc import Iterable

from rowgate.errors import LocalIssuerRefused
from rowgate.identity.provider import Provider

LOCAL_KIND = "local"


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
