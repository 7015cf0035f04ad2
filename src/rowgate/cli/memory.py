"""What a process that serves for long does with its memory, once it serves: the collector and the C library's heap."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from contextlib import suppress
from importlib import import_module
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""As many new objects start a collection; requests make few cycles, so the 700 of Python's default find nothing."""
REST: Final = ("scramp", "joserfc.jwk", "joserfc.jws", "httpx", "rowgate.gateway.websocket")
"""What a start does without and the first requests need: a connection to Postgres, a token, a key set, a WebSocket."""
M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 1 << 20
"""Buffers above this go back to the system when they are freed (mallopt(3)). Left to itself the C library raises its
threshold with each that was freed, until megabytes of results leave holes in the heap that stay resident."""


def settle() -> None:
    """Sets both, once everything has started. What is there then stays: later collections need not walk over it.

    A full collection took tens of milliseconds before, which some request had to wait for.
    """
    with suppress(OSError, AttributeError):  # another C library sees to it in its own way
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
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
