"""What one measurement gives, and the median of several."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Histogram = tuple[tuple[int, int], ...]
"""Latencies in microseconds, to two or three digits, each with how many requests took so long."""


@dataclass(frozen=True)
class Usage:
    """Seconds of the processor for 1,000 requests, and the side's peak memory in MiB while it was measured."""

    side: float
    postgres: float
    load: float
    peak_memory: float


@dataclass(frozen=True)
class Measurement:
    """Requests per second, and latencies in milliseconds. ``usage`` is None where nobody kept account."""

    rate: float
    median: float
    percentile_99: float
    errors: int
    percentile_95: float = 0.0
    requests: int = 0
    histogram: Histogram = ()
    usage: Usage | None = None


@dataclass(frozen=True)
class Ratio:
    """How one side compares with another, round by round: the median, the smallest and the largest."""

    median: float
    low: float
    high: float


def round_latency(microseconds: int) -> int:
    """To three digits, so that a histogram stays small."""
    step = 1
    while microseconds >= 1000 * step:
        step *= 10
    return microseconds // step * step


def histogram_of(latencies: Iterable[int]) -> Histogram:
    """Counts latencies in microseconds."""
    counts: dict[int, int] = {}
    for latency in latencies:
        rounded = round_latency(latency)
        counts[rounded] = counts.get(rounded, 0) + 1
    return tuple(sorted(counts.items()))


def percentile(histogram: Histogram, percent: float) -> float:
    """Milliseconds that so many percent of the requests took at most."""
    left = sum(count for _, count in histogram) * percent / 100
    for latency, count in histogram:
        left -= count
        if left <= 0:
            return latency / 1000
    return 0.0


def from_histogram(histogram: Histogram, seconds: float, errors: int = 0) -> Measurement:
    """A measurement that took so many seconds."""
    requests = sum(count for _, count in histogram)
    return Measurement(
        requests / seconds, percentile(histogram, 50), percentile(histogram, 99), errors, percentile(histogram, 95),
        requests, histogram,
    )  # fmt: skip


def middle(samples: Sequence[Measurement]) -> Measurement:
    """The round with the median rate."""
    rate = statistics.median_low([sample.rate for sample in samples])
    return next(sample for sample in samples if sample.rate == rate)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Ours by theirs, of the rounds that belong together."""
    found = [mine / other for mine, other in zip(ours, theirs, strict=True) if other]
    return Ratio(statistics.median(found), min(found), max(found)) if found else Ratio(0.0, 0.0, 0.0)
