"""Opening connections: what is in force on them, and what is said when there is none to be had."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from rowgate.errors import ConnectFailed, DatabaseError, ProtocolViolation, RowgateError, ServerStarting
from rowgate.postgres.execution import execute, execute_alone
from rowgate.postgres.opening import Login, Opener, exposed_role_settings
from rowgate.postgres.pool import Pool
from rowgate.postgres.target import Target
from tests.database.pools import Exposed, eventually, failure, order, table
from tests.ports import reserve
from tests.servers import Embedded18, PlainPostgres, plain_postgres, unique_name

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANYBODY = Login("anybody", "hunter2", "anything", {})


@pytest.fixture
def own_server() -> Iterator[PlainPostgres]:
    """A server that the test may stop."""
    with plain_postgres() as server:
        yield server


async def refusal(opener: Opener, login: Login) -> BaseException:
    """What opening a connection raises; the password is never in it."""
    problem = await failure(opener.open(login, lambda connection: None))
    assert login.password is not None
    assert login.password not in repr(problem) + repr(vars(problem)) + repr(login)
    return problem


# --- what is in force -----------------------------------------------------------------------------------------


SESSION = (
    "select session_user, current_user, current_setting('search_path'), current_setting('statement_timeout'), "
    "current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), "
    "current_setting('row_security'), current_setting('standard_conforming_strings'), "
    "current_setting('client_encoding')"
)


@pytest.mark.parametrize("reset", ["RESET ALL", "DISCARD ALL", "RESET ROLE", "RESET SESSION AUTHORIZATION"])
async def test_the_settings_of_the_start_survive_a_reset(exposed: Exposed, reset: str) -> None:
    expected = (exposed.login_name, exposed.role, "public", "12s", "12s", "12s", "on", "on", "UTF8")
    async with exposed.pool(size=1, server_timeout=12) as pool:
        assert await pool.run(SESSION) == [[expected]]
        backend = await pool.process_id()
        await pool.run("set statement_timeout = 0", "set lock_timeout = 0", "set row_security = off")
        assert (await pool.run(SESSION))[0][0][3:7] == ("0", "0", "12s", "off")
        await pool.run(reset)
        found = (await pool.run(SESSION))[0][0]
        assert await pool.process_id() == backend
        if reset.endswith(" ALL"):
            assert found == expected
        else:
            assert found[:2] == expected[:2]


async def test_the_settings_of_the_start_beat_those_of_the_login_role(exposed: Exposed) -> None:
    role = sql.Identifier(exposed.login_name)
    for setting, value in (("search_path", "evil"), ("statement_timeout", "0"), ("role", "none")):
        exposed.admin.execute(sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(setting), value))
    try:
        async with exposed.pool(server_timeout=12) as pool:
            ((row,),) = await pool.run(SESSION)
    finally:
        exposed.admin.execute(sql.SQL("ALTER ROLE {} RESET ALL").format(role))
    assert row[:4] == (exposed.login_name, exposed.role, "public", "12s")


@pytest.mark.parametrize("name", ["two words", "back\\slash", 'quo"te', "it's", "a,b", "Großes Ü", "-c", "x=y"])
async def test_a_role_of_any_name_can_be_exposed(exposed: Exposed, name: str) -> None:
    role = unique_name(name)
    exposed.admin.execute(
        sql.SQL("CREATE ROLE {} ROLE {}").format(sql.Identifier(role), sql.Identifier(exposed.login_name))
    )
    try:
        settings = exposed_role_settings(role, search_path='"odd schema", public', statement_timeout_ms=30_000)
        login = replace(exposed.login(), settings=settings)
        work = order("select current_user, current_setting('search_path')")
        results = await execute_alone(exposed.opener(), login, work, 5.0)
        assert table(results) == [[(role, '"odd schema", public')]]
    finally:
        exposed.admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_a_local_socket_serves_and_takes_cancels(exposed: Exposed) -> None:
    server = exposed.server
    folder = server.socket_folder if isinstance(server, Embedded18) else getattr(server, "folder", None)
    target = exposed.target(host=str(folder))
    assert target.is_socket
    async with exposed.pool(size=1, target=target) as pool:
        assert await pool.value("select inet_client_addr()") is None
        task = asyncio.create_task(pool.run("select pg_sleep(30)"))
        await pool.running("pg_sleep")
        task.cancel()
        await eventually(lambda: all(one.state != "active" for one in pool.backends()), 1.0)
        assert await pool.value("select 1") == "1"
        assert task.cancelled()


# --- the server says no ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sqlstate"),
    [
        ({"password": "not this one"}, "28P01"),
        ({"user": "nobody_of_this_name"}, "28P01"),
        ({"database": "no_such_database"}, "3D000"),
        ({"settings": {"options": "-c role=no_such_role"}}, "22023"),
        ({"settings": {"no_such_setting": "1"}}, "42704"),
    ],
)
async def test_what_postgres_refuses_is_its_own_error(exposed: Exposed, change: dict, sqlstate: str) -> None:
    problem = await refusal(exposed.opener(), replace(exposed.login(), **change))
    assert isinstance(problem, DatabaseError)
    assert problem.database_sqlstate == sqlstate


async def test_a_role_of_others_cannot_be_taken(exposed: Exposed) -> None:
    problem = await refusal(exposed.opener(), replace(exposed.login(), settings={"options": "-c role=postgres"}))
    assert isinstance(problem, DatabaseError)
    assert problem.database_sqlstate == "42501"


async def test_a_login_without_its_password_is_told_so(exposed: Exposed) -> None:
    login = replace(exposed.login(), password=None)
    problem = await failure(exposed.opener().open(login, lambda connection: None))
    assert isinstance(problem, ConnectFailed)
    assert "password" in problem.message


async def test_too_many_connections_of_the_login_are_its_own_error(exposed: Exposed) -> None:
    role = sql.Identifier(exposed.login_name)
    exposed.admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 1").format(role))
    try:
        async with exposed.pool(size=1) as pool:
            assert await pool.value("select 1") == "1"
            problem = await refusal(exposed.opener(), exposed.login())
    finally:
        exposed.admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(role))
    assert isinstance(problem, DatabaseError)
    assert problem.database_sqlstate == "53300"


# --- nobody there, or somebody else ---------------------------------------------------------------------------


def opener_to(port: int, connect_timeout: float = 0.3) -> Opener:
    target = Target.parse(f"host=127.0.0.1 port={port} user=x sslmode=disable")
    return Opener(target, connect_timeout, max_result_bytes=1_000_000)


@asynccontextmanager
async def listener(answer: Answer) -> AsyncIterator[int]:
    """A server of the test's own; gives its port. At the end every connection to it must have been closed."""
    port = reserve()
    open_ones: list[asyncio.StreamReader] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(reader)
        try:
            await answer(reader, writer)
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass  # closed by a reset
        finally:
            writer.close()
            open_ones.remove(reader)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        yield port
        await eventually(lambda: not open_ones)


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes the connection and says nothing."""


async def goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes at once."""
    writer.close()


