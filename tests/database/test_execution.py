"""One request on a pool: one transaction, a clear answer, and nothing of it left for the next request."""

import asyncio

import psycopg
import pytest

from rowgate.errors import ConnectionLost, DatabaseError, MalformedParameter, SetupIncomplete, UnsupportedStatement
from rowgate.postgres.exchange import Outcome, Step
from rowgate.postgres.execution import Order, _explain, execute, execute_alone
from rowgate.postgres.prepared_statements import MOST_LEFT
from tests.database.pools import Exposed, OpenPool, eventually, failure, order, statement, table
from tests.servers import unique_name

KEPT = "select count(*) from pg_prepared_statements where name like 'rowgate%'"


@pytest.fixture
async def notes(exposed: Exposed) -> str:
    """The name of a new table of the exposed role, with one column ``note``."""
    name = unique_name("notes")
    async with exposed.pool(size=1) as pool:
        await pool.run(f"create table {name} (note text)")
    return name


async def refused(pool: OpenPool, *texts: str, sqlstate: str, **options: object) -> DatabaseError:
    problem = await failure(pool.run(*texts, **options))
    assert isinstance(problem, DatabaseError)
    assert problem.database_sqlstate == sqlstate
    return problem


# --- one transaction ------------------------------------------------------------------------------------------


async def test_the_statements_of_a_request_share_one_transaction(exposed: Exposed) -> None:
    async with exposed.pool() as pool:
        first, second = await pool.run("select pg_current_xact_id()", "select pg_current_xact_id()")
        assert first == second
        assert await pool.run("select pg_current_xact_id()") != [first]


@pytest.mark.parametrize("begin", [None, b"BEGIN"])
async def test_an_error_takes_back_all_of_the_request(exposed: Exposed, notes: str, begin: bytes | None) -> None:
    async with exposed.pool(size=1) as pool:
        backend = await pool.process_id()
        await refused(
            pool,
            f"insert into {notes} values ('before')",
            "select 1 / 0",
            f"insert into {notes} values ('after')",
            sqlstate="22012",
            begin=begin,
        )
        assert await pool.run(f"select * from {notes}") == [[]]
        await pool.run(f"insert into {notes} values ('a')", f"insert into {notes} values ('b')", begin=begin)
        assert await pool.run(f"select * from {notes}") == [[("a",), ("b",)]]
        assert await pool.process_id() == backend


async def test_an_error_at_commit_is_the_requests_error(exposed: Exposed, notes: str) -> None:
    async with exposed.pool(size=1) as pool:
        await pool.run(f"alter table {notes} add constraint once unique (note) deferrable initially deferred")
        twice = [f"insert into {notes} values ('a')"] * 2
        for begin in (None, b"BEGIN"):
            await refused(pool, *twice, sqlstate="23505", begin=begin)
            assert await pool.run(f"select * from {notes}") == [[]]


async def test_an_explicit_transaction_has_its_own_characteristics(exposed: Exposed, notes: str) -> None:
    begin = b"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"
    show = [f"select current_setting('transaction_{one}')" for one in ("isolation", "read_only", "deferrable")]
    async with exposed.pool(size=1) as pool:
        assert await pool.run(*show, begin=begin) == [[("serializable",)], [("on",)], [("on",)]]
        await refused(pool, f"insert into {notes} values ('a')", sqlstate="25006", begin=begin)
        assert await pool.run(*show) == [[("read committed",)], [("off",)], [("off",)]]


@pytest.mark.parametrize(
    "texts",
    [("begin",), ("begin", "select 1"), ("begin", "select 1 / 0"), ("savepoint a",), ("begin", "commit and chain")],
)
async def test_nobody_gets_a_connection_in_a_transaction(exposed: Exposed, notes: str, texts: tuple[str, ...]) -> None:
    async with exposed.pool(size=1) as pool:
        for begin in (None, b"BEGIN"):
            await asyncio.gather(
                pool.run(*texts, f"insert into {notes} values ('left open')", begin=begin), return_exceptions=True
            )
            assert {one.state for one in pool.backends()} <= {"idle"}
            connection = await pool.pool.acquire()
            assert not connection.in_transaction
            pool.pool.release(connection)
            # Whatever was committed was committed by the statements themselves, never by the next request.
            seen = exposed.admin.execute(f"SELECT count(*) FROM {notes}".encode()).fetchone()
            assert await pool.value(f"select count(*) from {notes}") == str((seen or [None])[0])


# --- what comes back ------------------------------------------------------------------------------------------


