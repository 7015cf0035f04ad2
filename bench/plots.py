"""Pictures of a run, as SVG: rates, latencies, and where the time of a request goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from bench.http_load import Samples
from bench.measurement import Histogram, middle
from bench.report import Results

mpl.use("svg")
import matplotlib.pyplot as plt

COMPARED = ("point read", "100 rows × 5", "10,000 rows × 10", "insert returning")
SIDES = ("pgbench", "rowgate", "rowgate, 2 workers", "express", "fastapi", "postgrest")


def draw(results: Results, folder: Path) -> list[str]:
    """Writes what there is to draw; gives the names of the files."""
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rowgate", "font.size": 9})
    drawn = []
    cases = [case for case in COMPARED if case in results.http]
    if cases:
        drawn += [_rates(results.http, cases, folder), _latencies(results.http, cases[0], folder)]
    if results.layers:
        drawn.append(_layers(results.layers, folder))
    return drawn


def _rates(samples: Samples, cases: Sequence[str], folder: Path) -> str:
    figure, axes = plt.subplots(1, len(cases), figsize=(3 * len(cases), 2.6), squeeze=False)
    for axis, case in zip(axes[0], cases, strict=True):
        sides = [side for side in SIDES if side in samples[case]]
        rates = [middle(samples[case][side]).rate for side in sides]
        colours = ["#00796b" if side.startswith("rowgate") else "#9e9e9e" for side in sides]
        axis.barh(sides, rates, color=colours)
        axis.invert_yaxis()
        axis.set_title(case)
        axis.set_xlabel("requests/s")
    return _save(figure, folder, "rates")


def _latencies(samples: Samples, case: str, folder: Path) -> str:
    figure, axis = plt.subplots(figsize=(7, 3.2))
    for side in SIDES:
        if side in samples[case]:
            times, parts = _cumulated(middle(samples[case][side]).histogram)
            axis.plot(times, parts, label=side)
    axis.set_xscale("log")
    axis.set_xlabel(f"{case}: milliseconds")
    axis.set_ylabel("% of the requests within")
    axis.grid(visible=True, alpha=0.3)
    axis.legend()
    return _save(figure, folder, "latencies")


def _cumulated(histogram: Histogram) -> tuple[list[float], list[float]]:
    whole = sum(count for _, count in histogram)
    times, parts, seen = [], [], 0
    for latency, count in histogram:
        seen += count
        times.append(latency / 1000)
        parts.append(100 * seen / whole)
    return times, parts


def _layers(layers: dict[str, dict[str, float]], folder: Path) -> str:
    figure, axis = plt.subplots(figsize=(9, 0.6 * len(layers) + 2.6))
    rooms = list(dict.fromkeys(room for found in layers.values() for room in found))
    colours = plt.get_cmap("tab20")
    left = dict.fromkeys(layers, 0.0)
    for number, room in enumerate(rooms):
        widths = [found.get(room, 0.0) for found in layers.values()]
        axis.barh(list(layers), widths, left=list(left.values()), label=room, color=colours(number % 20))
        left = {name: left[name] + width for name, width in zip(layers, widths, strict=True)}
    axis.set_xlabel("µs a request")
    axis.invert_yaxis()
    axis.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return _save(figure, folder, "layers")


def _save(figure: plt.Figure, folder: Path, name: str) -> str:
    file = f"benchmark-{name}.svg"
    figure.savefig(folder / file, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return file
