"""``make bench-check``: counts the instructions of the hot path's pure parts, and fails where one takes 10 % more.

Instructions do not depend on how busy a machine is. Each part runs ``n`` and ``2 n`` times, and the difference counts,
so what happens once is not in it; and it is divided by what a fixed piece of work of the interpreter takes in the same
run. Counts of differently built interpreters do not compare, so ``instructions.json`` holds a baseline for each build;
a build that has none is an error (exit status 2), never a pass. Exit status 1: something takes more than it did.

    make bench-check                  compares with the baseline of this build
    make bench-check ARGS=--write     makes the counts of this build its baseline
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.instruction_parts import REFERENCE

HERE = Path(__file__).parent
BASELINE = HERE / "instructions.json"
TOLERANCE = 0.10
PATIENCE_SECONDS = 300.0
WORSE, UNKNOWN_BUILD = 1, 2


@dataclass(frozen=True)
class Counts:
    """Instructions of one run of each part, as an interpreter of ``build`` takes them."""

    build: str
    parts: Mapping[str, int]


@dataclass(frozen=True)
class Change:
    """A part's instructions now, and how many times the baseline's they are (None: it has no such part)."""

    name: str
    now: int
    ratio: float | None

    @property
    def is_worse(self) -> bool:
        """More than the tolerance, or nothing to compare with."""
        return self.ratio is None or self.ratio > 1 + TOLERANCE


def count() -> Counts:
    """Runs the parts under valgrind."""
    if shutil.which("valgrind") is None:
        raise SystemExit("make bench-check needs valgrind; on Debian: apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="rowgate-instructions-") as name:
        folder = Path(name)
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-before=getsid",
             f"--callgrind-out-file={folder / 'out'}", f"--vgdb-prefix={folder / 'vgdb'}",
             sys.executable, "-m", "bench.instruction_parts", name],
            cwd=HERE.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        try:
            lines = []
            for line in process.stdout or ():
                if line.strip() == "ready":
                    break
                lines.append(line.rstrip("\n"))
            else:
                raise SystemExit(f"the parts did not start: {process.communicate()[1]}")
            start_counting(process.pid, folder)
            _, problems = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise SystemExit(f"the parts failed: {problems}")
        return Counts(lines[0], differences(lines[1:], folder))


def start_counting(process_id: int, folder: Path) -> None:
    """Until now valgrind has not counted, which is five times as fast."""
    done = subprocess.run(
        ["vgdb", f"--vgdb-prefix={folder / 'vgdb'}", f"--pid={process_id}", "instrumentation", "on"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"valgrind cannot be told to count: {done.stdout}{done.stderr}")
    (folder / "counting").touch()


def differences(lines: list[str], folder: Path) -> dict[str, int]:
    """Instructions of one run of each part. Marks come in pairs, and each file has what came before its mark."""
    counts = {}
    for index, line in enumerate(lines):
        times, name = line.split("\t")
        once, twice = (total(folder / f"out.{2 * index + number}") for number in (2, 3))
        counts[name] = round((twice - once) / int(times))
    return counts


def total(file: Path) -> int:
    """The instructions of one of valgrind's files."""
    found = re.search(r"^totals: (\d+)$", file.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"valgrind wrote no total to {file.name}")
    return int(found[1])


def compare(now: Mapping[str, int], before: Mapping[str, int]) -> list[Change]:
    """Every part of either side but the reference, which both are divided by."""
    pace = before[REFERENCE] / now[REFERENCE]
    changes = []
    for name in dict.fromkeys((*now, *before)):
        if name != REFERENCE:
            known = name in now and name in before
            changes.append(Change(name, now.get(name, 0), now[name] / before[name] * pace if known else None))
    return changes


def verdict(counts: Counts, baselines: Mapping[str, Mapping[str, int]]) -> tuple[int, str]:
    """Exit status and what to say."""
    before = baselines.get(counts.build)
    if before is None:
        known = "; ".join(baselines) or "none"
        return UNKNOWN_BUILD, (
            f"There is no baseline for {counts.build}, so nothing was compared (there are: {known}).\n"
            "Take the sources as they were, run make bench-check ARGS=--write, and compare then."
        )
    changes = compare(counts.parts, before)
    lines = [f"Instructions on {counts.build}, against the baseline:"]
    lines += [f"  {one.name:28} {one.now:>9,}  {_ratio(one)}" for one in changes]
    worse = [one.name for one in changes if one.is_worse]
    if worse:
        lines.append(
            f"FAILED: more than {TOLERANCE:.0%} above the baseline: {', '.join(worse)}.\n"
            "Make it as fast as it was; or, where the work is worth it: make bench-check ARGS=--write, and say why."
        )
    return (WORSE if worse else 0), "\n".join(lines)


def _ratio(change: Change) -> str:
    if change.ratio is None:
        return "not in both: write a new baseline"
    return f"{change.ratio - 1:+7.1%}" + ("  <-- worse" if change.is_worse else "")


def read_baselines() -> dict[str, dict[str, int]]:
    """The committed counts, by build."""
    baselines: dict[str, dict[str, int]] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    return baselines


def main() -> None:
    """Counts, compares, and says what is worse."""
    parser = argparse.ArgumentParser(
        description=__doc__, prog="make bench-check", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="make the counts of this build its baseline")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    options = parser.parse_args()
    started = time.monotonic()
    counts = count()
    baselines = read_baselines()
    if options.write:
        baselines[counts.build] = dict(counts.parts)
        BASELINE.write_text(json.dumps(baselines, indent=1, sort_keys=True) + "\n")
    status, text = verdict(counts, baselines)
    print(json.dumps({**asdict(counts), "status": status}) if options.json else text)
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
