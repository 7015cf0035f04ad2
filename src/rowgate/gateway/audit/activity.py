"""What happened lately in numbers: requests and their times by the second, statements and users by the time they took.

Kept where somebody looks on (the console), one for each endpoint. Every table is bounded, whatever strangers send. Use
it from the event loop alone; never writes anything.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from rowgate.gateway.audit.record import OK, RequestRecord, shown_sql

WINDOW_SECONDS: Final = 5
WINDOWS: Final = 60
"""How many windows are kept: five minutes."""
MOST_STATEMENTS: Final = 500
MOST_USERS: Final = 1_000
LONGEST_TEXT: Final = 4_096
_STEPS: Final = 4
"""Steps to a doubling in the histogram of times: a percentile is right within a tenth."""
_BUCKETS: Final = 33 * _STEPS

Key = TypeVar("Key", bound=Hashable)


class Window:
    """The requests of five seconds. ``number`` counts windows since 1970."""

    __slots__ = ("count", "failed", "number", "times")

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.failed = 0
        self.times: dict[int, int] = {}

    def add(self, milliseconds: float, *, failed: bool) -> None:
        """Counts one request."""
        self.count += 1
        self.failed += failed
        step = min(int(math.log2(milliseconds * 1000 + 1) * _STEPS), _BUCKETS)
        self.times[step] = self.times.get(step, 0) + 1


def percentile(windows: Iterable[Window], percent: float) -> float | None:
    """How many milliseconds ``percent`` of the requests took at most, within a tenth; None where there was none."""
    times: Counter[int] = Counter()
    for window in windows:
        times.update(window.times)
    left = math.ceil(times.total() * percent / 100)
    for step in sorted(times):
        left -= times[step]
        if left <= 0:
            return float((2 ** ((step + 0.5) / _STEPS) - 1) / 1000)
    return None


class Total:
    """What one statement, user or provider took since the start. Times are milliseconds, ``last`` is Unix seconds."""

    __slots__ = ("count", "failed", "last", "longest", "milliseconds", "rows", "tables", "text")

    def __init__(self, text: str = "", tables: Sequence[str] = ()) -> None:
        self.count = 0
        self.failed = 0
        self.milliseconds = 0.0
        self.longest = 0.0
        self.rows = 0
        self.last = 0.0
        self.text = text
        self.tables = tables

    def add(self, milliseconds: float, rows: int, now: float, *, failed: bool) -> None:
        """Counts one request."""
        self.count += 1
        self.failed += failed
        self.milliseconds += milliseconds
        self.longest = max(self.longest, milliseconds)
        self.rows += rows
        self.last = now


class Totals(Generic[Key]):
    """Totals by key. Where there are twice ``most``, the half that took least is forgotten: what is heavy stays."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_key: dict[Key, Total] = {}

    def of(self, key: Key) -> Total | None:
        """The total of a key that is known."""
        return self._by_key.get(key)

    def make(self, key: Key, total: Total) -> Total:
        """Keeps ``total`` for a key that is not known."""
        if len(self._by_key) >= 2 * self._most:
            self._by_key = dict(self.heaviest(self._most))
        self._by_key[key] = total
        return total

    def heaviest(self, most: int) -> list[tuple[Key, Total]]:
        """Those that took the most time, the heaviest first."""
        return heapq.nlargest(most, self._by_key.items(), key=lambda one: one[1].milliseconds)


class Activity:
    """Of one endpoint. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.started_at = clock()
        self._windows: deque[Window] = deque([Window(int(self.started_at // WINDOW_SECONDS))], maxlen=WINDOWS)
        self.outcomes: Counter[str] = Counter()
        """How many requests had which outcome since the start; outcomes are words of the gateway's own."""
        self.statements: Totals[str] = Totals(MOST_STATEMENTS)
        """By fingerprint."""
        self.users: Totals[tuple[str | None, str | None, str]] = Totals(MOST_USERS)
        """By provider, subject and role; anonymous requests have neither provider nor subject."""
        self.providers: Totals[str] = Totals(MOST_USERS)
        """By name."""

    def add(self, record: RequestRecord, texts: Sequence[str]) -> None:
        """Counts one request; ``texts`` are its statements, one for each fingerprint of the record.

        The time of several statements counts for each of them in equal parts: nobody measured them apart.
        """
        now = self._clock()
        failed = record.outcome != OK
        self._window(int(now // WINDOW_SECONDS)).add(record.milliseconds, failed=failed)
        self.outcomes[record.outcome] += 1
        user = (record.provider, record.subject, record.role)
        total = self.users.of(user) or self.users.make(user, Total())
        total.add(record.milliseconds, record.rows, now, failed=failed)
        if record.provider is not None:
            total = self.providers.of(record.provider) or self.providers.make(record.provider, Total())
            total.add(record.milliseconds, record.rows, now, failed=failed)
        count = len(record.fingerprints)
        for place, fingerprint in enumerate(record.fingerprints):
            known = self.statements.of(fingerprint)
            if known is None:
                text = texts[place] if place < len(texts) else ""
                kept = shown_sql(text) if len(text) <= LONGEST_TEXT else ""
                known = self.statements.make(fingerprint, Total(kept, record.tables))
            known.add(record.milliseconds / count, record.rows if count == 1 else 0, now, failed=failed)

    def windows(self) -> list[Window]:
        """The last five minutes, the oldest window first; the newest is not over yet."""
        newest = max(int(self._clock() // WINDOW_SECONDS), self._windows[-1].number)
        known = {window.number: window for window in self._windows}
        return [known.get(number) or Window(number) for number in range(newest - WINDOWS + 1, newest + 1)]

    def _window(self, number: int) -> Window:
        newest = self._windows[-1]
        # A clock that was set back counts on in the window that it had reached.
        if number > newest.number:
            newest = Window(number)
            self._windows.append(newest)
        return newest
