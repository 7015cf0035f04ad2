"""Quick reads that stand behind each other on one backend: nobody gets another's answer, error or delay."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

import rowgate.postgres.lanes
from rowgate.errors import ConnectionLost, DatabaseError, ResultTooLarge
from rowgate.gateway.limits import Limits, party_of
from rowgate.gateway.meter import Meter
from rowgate.gateway.sessions.session import Session
from rowgate.gateway.sessions.shared_reads import SharedReads
from rowgate.gateway.sessions.state import SessionState
from rowgate.guard import CLIENT, FunctionCatalog, Guard
from rowgate.identity.principal import Principal
from rowgate.pgwire import messages
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol
from rowgate.pgwire.server.requests import Query
from rowgate.postgres.connection import Connection
from rowgate.postgres.exchange import Outcome
from rowgate.postgres.execution import execute
from rowgate.postgres.lanes import LANE_LENGTH, LANE_LENGTH_AT_ANY_PACE
from rowgate.postgres.turns import Overtaken
from rowgate.settings import Settings
from tests.database.pools import Exposed, OpenPool, Order, eventually, failure, order, statement, table

ALICE = Principal(
    subject="alice", claims_json=b"{}", provider="p", issuer="https://p.example", roles=("authenticated",),
    expires_at=2e10,
)  # fmt: skip
WHO = "select $1::text, pg_backend_pid()::text"
SLEEP = "select pg_sleep($1::float8)::text, $2::text"
BOOM = "select (1 / $1::int)::text"
LONG = "select repeat('x', $1::int)"


def read(text: str, *parameters: str) -> Order:
    return Order([statement(text, *parameters)], only_reads=True)


async def who(opened: OpenPool, name: str) -> tuple[str | None, ...]:
    ((row,),) = table(await execute(opened.pool, read(WHO, name)))
    return row


@asynccontextmanager
async def lanes(exposed: Exposed, size: int = 1) -> AsyncIterator[OpenPool]:
    """A pool to which all the texts above are known to be quick."""
    async with exposed.pool(size=size, queue_length=2000) as opened:
        await learn(opened, (WHO, "first"), (SLEEP, "0", ""), (BOOM, "1"), (LONG, "1"))
        yield opened


async def learn(opened: OpenPool, *reads: tuple[str, ...]) -> None:
    """Runs texts until the pool knows them as quick, which may take a while on a busy machine."""
    deadline = time.monotonic() + 30
    for text, *parameters in reads:
        while not opened.pool.texts.are_quick([statement(text)]):
            assert time.monotonic() < deadline
            await execute(opened.pool, read(text, *parameters))


def run_on(opened: OpenPool, connection: Connection) -> asyncio.Future[Outcome]:
    return connection.run(read(WHO, "x").statements, keep=opened.pool.texts.is_repeated)


async def slow(opened: OpenPool, seconds: str = "2") -> asyncio.Task[object]:
    """A statement that was quick until now, running."""
    task: asyncio.Task[object] = asyncio.ensure_future(execute(opened.pool, read(SLEEP, seconds, "")))
    await eventually(lambda: any(one.state == "active" for one in opened.backends()))
    return task


async def test_many_share_one_backend_and_each_gets_its_own_answer(exposed: Exposed) -> None:
    async with lanes(exposed) as opened:
        rows = await asyncio.gather(*(who(opened, f"user {number}") for number in range(200)))
        assert [name for name, _ in rows] == [f"user {number}" for number in range(200)]
        assert len({backend for _, backend in rows}) == 1
        assert opened.pool.counts == (1, 1, 0)


@pytest.mark.parametrize(("pace", "length"), [(0.00005, LANE_LENGTH), (0.004, LANE_LENGTH_AT_ANY_PACE)])
async def test_a_lane_is_no_longer_than_its_length(
    exposed: Exposed, monkeypatch: pytest.MonkeyPatch, pace: float, length: int
) -> None:
    async with lanes(exposed) as opened:
        opened.pool._idle[0].turns.pace = pace
        monkeypatch.setattr(rowgate.postgres.lanes, "PATIENCE_SECONDS", 60.0)
        taken = [opened.pool.take(shares=True)]
        connection = taken[0]
        assert connection is not None
        running = [run_on(opened, connection)]
        while (one := opened.pool.take(shares=True)) is not None:
            taken.append(one)
            running.append(run_on(opened, one))
        assert taken == [connection] * length
        assert opened.pool.take() is None
        await asyncio.gather(*running)
        for _ in taken:
            opened.pool.release(connection)
        assert opened.pool.counts == (1, 1, 0)


@pytest.mark.parametrize(("pace", "backends"), [(0.00005, 1), (0.002, 2)])
async def test_brisk_reads_stand_behind_each_other_while_other_backends_are_idle(
    exposed: Exposed, pace: float, backends: int
) -> None:
    async with lanes(exposed, size=2) as opened:
        held = [await opened.pool.acquire() for _ in range(2)]
        for one in held:
            one.turns.pace = pace
            opened.pool.release(one)
        taken = [opened.pool.take(shares=True)]
        assert taken[0] is not None
        running = [run_on(opened, taken[0])]
        taken.append(opened.pool.take(shares=True))
        assert taken[1] is not None
        assert len(set(taken)) == backends
        running.append(run_on(opened, taken[1]))
        await asyncio.gather(*running)
        for lane in taken:
            assert lane is not None
            opened.pool.release(lane)


async def test_nobody_waits_behind_something_slow(exposed: Exposed) -> None:
    async with lanes(exposed, size=2) as opened:
        running = asyncio.ensure_future(execute(opened.pool, read(SLEEP, "2", "")))
        started = time.monotonic()
        rows = await asyncio.gather(*(who(opened, str(number)) for number in range(LANE_LENGTH - 1)))
        assert [name for name, _ in rows] == [str(number) for number in range(LANE_LENGTH - 1)]
        assert time.monotonic() - started < 1.5
        assert not running.done()
        await running
        await eventually(lambda: opened.pool.counts[1:] == (2, 0))


async def test_an_error_is_one_requests_alone(exposed: Exposed) -> None:
    async with lanes(exposed) as opened:
        results = await asyncio.gather(
            *(execute(opened.pool, read(BOOM, str(number % 3))) for number in range(60)), return_exceptions=True
        )
        for number, result in enumerate(results):
            if number % 3:
                assert not isinstance(result, BaseException)
                assert table(result) == [[(str(1 // (number % 3)),)]]
            else:
                assert isinstance(result, DatabaseError)
                assert result.database_sqlstate == "22012"


async def test_an_answer_that_is_too_large_costs_the_others_nothing(exposed: Exposed) -> None:
    async with lanes(exposed, size=2) as opened:
        large = asyncio.ensure_future(failure(execute(opened.pool, read(LONG, "5000000"))))
        rows = await asyncio.gather(*(who(opened, str(number)) for number in range(5)))
        assert [name for name, _ in rows] == ["0", "1", "2", "3", "4"]
        assert isinstance(await large, ResultTooLarge)


async def test_a_killed_backend_fails_the_first_and_the_others_run_elsewhere(exposed: Exposed) -> None:
    async with lanes(exposed) as opened:
        (backend,) = opened.backends()
        first = asyncio.ensure_future(failure(execute(opened.pool, read(SLEEP, "5", ""))))
        others = [asyncio.ensure_future(who(opened, str(number))) for number in range(4)]
        await eventually(lambda: any(one.state == "active" for one in opened.backends()))
        exposed.admin.execute("select pg_terminate_backend(%s)", [backend.process_id])
        problem = await first
        assert isinstance(problem, ConnectionLost) or getattr(problem, "database_sqlstate", "") == "57P01"
        assert [(await one)[0] for one in others] == ["0", "1", "2", "3"]
        assert opened.pool.counts == (1, 1, 0)


async def test_a_sessions_shared_read_whose_backend_dies_is_to_run_elsewhere(exposed: Exposed) -> None:
    """The server's last word comes without ReadyForQuery: were it passed on, the client would wait for ever."""
    protocol = ConnectionProtocol()
    protocol.receive(messages.startup({"user": "u"}))
    protocol.authenticated()
    (query,) = protocol.receive(messages.query(b"select count(*) from generate_series(1, 20000000000)"))
    assert isinstance(query, Query)
    (judged,) = Guard(CLIENT, FunctionCatalog.default()).check_session(query.sql.decode())
    reads = SharedReads(SessionState(), lambda sql: (judged,), lambda: None)
    async with lanes(exposed) as opened:
        reading = asyncio.ensure_future(reads.run(opened.pool, [query], judged, lambda error, slot: b""))
        backend = await opened.running("20000000000")
        exposed.admin.execute("select pg_terminate_backend(%s)", [backend.process_id])
        with pytest.raises(Overtaken):
            await reading


