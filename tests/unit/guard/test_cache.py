"""Decisions are remembered, refusals too, within bounds of entries and of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import SettingInvalid, StatementRefused
from rowgate.guard import CLIENT, FunctionCatalog, Guard, Verdict
from rowgate.guard.cache import VerdictCache, weigh
from rowgate.guard.verdict import Fingerprint, Refusal

DECISION = Verdict("select", (), (), Fingerprint("0" * 16), True)
CATALOG = FunctionCatalog.default()


def test_what_is_not_used_goes_first() -> None:
    cache = VerdictCache(2, 1 << 20)
    cache.put("a", DECISION)
    cache.put("b", DECISION)
    assert cache.get("a") is DECISION
    cache.put("c", DECISION)
    assert [cache.get(text) is not None for text in "abc"] == [True, False, True]


def test_among_many_that_are_used_the_oldest_goes() -> None:
    cache = VerdictCache(20, 1 << 20)
    texts = [str(number) for number in range(21)]
    for text in texts[:20]:
        cache.put(text, DECISION)
        assert cache.get(text) is DECISION
    cache.put(texts[20], DECISION)  # eight are passed over, and the ninth goes
    assert [text for text in texts if cache.get(text) is None] == ["8"]


@given(st.lists(st.tuples(st.text("abé", max_size=300), st.booleans()), max_size=60))
def test_bounds_hold_after_every_step(steps: list[tuple[str, bool]]) -> None:
    cache = VerdictCache(5, 16_000)
    put: dict[str, Verdict | Refusal] = {}
    for text, allowed in steps:
        put[text] = DECISION if allowed else Refusal("no")
        cache.put(text, put[text])
        present = [each for each in put if cache.get(each) is not None]
        assert len(cache) == len(present) <= 5
        assert cache.weight == sum(weigh(each, put[each]) for each in present) <= 16_000


def test_one_entry_cannot_push_everything_out() -> None:
    cache = VerdictCache(10, 8_000)
    cache.put("a", DECISION)
    cache.put("x" * 2_000, DECISION)
    assert cache.get("x" * 2_000) is None
    assert cache.get("a") is DECISION


def test_the_names_of_a_verdict_weigh_too() -> None:
    assert weigh("a", Verdict("select", ("t" * 60,) * 100, (), Fingerprint(""), True)) > weigh("a", DECISION) + 6_000


def test_without_entries_nothing_is_kept() -> None:
    cache = VerdictCache(0, 1 << 20)
    cache.put("a", DECISION)
    assert (len(cache), cache.weight) == (0, 0)


@pytest.mark.parametrize(("entries", "size"), [(-1, 1), (1, -1)])
def test_negative_bounds_are_refused(entries: int, size: int) -> None:
    with pytest.raises(SettingInvalid):
        VerdictCache(entries, size)


def test_a_verdict_is_made_once() -> None:
    guard = Guard(CLIENT, CATALOG)
    assert guard.check("select 1") is guard.check("select 1")


def test_a_refusal_is_remembered_and_raised_afresh() -> None:
    guard = Guard(CLIENT, CATALOG)
    raised = []
    for _ in range(2):
        with pytest.raises(StatementRefused) as caught:
            guard.check("select 'é', pg_sleep(1)")
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert Refusal.of(raised[0]) == Refusal.of(raised[1])
    assert raised[1].position == 13