async def goodbye_after_the_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes when the startup packet has come."""
    await reader.read(4)
    writer.close()


async def half_a_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Breaks off inside the first message."""
    await reader.read(4)
    writer.write(b"R\0\0\0\x08\0\0")
    await writer.drain()
    writer.close()


async def another_protocol(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers as a web server does."""
    await reader.read(4)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def starting_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuses as Postgres does while it recovers."""
    await reader.read(4)
    fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"
    writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
    await writer.drain()
    writer.close()


async def test_a_server_that_is_down() -> None:
    started = time.monotonic()
    problem = await refusal(opener_to(reserve(), connect_timeout=5), ANYBODY)
    assert isinstance(problem, ConnectFailed)
    assert time.monotonic() - started < 2
    assert (problem.status, problem.sqlstate) == (503, "08001")


async def test_a_name_that_no_server_has() -> None:
    target = Target.parse("host=no-such-host.invalid user=x sslmode=disable")
    opener = Opener(target, connect_timeout=5.0, max_result_bytes=1000)
    assert isinstance(await refusal(opener, ANYBODY), ConnectFailed)


async def test_a_listener_that_never_answers_costs_the_connect_timeout() -> None:
    async with listener(silence) as port:
        started = time.monotonic()
        problem = await refusal(opener_to(port, connect_timeout=0.3), ANYBODY)
        assert 0.3 <= time.monotonic() - started < 2
    assert isinstance(problem, ConnectFailed)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (goodbye, ConnectFailed),
        (goodbye_after_the_greeting, ConnectFailed),
        (half_a_message, ConnectFailed),
        (another_protocol, ProtocolViolation),
        (starting_up, ServerStarting),
    ],
)
async def test_listeners_that_are_no_server(answer: Answer, expected: type[RowgateError]) -> None:
    async with listener(answer) as port:
        problem = await refusal(opener_to(port, connect_timeout=5), ANYBODY)
    assert type(problem) is expected
    assert problem.status == 503


