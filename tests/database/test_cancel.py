"""Statements that must end early: their time is over, their answer is too large, or nobody waits for it any more.

A cancel request names a backend and no statement, so the worst that can happen is that it hits somebody else's.
"""

import asyncio
import random
from typing import Any

import psycopg
import pytest

from rowgate.errors import ConnectionLost, DatabaseError, ResultTooLarge, StatementTimeout
from rowgate.postgres.execution import execute_alone
from tests.database.pools import Exposed, OpenPool, Run, eventually, failure, order
from tests.servers import unique_name

INTERLEAVINGS = 150


async def ended(pool: OpenPool, seconds: float = 1.0) -> None:
    """Returns when no backend of the pool runs anything."""
    await eventually(lambda: all(one.state == "idle" for one in pool.backends()), seconds)


async def leave(task: asyncio.Task[Any]) -> None:
    """The requester goes: a client that closed its connection."""
    task.cancel()
    assert isinstance(await failure(task), asyncio.CancelledError)


# --- the time is over -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [None, b"BEGIN"])
async def test_a_statement_over_its_time_ends_and_the_connection_stays(exposed: Exposed, begin: bytes | None) -> None:
    async with exposed.pool(size=1, server_timeout=0.1) as pool:
        backend = await pool.process_id()
        problem = await failure(pool.run("select pg_sleep(30)", begin=begin), 3.0)
        assert isinstance(problem, DatabaseError)
        assert (problem.database_sqlstate, problem.message) == (
            "57014",
            "canceling statement due to statement timeout",
        )
        assert await pool.process_id() == backend


async def test_waiting_for_a_lock_is_over_in_time(exposed: Exposed) -> None:
    async with exposed.pool(size=1, server_timeout=0.1) as pool:
        with psycopg.connect(exposed.server.conninfo(exposed.database)) as other:
            other.execute("SELECT pg_advisory_xact_lock(815)")
            problem = await failure(pool.run("select pg_advisory_xact_lock(815)"), 3.0)
        assert isinstance(problem, DatabaseError)
        assert problem.database_sqlstate in ("57014", "55P03")
        assert await pool.value("select 1") == "1"


async def test_what_postgres_does_not_end_the_pool_does(exposed: Exposed) -> None:
    """Each statement is within Postgres's bound; the request as a whole is not within the pool's."""
    async with exposed.pool(size=1, statement_timeout=0.1) as pool:
        backend = await pool.process_id()
        problem = await failure(pool.run(*["select pg_sleep(0.4)"] * 30), 4.0)
        assert isinstance(problem, StatementTimeout)
        assert problem.sqlstate == "57014"
        await ended(pool)
        # A cancel may still be on its way to that backend, so it serves nobody any more.
        assert await pool.process_id() != backend


async def test_the_pool_goes_on_while_one_request_is_over_its_time(exposed: Exposed) -> None:
    async with exposed.pool(size=2, statement_timeout=0.1) as pool:
        slow = asyncio.create_task(failure(pool.run("select pg_sleep(30)")))
        await pool.running("pg_sleep")
        while not slow.done():
            assert await pool.value("select 1") == "1"
        assert isinstance(await slow, StatementTimeout)


# --- the answer is too large ----------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [None, b"BEGIN"])
@pytest.mark.parametrize(
    "texts",
    [
        ("select repeat('x', 1000) from generate_series(1, 5000)",),
        ("select repeat('x', 300000)",) * 5,
        ("copy (select repeat('x', 1000) from generate_series(1, 5000)) to stdout",),
    ],
)
async def test_an_answer_that_is_too_large(exposed: Exposed, texts: tuple[str, ...], begin: bytes | None) -> None:
    async with exposed.pool(size=1, max_result_bytes=1_000_000) as pool:
        for _ in range(3):
            problem = await failure(pool.run(*texts, begin=begin))
            assert isinstance(problem, ResultTooLarge)
            assert await pool.value("select 1") == "1"
            assert pool.pool.counts == (1, 1, 0)
        await eventually(lambda: len(pool.backends()) == 1)
        # The bound is for each answer, not for the connection.
        for _ in range(5):
            assert len(await pool.value("select repeat('x', 900000)") or "") == 900_000


async def test_answers_that_are_too_large_take_no_place_from_others(exposed: Exposed) -> None:
    async with exposed.pool(size=3, max_result_bytes=100_000) as pool:
        large = [failure(pool.run("select repeat('x', 1000) from generate_series(1, 5000)")) for _ in range(20)]
        small = [pool.value("select $1::text", str(number)) for number in range(20)]
        problems, answers = await asyncio.gather(asyncio.gather(*large), asyncio.gather(*small))
        assert {type(problem) for problem in problems} == {ResultTooLarge}
        assert answers == [str(number) for number in range(20)]


