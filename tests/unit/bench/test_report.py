"""The benchmarks' report says of each bar whether it is met, from the rounds as they were measured."""

from __future__ import annotations

import pytest
from bench.layers import LOOP, shares
from bench.measurement import Measurement, Usage, from_histogram, histogram_of, middle, percentile, ratio
from bench.report import Results, bars, report
from bench.served import Cost


def one(rate: float, postgres: float = 0.05) -> Measurement:
    """A round."""
    return Measurement(rate, 1.0, 2.0, 0, requests=1000, histogram=((1000, 1),), usage=Usage(0.1, postgres, 0.1, 90.0))


@pytest.mark.parametrize(
    ("ours", "limit", "is_met"),
    [((550, 560, 540), (1000, 1000, 1000), True), ((549, 540, 900), (1000, 1000, 1000), False)],
)
def test_a_bar_is_judged_by_the_median_of_the_rounds_ratios(
    ours: tuple[int, ...], limit: tuple[int, ...], is_met: bool
) -> None:
    http = {"point read": {"pgbench": list(map(one, limit)), "rowgate": list(map(one, ours))}}
    (rate, postgres) = bars(Results(1, 3, http=http))
    assert rate.is_met is is_met
    assert postgres.is_met
    assert ("**not met**" in report(Results(1, 3, http=http))) is not is_met


def test_postgres_may_take_a_quarter_more_than_beneath_pgbench() -> None:
    http = {"insert returning": {"pgbench": [one(1000, 0.04)], "rowgate": [one(1000, 0.0501)]}}
    assert [bar.is_met for bar in bars(Results(1, 1, http=http))] == [True, False]


def test_latency_transfer_workers_and_growth_have_bars_too() -> None:
    results = Results(1, 1)
    results.latency = {"all on one core": {"HTTP": [250.0], "direct, Unix socket": [101.0]}}
    results.transfer = {"psql, COPY TO STDOUT": [10.0], "curl, raw text": [16.0]}
    results.workers = {"select 1": {1: [Cost(100, 1, 1, 1, 0)], 2: [Cost(161, 1, 1, 1, 0)]}}
    results.flat = {"users": {1: [Cost(1, 100, 1, 1, 0)], 10_000: [Cost(1, 111, 1, 1, 0)]}}
    assert [bar.is_met for bar in bars(results)] == [False, False, True, True]


def test_percentiles_come_from_the_counted_latencies() -> None:
    counted = histogram_of([1000] * 50 + [2000] * 45 + [123_456] * 5)
    assert counted == ((1000, 50), (2000, 45), (123_000, 5))
    assert [percentile(counted, percent) for percent in (50, 51, 95, 99)] == [1.0, 2.0, 2.0, 123.0]
    assert from_histogram(counted, 2.0).rate == 50


def test_ratios_are_of_rounds_that_belong_together() -> None:
    found = ratio([1, 4, 9], [1, 2, 3])
    assert (found.median, found.low, found.high) == (2, 1, 3)
    assert middle([one(3), one(1), one(2)]).rate == 2


def test_a_sample_belongs_to_the_innermost_function_of_rowgate() -> None:
    inside = "<module> (/x/rowgate/cli/serve.py:1);_serve (/x/rowgate/gateway/http/connection.py:2)"
    found = shares(
        [
            f"{inside};decode (/x/rowgate/gateway/request.py:3);loads (/usr/lib/json.py:4) 3",
            f"{inside};_write (/x/rowgate/gateway/http/connection.py:9) 2",
            "<module> (/x/rowgate/cli/serve.py:1) 4",
            "run (/usr/lib/asyncio/runners.py:1) 1",
            "<module> (/x/rowgate/guard/guard.py:1);_find (<frozen importlib._bootstrap>:1) 50",
        ]
    )
    assert found == {
        LOOP: pytest.approx(0.5), "headers and body to a statement": pytest.approx(0.3),
        "writing to clients": pytest.approx(0.2),
    }  # fmt: skip