async def test_a_requester_that_leaves_takes_its_statement_along_and_nobody_elses(exposed: Exposed) -> None:
    async with lanes(exposed, size=2) as opened:
        leaving = await slow(opened, "30")
        others = [asyncio.ensure_future(who(opened, str(number))) for number in range(5)]
        await asyncio.sleep(0)
        leaving.cancel()
        assert [(await one)[0] for one in others] == ["0", "1", "2", "3", "4"]
        await eventually(lambda: all(one.state == "idle" for one in opened.backends()), seconds=2.0)
        await eventually(lambda: opened.pool.counts[0] == opened.pool.counts[1])


async def test_whoever_must_go_elsewhere_is_not_refused_by_a_full_queue(exposed: Exposed) -> None:
    async with exposed.pool(size=1, queue_length=1) as opened:
        await learn(opened, (WHO, "first"), (SLEEP, "0", ""))
        tasks = [asyncio.ensure_future(execute(opened.pool, read(SLEEP, "0.2", "")))]
        tasks += [asyncio.ensure_future(execute(opened.pool, read(WHO, str(number)))) for number in range(6)]
        assert [table(await one)[0][0][0] for one in tasks[1:]] == ["0", "1", "2", "3", "4", "5"]


async def test_one_who_leaves_from_behind_disturbs_nobody_and_leaves_nothing_running(exposed: Exposed) -> None:
    async with lanes(exposed) as opened:
        tasks = [asyncio.ensure_future(who(opened, "first")),
                 asyncio.ensure_future(execute(opened.pool, read(SLEEP, "30", ""))),
                 asyncio.ensure_future(who(opened, "last"))]  # fmt: skip
        await asyncio.sleep(0)
        tasks[1].cancel()
        assert (await tasks[0])[0] == "first"
        assert (await tasks[2])[0] == "last"
        await eventually(lambda: all(one.state == "idle" for one in opened.backends()), seconds=2.0)
        await eventually(lambda: opened.pool.counts[1] == 1)


