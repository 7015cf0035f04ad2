"""Which entry of a full table leaves: the oldest, but one that was used meanwhile has a second chance.

So a look-up writes a mark and moves nothing. Never looks at what a table holds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol, TypeVar

MOST_SPARED: Final = 8
"""So many that were used are passed over before one leaves all the same: nobody waits for a walk through them all."""


class Marked(Protocol):
    """An entry. Whoever looks it up sets ``is_used``."""

    is_used: bool


Key = TypeVar("Key")
Entry = TypeVar("Entry", bound=Marked)


def drop_one(entries: OrderedDict[Key, Entry]) -> Entry:
    """Takes one entry out of a table that is not empty, the oldest first in order."""
    for _ in range(MOST_SPARED):
        key, entry = entries.popitem(last=False)
        if not entry.is_used:
            return entry
        entry.is_used = False
        entries[key] = entry
    return entries.popitem(last=False)[1]
