"""Charts as geometry for SVG: bars of requests, and lines of how long they took. Pure; knows nothing of pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rowgate.gateway.audit.activity import WINDOW_SECONDS, Window, percentile

WIDTH: Final = 600.0
HEIGHT: Final = 120.0
PERCENTS: Final = (50, 95, 99)
_LADDER: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Bar:
    """One window: where it stands, how high all of its requests are and those of them that failed. In units of SVG."""

    x: float
    width: float
    height: float
    failed: float


@dataclass(frozen=True, slots=True)
class Bars:
    """Requests a second. ``top`` is what the chart's full height means."""

    bars: tuple[Bar, ...]
    top: float


@dataclass(frozen=True, slots=True)
class Line:
    """One percentile over time as the ``d`` of an SVG path; a window without requests is a gap."""

    percent: int
    path: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Milliseconds. ``top`` is what the chart's full height means."""

    lines: tuple[Line, ...]
    top: float


def rate_bars(windows: Sequence[Window]) -> Bars:
    """The requests of each window, a second; the last one is not over yet."""
    top = _top(max((window.count / WINDOW_SECONDS for window in windows), default=0.0))
    step = WIDTH / max(1, len(windows))
    scale = HEIGHT / (top * WINDOW_SECONDS)
    return Bars(
        tuple(
            Bar(_short(place * step), _short(step * 0.8), _short(window.count * scale), _short(window.failed * scale))
            for place, window in enumerate(windows)
        ),
        top,
    )


def time_lines(windows: Sequence[Window]) -> Lines:
    """The percentiles of each window."""
    found = {percent: [percentile([window], percent) for window in windows] for percent in PERCENTS}
    top = _top(max((value for values in found.values() for value in values if value is not None), default=0.0))
    step = WIDTH / max(1, len(windows))
    return Lines(tuple(Line(percent, _path(values, step, top)) for percent, values in found.items()), top)


def _path(values: Sequence[float | None], step: float, top: float) -> str:
    parts = []
    before: float | None = None
    for place, value in enumerate(values):
        if value is not None:
            x, y = _short((place + 0.4) * step), _short(HEIGHT - value * HEIGHT / top)
            # A point that stands alone is a short dash, or nothing would be drawn.
            parts.append(f"L{x} {y}" if before is not None else f"M{_short(x - step * 0.2)} {y}L{x} {y}")
        before = value
    return "".join(parts)


def _top(highest: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... above; 1 where there is nothing."""
    unit = 0.01
    while True:
        for factor in _LADDER:
            if highest <= unit * factor:
                return max(unit * factor, 0.2)
        unit *= 10


def _short(number: float) -> float:
    """Hundredths are enough for a screen."""
    return round(number, 2)
