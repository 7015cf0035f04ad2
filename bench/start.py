"""How long a start takes, in wall time and of the processor, and what a process holds in memory at rest.

A start is over when the gateway answers ``GET /healthz``. Every kind starts once a round; medians count. Python has the
byte code of all modules at hand, as it has of every package that pip has installed: one start of each kind goes ahead.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.served import ROWGATE, database, environment

PACKAGE = [sys.executable, "-c", "import rowgate"]
BARE = [sys.executable, "-c", "pass"]
REST_SECONDS = 1.5
"""After so long a gateway has loaded what first requests need."""


@dataclass(frozen=True)
class Start:
    """Seconds until it answered (or ended), seconds of the processor until then, and at rest the MiB of each process:
    resident in memory, and its own alone."""

    wall: float
    processor: float
    resident: tuple[float, ...] = ()
    own: tuple[float, ...] = ()


def measure_starts(rounds: int, say: Callable[[str], None]) -> dict[str, list[Start]]:
    """All kinds, all rounds."""
    found: dict[str, list[Start]] = {}
    with database() as made, tempfile.TemporaryDirectory(prefix="rowgate-bench-") as folder:
        data_dir = Path(folder) / "data"
        variables = {**environment(made), "PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        serve = [*ROWGATE, "serve", "--json"]
        development = [*ROWGATE, "dev", "--json", "--port", "0", "--data-dir", str(data_dir)]
        kinds: dict[str, Callable[[], Start]] = {
            "python, nothing else": lambda: _run(BARE, variables),
            "import rowgate": lambda: _run(PACKAGE, variables),
            "rowgate serve": lambda: _serve(serve, variables),
            "rowgate serve --workers 2": lambda: _serve([*serve, "--workers", "2"], variables),
            "rowgate dev, existing data folder": lambda: _serve(development, variables),
        }
        for name, run in kinds.items():
            say(f"starts, {name} for the first time")
            run()  # also makes the data folder
        for number in range(rounds):
            say(f"starts, round {number + 1} of {rounds}")
            for name, run in kinds.items():
                found.setdefault(name, []).append(run())
    return found


def _run(command: list[str], variables: dict[str, str]) -> Start:
    started = time.perf_counter()
    process = subprocess.Popen(command, env=variables)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return Start(time.perf_counter() - started, used.ru_utime + used.ru_stime)


def _serve(command: list[str], variables: dict[str, str]) -> Start:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=variables)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise SystemExit(f"{' '.join(command)} did not start")
        ready = json.loads(line)
        _ask(ready["sql_url"])
        wall = time.perf_counter() - started
        parent = psutil.Process(process.pid)
        used = parent.cpu_times()
        time.sleep(REST_SECONDS)
        processes = [one for one in (parent, *parent.children()) if one.name() != "postgres"]
        memory = [one.memory_full_info() for one in processes]
        mebibytes = tuple(one.rss / 2**20 for one in memory), tuple(one.uss / 2**20 for one in memory)
        return Start(wall, used.user + used.system, *mebibytes)
    finally:
        process.terminate()
        process.wait(30)


def _ask(sql_url: str) -> None:
    """Whether it is healthy, with a client that is ready at once: one with TLS reads its authorities first, which takes
    longer than the answer."""
    where = urlsplit(sql_url)
    client = HTTPConnection(where.hostname or "", where.port, timeout=10)
    client.request("GET", "/healthz")
    answer = client.getresponse()
    if answer.status != 200:
        raise SystemExit(f"the gateway is not well: {answer.read()!r}")
    client.close()


def start_table(found: dict[str, list[Start]]) -> str:
    """A table for people."""
    bare = statistics.median(one.processor for one in found["python, nothing else"])
    lines = [
        "Medians; memory for each process, the parent of workers first.",
        "",
        "| start | seconds | of the processor | as many times bare Python | resident MiB | its own MiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, starts in found.items():
        wall, used = (statistics.median(getattr(one, field) for one in starts) for field in ("wall", "processor"))
        resident, own = (
            " + ".join(f"{statistics.median(each):.0f}" for each in zip(*(getattr(one, field) for one in starts),
                                                                       strict=False))
            for field in ("resident", "own")
        )  # fmt: skip
        lines.append(f"| {name} | {wall:.3f} | {used:.3f} | {used / bare:.0f} × | {resident} | {own} |")
    return "\n".join(lines) + "\n"
