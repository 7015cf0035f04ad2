"""The rate of notices that are acted on, and how often a refusal is logged."""

import logging

import pytest

from rowgate.errors import NoticeRefused, RateExceeded
from rowgate.gateway.http.message import HttpRequest
from rowgate.gateway.notices import CALLS_AT_ONCE, CALLS_PER_SECOND, Notices
from tests.unit.identity.forge import Clock


def admitted(notices: Notices) -> int:
    """How many are acted on until one is refused."""
    for count in range(10_000):
        try:
            notices._admit()
        except RateExceeded:
            return count
    raise AssertionError("there is no bound")


def test_a_burst_is_bounded_and_the_allowance_comes_back() -> None:
    clock = Clock()
    notices = Notices(list, leeway=30, clock=clock)
    assert admitted(notices) == CALLS_AT_ONCE
    clock.now += 0.5
    assert admitted(notices) == CALLS_PER_SECOND / 2
    clock.now += 3600
    assert admitted(notices) == CALLS_AT_ONCE
    clock.now -= 3600  # a clock that is set back gives nothing away
    assert admitted(notices) == 0


async def test_refusals_are_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    notices = Notices(list, leeway=30, clock=clock)
    request = HttpRequest(b"POST", b"/webhooks/nobody", {}, b"{}")
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            assert notices.takes(request)
            assert (await notices.answer(request)).status == NoticeRefused.status
        clock.now += 1
        await notices.answer(request)
    assert len(caplog.records) == 2
