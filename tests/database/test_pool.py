"""The pool as a queue: how many connections there are, who gets one next, who is refused, and that none is lost."""

import asyncio
import random
import time
from collections import Counter

from psycopg import sql

from rowgate.errors import ConnectFailed, ConnectionLost, DatabaseError, QueueFull, QueueTimeout, ResultTooLarge
from rowgate.postgres.connection import Connection
from tests.database.pools import Exposed, OpenPool, Run, eventually, failure

STRESS_SECONDS = 1.5
STRESS_TASKS = 50
KINDS = ("echo", "batch", "sleep", "error", "open", "setting", "large", "clean", "terminate")


async def hold(pool: OpenPool, how_many: int) -> list[Connection]:
    """Takes connections as requests do; the test gives them back."""
    return list(await asyncio.gather(*(pool.pool.acquire() for _ in range(how_many))))


async def queued(pool: OpenPool, how_many: int) -> None:
    """Returns when so many requests wait."""
    await eventually(lambda: pool.pool.counts[2] == how_many)


# --- how many -------------------------------------------------------------------------------------------------


async def test_never_more_connections_than_the_size(exposed: Exposed) -> None:
    async with exposed.pool(size=3) as pool:
        asking = [asyncio.create_task(pool.value("select pg_backend_pid() from pg_sleep(0.01)")) for _ in range(60)]
        while not all(task.done() for task in asking):
            assert pool.pool.counts[0] <= 3
            assert len(pool.backends()) <= 3
            await asyncio.sleep(0.002)
        assert len({task.result() for task in asking}) <= 3
        await eventually(lambda: pool.pool.counts == (3, 3, 0))
        assert len(pool.backends()) == 3


async def test_one_request_after_the_other_needs_one_connection(exposed: Exposed) -> None:
    async with exposed.pool(size=5) as pool:
        assert len({await pool.process_id() for _ in range(20)}) == 1
        assert pool.pool.counts == (1, 1, 0)


async def test_a_pool_without_requests_opens_nothing(exposed: Exposed) -> None:
    async with exposed.pool(size=5) as pool:
        assert pool.pool.counts == (0, 0, 0)
        assert pool.pool.take() is None
        assert pool.backends() == []


# --- who is next ----------------------------------------------------------------------------------------------


