"""Where the time of one request goes, layer by layer: py-spy's samples of the gateway, put to rooms of its code.

A sample belongs to the innermost function of Rowgate's that was running; what C code takes that it has called is its
own. Samples outside Rowgate are the event loop's and the kernel's. Shares of samples times the measured time of a
request give microseconds. Two views: the gateway's own work in memory (``bench.hot_path``), and a gateway that serves
wrk, where sockets are part of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.cases import all_cases
from bench.processes import accounted, postmaster
from bench.stack import HERE, ServedGateway, Stack
from bench.wrk import send

RATE = 500
IN_MEMORY = ("point", "hundred", "simple", "extended")
LOOP = "event loop: polling, reading"
HARNESS = "the benchmark itself"
# The first that fits, of the path within the package.
ROOMS = (
    ("gateway/http/", "HTTP: bytes and answers"),
    ("gateway/request", "headers and body to a statement"),
    ("gateway/connection_string", "headers and body to a statement"),
    ("gateway/response", "rows to JSON"),
    ("pgwire/rows", "rows to JSON"),
    ("pgwire/columns", "rows to JSON"),
    ("identity/", "who asks"),
    ("gateway/database", "who asks"),
    ("guard/", "guard"),
    ("gateway/row_security", "guard"),
    ("gateway/allowlist", "guard"),
    ("gateway/limits", "limits and records"),
    ("gateway/rates", "limits and records"),
    ("gateway/audit", "limits and records"),
    ("gateway/pipeline", "pipeline"),
    ("postgres/identity_messages", "sealed identity"),
    ("postgres/session_context", "sealed identity"),
    ("postgres/", "pool and exchange with Postgres"),
    ("pgwire/server/", "sessions: the client's messages"),
    ("gateway/sessions/", "sessions: conversation and relay"),
    ("pgwire/", "messages of Postgres"),
    ("bench/in_memory", HARNESS),
    ("bench/", LOOP),
    ("cli/", LOOP),
    ("__main__", LOOP),
)
# Functions that do nothing but write to a socket: what they take is the kernel's.
WRITES = {
    ("gateway/http/connection.py", "_write"): "writing to clients",
    ("postgres/connection.py", "_write"): "writing to Postgres",
}


def room_of(frame: str) -> str | None:
    """The layer of a frame as py-spy writes it, ``function (file:line)``; None where it is not ours."""
    function, _, place = frame.rpartition(" (")
    file = place.rpartition(":")[0]
    for root in ("/rowgate/", "/bench/"):
        _, found, rest = file.rpartition(root)
        if found:
            inside = "bench/" + rest if root == "/bench/" else rest
            written = WRITES.get((inside, function))
            return written or next((room for beginning, room in ROOMS if inside.startswith(beginning)), "other rooms")
    return None


def shares(stacks: Iterable[str]) -> dict[str, float]:
    """The share of each layer, of py-spy's raw lines: frames from the outermost in, and how often they were seen.

    What runs while modules are imported is left out.
    """
    counts: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rstrip("\n").rpartition(" ")
        if not count.isdigit() or "<frozen importlib" in frames:
            continue
        rooms = map(room_of, reversed(frames.split(";")))
        counts[next((room for room in rooms if room is not None), LOOP)] += int(count)
    seen = sum(counts.values())
    return {room: count / seen for room, count in counts.most_common()}


def record(command: list[str], folder: Path) -> list[str]:
    """The stacks that py-spy sees; ``command`` says of what."""
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists() and shutil.which("py-spy") is None:
        raise SystemExit("the layers need py-spy: pip install -r requirements/bench.txt")
    raw = folder / "stacks"
    done = subprocess.run(
        [str(program if program.exists() else "py-spy"), "record", "--format", "raw", "--rate", str(RATE),
         "--full-filenames", "--nonblocking", "--output", str(raw), *command],
        cwd=HERE.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not raw.exists():
        raise SystemExit(f"py-spy failed: {done.stderr}")
    return raw.read_text().splitlines()


def measure_in_memory(kind: str, requests: int) -> dict[str, float]:
    """Microseconds a request of each layer, without sockets."""
    arguments = ["-m", "bench.hot_path", "--kind", kind, "--requests", str(requests), "--rounds", "3", "--json"]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=HERE.parent, capture_output=True, text=True, check=True, env=os.environ
    )
    (times,) = json.loads(done.stdout).values()
    with tempfile.TemporaryDirectory() as folder:
        found = shares(record(["--", sys.executable, *arguments], Path(folder)))
    # The harness's transports stand for both ends; what they take is nobody's.
    found.pop(HARNESS, None)
    own = sum(found.values())
    return {room: share / own * min(times) for room, share in found.items()}


def measure_served(stack: Stack, gateway: ServedGateway, seconds: float) -> dict[str, float]:
    """Microseconds of the processor that each layer takes for a request, in a gateway under wrk's load."""
    case = next(iter(all_cases(stack, ())))
    url = gateway.urls["sql_url"]
    requests = case.requests(stack, url)
    send(url, requests, seconds)  # tokens are verified, statements prepared
    found = accounted(gateway.process_id, postmaster(stack), lambda: send(url, requests, seconds))
    with tempfile.TemporaryDirectory() as folder:
        command = ["--pid", str(gateway.process_id), "--duration", str(max(1, round(seconds)))]
        with ThreadPoolExecutor(1) as threads:
            load = threads.submit(send, url, requests, max(1, round(seconds)) + 1.0)
            stacks = record(command, Path(folder))
            load.result()
    spent = found.usage.side * 1000 if found.usage else 0.0
    return {room: share * spent for room, share in shares(stacks).items()}