# --- nobody waits any more ------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [None, b"BEGIN"])
@pytest.mark.parametrize(
    "text",
    ["select pg_sleep(30)", "do $$ begin loop perform 1; end loop; end $$", "select pg_advisory_lock(1)"],
)
async def test_the_statement_of_one_who_left_is_gone_within_a_second(
    exposed: Exposed, text: str, begin: bytes | None
) -> None:
    with psycopg.connect(exposed.server.conninfo(exposed.database)) as other:
        other.execute("SELECT pg_advisory_xact_lock(1)")
        async with exposed.pool(size=1) as pool:
            backend = await pool.process_id()
            task = asyncio.create_task(pool.run("select 1", text, begin=begin))
            await pool.running(text)
            await leave(task)
            await ended(pool, 1.0)
            assert await pool.process_id() == backend
            assert pool.pool.counts == (1, 1, 0)


async def test_all_leave_at_once(exposed: Exposed) -> None:
    async with exposed.pool(size=5) as pool:
        tasks = [asyncio.create_task(pool.run("select pg_sleep(30)")) for _ in range(15)]
        await eventually(lambda: sum(one.state == "active" for one in pool.backends()) == 5)
        await asyncio.gather(*(leave(task) for task in tasks))
        await ended(pool)
        await eventually(lambda: pool.pool.counts[1] == pool.pool.counts[0])
        assert await asyncio.gather(*(pool.value("select 1") for _ in range(15))) == ["1"] * 15


async def test_the_writes_of_one_who_left_are_taken_back(exposed: Exposed) -> None:
    name = unique_name("left")
    async with exposed.pool(size=1) as pool:
        await pool.run(f"create table {name} (n int)")
        for begin in (None, b"BEGIN"):
            task = asyncio.create_task(pool.run(f"insert into {name} values (1)", "select pg_sleep(30)", begin=begin))
            await pool.running("pg_sleep")
            await leave(task)
            assert await pool.run(f"select * from {name}") == [[]]


def test_a_late_cancel_never_hits_the_next_request(exposed: Exposed, run: Run) -> None:
    """Requesters leave at every moment of a short statement; the next request on the same backend must not notice."""
    chance = random.Random(20)

    async def interleave() -> int:
        left = 0
        async with exposed.pool(size=1) as pool:
            for number in range(INTERLEAVINGS):
                task = asyncio.create_task(pool.run(f"select pg_sleep({chance.random() * 0.004:.5f})"))
                await asyncio.sleep(chance.random() * 0.005)
                task.cancel()
                following = [asyncio.create_task(pool.value("select $1 from pg_sleep(0.002)", f"{number}"))]
                following += [asyncio.create_task(pool.value("select $1::text", f"{number}")) for _ in range(2)]
                left += isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
                assert await asyncio.gather(*following) == [str(number)] * 3
            assert pool.pool.counts == (1, 1, 0)
        return left

    assert run(interleave()) > INTERLEAVINGS // 10


# --- the backend goes -----------------------------------------------------------------------------------------


async def test_a_terminated_backend_is_a_clear_error_and_is_replaced(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        for begin in (None, b"BEGIN"):
            task = asyncio.create_task(pool.run("select pg_sleep(30)", begin=begin))
            following = asyncio.create_task(pool.value("select 1"))
            victim = await pool.running("pg_sleep")
            exposed.admin.execute("SELECT pg_terminate_backend(%s)", [victim.process_id])
            problem = await failure(task)
            assert isinstance(problem, DatabaseError | ConnectionLost)
            if isinstance(problem, DatabaseError):
                assert problem.database_sqlstate == "57P01"
            assert await following == "1"
            assert await pool.process_id() != victim.process_id


async def test_backends_that_were_terminated_while_idle_are_noticed(exposed: Exposed) -> None:
    async with exposed.pool(size=3) as pool:
        await asyncio.gather(*(pool.run("select pg_sleep(0.05)") for _ in range(3)))
        assert pool.pool.counts == (3, 3, 0)
        for backend in pool.backends():
            exposed.admin.execute("SELECT pg_terminate_backend(%s)", [backend.process_id])
        await eventually(lambda: pool.pool.counts == (0, 0, 0))
        assert await asyncio.gather(*(pool.value("select 1") for _ in range(10))) == ["1"] * 10


# --- without a pool -------------------------------------------------------------------------------------------


async def test_alone_the_time_is_bounded_too(exposed: Exposed) -> None:
    name = unique_name("alone")
    work = execute_alone(exposed.opener(), exposed.login(name), order("select pg_sleep(30)"), 0.1)
    assert isinstance(await failure(work, 3.0), StatementTimeout)
    await eventually(lambda: not exposed.backends(name), 1.0)


async def test_alone_the_statement_of_one_who_left_is_gone_within_a_second(exposed: Exposed) -> None:
    name = unique_name("alone")
    work = execute_alone(exposed.opener(), exposed.login(name), order("select pg_sleep(30)"), 30.0)
    task = asyncio.create_task(work)
    await eventually(lambda: any("pg_sleep" in one.query for one in exposed.backends(name)))
    await leave(task)
    await eventually(lambda: not exposed.backends(name), 1.0)
