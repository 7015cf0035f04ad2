"""One subject that floods: others have their turn in the queue, and connections that it cannot take."""

import asyncio

import pytest

from rowgate.errors import ConcurrencyExceeded, QueueTimeout
from rowgate.pgwire import messages
from tests.database.pools import Exposed, eventually

SLOW = "select pg_sleep(30)"


async def test_parties_take_turns_for_one_connection(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        held = await pool.pool.acquire(party="flooder")
        order: list[str] = []

        async def ask(party: str) -> None:
            connection = await pool.pool.acquire(party=party)
            order.append(party)
            pool.pool.release(connection)

        asking = []
        for party in ["flooder"] * 20 + ["alice", "bob"]:
            asking.append(asyncio.create_task(ask(party)))
            await asyncio.sleep(0)
        await eventually(lambda: pool.pool.counts[2] == 22)
        pool.pool.release(held)
        await asyncio.gather(*asking)
        assert order[:4] == ["flooder", "alice", "bob", "flooder"]
        assert order.count("flooder") == 20
        assert pool.pool.counts == (1, 1, 0)


async def test_whoever_holds_a_share_leaves_the_rest_to_others(exposed: Exposed) -> None:
    async with exposed.pool(size=4, share=50, queue_timeout=20.0) as pool:
        flood = [asyncio.create_task(pool.run(SLOW, party="flooder")) for _ in range(20)]
        await eventually(lambda: sum(SLOW in one.query for one in pool.backends()) == 2)
        for _ in range(50):
            assert await pool.run("select 1", party="alice") == [[("1",)]]
        anonymous = await pool.run("select 2")
        assert anonymous == [[("2",)]]
        assert sum(SLOW in one.query for one in pool.backends()) == 2
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        await eventually(lambda: pool.pool.counts[2] == 0 and not pool.pool.holdings)
        assert await pool.run("select 3", party="flooder") == [[("3",)]]


async def test_no_party_holds_more_connections_than_it_may_however_many_are_free(exposed: Exposed) -> None:
    async with exposed.pool(size=4, party_connections=1) as pool:
        first = await pool.pool.acquire(party="a")
        waiting = asyncio.create_task(pool.pool.acquire(party="a"))
        others = [await pool.pool.acquire(party=party) for party in ("b", None, None)]
        await asyncio.sleep(0.1)
        assert not waiting.done()
        for one in others:
            pool.pool.release(one)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        pool.pool.release(first)
        pool.pool.release(await waiting)
        await eventually(lambda: pool.pool.counts[2] == 0 and not pool.pool.holdings)


class Client:
    """Holds a connection as a session does."""

    def receive(self, kind: int, body: bytes) -> bool:
        return kind == 0x5A

    def delivered(self) -> None:
        """All of it has come."""

    def lost(self, problem: Exception) -> None:
        raise problem


async def test_a_transaction_that_waits_for_its_client_lets_the_party_have_another(exposed: Exposed) -> None:
    async with exposed.pool(size=3, party_connections=1) as pool:
        held = await pool.pool.acquire(party="a")
        other = await pool.pool.acquire(party="b")  # nothing of anybody else's comes free meanwhile
        pool.pool.release(await pool.pool.acquire(party="c"))
        held.attach(Client())
        held.send(messages.query(b"begin; select pg_sleep(0.2)"))
        waiting = asyncio.create_task(pool.pool.acquire(party="a"))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "one runs, and that is all it may have"
        second = await asyncio.wait_for(waiting, 2.0)
        assert second not in (held, other)
        pool.pool.release(second)
        pool.pool.release(other)
        held.detach(in_transaction=True)
        pool.pool.discard(held)
        await eventually(lambda: not pool.pool.holdings)


async def test_whoever_waits_behind_its_own_slow_requests_is_told_so(exposed: Exposed) -> None:
    async with exposed.pool(size=4, party_connections=1, queue_timeout=0.2) as pool:
        held = await pool.pool.acquire(party="a")
        with pytest.raises(QueueTimeout) as refused:
            await pool.pool.acquire(party="a")
        assert refused.value.detail == "this subject's other requests hold 1 of 4"
        assert "subject_connections" in (refused.value.hint or "")
        pool.pool.release(held)
        held_by_others = [await pool.pool.acquire() for _ in range(4)]
        with pytest.raises(QueueTimeout) as refused:
            await pool.pool.acquire(party="a")
        assert refused.value.detail is None
        for one in held_by_others:
            pool.pool.release(one)


async def test_a_quick_read_finds_a_connection_beside_a_flood(exposed: Exposed) -> None:
    async with exposed.pool(size=3, share=60) as pool:
        for _ in range(5):
            await pool.run("select 1", party="alice", only_reads=True)
        flood = [asyncio.create_task(pool.run(SLOW, party="flooder")) for _ in range(10)]
        await eventually(lambda: pool.pool.counts[2] > 0)
        for _ in range(20):
            read = [pool.run("select 1", party=party, only_reads=True) for party in ("alice", "bob")]
            assert await asyncio.gather(*read) == [[[("1",)]], [[("1",)]]]
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        await eventually(lambda: pool.pool.counts[2] == 0 and not pool.pool.holdings)


async def test_a_share_that_comes_free_is_used(exposed: Exposed) -> None:
    async with exposed.pool(size=2, share=50) as pool:
        first = await pool.pool.acquire(party="a")
        waiting = asyncio.create_task(pool.pool.acquire(party="a"))
        other = await pool.pool.acquire(party="b")
        assert not waiting.done()
        pool.pool.release(first)
        second = await waiting
        third = asyncio.create_task(pool.pool.acquire(party="a"))
        pool.pool.discard(other)
        await asyncio.sleep(0.1)
        assert not third.done()
        pool.pool.discard(second)
        pool.pool.release(await third)
        await eventually(lambda: pool.pool.counts[2] == 0 and not pool.pool.holdings)


async def test_a_party_has_its_own_places_in_the_queue_and_waits_no_longer_than_others(exposed: Exposed) -> None:
    async with exposed.pool(size=1, party_queue_length=2, queue_timeout=0.3) as pool:
        held = await pool.pool.acquire(party="flooder")
        waiting = [asyncio.create_task(pool.pool.acquire(party="flooder")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ConcurrencyExceeded):
            await pool.pool.acquire(party="flooder")
        other = asyncio.create_task(pool.pool.acquire(party="alice"))
        late = await asyncio.gather(*waiting, other, return_exceptions=True)
        assert [type(one) for one in late] == [QueueTimeout] * 3
        pool.pool.release(held)
