"""Load over HTTP by wrk, with another user's token in each request."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from urllib.parse import urlsplit

from bench.measurement import Histogram, Measurement, from_histogram, round_latency
from bench.stack import HERE

CONNECTIONS = 32
WRK = "wrk"
LONGEST_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """One request; headers and body without tabs and line breaks."""

    method: str
    path: str
    body: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    def line(self) -> str:
        """As ``load.lua`` reads it."""
        return "\t".join((self.method, self.path, self.body, *(part for pair in self.headers for part in pair))) + "\n"


def sql_request(url: str, connection: str, token: str | None, body: str, *, typed: bool = False) -> Request:
    """A ``POST /sql`` as the serverless driver sends it; ``typed`` asks for JSON values and objects."""
    headers = [("Content-Type", "application/json"), ("Neon-Connection-String", connection)]
    if not typed:
        headers += [("Neon-Raw-Text-Output", "true"), ("Neon-Array-Mode", "true")]
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    return Request("POST", urlsplit(url).path, body, tuple(headers))


def send(url: str, requests: Sequence[Request], seconds: float, connections: int = CONNECTIONS) -> Measurement:
    """Sends the requests in turn over so many connections, for so many seconds; longer where nobody had an answer."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requests"
        file.write_text("".join(request.line() for request in requests))
        while True:
            found = _run(url, file, seconds, connections)
            if found.requests or seconds > LONGEST_SECONDS:
                return found
            seconds *= 2


def _run(url: str, requests: Path, seconds: float, connections: int) -> Measurement:
    process = subprocess.Popen(
        [WRK, "-t", "1", "-c", str(connections), "-d", f"{ceil(seconds) + 60}s", "--timeout", "10s",
         "-s", str(HERE / "load.lua"), url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "REQUESTS": str(requests)},
    )  # fmt: skip
    try:
        # wrk itself counts in whole seconds; interrupted, it reports as it does at its own end.
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        printed, problems = process.communicate(timeout=60)
    finally:
        process.kill()
    result = re.search(r"^RESULT (\d+) (\d+) (\d+)$", printed, re.MULTILINE)
    if result is None:
        raise SystemExit("wrk gave no result: " + printed[-1000:] + problems)
    answered, microseconds, errors = (int(number) for number in result.groups())
    # wrk adds to its latencies those that it takes for left out, so their number is not that of the requests.
    found = from_histogram(_histogram(printed), microseconds / 1e6, errors)
    return replace(found, rate=answered / microseconds * 1e6, requests=answered)


def _histogram(printed: str) -> Histogram:
    counts: dict[int, int] = {}
    for latency, count in re.findall(r"^LATENCY (\d+) (\d+)$", printed, re.MULTILINE):
        rounded = round_latency(int(latency))
        counts[rounded] = counts.get(rounded, 0) + int(count)
    return tuple(sorted(counts.items()))
