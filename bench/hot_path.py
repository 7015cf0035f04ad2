"""``python -m bench.hot_path``: microseconds of the gateway's own work for one request, in memory.

With ``--against COMMIT`` the same requests run through the sources of that commit in turn, so that a change is
compared with what was there before in one run. The times are of the processor, so they may be taken on a machine that
has other work; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parent.parent
KINDS = ("point", "typed", "hundred", "simple", "extended")
CONNECTIONS = 32
SESSIONS = 16
USERS = 100


async def measure(kind: str, count: int, rounds: int) -> list[float]:
    """Microseconds a request of ``kind``, for each of ``rounds`` rounds of ``count`` requests."""
    from bench import in_memory  # here, so that --against is not held by what one tree lacks

    gateway = in_memory.MemoryGateway(rows=100 if kind == "hundred" else 1, users=USERS)
    await gateway.database.start()
    session_request = {"simple": in_memory.simple_query, "extended": in_memory.extended_query}.get(kind)
    if session_request is not None:
        run: Callable[[int], Awaitable[bytes]] = lambda n: gateway.run_session_requests(session_request, n, SESSIONS)  # noqa: E731
    else:
        requests = in_memory.http_requests(gateway.tokens, typed=kind == "typed")
        run = lambda n: gateway.run_requests(requests, n, CONNECTIONS)  # noqa: E731
    await run(CONNECTIONS * USERS // 10)  # tokens verified, statements prepared
    found = []
    for _ in range(rounds):
        gc.collect()
        started = time.process_time()
        last = await run(count)
        found.append((time.process_time() - started) / count * 1e6)
        if b"48213" not in last:
            raise SystemExit(f"not the answer that was expected: {last!r}")
    await gateway.database.close()
    return found


def run_kind(kind: str, count: int, rounds: int) -> list[float]:
    """The same on an event loop of its own, the one that the gateway uses."""
    import uvloop

    return uvloop.run(measure(kind, count, rounds))


def sources_of(commit: str, folder: Path) -> Path:
    """The package's sources as they were at ``commit``, unpacked into ``folder``."""
    archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder / "src"


def measure_apart(sources: Path, kind: str, count: int) -> float:
    """One round in a process of its own, with the package of ``sources``."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.hot_path", "--kind", kind, "--requests", str(count), "--rounds", "3", "--json"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(sources)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return statistics.median(json.loads(done.stdout)[kind])


def compare(commit: str, kinds: list[str], count: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """For each kind and round: microseconds now and at ``commit``."""
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        before = sources_of(commit, Path(folder))
        for _ in range(rounds):
            for kind in kinds:
                found[kind].append((measure_apart(ROOT / "src", kind, count), measure_apart(before, kind, count)))
    return found


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m bench.hot_path",
        epilog="example: python -m bench.hot_path --kind point --against HEAD~1",
    )  # fmt: skip
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--requests", type=int, default=16_000, help="requests in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", metavar="COMMIT", help="compare with the sources of this commit")
    parser.add_argument("--json", action="store_true", help="print every round as JSON")
    options = parser.parse_args()
    if options.against:
        pairs = compare(options.against, options.kind, options.requests, options.rounds)
        if options.json:
            print(json.dumps(pairs))
            return
        print(f"µs a request: now, at {options.against}, and the ratio of each pair")
        for kind, rows in pairs.items():
            ratios = sorted(now / before for now, before in rows)
            now, before = (statistics.median(column) for column in zip(*rows, strict=True))
            spread = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f})"
            print(f"{kind:9} {now:7.1f} {before:7.1f}   {spread}")
        return
    found = {kind: run_kind(kind, options.requests, options.rounds) for kind in options.kind}
    if options.json:
        print(json.dumps(found))
        return
    print("µs a request: median, and every round")
    for kind, times in found.items():
        print(f"{kind:9} {statistics.median(times):7.1f}   {', '.join(f'{one:.1f}' for one in times)}")


if __name__ == "__main__":
    main()