async def test_values_nulls_and_parameters_cross_unchanged(exposed: Exposed) -> None:
    parameters = ["", None, "a\nb\t\\'\"", "ü€😀", "x" * 100_000]
    text = "select " + ", ".join(f"${number}::text" for number in range(1, 6))
    async with exposed.pool(size=1) as pool:
        for _ in range(3):  # unnamed, named, and from the cache
            results = await execute(pool.pool, Order([statement(text, *parameters)]))
            assert table(results) == [[tuple(parameters)]]


async def test_statements_that_give_no_rows(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        results = await execute(pool.pool, order("", "-- nothing", "select", "select where false"))
        assert [result.tag.rstrip(b"\0") for result in results] == [b"", b"", b"SELECT 1", b"SELECT 0"]
        assert table(results) == [[], [], [()], []]
        assert await pool.value("select 1") == "1"


@pytest.mark.parametrize(
    "text", ["select 1; select 2", "selec", "select $1::int", "select 'a", "select 1/0 from absent"]
)
async def test_an_error_leaves_the_connection_as_it_was(exposed: Exposed, text: str) -> None:
    async with exposed.pool(size=1) as pool:
        backend = await pool.process_id()
        for _ in range(3):
            assert isinstance(await failure(pool.run(text)), DatabaseError)
            assert await pool.process_id() == backend


async def test_a_statement_that_cannot_be_sent_harms_nobody(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        for work in (statement("select 1\0"), statement("select $1::text", *["x"] * 70_000)):
            assert isinstance(await failure(execute(pool.pool, Order([work]))), MalformedParameter)
            assert await pool.value("select 1") == "1"


# --- COPY -----------------------------------------------------------------------------------------------------


async def test_copy_to_stdout_is_refused(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        for _ in range(3):
            problem = await failure(pool.run("copy (select generate_series(1, 1000)) to stdout"))
            assert isinstance(problem, UnsupportedStatement)
            assert await pool.value("select 7") == "7"


@pytest.mark.parametrize("begin", [None, b"BEGIN"])
@pytest.mark.parametrize("following", [(), ("select 'mine'",), ("select 'mine'", "select 'and mine'")])
async def test_copy_from_stdin_is_refused_and_shifts_no_answer(
    exposed: Exposed, notes: str, begin: bytes | None, following: tuple[str, ...]
) -> None:
    async with exposed.pool(size=1) as pool:
        for _ in range(3):
            problem = await failure(pool.run(f"copy {notes} from stdin", *following, begin=begin))
            assert isinstance(problem, DatabaseError | ConnectionLost)
            answers = await asyncio.gather(*(pool.value("select $1::text", str(number)) for number in range(10)))
            assert answers == [str(number) for number in range(10)]
        assert await pool.run(f"select * from {notes}") == [[]]


# --- what changes a session -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "set timezone = 'Asia/Tokyo'",
        "set client_encoding = 'LATIN1'",
        "set standard_conforming_strings = off",
        "select set_config('DateStyle', 'German', false)",
        "do $$ begin raise sqlstate '53200'; end $$",
        "do $$ begin raise sqlstate 'XX000'; end $$",
        "select pg_notify('a_channel', 'x') from (select 1) as one",
    ],
)
async def test_what_costs_a_connection_its_life(exposed: Exposed, text: str) -> None:
    async with exposed.pool(size=1) as pool:
        await pool.run("listen a_channel")
        backend = await pool.process_id()
        await asyncio.gather(pool.run(text), return_exceptions=True)
        settings = (
            "select current_setting('timezone'), current_setting('client_encoding'), current_setting('datestyle')"
        )
        assert (await pool.run(settings))[0][0][1:] == ("UTF8", "ISO, MDY")
        assert await pool.process_id() != backend


async def test_a_notification_ends_an_idle_connection(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        await pool.run("listen a_channel")
        exposed.admin.execute("NOTIFY a_channel")
        await eventually(lambda: pool.pool.counts == (0, 0, 0))
        assert await pool.run("select pg_listening_channels()") == [[]]


async def test_a_notice_costs_nothing(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        backend = await pool.process_id()
        await pool.run("do $$ begin raise warning 'careful'; end $$")
        assert await pool.process_id() == backend


STATE = (
    "select (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())",
    "select (select count(*) from pg_prepared_statements where name = 'left_behind')",
    "select to_regclass('pg_temp.left_behind')",
    "select coalesce(current_setting('left.behind', true), '')",
    "select count(*) from pg_listening_channels()",
    "select count(*) from pg_cursors where is_holdable",
)
LEAVE = (
    "select pg_advisory_lock(4711)",
    "prepare left_behind as select 1",
    "create temp table left_behind ()",
    "select set_config('left.behind', 'alice', false)",
    "listen left_behind",
    "declare left_behind cursor with hold for select 1",
)


@pytest.mark.parametrize("ending", [(), ("select 1 / 0",)])
async def test_discard_after_leaves_nothing_in_the_session(exposed: Exposed, ending: tuple[str, ...]) -> None:
    async with exposed.pool(size=1) as pool:
        backend = await pool.process_id()
        for _ in range(3):
            work = asyncio.create_task(asyncio.wait_for(pool.run(*LEAVE, *ending, discard_after=True), 10))
            # These wait for the connection, and get it only when it is clean.
            following = [asyncio.create_task(pool.run(*STATE)) for _ in range(3)]
            await asyncio.gather(work, return_exceptions=True)
            assert isinstance(work.exception(), DatabaseError if ending else type(None))
            for state in await asyncio.gather(*following):
                assert state == [[("0",)], [("0",)], [(None,)], [("",)], [("0",)], [("0",)]]
        assert await pool.process_id() == backend


# --- prepared statements --------------------------------------------------------------------------------------


async def test_a_text_is_kept_prepared_when_it_comes_again(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        assert [await pool.value(KEPT) for _ in range(4)] == ["0", "1", "1", "1"]
        huge = "select 1 -- " + "x" * 20_000
        for _ in range(4):
            await pool.run(huge)
        assert await pool.value(KEPT) == "1"


@pytest.mark.parametrize("cache_size", [0, 1, 5])
async def test_the_number_of_prepared_statements_is_bounded(exposed: Exposed, cache_size: int) -> None:
    async with exposed.pool(size=1, cache_size=cache_size) as pool:
        for _ in range(3):
            for number in range(30):
                assert await pool.run(f"select {number}", f"select -{number}") == [[(str(number),)], [(str(-number),)]]
        # What has been pushed out is closed with the next exchange.
        counts = [int(await pool.value(KEPT) or 0) for _ in range(4)]
        assert counts[-1] <= cache_size


async def test_what_other_backends_leave_of_their_room_a_busy_one_may_have(exposed: Exposed) -> None:
    """Twelve for three of them."""
    async with exposed.pool(size=3, cache_size=4) as pool:
        mine, others = [f"select {number}" for number in range(12)], [f"select -{number}" for number in range(12)]
        for text in mine * 2:
            await pool.run(text)
        assert await pool.value(KEPT) == "12" == str(pool.pool.prepared)
        busy = await pool.pool.acquire()
        for text in others * 2:
            await pool.run(text)
        assert await pool.value(KEPT + " and true") == "12" == str(pool.pool.prepared)
        other = await pool.pool.acquire()
        assert not busy.prepared.has_many_left
        pool.pool.release(busy)
        await pool.run(mine[0])
        assert await pool.value(KEPT + " and 1 = 1") == "1"
        pool.pool.release(other)


async def test_whoever_waits_for_a_connection_is_sent_before_the_answer_ahead_of_it_is_used(exposed: Exposed) -> None:
    """So the backend has its next statement while the gateway still writes."""
    async with exposed.pool(size=1) as pool:
        process_id = await pool.process_id()
        connection = await pool.pool.acquire()

        async def first() -> bool:
            assert await pool.process_id() == process_id
            return connection.is_running

        asked = asyncio.create_task(first())
        waiting = asyncio.create_task(pool.run("select pg_sleep(0.1)"))
        await eventually(lambda: pool.pool.counts[2] == 2)
        pool.pool.release(connection)
        assert await asked
        await waiting


async def test_an_idle_backend_closes_what_it_has_lost(exposed: Exposed) -> None:
    size = MOST_LEFT
    async with exposed.pool(size=2, cache_size=size // 2) as pool:
        for text in [f"select {number}" for number in range(size)] * 2:
            await pool.run(text)
        left = await pool.pool.acquire()
        for text in [f"select -{number}" for number in range(size)] * 2:
            await pool.run(text)
        assert left.prepared.has_many_left
        pool.pool.release(left)
        await eventually(lambda: not left.prepared.has_many_left and left.is_idle)
        other = await pool.pool.acquire()  # the one that was used last
        assert other is left
        assert (await other.run([statement(KEPT)], keep=lambda _: False)).results
        pool.pool.release(other)
        assert await pool.value(KEPT) == "0"


async def test_no_error_shows_the_name_of_a_prepared_statement(exposed: Exposed) -> None:
    async with exposed.pool(size=1) as pool:
        for _ in range(3):
            assert await pool.value("select $1::int", "5") == "5"
        for parameters in ((), ("5", "6"), ("no number",)):
            problem = await failure(pool.value("select $1::int", *parameters))
            assert isinstance(problem, DatabaseError)
            assert "rowgate_" not in str(problem.fields)


@pytest.mark.parametrize("begin", [None, b"BEGIN"])
async def test_a_changed_table_does_not_break_statements_that_are_kept(
    exposed: Exposed, notes: str, begin: bytes | None
) -> None:
    select, insert = f"select * from {notes}", f"insert into {notes} (note) values ('x')"
    async with exposed.pool(size=1) as pool:
        for _ in range(3):
            await pool.run(insert, select, begin=begin)
        backend = await pool.process_id()
        exposed.admin.execute(f"ALTER TABLE {notes} ADD COLUMN more int DEFAULT 9".encode())
        assert await pool.run(insert, select, begin=begin) == [[], [("x", "9")] * 4]
        exposed.admin.execute(f"ALTER TABLE {notes} ALTER COLUMN more TYPE text USING 'nine'".encode())
        assert (await pool.run(insert, select, begin=begin))[1][0] == ("x", "nine")
        assert len((await pool.run(select))[0]) == 5
        assert await pool.process_id() == backend


@pytest.mark.parametrize("begin", [None, b"BEGIN"])
@pytest.mark.parametrize("gone", ["deallocate all", "discard all"])
async def test_statements_that_were_deallocated_are_prepared_again(
    exposed: Exposed, begin: bytes | None, gone: str
) -> None:
    async with exposed.pool(size=1) as pool:
        for _ in range(3):
            assert await pool.run("select 1", "select 2", begin=begin) == [[("1",)], [("2",)]]
            backend = await pool.process_id()
        await pool.run(gone)
        for _ in range(3):
            assert await pool.run("select 1", "select 2", begin=begin) == [[("1",)], [("2",)]]
            assert await pool.process_id() == backend


async def test_an_error_of_the_statement_itself_is_not_taken_for_a_stale_plan(exposed: Exposed, notes: str) -> None:
    """Its SQLSTATE is the same, so it may run once more; its writes are taken back both times."""
    insert = f"insert into {notes} values ('a')"
    fails_at_three = (
        f"do $$ begin if (select count(*) from {notes}) = 3 then "
        "raise sqlstate '0A000' using message = 'not a third time'; end if; end $$"
    )
    async with exposed.pool(size=1) as pool:
        for _ in range(2):
            await pool.run(insert, fails_at_three)
        for _ in range(3):
            problem = await refused(pool, insert, fails_at_three, sqlstate="0A000")
            assert problem.message == "not a third time"
            assert await pool.run(f"select * from {notes}") == [[("a",), ("a",)]]


# --- without a pool -------------------------------------------------------------------------------------------


async def test_a_connection_for_one_request_alone(exposed: Exposed, notes: str) -> None:
    name = unique_name("alone")
    login = exposed.login(name)
    insert = order(f"insert into {notes} values ('a')", "select current_user")
    assert table(await execute_alone(exposed.opener(), login, insert, 5.0)) == [[], [(exposed.role,)]]
    problem = await failure(execute_alone(exposed.opener(), login, order(f"delete from {notes}", "select 1 / 0"), 5.0))
    assert isinstance(problem, DatabaseError)
    problem = await failure(execute_alone(exposed.opener(), login, order("copy (select 1) to stdout"), 5.0))
    assert isinstance(problem, UnsupportedStatement)
    open_end = order("begin", f"delete from {notes}")
    await execute_alone(exposed.opener(), login, open_end, 5.0)
    await eventually(lambda: not exposed.backends(name))
    with psycopg.connect(exposed.server.conninfo(exposed.database)) as admin:
        assert admin.execute(f"SELECT * FROM {notes}".encode()).fetchall() == [("a",)]


# --- the identity ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sqlstate", "is_refusal"),
    [("28000", True), ("42883", True), ("3F000", True), ("57P01", False), ("57014", False), ("53200", False)],
)
def test_what_fails_while_the_identity_is_set_need_not_be_its_fault(sqlstate: str, is_refusal: bool) -> None:
    """A server that goes down meets whatever runs; only a refusal says that set-up is not complete."""
    error = DatabaseError({"C": sqlstate, "M": "as the server would say it"})
    problem = _explain(Outcome([], error, Step("context")), error, expired=False)
    assert isinstance(problem, SetupIncomplete) == is_refusal
    assert is_refusal or problem is error
