"""Charts as geometry: everything stays within the picture, whatever the numbers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.console.pages.charts import HEIGHT, WIDTH, rate_bars, time_lines
from rowgate.gateway.audit.activity import WINDOW_SECONDS, Window

NUMBERS = re.compile(r"-?[0-9.]+(?:e[+-]?[0-9]+)?")


def windows_of(rows: list[list[float]]) -> list[Window]:
    windows = []
    for number, times in enumerate(rows):
        window = Window(number)
        for place, milliseconds in enumerate(times):
            window.add(milliseconds, failed=place % 3 == 0)
        windows.append(window)
    return windows


@given(st.lists(st.lists(st.floats(0, 1e7), max_size=9), max_size=60))
def test_nothing_is_drawn_outside(rows: list[list[float]]) -> None:
    windows = windows_of(rows)
    for bar in rate_bars(windows).bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert 0 <= bar.failed <= bar.height <= HEIGHT + 0.01
    for line in time_lines(windows).lines:
        numbers = [float(one) for one in NUMBERS.findall(line.path)]
        assert all(-WIDTH / 60 <= x <= WIDTH for x in numbers[::2])
        assert all(-0.01 <= y <= HEIGHT for y in numbers[1::2])
        assert len(numbers) % 2 == 0


@pytest.mark.parametrize(("count", "top"), [(0, 0.2), (1, 0.2), (26, 10.0), (50, 10.0), (51, 20.0), (4_000, 1_000.0)])
def test_the_scale_is_a_round_number(count: int, top: float) -> None:
    chart = rate_bars(windows_of([[1.0] * count]))
    assert chart.top == pytest.approx(top)
    assert chart.bars[0].height == pytest.approx(count / WINDOW_SECONDS / top * HEIGHT, abs=0.01)


def test_a_pause_is_a_gap() -> None:
    path = time_lines(windows_of([[1.0], [1.0], [], [1.0]])).lines[0].path
    assert (path.count("M"), path.count("L")) == (2, 3)
