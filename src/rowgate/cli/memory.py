"""What a process that serves for long does with its memory, once it serves. Never frees anything by itself."""

from __future__ import annotations

import asyncio
import gc
from importlib import import_module
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""As many new objects start a collection; requests make few cycles, so the 700 of Python's default find nothing."""
REST: Final = ("scramp", "joserfc.jwk", "joserfc.jws", "httpx", "rowgate.gateway.websocket")
"""What a start does without and the first requests need: a connection to Postgres, a token, a key set, a WebSocket."""


def settle() -> None:
    """What is there once everything has started stays: later collections need not walk over it.

    A full collection took tens of milliseconds before, which some request had to wait for.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


def import_rest() -> None:
    """Imports ``REST``, which takes longer than all that a start imports of its own."""
    for name in REST:
        import_module(name)


async def settle_soon() -> None:
    """The same as ``settle``, with ``REST`` imported, by a thread while the event loop serves."""
    await asyncio.to_thread(import_rest)
    settle()