async def test_requests_are_served_in_the_order_of_arrival(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        (held,) = await hold(pool, 1)
        served: list[int] = []

        async def request(number: int) -> None:
            connection = await pool.pool.acquire()
            served.append(number)
            await connection.run([], keep=lambda statement: False)
            pool.pool.release(connection)

        waiting = []
        for number in range(20):
            waiting.append(asyncio.create_task(request(number)))
            await queued(pool, number + 1)
        waiting[7].cancel()
        pool.pool.release(held)
        late = asyncio.create_task(request(20))  # comes when the connection has been promised
        await asyncio.gather(*waiting, late, return_exceptions=True)
        assert served == [number for number in range(21) if number != 7]


async def test_a_connection_that_breaks_is_replaced_for_the_one_who_is_next(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        (held,) = await hold(pool, 1)
        waiting = [asyncio.create_task(pool.value("select $1::text", str(number))) for number in range(5)]
        await queued(pool, 5)
        exposed.admin.execute("SELECT pg_terminate_backend(%s)", [held.process_id])
        await eventually(lambda: held.broken)
        pool.pool.release(held)
        assert await asyncio.gather(*waiting) == ["0", "1", "2", "3", "4"]
        assert pool.pool.counts == (1, 1, 0)


async def test_one_who_leaves_in_the_moment_of_handing_over_takes_nothing_along(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        for following in (False, True) * 5:
            (held,) = await hold(pool, 1)
            leaver = asyncio.create_task(pool.pool.acquire())
            await queued(pool, 1)
            heirs = [asyncio.create_task(pool.value("select 1"))] if following else []
            await queued(pool, 1 + len(heirs))
            pool.pool.release(held)
            leaver.cancel()
            assert isinstance(await failure(leaver), asyncio.CancelledError)
            assert await asyncio.gather(*heirs) == ["1"] * len(heirs)
            assert pool.pool.counts == (1, 1, 0)


async def test_one_who_leaves_while_the_connection_opens_leaves_it_to_others(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        leaver = asyncio.create_task(pool.value("select 1"))
        await queued(pool, 1)
        leaver.cancel()
        await eventually(lambda: pool.pool.counts == (1, 1, 0))
        assert await pool.value("select 1") == "1"


# --- who is refused -------------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_at_once(exposed: Exposed) -> None:
    async with exposed.pool(size=1, queue_length=3, queue_timeout=30) as pool:
        (held,) = await hold(pool, 1)
        tasks = [asyncio.create_task(pool.value("select 1")) for _ in range(20)]
        done, waiting = await asyncio.wait(tasks, timeout=0.1)
        problems = [task.exception() for task in done]
        assert {type(problem) for problem in problems} == {QueueFull}
        assert all(isinstance(problem, QueueFull) and problem.retry_after == 1 for problem in problems)
        assert 3 <= len(waiting) <= 4
        pool.pool.release(held)
        assert await asyncio.gather(*waiting) == ["1"] * len(waiting)
        assert await pool.value("select 1") == "1"


async def test_without_a_queue_as_many_are_served_as_there_are_connections(exposed: Exposed) -> None:
    async with exposed.pool(size=4, queue_length=0) as pool:
        assert await asyncio.gather(*(pool.value("select 1 from pg_sleep(0.05)") for _ in range(4))) == ["1"] * 4
        assert pool.pool.counts == (4, 4, 0)


async def test_who_waits_too_long_is_refused_and_the_others_are_served(exposed: Exposed) -> None:
    async with exposed.pool(size=1, queue_timeout=0.3) as pool:
        (held,) = await hold(pool, 1)
        started = time.monotonic()
        problems = await asyncio.gather(*(failure(pool.value("select 1"), 5.0) for _ in range(5)))
        assert {type(problem) for problem in problems} == {QueueTimeout}
        assert 0.3 <= time.monotonic() - started < 2.0
        assert pool.pool.counts == (1, 0, 0)
        late = asyncio.create_task(pool.value("select 1"))
        await queued(pool, 1)
        pool.pool.release(held)
        assert await late == "1"


# --- when none can be had -------------------------------------------------------------------------------------


async def test_those_who_wait_learn_why_no_connection_opens_and_later_ones_are_served(exposed: Exposed) -> None:
    role = sql.Identifier(exposed.login_name)
    async with exposed.pool(size=3) as pool:
        exposed.admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(role))
        try:
            for _ in range(2):
                problems = await asyncio.gather(*(failure(pool.value("select 1"), 3.0) for _ in range(10)))
                for problem in problems:
                    assert isinstance(problem, DatabaseError)
                    assert problem.database_sqlstate == "28000"
                assert pool.pool.counts == (0, 0, 0)
        finally:
            exposed.admin.execute(sql.SQL("ALTER ROLE {} LOGIN").format(role))
        assert await asyncio.gather(*(pool.value("select 1") for _ in range(10))) == ["1"] * 10


async def test_fewer_connections_than_the_size_serve_all(exposed: Exposed) -> None:
    role = sql.Identifier(exposed.login_name)
    async with exposed.pool(size=5) as pool:
        assert await pool.value("select 1") == "1"
        exposed.admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 2").format(role))
        try:
            answers = await asyncio.gather(*(pool.value("select 1 from pg_sleep(0.005)") for _ in range(30)))
            assert answers == ["1"] * 30
            assert pool.pool.counts[0] <= 2
        finally:
            exposed.admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(role))


async def test_all_backends_go_while_requests_wait(exposed: Exposed) -> None:
    async with exposed.pool(size=3) as pool:
        slow = [asyncio.create_task(failure(pool.run("select pg_sleep(30)"))) for _ in range(3)]
        await eventually(lambda: sum(one.state == "active" for one in pool.backends()) == 3)
        waiting = [asyncio.create_task(pool.value("select 1")) for _ in range(20)]
        await queued(pool, 20)
        for backend in pool.backends():
            exposed.admin.execute("SELECT pg_terminate_backend(%s)", [backend.process_id])
        for problem in await asyncio.gather(*slow):
            assert isinstance(problem, ConnectionLost | DatabaseError)
        assert await asyncio.gather(*waiting) == ["1"] * 20
        await eventually(lambda: len(pool.backends()) <= 3)


# --- the end --------------------------------------------------------------------------------------------------


async def test_close_ends_all_and_refuses_those_who_wait(exposed: Exposed) -> None:
    async with exposed.pool(size=2) as pool:
        under_way = [asyncio.create_task(failure(pool.run("select pg_sleep(1)"))) for _ in range(2)]
        await eventually(lambda: sum(one.state == "active" for one in pool.backends()) == 2)
        waiting = [asyncio.create_task(failure(pool.value("select 1"))) for _ in range(5)]
        await queued(pool, 5)
        await pool.pool.close()
        assert {type(problem) for problem in await asyncio.gather(*under_way)} == {ConnectionLost}
        assert {type(problem) for problem in await asyncio.gather(*waiting)} == {ConnectFailed}
        assert isinstance(await failure(pool.value("select 1")), ConnectFailed)
        assert pool.pool.counts == (0, 0, 0)
        await pool.pool.close()


async def test_close_ends_what_is_being_opened_cleaned_or_cancelled(exposed: Exposed) -> None:
    for _ in range(3):
        async with exposed.pool(size=4) as pool:
            cleaned = asyncio.create_task(pool.run("select 1", discard_after=True))
            await cleaned
            left = asyncio.create_task(pool.run("select pg_sleep(0.2)"))
            await pool.running("pg_sleep")
            opening = [asyncio.create_task(failure(pool.run("select pg_sleep(0.2)"))) for _ in range(4)]
            left.cancel()
            await asyncio.sleep(0)
            await pool.pool.close()
            await asyncio.gather(left, *opening, return_exceptions=True)
            assert pool.pool.counts == (0, 0, 0)


async def test_a_connection_that_comes_back_after_close_is_closed(exposed: Exposed) -> None:
    async with exposed.pool(size=2) as pool:
        one, other = await hold(pool, 2)
        pool.pool.release(one)
        await pool.pool.close()
        pool.pool.release(other)
        assert pool.pool.counts == (0, 0, 0)


# --- all at once ----------------------------------------------------------------------------------------------


async def ask(pool: OpenPool, chance: random.Random, number: int) -> str:
    """One request of the stress, with an answer that belongs to it alone; says what came of it."""
    mine = f"{number}-{chance.random()}"
    kind = chance.choice(KINDS)
    begin = chance.choice((None, b"BEGIN"))
    if kind == "echo":
        assert await pool.value("select $1::text", mine) == mine
    elif kind == "batch":
        assert await pool.run(f"select '{mine}'", f"select '{mine}!'", begin=begin) == [[(mine,)], [(f"{mine}!",)]]
    elif kind == "sleep":
        assert await pool.run(f"select '{mine}' from pg_sleep({chance.random() * 0.03})") == [[(mine,)]]
    elif kind == "error":
        assert isinstance(await failure(pool.run("select 1", f"select '{mine}'::int", begin=begin)), DatabaseError)
    elif kind == "open":
        await pool.run("begin", f"select '{mine}'")
    elif kind == "setting":
        await pool.run("set timezone = 'Asia/Tokyo'")
    elif kind == "large":
        assert isinstance(
            await failure(pool.run("select repeat('x', 90000) from generate_series(1, 9)")), ResultTooLarge
        )
    elif kind == "clean":
        assert await pool.run(f"select '{mine}'", discard_after=True) == [[(mine,)]]
    elif chance.random() < 0.3:
        await pool.run("select pg_terminate_backend(pg_backend_pid())")
    return kind


async def stress(pool: OpenPool, seed: int) -> Counter[str]:
    """Many users at once, some of whom leave before their answer comes; counts what came of the requests."""
    came: Counter[str] = Counter()
    until = time.monotonic() + STRESS_SECONDS

    async def user(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        while time.monotonic() < until:
            task = asyncio.create_task(ask(pool, chance, number))
            if chance.random() < 0.3:
                await asyncio.wait([task], timeout=chance.random() * 0.05)
                task.cancel()
            try:
                came[await task] += 1
            except asyncio.CancelledError:
                came["left"] += 1
            except (DatabaseError, ConnectionLost) as problem:
                came[getattr(problem, "database_sqlstate", problem.sqlstate)] += 1

    await asyncio.wait_for(asyncio.gather(*(user(number) for number in range(STRESS_TASKS))), STRESS_SECONDS + 20)
    return came


def test_under_stress_nothing_is_lost_and_nothing_leaks(exposed: Exposed, run: Run) -> None:
    size = 8
    exposed.admin.execute(sql.SQL("GRANT pg_signal_backend TO {}").format(sql.Identifier(exposed.role)))

    async def work() -> None:
        async with exposed.pool(size=size, max_result_bytes=100_000, cache_size=5) as pool:
            most = 0

            async def watch() -> None:
                nonlocal most
                while True:
                    most = max(most, pool.pool.counts[0])
                    await asyncio.sleep(0.005)

            watcher = asyncio.create_task(watch())
            came = await stress(pool, seed=size)
            watcher.cancel()
            assert min(came[kind] for kind in (*KINDS, "left", "57P01")) > 0, came
            # The only errors that may reach anybody are those of a backend that was told to go.
            assert set(came) <= {*KINDS, "left", "57P01", "08006"}, came
            assert most <= size
            await eventually(lambda: pool.pool.counts[0] == pool.pool.counts[1] and pool.pool.counts[2] == 0)
            await eventually(lambda: {one.state for one in pool.backends()} == {"idle"})
            await eventually(lambda: len(pool.backends()) == pool.pool.counts[0])
            # All places can still be had, and all at once.
            await asyncio.gather(*(pool.value("select 1 from pg_sleep(0.1)") for _ in range(size)))
            assert pool.pool.counts == (size, size, 0)
            assert len(pool.backends()) == size

    run(work())
