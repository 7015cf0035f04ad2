"""The catalogue of identity providers: one table, one row each. Adding a provider is adding a row.

What a row says comes from the provider's own documents. This package fetches nothing and never sees a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from rowgate.identity.catalogue.hosted import HOSTED
from rowgate.identity.catalogue.machines import MACHINES
from rowgate.identity.catalogue.preset import DISCOVERY_PATH, DocumentShape, Input, Preset
from rowgate.identity.catalogue.self_hosted import SELF_HOSTED
from rowgate.identity.catalogue.shared import SHARED

__all__ = [
    "CATALOGUE",
    "DISCOVERY_PATH",
    "GENERIC_KINDS",
    "KINDS",
    "DocumentShape",
    "Input",
    "Preset",
    "preset_of",
    "recognised",
    "recognised_document",
]

CATALOGUE: Final[tuple[Preset, ...]] = tuple(
    sorted((*HOSTED, *SELF_HOSTED, *SHARED, *MACHINES), key=lambda preset: preset.label.lower())
)
"""Every provider that is known, by label."""

GENERIC_KINDS: Final = ("local", "oidc", "custom")
"""Providers without a row: the local issuer, one with a discovery document, one whose keys and issuer were given."""

KINDS: Final = frozenset({*GENERIC_KINDS, *(preset.kind for preset in CATALOGUE)})

_BY_KIND: Final[Mapping[str, Preset]] = MappingProxyType({preset.kind: preset for preset in CATALOGUE})


def preset_of(kind: str) -> Preset | None:
    """The row of ``kind``; None for the generic kinds and for what is none."""
    return _BY_KIND.get(kind)


def recognised(url: str) -> tuple[Preset, dict[str, str]] | None:
    """The provider whose URL ``url`` is, and what the URL tells of its placeholders.

    Several may fit where one serves two products on a host: the one that learns most from the URL is meant.
    """
    found = [(preset, values) for preset in CATALOGUE if (values := preset.values_in(url)) is not None]
    return max(found, key=lambda one: len(one[1]), default=None)


def recognised_document(document: Mapping[str, Any]) -> tuple[Preset, dict[str, str]] | None:
    """The provider whose discovery document has this shape, and what it tells of the placeholders."""
    found = ((preset, values) for preset in CATALOGUE if (values := preset.values_in_document(document)) is not None)
    # /auth/realms/ is /realms/ too: the longer shape says more.
    return max(found, key=lambda one: len(one[0].shape.issuer) if one[0].shape else 0, default=None)
