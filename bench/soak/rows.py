"""What one user must see of the table that they alone write to. Pure: a model that answers are held against."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import count

SETTLED_SECONDS = 20.0
"""After so long nothing of an interrupted statement runs any more: longer than every time-out of the gateway."""
MOST_ROWS = 30
FACTS = 20


class UserRows:
    """The rows of ``user``: those that are surely there, and those whose write was interrupted."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.sure: dict[str, int] = {}
        self._unsure: dict[str, float] = {}
        self._numbers = count(1)

    def new_key(self) -> str:
        """A key that was never used."""
        return f"{self.user}-{next(self._numbers)}"

    def has(self, key: str, value: int) -> None:
        """It was written, and the write was confirmed."""
        self._unsure.pop(key, None)
        self.sure[key] = value

    def lacks(self, key: str) -> None:
        """It was deleted, and that was confirmed."""
        self._unsure.pop(key, None)
        self.sure.pop(key, None)

    def doubt(self, keys: Iterable[str]) -> None:
        """A write of them was interrupted: whether it was committed is unknown."""
        for key in keys:
            self.sure.pop(key, None)
            self._unsure[key] = time.monotonic()

    def mismatch(self, rows: Iterable[tuple[str, int, str]]) -> str | None:
        """What is wrong with key, value and owner of all rows that were read; None where nothing is."""
        found: dict[str, int] = {}
        for key, value, owner in rows:
            if owner != self.user:
                return f"A ROW OF {owner} CAME TO {self.user}"
            found[key] = value
        for key, value in self.sure.items():
            if found.get(key) != value:
                return f"{key} should be {value} and is {found.get(key)}"
        for key in found.keys() - self.sure.keys():
            if key not in self._unsure:
                return f"{key} should not be there"
        self._settle(found)
        return None

    def _settle(self, found: dict[str, int]) -> None:
        settled = [key for key, since in self._unsure.items() if time.monotonic() - since > SETTLED_SECONDS]
        for key in settled:
            del self._unsure[key]
            if key in found:
                self.sure[key] = found[key]


def facts_of(user: str) -> list[tuple[int, str]]:
    """What everybody always finds in ``facts``: their own twenty rows."""
    return [(number, user) for number in range(FACTS)]
