"""The soak in small: every kind of user and one of each fault, so that ``make soak`` works when it is needed."""

import json
import subprocess
import sys
from pathlib import Path

from bench.soak.rows import UserRows

ROOT = Path(__file__).parents[2]
SECONDS = 16
FAULTS = {
    "clients vanish", "backends terminated", "key rotated", "Postgres restarted", "clients read slowly",
    "provider down", "user revoked", "backend killed", "Postgres killed",
}  # fmt: skip


def test_a_short_soak_finds_nothing_that_must_not_be() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak", "--seconds", str(SECONDS), "--users", "20", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["violations"] == [], done.stderr
    assert done.returncode == 0
    assert report["faults"].keys() == FAULTS
    assert report["answers"] > 200
    assert {front for front, *_ in report["outcomes"]} == {"http", "tcp", "websocket"}
    assert report["checks"]["left behind"] == "nothing"


def test_the_soak_tells_what_must_not_be() -> None:
    rows = UserRows("alice")
    rows.has("a", 1)
    assert rows.mismatch([("a", 1, "alice")]) is None
    assert "A ROW OF bob" in (rows.mismatch([("a", 1, "alice"), ("b", 1, "bob")]) or "")
    assert "a should be 1" in (rows.mismatch([]) or "")
    assert "b should not be there" in (rows.mismatch([("a", 1, "alice"), ("b", 1, "alice")]) or "")
    rows.doubt(["a"])
    assert rows.mismatch([]) is None
    assert rows.mismatch([("a", 1, "alice")]) is None
    rows.lacks("a")
    assert "a should not be there" in (rows.mismatch([("a", 1, "alice")]) or "")