async def test_all_of_them_may_leave_at_once(exposed: Exposed) -> None:
    async with lanes(exposed, size=2) as opened:
        tasks = [asyncio.ensure_future(execute(opened.pool, read(SLEEP, "30", str(number)))) for number in range(12)]
        await eventually(lambda: sum(one.state == "active" for one in opened.backends()) == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await eventually(lambda: all(one.state == "idle" for one in opened.backends()), seconds=3.0)
        assert (await who(opened, "after"))[0] == "after"


async def test_a_session_that_was_changed_serves_nobody_behind(exposed: Exposed) -> None:
    changing = "select set_config('TimeZone', $1, false), pg_backend_pid()::text"
    async with lanes(exposed, size=2) as opened:
        await learn(opened, (changing, "UTC"))
        zone = "select current_setting('TimeZone') || $1"
        before = await opened.value("select current_setting('TimeZone')")
        await learn(opened, (zone, ""))
        tasks = [asyncio.ensure_future(execute(opened.pool, read(changing, "Asia/Tokyo")))]
        tasks += [asyncio.ensure_future(execute(opened.pool, read(zone, ""))) for _ in range(6)]
        answers = [table(await one) for one in tasks]
        assert [rows for ((rows,),) in answers[1:]] == [(before,)] * 6


async def test_writes_and_unknown_texts_have_a_backend_of_their_own(exposed: Exposed) -> None:
    async with lanes(exposed) as opened:
        running = await slow(opened, "0.3")
        started = time.monotonic()
        await asyncio.gather(opened.run("select 'new'"), execute(opened.pool, order("select 'not known to only read'")))
        assert time.monotonic() - started > 0.1
        assert running.done()


async def test_a_text_is_quick_no_longer_when_it_was_slow(exposed: Exposed) -> None:
    async with lanes(exposed) as opened:
        texts = opened.pool.texts
        assert texts.are_quick([statement(SLEEP)])
        await execute(opened.pool, read(SLEEP, "0.05", ""))
        assert not texts.are_quick([statement(SLEEP)])


async def test_a_hundred_rounds_of_everything_at_once(exposed: Exposed) -> None:
    """Reads, errors, leavers and slow ones in one pool: every answer is right, and no backend is lost."""
    async with lanes(exposed, size=3) as opened:

        async def one(number: int) -> None:
            name = str(number)
            if number % 10 == 3:
                assert isinstance(await failure(execute(opened.pool, read(BOOM, "0"))), DatabaseError)
            elif number % 10 == 5:
                task = asyncio.ensure_future(who(opened, name))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            elif number % 50 == 7:
                await execute(opened.pool, read(SLEEP, "0.03", name))
            else:
                assert (await who(opened, name))[0] == name

        await asyncio.gather(*(one(number) for number in range(1000)))
        await eventually(lambda: opened.pool.counts[0] == opened.pool.counts[1] and not opened.pool.counts[2])


async def test_a_connection_that_goes_as_a_session_takes_it_costs_the_subject_nothing(exposed: Exposed) -> None:
    """Between the hand-over and its first use it may close; its place, and the session's, must not stay taken."""
    limits = Limits(Settings())
    async with exposed.pool(size=2) as opened:
        await opened.run("select 1")
        database = SimpleNamespace(
            guard=None, name="app", endpoint="", pool=lambda role: opened.pool, row_security=None,
        )  # fmt: skip
        stream = SimpleNamespace(
            gone=asyncio.get_running_loop().create_future(), write=lambda data: None, silent_since=None,
            unread_since=None,
        )  # fmt: skip
        session = Session(
            stream, ConnectionProtocol(), database, "authenticated", ALICE, (),  # type: ignore[arg-type]
            limits=limits, settings=Settings(), meter=Meter(), parameters={},
        )  # fmt: skip
        (idle,) = opened.pool._idle
        assert idle._transport is not None
        idle._transport.close()
        backend = await session._hold()
        assert backend.connection is not idle
        assert backend.connection.party == party_of(ALICE)
        assert len(opened.pool.holdings) == 1
        session._let_go()
        session._lease.close()
        assert not opened.pool.holdings
        assert limits._subjects._under_way == {}
