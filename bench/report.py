"""What a run of the benchmarks found, as text for people: the bars, and a table for each kind. Never measures."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.http_load import LIMIT, Samples
from bench.latency import AS_SCHEDULED, DIRECT, HTTP
from bench.latency import Found as Latencies
from bench.measurement import Measurement, Ratio, middle, ratio
from bench.served import Cost
from bench.transfer import COPY
from bench.transfer import HTTP as FETCH

OURS = "rowgate"
INTRODUCTION = """\
Absolute figures say little on a shared machine; the ratios of one run count. Each case runs in rounds, every side once
a round after a warm-up that does not count. Figures are of the round with the median rate, ratios are taken round by
round and shown as median (smallest-largest). Load generator, gateway and Postgres share the cores. The load is wrk's,
one thread, for HTTP, and pgbench's, one thread, which is the limit: the same two prepared statements (the sealed
identity and the statement, pipelined) without HTTP and without tokens of users. Every side reaches Postgres through its
Unix socket with at most ten connections; pgbench has one for each of its clients.

CPU is in seconds of the processor for 1,000 requests, from the kernel's accounts: of the side itself, of Postgres with
all its backends, and of the load generator (pgbench's, where it is the side). Memory is the side's peak in MiB.
"""


@dataclass
class Results:
    """All that was measured; what was left out is empty."""

    seconds: float
    rounds: int
    http: Samples = field(default_factory=dict)
    sessions: Samples = field(default_factory=dict)
    fronts: Samples = field(default_factory=dict)
    latency: Latencies = field(default_factory=dict)
    transfer: dict[str, list[float]] = field(default_factory=dict)
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    instructions: dict[str, int] = field(default_factory=dict)
    workers: dict[str, dict[int, list[Cost]]] = field(default_factory=dict)
    flat: dict[str, dict[int, list[Cost]]] = field(default_factory=dict)
    idle: str = ""
    others: dict[str, str] = field(default_factory=dict)
    others_raw: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, title: str, table: str, raw: Any) -> None:
        """A part that has a table of its own; ``raw`` are its samples, where they are not kept here already."""
        self.others[title] = table
        if raw is not None:
            self.others_raw[title] = raw


@dataclass(frozen=True)
class Bar:
    """What has to be reached: ``at_least`` or at most ``bound``."""

    name: str
    measured: Ratio
    bound: float
    at_least: bool = True
    unit: str = "×"

    @property
    def is_met(self) -> bool:
        """Judged by the median."""
        return self.measured.median >= self.bound if self.at_least else self.measured.median <= self.bound


def machine() -> str:
    """What it ran on; no name of a machine."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine()
    )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{one:.1f}" for one in reversed(os.getloadavg()))
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}, Node {_version('node')}; "
        f"load average over the last 15, 5 and 1 minutes: {load}"
    )


def _version(program: str) -> str:
    try:
        return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "none"


def bars(results: Results) -> Iterator[Bar]:
    """Those for which something was measured."""
    for case, side, bound in (
        ("point read", LIMIT, 0.55), ("point read", "express", 8.0), ("point read", "fastapi", 10.0),
        ("100 rows × 5", LIMIT, 0.60), ("100 rows × 5", "express", 4.0), ("insert returning", LIMIT, 0.60),
    ):  # fmt: skip
        sides = results.http.get(case, {})
        if side in sides and OURS in sides:
            yield Bar(f"{case}: requests/s, of {side}'s", _compare(sides[OURS], sides[side], _rate), bound)
    if results.transfer:
        measured = ratio(results.transfer[FETCH], results.transfer[COPY])
        yield Bar("10,000 rows × 10: wall time, of COPY's to a file", measured, 1.5, at_least=False)
    for case in ("point read", "100 rows × 5", "insert returning"):
        sides = results.http.get(case, {})
        if LIMIT in sides and OURS in sides:
            measured = _compare(sides[OURS], sides[LIMIT], _postgres)
            yield Bar(f"{case}: Postgres's CPU, of pgbench's", measured, 1.25, at_least=False)
    for kind, points in results.flat.items():
        few, many = min(points), max(points)
        measured = ratio([cost.gateway for cost in points[many]], [cost.gateway for cost in points[few]])
        yield Bar(f"CPU for a request with {many:,} {kind}, of that with {few:,}", measured, 1.10, at_least=False)
    for case, sides in list(results.workers.items())[:1]:  # the one that what else runs here limits least
        measured = ratio([cost.rate for cost in sides[2]], [cost.rate for cost in sides[1]])
        yield Bar(f"two workers: requests/s, of one's ({case})", measured, 1.6)
    for placement, found in results.latency.items():
        added = [http - direct for http, direct in zip(found[HTTP], found[DIRECT], strict=True)]
        measured = ratio(added, [1.0] * len(added))
        name = f"one client: p50 over HTTP, beyond a direct connection's ({placement})"
        yield Bar(name, measured, 150.0, at_least=False, unit="µs")


