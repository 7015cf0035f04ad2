"""Token buckets: how many units somebody may spend in a second, and how many at once after a pause. Pure.

One number for each key: the moment at which its bucket is full again. Full buckets take no memory for long.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import ceil
from typing import Final

MOST_FULL_KEYS: Final = 10_000


class TokenBuckets:
    """Buckets of ``rate`` units a second that hold ``burst_seconds`` times as many. Times are in seconds."""

    def __init__(self, rate: int, burst_seconds: int) -> None:
        self.quota = rate * burst_seconds
        self.window = burst_seconds
        self._seconds_each = 1 / rate
        self._full_at: dict[Hashable, float] = {}
        self._prune_at = MOST_FULL_KEYS

    def __len__(self) -> int:
        return len(self._full_at)

    def spend(self, key: Hashable, units: int, now: float) -> float:
        """Takes ``units`` from the bucket of ``key``: 0.0; or how many seconds to wait until it holds so many, and
        nothing was taken. More than a whole bucket holds are given when it is full."""
        full_at = max(self._full_at.get(key, now), now)
        needed = min(units, self.quota) * self._seconds_each
        wait = full_at + needed - now - self.window
        if wait > 1e-9:
            return wait
        self._full_at[key] = full_at + units * self._seconds_each
        if len(self._full_at) > self._prune_at:
            self._prune(now)
        return 0.0

    def charge(self, key: Hashable, units: int, now: float) -> None:
        """Takes ``units`` that were spent already: the bucket may owe them, at most as many as it holds."""
        full_at = max(self._full_at.get(key, now), now) + units * self._seconds_each
        self._full_at[key] = min(full_at, now + 2 * self.window)

    def owes(self, key: Hashable, now: float) -> float:
        """In how many seconds the bucket of ``key`` owes nothing; 0 where it owes nothing now."""
        return max(self._full_at.get(key, now) - now - self.window, 0.0)

    def remaining(self, key: Hashable, now: float) -> tuple[int, int]:
        """Units that the bucket of ``key`` holds, and in how many seconds it is full."""
        missing = max(self._full_at.get(key, now) - now, 0.0)
        return max(int((self.window - missing) / self._seconds_each + 1e-6), 0), ceil(missing - 1e-6)

    def _prune(self, now: float) -> None:
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        self._prune_at = max(MOST_FULL_KEYS, 2 * len(self._full_at))
