"""Exchanges behind each other on one backend: who is told what, and when."""

import asyncio

import pytest

from rowgate.errors import ConnectionLost
from rowgate.postgres.exchange import Exchange, Outcome
from rowgate.postgres.turns import FIRST_PACE_SECONDS, Overtaken, Turns

Waiter = asyncio.Future[Outcome]


def turns_of(count: int) -> tuple[Turns, list[Exchange], list[Waiter]]:
    turns = Turns()
    exchanges = [Exchange([]) for _ in range(count)]
    waiters: list[Waiter] = [asyncio.get_running_loop().create_future() for _ in range(count)]
    for exchange, waiter in zip(exchanges, waiters, strict=True):
        turns.add(exchange, waiter)
    return turns, exchanges, waiters


async def test_each_is_told_its_own_outcome_in_order() -> None:
    turns, exchanges, waiters = turns_of(3)
    for number in range(3):
        assert (turns.head, len(turns)) == (exchanges[number], 3 - number)
        outcome = exchanges[number].outcome()
        assert turns.advance(outcome)
        assert await waiters[number] is outcome
    assert (turns.head, len(turns)) == (None, 0)


async def test_the_pace_is_learned() -> None:
    turns, exchanges, _ = turns_of(100)
    assert turns.pace == FIRST_PACE_SECONDS
    for exchange in exchanges[:60]:
        turns.advance(exchange.outcome(0.00004))
    assert 0.00004 <= turns.pace < 0.0001
    turns.advance(exchanges[60].outcome(0.05))
    assert turns.pace > 0.004, "one that was slow counts at once"


async def test_those_behind_go_elsewhere_and_the_head_stays() -> None:
    turns, exchanges, waiters = turns_of(3)
    assert turns.has_followers
    turns.overtake()
    for waiter in waiters[1:]:
        with pytest.raises(Overtaken):
            await waiter
    assert not waiters[0].done()
    assert not turns.has_followers
    assert turns.advance(exchanges[0].outcome())
    assert not turns.advance(exchanges[1].outcome()), "nobody waits for it any more"
    assert turns.is_abandoned


async def test_a_failure_is_the_heads_alone() -> None:
    turns, _, waiters = turns_of(2)
    turns.fail(ConnectionLost("gone"))
    with pytest.raises(ConnectionLost):
        await waiters[0]
    with pytest.raises(Overtaken):
        await waiters[1]
    assert len(turns) == 0


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_whoever_drains_is_told_when_the_last_has_ended(count: int) -> None:
    turns, exchanges, waiters = turns_of(count)
    drained: Waiter = asyncio.get_running_loop().create_future()
    turns.drained(drained)
    for waiter in waiters:
        with pytest.raises(Overtaken):
            await waiter
    for exchange in exchanges:
        assert not drained.done()
        turns.advance(exchange.outcome())
    assert drained.done()


async def test_one_who_left_is_not_told() -> None:
    turns, exchanges, waiters = turns_of(2)
    waiters[0].cancel()
    assert turns.is_abandoned
    assert not turns.advance(exchanges[0].outcome())
    turns.overtake(head=True)
    with pytest.raises(Overtaken):
        await waiters[1]
