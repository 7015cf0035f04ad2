"""Which of the two implementations of the byte loops runs: the compiled module, or Python alone.

The compiled one is built at installation where a C compiler is at hand. ``ROWGATE_COMPILED=off`` in the environment
leaves it aside, for comparing. Both give the same bytes. Never builds anything.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

__all__ = ["IS_COMPILED", "compiled"]

if TYPE_CHECKING:
    from rowgate.pgwire import compiled
else:
    compiled = None
    if os.environ.get("ROWGATE_COMPILED") != "off":
        with suppress(ImportError):
            from rowgate.pgwire import compiled

IS_COMPILED: bool = compiled is not None
"""Whether the compiled module is used."""
