"""What a pool does when things go wrong at a bad moment: no statement outlives its request, no cancel hits anybody
else, no place is lost, and nothing is left in a session."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rowgate.errors import ConnectionLost, QueueFull, ResultTooLarge
from rowgate.postgres.execution import execute_alone
from tests.database.pools import Exposed, Run, eventually, failure, order
from tests.ports import reserve

ENDLESS = "select repeat('x', 1000) from generate_series(1, 1040) union all select pg_sleep(6)::text"


async def test_a_result_that_is_too_large_ends_the_statement(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        assert isinstance(await failure(pool.run(ENDLESS)), ResultTooLarge)
        await eventually(lambda: all(one.state != "active" for one in pool.backends()), 1.0)


async def test_no_more_backends_than_size_with_results_that_are_too_large(exposed: Exposed) -> None:
    async with exposed.pool(size=2) as pool:
        for _ in range(6):
            assert isinstance(await failure(pool.run(ENDLESS)), ResultTooLarge)
        assert len(pool.backends()) <= 3


async def test_a_backend_whose_result_was_too_large_is_used_again(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        before = await pool.value("select pg_backend_pid()")
        for _ in range(3):
            assert isinstance(await failure(pool.run(ENDLESS)), ResultTooLarge)
            assert await pool.value("select pg_backend_pid()") == before
        assert pool.pool.counts == (1, 1, 0)


async def test_alone(exposed: Exposed) -> None:
    work = execute_alone(exposed.opener(), exposed.login("too_large_alone"), order(ENDLESS), 20.0)
    assert isinstance(await failure(work), ResultTooLarge)
    await eventually(lambda: not exposed.backends("too_large_alone"), 1.0)


async def test_one_value_that_is_too_large(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        problem = await failure(pool.run("select repeat('x', 30000000)"))
        assert type(problem) is ResultTooLarge, repr(problem)


async def test_requests_that_left_do_not_fill_the_queue(exposed: Exposed) -> None:
    async with exposed.pool(size=1, queue_length=5) as pool:
        held = await pool.pool.acquire()
        stays = asyncio.create_task(pool.value("select 1"))
        leavers = [asyncio.create_task(pool.value("select 2")) for _ in range(4)]
        await eventually(lambda: pool.pool.counts[2] == 5)
        for task in leavers:
            task.cancel()
        await asyncio.gather(*leavers, return_exceptions=True)
        late = asyncio.create_task(pool.value("select 3"))
        later = asyncio.create_task(pool.value("select 3"))
        await asyncio.sleep(0)
        pool.pool.release(held)
        answers = await asyncio.gather(stays, late, later, return_exceptions=True)
        assert answers == ["1", "3", "3"]


async def test_queue_length_bounds_the_requests_that_wait(exposed: Exposed) -> None:
    async with exposed.pool(size=4, queue_length=2) as pool:
        held = [await pool.pool.acquire() for _ in range(4)]
        tasks = [asyncio.create_task(pool.value("select 1")) for _ in range(10)]
        await eventually(lambda: any(task.done() for task in tasks))
        waiting = pool.pool.counts[2]
        for connection in held:
            pool.pool.release(connection)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert waiting == 2
        assert sum(isinstance(one, QueueFull) for one in answers) == 8


@asynccontextmanager
async def slow_cancels(exposed: Exposed) -> AsyncIterator[tuple[int, asyncio.Event, asyncio.Event]]:
    """A way to the server on which cancel requests are held up until the first event is set; the second says that
    they have arrived."""
    port, let_go, arrived = reserve(), asyncio.Event(), asyncio.Event()
    target = exposed.target()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        is_cancel = first[4:8] == (80877102).to_bytes(4, "big")
        if is_cancel:
            await let_go.wait()
        up_reader, up_writer = await asyncio.open_connection(target.host, target.port)
        up_writer.write(first)
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
        if is_cancel:
            arrived.set()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield port, let_go, arrived


async def test_a_cancel_that_took_too_long_hits_nobody_later(exposed: Exposed) -> None:
    async with slow_cancels(exposed) as (port, let_go, arrived):
        target = exposed.target(port=port)
        async with exposed.pool(size=1, target=target, connect_timeout=0.3) as pool:
            await pool.value("select 1")
            task = asyncio.create_task(pool.run("select pg_sleep(0.5)"))
            await pool.running("pg_sleep")
            task.cancel()
            later = asyncio.create_task(pool.run("select 'later', pg_sleep(2)"))
            await pool.running("later")
            let_go.set()
            await arrived.wait()
            assert await later == [[("later", "")]]


async def test_the_sweepers_cancel_hits_nobody_later(exposed: Exposed) -> None:
    async with slow_cancels(exposed) as (port, let_go, arrived):
        target = exposed.target(port=port)
        async with exposed.pool(size=1, target=target, connect_timeout=2.0, statement_timeout=0.1) as pool:
            await pool.value("select 1")
            task = asyncio.create_task(pool.run("select pg_sleep(1.6)"))
            (connection,) = vars(pool.pool)["_all"]
            await eventually(lambda: connection.expired)
            # The requester leaves when its statement has just ended: no other cancel is needed.
            await eventually(lambda: not any(one.state == "active" for one in pool.backends()))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            later = asyncio.create_task(pool.run("select 'later', pg_sleep(0.7)"))
            await pool.running("later")
            let_go.set()
            await arrived.wait()
            assert await later == [[("later", "")]]


LOCKS = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"


async def test_discard_after_holds_when_the_requester_leaves(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        work = pool.run("select pg_advisory_lock(4711)", "select pg_sleep(30)", discard_after=True)
        task = asyncio.create_task(work)
        await pool.running("pg_sleep")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await pool.value(LOCKS) == "0"


async def test_discard_after_holds_when_the_requester_leaves_at_the_end(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        connection = await pool.pool.acquire()
        pool.pool.release(connection)
        work = pool.run("select set_config('app.secret', 'alice', false)", discard_after=True)
        task = asyncio.create_task(work)
        await asyncio.sleep(0)
        while not connection.is_idle:
            await asyncio.sleep(0)
            if connection.is_idle:
                task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await pool.value("select coalesce(current_setting('app.secret', true), '')") == ""


async def test_errors_do_not_let_prepared_statements_grow(exposed: Exposed) -> None:
    async with exposed.pool(size=1, cache_size=3) as pool:
        for round_ in range(3):
            for number in range(30):
                await pool.run(f"select {number}")
                if round_:
                    await failure(pool.run("select 1 / 0"))
        for _ in range(3):
            count = await pool.value("select count(*) from pg_prepared_statements")
        assert int(count or 0) <= 4


async def test_a_burst_leaves_one_sweeper(exposed: Exposed) -> None:
    before = len(asyncio.all_tasks())
    async with exposed.pool(size=2) as pool:
        await asyncio.gather(*(pool.value("select 1") for _ in range(50)))
        await eventually(lambda: len(asyncio.all_tasks()) - before == 1)  # openings that nobody needs any more may last


async def test_close_ends_what_runs(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        task = asyncio.create_task(pool.run("select pg_sleep(5)"))
        await pool.running("pg_sleep")
        await pool.pool.close()
        assert isinstance(await failure(task), ConnectionLost)
        await eventually(lambda: not pool.backends(), 1.0)


async def test_abandon_of_a_broken_connection_frees_its_place_at_once(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        connection = await pool.pool.acquire()
        await connection.run(order("set timezone = 'Asia/Tokyo'").statements, keep=lambda statement: False)
        assert connection.broken
        pool.pool.abandon(connection)
        started = time.monotonic()
        assert await pool.value("select 1") == "1"
        assert time.monotonic() - started < 1.0


async def test_a_connection_that_goes_in_the_moment_of_handing_over(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        held = await pool.pool.acquire()
        waiting = asyncio.create_task(pool.value("select 1"))
        await eventually(lambda: pool.pool.counts[2] == 1)
        pool.pool.release(held)
        held.connection_lost(None)
        assert await waiting == "1"
        held.abort()


def test_a_backend_that_goes_while_its_statement_is_being_cancelled(exposed: Exposed, run: Run) -> None:
    async def work() -> float:
        async with (
            slow_cancels(exposed) as (port, let_go, _),
            exposed.pool(size=1, target=exposed.target(port=port)) as pool,
        ):
            task = asyncio.create_task(pool.run("select pg_sleep(30)"))
            victim = await pool.running("pg_sleep")
            task.cancel()
            assert isinstance(await failure(task), asyncio.CancelledError)
            exposed.admin.execute("SELECT pg_terminate_backend(%s)", [victim.process_id])
            await eventually(lambda: pool.pool.counts == (0, 0, 0))
            let_go.set()
            started = time.monotonic()
            await eventually(lambda: not any("_reclaim" in str(one.get_coro()) for one in asyncio.all_tasks()))
            return time.monotonic() - started

    assert run(work()) < 1.0


async def test_one_failure_to_open_does_not_refuse_those_for_whom_another_opens(exposed: Exposed) -> None:
    port, target = reserve(), exposed.target()
    fail, forward = asyncio.Event(), asyncio.Event()
    seen: list[int] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(1)
        if len(seen) == 1:
            await fail.wait()
            fields = b"SFATAL\0C53300\0Mtoo many clients\0\0"
            writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            writer.close()
            return
        await forward.wait()
        up_reader, up_writer = await asyncio.open_connection(target.host, target.port)
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

    async with (
        await asyncio.start_server(serve, "127.0.0.1", port),
        exposed.pool(size=2, target=exposed.target(port=port)) as pool,
    ):
        first = asyncio.create_task(pool.value("select 1"))
        await eventually(lambda: len(seen) == 1)
        second = asyncio.create_task(pool.value("select 2"))
        await eventually(lambda: len(seen) == 2)
        fail.set()
        await asyncio.wait([first, second], timeout=0.3)
        forward.set()
        assert await asyncio.gather(first, second, return_exceptions=True) == ["1", "2"]


async def test_abandon_after_close_leaves_no_task(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        connection = await pool.pool.acquire()
        await pool.pool.close()
        pool.pool.abandon(connection)
        assert not any("_reclaim" in str(one.get_coro()) for one in asyncio.all_tasks())