def _compare(ours: Sequence[Measurement], theirs: Sequence[Measurement], what: Callable[[Measurement], float]) -> Ratio:
    return ratio(list(map(what, ours)), list(map(what, theirs)))


def _rate(one: Measurement) -> float:
    return one.rate


def _postgres(one: Measurement) -> float:
    return one.usage.postgres if one.usage else 0.0


def report(results: Results) -> str:
    """Everything, as Markdown."""
    parts = [
        f"{machine()}. {results.rounds} rounds of {results.seconds:g} s.\n",
        INTRODUCTION,
        *(f"- {note}" for note in results.notes),
        "",
    ]
    found = list(bars(results))
    if found:
        parts += ["## Bars\n", _bar_table(found)]
    if results.http:
        parts += ["## HTTP\n", _table(results.http, LIMIT)]
    for title, samples, limit in (
        ("## Sessions beside pgbouncer\n", results.sessions, "pgbouncer"),
        ("## Sessions over WebSocket and TCP\n", results.fronts, "tcp"),
    ):
        if samples:
            parts += [title, _table(samples, limit)]
    if results.idle:
        parts += ["## Idle sessions\n", results.idle]
    if results.latency:
        parts += ["## Latency of a single client\n", _latency_table(results.latency)]
    if results.transfer:
        parts += ["## A large result to a file\n", _transfer_table(results.transfer)]
    if results.layers:
        parts += ["## Where the time of one request goes\n", _layer_table(results.layers)]
    if results.instructions:
        parts += ["## Instructions\n", _instruction_table(results.instructions)]
    for title, table in results.others.items():
        parts += [f"## {title}\n", table]
    return "\n".join(parts)


def _bar_table(found: Sequence[Bar]) -> str:
    lines = ["| what | bar | measured | |", "|---|---:|---:|---|"]
    for bar in found:
        word = "at least" if bar.at_least else "at most"
        lines.append(
            f"| {bar.name} | {word} {bar.bound:g} {bar.unit} | {_spread(bar.measured, bar.unit)} "
            f"| {'met' if bar.is_met else '**not met**'} |"
        )
    return "\n".join(lines) + "\n"


def _spread(measured: Ratio, unit: str) -> str:
    digits = 0 if unit == "µs" else 2
    return f"{measured.median:.{digits}f} {unit} ({measured.low:.{digits}f}-{measured.high:.{digits}f})"


