"""What processes have taken of the processor and of memory, as the kernel counts it (/proc).

Postgres is its postmaster, all its backends, and those that have ended. Never starts or stops anything.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from bench.measurement import Measurement, Usage
from bench.stack import Stack

TICKS = os.sysconf("SC_CLK_TCK")
RESET_PEAK = "5"
"""proc(5), clear_refs: the peak of the resident set starts anew."""


def process_tree(process_id: int) -> list[int]:
    """The process and all that descend from it, but for a Postgres among them."""
    process = psutil.Process(process_id)
    tree = [process_id]
    for child in process.children():
        with suppress(psutil.NoSuchProcess):
            if child.name() != "postgres":
                tree += process_tree(child.pid)
    return tree


def postmaster(stack: Stack) -> int:
    """The stack's Postgres: the process whose children are the backends."""
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "postgres" and stack.ready["data_dir"] in " ".join(process.info["cmdline"] or ()):
            return int(process.pid)
    raise SystemExit("the Postgres under measurement is not running")


def processor_seconds(process_id: int, *, with_ended_children: bool = False) -> float:
    """Seconds of the processor that a process has taken; 0 where it has gone."""
    try:
        # The name in parentheses may hold blanks; what follows it has the numbers (proc(5), stat).
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    own, ended = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
    return (own + (ended if with_ended_children else 0)) / TICKS


def postgres_seconds(process_id: int) -> float:
    """What the server whose postmaster this is has taken, all told."""
    children = [child.pid for child in psutil.Process(process_id).children()]
    return processor_seconds(process_id, with_ended_children=True) + sum(map(processor_seconds, children))


def reset_peak(processes: list[int]) -> None:
    """Memory's peak counts from here."""
    for number in processes:
        with suppress(OSError):
            Path(f"/proc/{number}/clear_refs").write_text(RESET_PEAK)


def peak_memory(processes: list[int]) -> float:
    """MiB that the processes have had at most, since the last reset."""
    total = 0
    for number in processes:
        with suppress(FileNotFoundError):
            for line in Path(f"/proc/{number}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
    return total / 1024


def accounted(side: int | None, postgres: int, run: Callable[[], Measurement]) -> Measurement:
    """``run``'s measurement with what it cost: ``side`` is the process under load, None where there is none."""
    processes = [] if side is None else process_tree(side)
    reset_peak(processes)
    before = (sum(map(processor_seconds, processes)), postgres_seconds(postgres), _load_seconds())
    found = run()
    after = (sum(map(processor_seconds, processes)), postgres_seconds(postgres), _load_seconds())
    thousands = max(found.requests, 1) / 1000
    spent = [(late - early) / thousands for early, late in zip(before, after, strict=True)]
    return replace(found, usage=Usage(spent[0], spent[1], spent[2], peak_memory(processes)))


def _load_seconds() -> float:
    """What the programs that this process has started, and that have ended, have taken: the load generators."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
