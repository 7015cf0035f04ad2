"""The queue's turns: parties one after the other, each in its own order, and nobody lost or served twice."""

import asyncio
from collections.abc import Hashable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rowgate.postgres.fair_queue import FairQueue, Waiter

LOOP = asyncio.new_event_loop()


def waiter(party: Hashable, deadline: float = 0.0, *, shares: bool = False) -> Waiter:
    return Waiter(LOOP.create_future(), deadline, shares, party)


def anybody(_: Waiter) -> bool:
    return True


def test_whoever_floods_waits_as_often_as_everybody_else() -> None:
    queue = FairQueue()
    for _ in range(100):
        queue.append(waiter("flooder"))
    for party in ("a", "b", "a"):
        queue.append(waiter(party))
    served = [one.party for one in (queue.next(anybody) for _ in range(6)) if one is not None]
    assert served == ["flooder", "a", "b", "flooder", "a", "flooder"]


def test_one_that_may_not_have_it_keeps_its_place_and_holds_nobody_up() -> None:
    queue = FairQueue()
    first, second = waiter("flooder"), waiter("other")
    queue.append(first)
    queue.append(second)
    assert queue.next(lambda one: one.party != "flooder") is second
    assert queue.next(lambda one: one.party != "flooder") is None
    assert queue.next(anybody) is first
    assert queue.length == 0


def test_one_that_had_its_turn_is_next() -> None:
    queue = FairQueue()
    queue.append(waiter("a"))
    again = waiter("b")
    queue.append_first(again)
    assert queue.first() is again
    assert queue.next(anybody) is again


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "first", "next", "gone", "remove", "late"]), st.integers(0, 3)), max_size=80
    )
)
def test_nobody_is_lost_and_nobody_served_twice(steps: list[tuple[str, int]]) -> None:
    queue = FairQueue()
    inside: list[Waiter] = []
    now = 0.0

    def take(found: Any) -> None:
        if found is not None:
            assert found in inside
            assert not found.connection.done()
            same = [one for one in inside if one.party == found.party and not one.connection.done()]
            assert same[0] is found
            inside.remove(found)

    for action, party in steps:
        now += 1
        if action == "add":
            inside.append(waiter(party, now))
            queue.append(inside[-1])
        elif action == "first":
            inside.insert(0, waiter(party, now))
            queue.append_first(inside[0])
        elif action == "next":
            take(queue.next(lambda one, party=party: one.party != party))  # type: ignore[misc]
        elif action == "gone" and inside:
            inside[party % len(inside)].connection.cancel()
        elif action == "remove" and inside:
            queue.remove(inside.pop(party % len(inside)))
    left = list(queue.all())
    assert queue.length == 0
    assert {id(one) for one in left} == {id(one) for one in inside if not one.connection.done()}


def test_those_that_are_late_are_taken_from_every_party() -> None:
    queue = FairQueue()
    late, early = waiter("a", 1.0), waiter("b", 5.0)
    for one in (late, early, waiter("a", 9.0)):
        queue.append(one)
    assert list(queue.late(2.0)) == [late]
    assert list(queue.late(6.0)) == [early]
    assert queue.length == 1
    assert queue.waiting("a") == 1