def _table(samples: Samples, limit: str) -> str:
    lines = [
        f"| case | side | requests/s | p50 ms | p95 ms | p99 ms | errors | CPU side | CPU Postgres | CPU load | MiB "
        f"| of {limit} | Rowgate is |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, sides in samples.items():
        for side, rounds in sides.items():
            one = middle(rounds)
            lines.append(
                f"| {name} | {side} | {one.rate:,.0f} | {one.median:.2f} | {one.percentile_95:.2f} "
                f"| {one.percentile_99:.2f} | {sum(each.errors for each in rounds)} | {_usage(one, side)} "
                f"| {_share(rounds, sides.get(limit))} | {_times(sides.get(OURS), rounds)} |"
            )
    return "\n".join(lines) + "\n"


def _usage(one: Measurement, side: str) -> str:
    if one.usage is None:
        return "| | |"
    own = "" if side == LIMIT else f"{one.usage.side:.3f}"
    memory = f"{one.usage.peak_memory:.0f}" if one.usage.peak_memory else ""
    return f"{own} | {one.usage.postgres:.3f} | {one.usage.load:.3f} | {memory}"


def _share(rounds: Sequence[Measurement], limit: Sequence[Measurement] | None) -> str:
    return "" if limit is None else f"{_compare(rounds, limit, _rate).median:.0%}"


def _times(ours: Sequence[Measurement] | None, rounds: Sequence[Measurement]) -> str:
    if ours is None or ours is rounds:
        return ""
    measured = _compare(ours, rounds, _rate)
    return f"{measured.median:.2f} × ({measured.low:.2f}-{measured.high:.2f})"


def _idle_cores() -> str:
    """What decides how soon a sleeping core is awake."""
    governor, halts = (_read(Path(name)) for name in (
        "/sys/devices/system/cpu/cpuidle/current_governor", "/sys/module/haltpoll/parameters/guest_halt_poll_ns"
    ))  # fmt: skip
    return f"{governor or 'unknown'}{f', guest_halt_poll_ns = {halts}' if halts else ''}"


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _latency_table(found: Latencies) -> str:
    lines = [
        "One blocking client, the same on every side: bytes that were made before, a read of as many as come back. The",
        "direct connections send the same messages that the gateway sends. Each way is used for a whole round at a",
        f"stretch, {AS_SCHEDULED}; and once more with client, gateway and Postgres on one core, where none sleeps and",
        f"has to be woken. Cores that have nothing to do: {_idle_cores()}.\n",
        "| processes | way | p50 µs, median round | rounds |", "|---|---|---:|---|",
    ]  # fmt: skip
    for placement, ways in found.items():
        for name, rounds in ways.items():
            every = ", ".join(f"{one:.0f}" for one in rounds)
            lines.append(f"| {placement} | {name} | {sorted(rounds)[len(rounds) // 2]:.0f} | {every} |")
    return "\n".join(lines) + "\n"


def _transfer_table(found: dict[str, list[float]]) -> str:
    lines = ["| way | ms for 10,000 rows × 10, median round | rounds |", "|---|---:|---|"]
    for name, rounds in found.items():
        every = ", ".join(f"{one:.1f}" for one in rounds)
        lines.append(f"| {name} | {sorted(rounds)[len(rounds) // 2]:.1f} | {every} |")
    return "\n".join(lines) + "\n"


def _layer_table(layers: dict[str, dict[str, float]]) -> str:
    names = sorted({room for found in layers.values() for room in found}, key=lambda room: -_most(layers, room))
    lines = [
        "Microseconds a request, by py-spy's samples: the gateway's own work in memory, without sockets and Postgres",
        "(`python -m bench.hot_path`); *served*, where it is there, is a gateway under wrk's load.\n",
        "| layer | " + " | ".join(layers) + " |", "|---|" + "---:|" * len(layers),
    ]  # fmt: skip
    for room in names:
        cells = (f"{found[room]:.1f}" if room in found else "" for found in layers.values())
        lines.append(f"| {room} | " + " | ".join(cells) + " |")
    sums = (f"{sum(found.values()):.1f}" for found in layers.values())
    lines.append("| **all** | " + " | ".join(sums) + " |")
    return "\n".join(lines) + "\n"


def _most(layers: dict[str, dict[str, float]], room: str) -> float:
    return max(found.get(room, 0.0) for found in layers.values())


def _instruction_table(counts: dict[str, int]) -> str:
    lines = ["The baseline of `make bench-check`, by callgrind.\n", "| part | instructions |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {name} | {count:,} |" for name, count in counts.items())]) + "\n"
