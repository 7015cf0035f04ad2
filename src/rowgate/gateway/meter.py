"""What a gateway counts of its own work, for ``/metrics``: a few numbers, changed in place on the way of a request.

Labels are fronts, HTTP statuses and the stable codes of errors, so there is a bounded number of series. Pure: knows
nothing of who asks, and never of what.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from math import inf
from typing import Final

from rowgate.errors import RowgateError

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms' buckets in seconds."""


class Histogram:
    """How many observations fell into each bucket, the last without a bound, and their sum in seconds."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one; what was not measured is infinite, and left out."""
        if seconds == inf:
            return
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Meter:
    """The counts of one gateway process since its start."""

    def __init__(self) -> None:
        self.http = Histogram()
        """Requests over HTTP, from the whole request to the answer's bytes."""
        self.http_statuses: Counter[int] = Counter()
        self.exchanges = Histogram()
        """What sessions had backends do, from the bytes to Postgres to the end of its answer."""
        self.session_statements = 0
        self.errors: Counter[tuple[str, str]] = Counter()
        """Errors that clients were told, by front and stable code."""

    def answered(self, status: int, seconds: float) -> None:
        """One request over HTTP."""
        self.http.observe(seconds)
        self.http_statuses[status] += 1

    def read(self, seconds: float, error: RowgateError | None) -> None:
        """A read of a session that shared its connection."""
        self.exchanges.observe(seconds)
        if error is not None:
            self.errors["session", error.code] += 1