async def test_opening_that_nobody_waits_for_any_more_is_ended() -> None:
    async with listener(silence) as port:
        task = asyncio.create_task(opener_to(port, connect_timeout=30).open(ANYBODY, lambda connection: None))
        done, _ = await asyncio.wait([task], timeout=0.1)
        assert not done
        task.cancel()
        assert isinstance(await failure(task), asyncio.CancelledError)


# --- a server that goes and comes back ------------------------------------------------------------------------


def superuser(server: PlainPostgres) -> tuple[Opener, Login]:
    """The superuser's way into a server without any database of the tests."""
    given = conninfo_to_dict(server.conninfo())
    opener = Opener(Target.parse(server.conninfo()), connect_timeout=5.0, max_result_bytes=1_000_000)
    return opener, Login("postgres", str(given["password"]), "postgres", {})


async def test_a_server_that_is_stopping_says_so(own_server: PlainPostgres) -> None:
    opener, login = superuser(own_server)
    postmaster = int((own_server.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    stays = psycopg.connect(own_server.conninfo())
    # In the smart shutdown nobody new is let in, and those who are there may stay.
    os.kill(postmaster, signal.SIGTERM)
    try:
        problem = await refusal_after(opener, login, signal_sent_at=time.monotonic())
        assert isinstance(problem, ServerStarting)
        assert (problem.status, problem.sqlstate) == (503, "57P03")
    finally:
        stays.close()


async def refusal_after(opener: Opener, login: Login, *, signal_sent_at: float) -> BaseException:
    """The first refusal: the server takes a moment to notice its signal."""
    while True:
        try:
            connection = await opener.open(login, lambda connection: None)
        except RowgateError as problem:
            return problem
        connection.terminate()
        assert time.monotonic() < signal_sent_at + 5


async def test_requests_wait_for_a_server_that_restarts(own_server: PlainPostgres) -> None:
    opener, login = superuser(own_server)
    pool = Pool(opener, login, size=2, queue_length=10, queue_timeout=10, statement_timeout=10, statement_cache_size=0)
    try:
        assert table(await execute(pool, order("select 1"))) == [[("1",)]]
        await asyncio.to_thread(own_server.stop)
        await eventually(lambda: pool.counts == (0, 0, 0))
        waiting = [asyncio.create_task(execute(pool, order(f"select {number}"))) for number in range(5)]
        await eventually(lambda: pool.counts == (0, 0, 5))
        await asyncio.to_thread(own_server.start)
        served = await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert [table(results) for results in served] == [[[(str(number),)]] for number in range(5)]
    finally:
        await pool.close()


async def test_requests_do_not_wait_for_ever_for_a_server_that_is_down() -> None:
    pool = Pool(
        opener_to(reserve(), 0.3),
        ANYBODY,
        size=2,
        queue_length=10,
        queue_timeout=10,
        statement_timeout=10,
        statement_cache_size=0,
    )
    try:
        problems = await asyncio.gather(*(failure(execute(pool, order("select 1"))) for _ in range(5)))
        assert all(isinstance(problem, ConnectFailed) for problem in problems)
        assert pool.counts == (0, 0, 0)
    finally:
        await pool.close()
