"""What commands that change the registry share: a connection for the work, and which provider is meant."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rowgate.errors import ProviderUnknown, SettingInvalid
from rowgate.registry.registry import Registry

Result = TypeVar("Result")


def with_registry(conninfo: str, work: Callable[[Registry], Awaitable[Result]]) -> Result:
    """Runs ``work`` with the registry of the database that ``conninfo`` names."""

    async def run() -> Result:
        registry = await Registry.connect(conninfo)
        try:
            return await work(registry)
        finally:
            await registry.close()

    return asyncio.run(run())


async def the_provider(registry: Registry, name: str | None) -> str:
    """The provider called ``name``, or the only one. Raises ProviderUnknown, SettingInvalid."""
    known = [one.name for one in await registry.list_providers()]
    if name is not None and name not in known:
        raise ProviderUnknown("No provider has this name.", detail=f"got {name!r}")
    if name is not None:
        return name
    if len(known) == 1:
        return known[0]
    raise SettingInvalid(
        "It is not said whose tokens are meant.",
        detail=f"expected --provider with one of {', '.join(known[:8]) or 'none, because none is registered'}",
    )
