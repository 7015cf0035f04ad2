"""``make bench-check`` judges counts: what it lets through, and what it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.instruction_parts import REFERENCE
from bench.instructions import BASELINE, UNKNOWN_BUILD, WORSE, Counts, differences, read_baselines, verdict

BUILD = "CPython 3.11.7 GCC 12.2.0 x86_64"
BASELINES = {BUILD: {REFERENCE: 1000, "decode": 5000, "seal": 400}}


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({REFERENCE: 1000, "decode": 5000, "seal": 400}, 0),
        ({REFERENCE: 1000, "decode": 5490, "seal": 439}, 0),
        ({REFERENCE: 1000, "decode": 5510, "seal": 400}, WORSE),
        ({REFERENCE: 1000, "decode": 3000, "seal": 441}, WORSE),
        # An interpreter that takes more for everything takes more for the reference too.
        ({REFERENCE: 2000, "decode": 10_900, "seal": 870}, 0),
        ({REFERENCE: 500, "decode": 5000, "seal": 400}, WORSE),
        # What has no counterpart was not compared.
        ({REFERENCE: 1000, "decode": 5000}, WORSE),
        ({REFERENCE: 1000, "decode": 5000, "seal": 400, "new": 1}, WORSE),
    ],
)
def test_a_part_may_take_ten_percent_more_and_no_more(parts: dict[str, int], status: int) -> None:
    found, text = verdict(Counts(BUILD, parts), BASELINES)
    assert found == status
    assert ("FAILED" in text) == (status != 0)


def test_a_build_without_a_baseline_is_no_pass() -> None:
    status, text = verdict(Counts("CPython 3.14.0 Clang 21 aarch64", BASELINES[BUILD]), BASELINES)
    assert status == UNKNOWN_BUILD
    assert "no baseline" in text
    assert BUILD in text


def test_every_baseline_has_the_same_parts() -> None:
    baselines = read_baselines()
    assert BASELINE.read_text() == json.dumps(baselines, indent=1, sort_keys=True) + "\n"
    assert {frozenset(parts) for parts in baselines.values()} == {frozenset(next(iter(baselines.values())))}
    assert all(parts[REFERENCE] > 0 for parts in baselines.values())


def test_what_happens_once_is_not_counted(tmp_path: Path) -> None:
    once_only, first, second = 700, 3, 50
    totals = (1, once_only + 10 * first, once_only + 20 * first, once_only + 4 * second, once_only + 8 * second)
    for number, total in enumerate(totals, start=1):
        (tmp_path / f"out.{number}").write_text(f"desc: Trigger: --dump-before=getsid\ntotals: {total}\n")
    assert differences(["10\tdecode", "4\tseal"], tmp_path) == {"decode": first, "seal": second}


def test_a_count_that_valgrind_did_not_write_is_an_error(tmp_path: Path) -> None:
    for number in (2, 3):
        (tmp_path / f"out.{number}").write_text("desc: Trigger: --dump-before=getsid\n")
    with pytest.raises(SystemExit, match="no total"):
        differences(["10\tdecode"], tmp_path)
