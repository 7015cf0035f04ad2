"""Python's garbage collector, set for a process that serves for long. Never frees anything by itself."""

from __future__ import annotations

import gc
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""As many new objects start a collection; requests make few cycles, so the 700 of Python's default find nothing."""


def settle() -> None:
    """What is there once everything has started stays: later collections need not walk over it.

    A full collection took tens of milliseconds before, which some request had to wait for.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
