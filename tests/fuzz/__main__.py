"""``make fuzz``: every target for some minutes, each in a process of its own, from the tests' own inputs.

    make fuzz                           every target for 600 seconds, as many at once as there are processors
    make fuzz TARGET=http SECONDS=60    one of them, for a minute

What is found new goes to build/fuzz/<target>/corpus, and the next run begins with it. An input that breaks a promise
goes to build/fuzz/<target>/findings. Exit status: 0 nothing was found, 1 a promise was broken, 2 the call was wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from hashlib import sha1
from pathlib import Path

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
KNOWN = Path(__file__).parent / "findings"
SECONDS_FOR_ONE_INPUT = 10
MOST_MEGABYTES = 2048
SECONDS_BETWEEN_LINES = 30.0
STATUS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) .*?corp: (\d+)/\S+.*? exec/s: (\d+)")
PROMISE = re.compile(r"BrokenPromise: (.*)|(?:ERROR: libFuzzer: )(.*)|=== Uncaught Python exception: ===")


def prepare(target: Target, folder: Path) -> list[str]:
    """Writes seeds and words; gives libFuzzer's arguments."""
    for part in ("seeds", "corpus", "findings"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for old in (folder / "seeds").iterdir():
        old.unlink()
    known = [path.read_bytes() for path in sorted((KNOWN / target.name).glob("*"))]
    for seed in (*target.seeds(), *known):
        (folder / "seeds" / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed[: target.longest])
    words = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in target.words if word]
    (folder / "words").write_text("\n".join(words) + "\n", "ascii")
    return [
        str(folder / "corpus"),
        str(folder / "seeds"),
        f"-max_len={target.longest}",
        f"-timeout={SECONDS_FOR_ONE_INPUT}",
        f"-rss_limit_mb={MOST_MEGABYTES}",
        f"-dict={folder / 'words'}",
        "-use_value_profile=1",
        "-print_final_stats=1",
    ]


class Run:
    """One target's process, and what it has said so far."""

    def __init__(self, target: Target, seconds: int) -> None:
        self.target = target
        self.folder = BUILD / target.name
        arguments = [*prepare(target, self.folder), f"-max_total_time={seconds}"]
        self.inputs = self.coverage = self.corpus = self.rate = 0
        self.said: list[str] = []
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.one_target", target.name, str(self.folder / "findings"), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=ROOT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with (self.folder / "log").open("w", encoding="utf-8") as log:
            for line in self._process.stdout:
                log.write(line)
                status = STATUS.search(line)
                if status:
                    self.inputs, self.coverage, self.corpus, self.rate = map(int, status.groups())
                elif PROMISE.search(line):
                    self.said.append(line.strip())

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def line(self) -> str:
        """How far it is."""
        seconds = time.monotonic() - self._began
        return (
            f"{self.target.name:10} {seconds:4.0f} s  {self.inputs:9,} inputs  {self.rate:6,} a second  "
            f"{self.coverage:6,} places  {self.corpus:5,} kept"
        )

    def verdict(self) -> bool:
        """Whether it has ended well; says so."""
        self._reader.join()
        status = self._process.wait()
        print(f"{self.line}  {'nothing found' if status == 0 else 'FOUND'}", flush=True)
        if status == 0:
            return True
        for line in self.said[:5]:
            print(f"    {line[:400]}")
        newest = max((self.folder / "findings").iterdir(), key=lambda path: path.stat().st_mtime, default=None)
        print(f"    input: {newest or 'none was written'}\n    log:   {self.folder / 'log'}")
        if newest is not None:
            print(f"    again: {sys.executable} -m tests.fuzz --again {newest} {self.target.name}", flush=True)
        return False


def fuzz(targets: list[Target], seconds: int, at_once: int) -> int:
    """Runs them; gives the exit status."""
    waiting, running, is_well = list(targets), [], True
    said = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(Run(waiting.pop(0), seconds))
            time.sleep(0.2)
            for run in [run for run in running if run.has_ended()]:
                running.remove(run)
                is_well = run.verdict() and is_well
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                for run in running:
                    print(run.line, flush=True)
    finally:
        for run in running:
            run.stop()
    return 0 if is_well else 1


def main() -> int:
    """Reads the call."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(TARGETS)}; all without")
    parser.add_argument("--seconds", type=int, default=600, help="for each target (%(default)s)")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="processes at once (%(default)s)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="try this one input on the target, without atheris")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.targets if name not in TARGETS]
    if unknown:
        parser.error(f"there is no target {unknown[0]}; there are {', '.join(TARGETS)}")
    targets = [TARGETS[name] for name in arguments.targets] or list(TARGETS.values())
    if arguments.again:
        for target in targets:
            target.try_out(arguments.again.read_bytes())
        return 0
    return fuzz(targets, arguments.seconds, max(1, arguments.at_once))


if __name__ == "__main__":
    sys.exit(main())
