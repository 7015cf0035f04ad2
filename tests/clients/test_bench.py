"""The benchmarks work: one quick run of all of them, whose figures mean nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bench.__main__ import QUICK_CASES

from tests.clients.stack import HERE

ROOT = HERE.parents[1]
PATIENCE_SECONDS = 500.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run leaves its results."""
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """What one quick run prints as JSON."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "--quick", "--json", "--results", str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        printed, problems = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # nothing that it started outlives it
    assert process.returncode == 0, problems
    result: dict[str, Any] = json.loads(printed)
    return result


def test_every_side_answers_every_case_without_an_error(found: dict[str, Any]) -> None:
    peers = {"rowgate", "express", "fastapi", "postgrest"}
    assert set(found["http"]) == set(QUICK_CASES)
    assert peers | {"pgbench"} <= set(found["http"]["point read"])
    assert peers | {"pgbench"} <= set(found["http"]["insert returning"])
    for kind in ("http", "sessions", "fronts"):
        for case, sides in found[kind].items():
            for side, (one,) in sides.items():
                assert one["requests"] > 0, (case, side)
                assert one["errors"] == 0, (case, side)
                assert sum(count for _, count in one["histogram"]) > 0, (case, side)


def test_what_a_request_costs_is_accounted_for(found: dict[str, Any]) -> None:
    point = found["http"]["point read"]
    assert point["pgbench"][0]["usage"]["side"] == 0
    for side in ("rowgate", "express", "fastapi", "postgrest"):
        usage = point[side][0]["usage"]
        assert usage["load"] > 0
        assert usage["peak_memory"] > 10
    # A request takes no less than some microseconds of Postgres, and an account in the wrong unit is far off.
    spent = sum(one["usage"]["side"] * one["requests"] for sides in found["http"].values() for (one,) in sides.values())
    assert 0 < spent / 1000 < 300


def test_latency_large_result_and_layers_are_there(found: dict[str, Any]) -> None:
    assert set(found["latency"]) == {"as the scheduler has it", "all on one core"}
    for ways in found["latency"].values():
        assert set(ways) == {"HTTP", "session over TCP", "direct, Unix socket", "direct, TCP"}
        assert all(rounds[0] > 0 for rounds in ways.values())
    assert all(len(rounds) == 1 for rounds in found["transfer"].values())
    assert found["layers"]["point"]["HTTP: bytes and answers"] > 0


def test_report_pictures_and_samples_are_written(found: dict[str, Any], folder: Path) -> None:
    text = (folder / "report.md").read_text()
    for heading in ("## Bars", "## HTTP", "## Sessions beside pgbouncer", "## Latency of a single client"):
        assert heading in text
    assert "met |" in text.replace("**", "")
    assert {picture.name for picture in folder.glob("*.svg")} == {
        f"benchmark-{name}.svg" for name in ("rates", "latencies", "layers")
    }
    (samples,) = folder.glob("samples-*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    measured = [line for line in lines if line["kind"] in ("http", "sessions", "fronts")]
    assert len(measured) == sum(len(sides) for kind in ("http", "sessions", "fronts") for sides in found[kind].values())
    assert all(line["histogram"] and line["usage"] for line in measured)
