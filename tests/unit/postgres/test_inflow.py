"""When reading from a backend pauses, rests and goes on, on a loop whose time is told."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.postgres.inflow import LARGE_BYTES, REST_EVERY_BYTES, Inflow


class Loop:
    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        assert seconds > 0
        self.later.append(call)

    def run(self) -> None:
        due, self.later = self.later, []
        for call in due:
            call()


class Transport:
    """Strict: one that is paused cannot be paused once more."""

    def __init__(self) -> None:
        self.reads = True

    def pause_reading(self) -> None:
        assert self.reads
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.reads
        self.reads = True


def inflow(company: bool | None = True) -> tuple[Inflow, Any, Any]:
    loop: Any = Loop()
    transport: Any = Transport()
    flow = Inflow(loop)
    flow.read_from(transport)
    flow.has_company = None if company is None else lambda: bool(company)
    return flow, loop, transport


def test_a_large_result_rests_now_and_then() -> None:
    flow, loop, transport = inflow()
    assert flow.count(LARGE_BYTES) == LARGE_BYTES
    assert transport.reads
    flow.count(1)
    assert not transport.reads
    loop.run()
    assert transport.reads
    flow.count(REST_EVERY_BYTES)
    assert transport.reads
    flow.count(1)
    assert not transport.reads


def test_small_results_never_rest() -> None:
    flow, _, transport = inflow()
    for _ in range(10):
        flow.count(LARGE_BYTES)
        flow.begin()
    assert transport.reads
    assert flow.received == 0


@pytest.mark.parametrize("company", [None, False])
def test_without_company_nothing_rests(company: bool | None) -> None:
    flow, loop, transport = inflow(company)
    for _ in range(10):
        flow.count(LARGE_BYTES)
    assert transport.reads
    assert loop.later == []


def test_a_slow_client_and_a_rest_do_not_undo_each_other() -> None:
    flow, loop, transport = inflow()
    flow.count(2 * LARGE_BYTES)
    flow.pause()
    loop.run()
    assert not transport.reads, "the rest is over, the client is still behind"
    flow.resume()
    assert transport.reads
    flow.pause()
    flow.count(2 * LARGE_BYTES)
    flow.resume()
    assert not transport.reads, "the client has caught up, the rest is not over"
    loop.run()
    assert transport.reads


def test_a_connection_that_has_gone_is_left_alone() -> None:
    flow, loop, transport = inflow()
    flow.count(2 * LARGE_BYTES)
    flow.read_from(None)
    loop.run()
    flow.pause()
    flow.resume()
    flow.count(2 * LARGE_BYTES)
    assert not transport.reads


@given(st.lists(st.sampled_from(["pause", "resume", "much", "begin", "time"]), max_size=40))
def test_whatever_happens_it_reads_in_the_end(steps: list[str]) -> None:
    flow, loop, transport = inflow()
    calls = {
        "pause": flow.pause, "resume": flow.resume, "begin": flow.begin, "time": loop.run,
        "much": lambda: flow.count(LARGE_BYTES),
    }  # fmt: skip
    for step in steps:
        calls[step]()
    flow.resume()
    loop.run()
    assert transport.reads
