"""Clients of the Postgres wire with a token as password: who they are, for the whole session, whatever they send."""

import asyncio
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import psycopg
import pytest

from tests.clients.session_stack import SERVERS, Sessions, sessions_on
from tests.clients.stack import start


@pytest.fixture(scope="module", params=SERVERS)
def sessions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    folder = tmp_path_factory.mktemp("sessions")
    with sessions_on(request.param, request, folder, ROWGATE_TOKEN_LEEWAY_SECONDS="0") as running:
        yield running


def connect(url: str, **options: object) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url, autocommit=True, **options)  # type: ignore[arg-type]


def me(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    return (connection.execute("select auth.user_id()").fetchone() or ("nothing",))[0]


def test_the_token_is_the_password(sessions: Sessions) -> None:
    with (
        connect(sessions.url("alice")) as alice,
        connect(sessions.url("bob")) as bob,
        connect(sessions.url(None)) as no,
    ):
        alice.execute("insert into todos (task) values ('mine')")
        assert (me(alice), me(bob), me(no)) == ("user_alice", "user_bob", None)
        assert bob.execute("select * from todos").fetchall() == []
        assert no.execute("select current_user").fetchone() == ("anonymous",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute("insert into todos (user_id, task) values ('user_alice', 'forged')")
        alice.execute("delete from todos")


@pytest.mark.parametrize("password", ["", "nonsense", "a.b.c"])
def test_wrong_passwords_are_refused(sessions: Sessions, password: str) -> None:
    url = f"postgresql://authenticated:{password}@{sessions.host}:{sessions.port}/neondb"
    with pytest.raises(psycopg.OperationalError):
        connect(url)
    with connect(sessions.url()) as still:
        assert me(still) == "user_alice"


def test_a_password_role_goes_through(sessions: Sessions) -> None:
    with connect(sessions.owner_url()) as owner:
        assert owner.execute("select current_user").fetchone() == ("neondb_owner",)
        owner.execute("create temp table t (a int)")
        with owner.cursor().copy("copy t from stdin") as copy:
            copy.write(b"1\n2\n")
        assert owner.execute("select sum(a)::int from t").fetchone() == (3,)
        owner.execute("listen somebody")
        owner.execute("notify somebody, 'hello'")
        assert [note.payload for note in owner.notifies(timeout=5, stop_after=1)] == ["hello"]
    wrong = sessions.owner_url().replace("neondb_owner:", "neondb_owner:not")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(wrong)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(sessions.owner_url().replace("neondb_owner", "rowgate_control"))


def test_a_password_change_takes_effect_at_once(sessions: Sessions) -> None:
    with connect(sessions.owner_url()) as owner:
        owner.execute("create role passing login password 'one'")
        url = f"postgresql://passing:one@{sessions.host}:{sessions.port}/neondb"
        connect(url).close()
        owner.execute("alter role passing password 'two'")
        with pytest.raises(psycopg.OperationalError):
            connect(url)
        connect(url.replace("one", "two")).close()
        owner.execute("drop role passing")


RESETS = [
    "discard all", "reset all", "reset role", "reset session authorization", "deallocate all", "close all",
    "begin; commit", "begin; rollback", "set timezone to 'UTC'", "commit", "rollback", "select 1; select 2",
    "begin; savepoint a; rollback to a; release a; commit", "set role none", "set role postgres",
    "set session authorization postgres", "set rowgate.identity = 'x'",
    "select set_config('rowgate.identity', '', false)",
    "select set_config('role', 'postgres', false)", "select auth.jwt_session_init('x', 'y')",
    "begin; set local rowgate.session = '{\"sub\":\"user_bob\"}'", "do $$ begin commit; end $$",
    "prepare transaction 'x'", "create temp table x (a int)", "listen x", "notify x",
    "select pg_advisory_unlock_all(); close all; unlisten *; reset all", "select 1/0", "selec",
]  # fmt: skip


@pytest.mark.parametrize("statement", RESETS)
def test_nothing_changes_who_a_session_is(sessions: Sessions, statement: str) -> None:
    with connect(sessions.url()) as alice:
        for text in (statement, statement):
            try:
                alice.execute(text)  # type: ignore[arg-type]
            except psycopg.Error:
                if alice.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    alice.execute("rollback")
            if alice.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
                assert me(alice) == "user_alice"
                alice.execute("rollback")
            row = alice.execute("select auth.user_id(), auth.session() ->> 'sub', current_user::text").fetchone()
            assert row == ("user_alice", "user_alice", "authenticated")


def test_settings_belong_to_the_session_and_to_its_transactions(sessions: Sessions) -> None:
    with connect(sessions.url(options="-c%20timezone%3DAsia/Tokyo")) as one, connect(sessions.url()) as other:

        def zone(connection: psycopg.Connection[tuple[object, ...]]) -> object:
            return (connection.execute("show timezone").fetchone() or ("",))[0]

        assert one.info.parameter_status("TimeZone") == "Asia/Tokyo"
        assert (zone(one), zone(other)) == ("Asia/Tokyo", "UTC")
        one.execute("set timezone to 'europe/berlin'")
        assert one.info.parameter_status("TimeZone") == "Europe/Berlin"
        one.execute("begin")
        one.execute("set timezone to 'Asia/Kolkata'")
        assert zone(one) == "Asia/Kolkata"
        one.execute("rollback")
        assert (zone(one), zone(other)) == ("Europe/Berlin", "UTC")
        assert one.info.parameter_status("TimeZone") == "Europe/Berlin"
        one.execute("begin")
        one.execute("set local timezone to 'Asia/Kolkata'")
        one.execute("commit")
        assert zone(one) == "Europe/Berlin"
        one.execute("set default_transaction_isolation to 'serializable'")
        assert one.execute("show transaction_isolation").fetchone() == ("serializable",)
        one.execute("begin isolation level read committed")
        assert one.execute("show transaction_isolation").fetchone() == ("read committed",)
        one.execute("commit")
        one.execute("discard all")
        assert (zone(one), zone(other)) == ("UTC", "UTC")
        assert one.execute("show transaction_isolation").fetchone() == ("read committed",)


def test_settings_by_other_ways(sessions: Sessions) -> None:
    with connect(sessions.url()) as alice:

        def shows(name: str) -> object:
            return (alice.execute(f"show {name}".encode()).fetchone() or ("",))[0]

        for value in ("Asia/Tokyo", "Asia/Kolkata"):
            alice.execute("select set_config('timezone', %s, false)", [value])
            assert (shows("timezone"), alice.info.parameter_status("TimeZone")) == (value, value)
            row = alice.execute("select current_setting(%s)", ["timezone"]).fetchone()
            assert row == (value,)
        for name in ("rowgate.identity", "app.secret", "data_directory"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                alice.execute("select current_setting(%s, true)", [name])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alice.execute("select set_config('role', %s, false)", ["postgres"])
        alice.execute("set session characteristics as transaction isolation level serializable, read only")
        assert (shows("transaction_isolation"), shows("transaction_read_only")) == ("serializable", "on")
        alice.execute("reset all")
        alice.execute("set datestyle to 'German'")
        alice.execute("set datestyle to 'MDY'")
        assert shows("datestyle") == "German, MDY"
        alice.execute("begin; set timezone to 'Asia/Tokyo'; savepoint one; set timezone to 'Asia/Kolkata'")
        alice.execute("rollback to one")
        assert (shows("timezone"), alice.info.parameter_status("TimeZone")) == ("Asia/Tokyo", "Asia/Tokyo")
        alice.execute("commit")
        assert shows("timezone") == "Asia/Tokyo"


def test_time_outs_can_be_shorter_and_never_longer(sessions: Sessions) -> None:
    with connect(sessions.url()) as alice:
        standard = alice.execute("show statement_timeout").fetchone()
        for wanted in ("0", "1h"):
            alice.execute(f"set statement_timeout to '{wanted}'".encode())
            assert alice.execute("show statement_timeout").fetchone() == standard
        alice.execute("set statement_timeout to '100ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            alice.execute("select slowly(10)")
        assert me(alice) == "user_alice"


def test_transactions_keep_their_rules(sessions: Sessions) -> None:
    with connect(sessions.url()) as alice:
        alice.execute("begin; set transaction isolation level repeatable read")
        assert alice.execute("show transaction_isolation").fetchone() == ("repeatable read",)
        with pytest.raises(psycopg.errors.UndefinedTable):
            alice.execute("select * from nowhere")
        for refused in ("select 1", "set role postgres", "selec"):
            with pytest.raises(psycopg.Error):
                alice.execute(refused)  # type: ignore[arg-type]
        alice.execute("commit")
        assert alice.execute("select count(*)::int from todos").fetchone() == (0,)
        # A refusal of the gateway ends a transaction as any error does.
        alice.execute("begin; insert into todos (task) values ('lost')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alice.execute("lock table todos")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            alice.execute("select 1")
        alice.execute("commit")
        assert alice.execute("select count(*)::int from todos").fetchone() == (0,)
        # And takes with it what came before it in the same text.
        with pytest.raises(psycopg.Error):
            alice.execute("insert into todos (task) values ('lost'); select 1/0")
        assert alice.execute("select count(*)::int from todos").fetchone() == (0,)


def test_a_pipeline_with_a_refusal_in_it_changes_nothing(sessions: Sessions) -> None:
    with connect(sessions.url()) as alice:
        with pytest.raises(psycopg.Error), alice.pipeline():  # noqa: PT012
            for text in ("insert into todos (task) values ('lost')", "lock table todos", "select 1"):
                alice.execute(text)  # type: ignore[arg-type]
        assert alice.execute("select count(*)::int from todos").fetchone() == (0,)


def test_errors_have_their_place_in_the_whole_text(sessions: Sessions) -> None:
    with connect(sessions.url()) as alice:
        for text in ("select 1;  select nope", "select 'é'; select\n nope", "select 1; selec"):
            with pytest.raises(psycopg.Error) as problem:
                alice.execute(text)  # type: ignore[arg-type]
            word = "nope" if "nope" in text else "selec"
            assert problem.value.diag.statement_position == str(text.rindex(word) + 1)


def test_copy(sessions: Sessions) -> None:
    with connect(sessions.owner_url()) as owner:
        owner.execute("grant select, insert on plain to authenticated")
    with connect(sessions.url()) as alice:
        with alice.cursor().copy("copy plain from stdin") as copy:
            for number in range(5000):
                copy.write_row((number, "x" * 50))
        with alice.cursor().copy("copy (select id from plain order by id limit 3) to stdout") as copy:
            assert b"".join(bytes(part) for part in copy) == b"0\n1\n2\n"
        with pytest.raises(psycopg.errors.UniqueViolation), alice.cursor().copy("copy plain from stdin") as copy:
            copy.write_row((1, "again"))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alice.execute("copy plain from program 'id'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alice.execute("copy plain to '/tmp/x'")
        assert me(alice) == "user_alice"
    with connect(sessions.owner_url()) as owner:
        owner.execute("delete from plain")


def test_cancel(sessions: Sessions) -> None:
    with connect(sessions.url()) as alice:
        timer = threading.Timer(0.3, alice.cancel_safe)
        timer.start()
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            alice.execute("select slowly(20)")
        assert time.monotonic() - began < 10
        timer.join()
        assert me(alice) == "user_alice"


def test_no_statement_outlives_its_client(sessions: Sessions) -> None:
    with connect(sessions.stack.superuser_url) as admin:

        def running() -> int:
            row = admin.execute(
                "select count(*)::int from pg_stat_activity "
                "where state = 'active' and query ~ 'slowly' and pid <> pg_backend_pid()"
            ).fetchone()
            return row[0] if row else 0

        for url in (sessions.url(), sessions.owner_url()):
            client = connect(url)
            pgconn = client.pgconn
            pgconn.send_query(b"select slowly(20)")
            wait_until(lambda: running() == 1)
            pgconn.finish()
            began = time.monotonic()
            wait_until(lambda: running() == 0)
            assert time.monotonic() - began < 5


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_session_ends_with_the_token(sessions: Sessions) -> None:
    token = sessions.token("alice", lifetime=3)
    url = f"postgresql://authenticated:{token}@{sessions.host}:{sessions.port}/neondb"
    with connect(url) as alice:
        assert me(alice) == "user_alice"
        with pytest.raises(psycopg.OperationalError, match="expired"):
            wait_until(lambda: me(alice) is None, seconds=15)


def test_the_next_statement_reads_why_a_session_ended(sessions: Sessions) -> None:
    """libpq takes an error that comes between two statements for a notice, and then knows only that all is over."""
    token = sessions.token("alice", lifetime=3)
    url = f"postgresql://authenticated:{token}@{sessions.host}:{sessions.port}/neondb"
    with connect(url) as alice:
        alice.execute("select slowly(2.5)")  # the token expires meanwhile
        with pytest.raises(psycopg.OperationalError, match="expired"):
            me(alice)


def test_a_fresh_token_in_a_live_session(sessions: Sessions) -> None:
    with connect(sessions.url("alice")) as client:
        client.execute(f"select auth.jwt_session_init('{sessions.stack.tokens['bob']}')".encode())
        assert me(client) == "user_bob"
        client.execute("select auth.jwt_session_init(%s)", [sessions.stack.tokens["alice"]])
        assert me(client) == "user_alice"
        with pytest.raises(psycopg.Error):
            client.execute("select auth.jwt_session_init('a.b.c')")
        assert me(client) == "user_alice"


async def busy_user(url: str, name: str, rounds: int, seed: int) -> int:
    """Does this and that, and counts what was ever somebody else's."""
    chance = random.Random(seed)
    connection = await asyncpg.connect(url, statement_cache_size=chance.choice([0, 100]))
    wrong = 0
    for number in range(rounds):
        await asyncio.sleep(0)
        what = chance.randrange(6)
        if what == 0:
            seen = await connection.fetchval("select auth.user_id()")
        elif what == 1:
            seen = (await connection.fetchval("select auth.user_id() || $1::text", str(number))).removesuffix(
                str(number)
            )
        elif what == 2:
            async with connection.transaction():
                await connection.execute("set local timezone to 'Asia/Tokyo'")
                seen = await connection.fetchval("select auth.session() ->> 'sub'")
                names = [row["name"] async for row in connection.cursor("select auth.user_id() as name", prefetch=1)]
                wrong += names != [name]
        elif what == 3:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.execute("select 1/0")
            seen = name
        elif what == 4:
            await connection.execute(f"set application_name to '{name}'")
            seen = await connection.fetchval("show application_name")
        else:
            await connection.reset()
            zone = await connection.fetchval("select current_setting('timezone')")
            seen = name if zone == "UTC" else zone
        wrong += seen != name
    await connection.close()
    return wrong


async def test_interleaved_users_never_meet(sessions: Sessions) -> None:
    """10,000 turns of two users on forty sessions and ten backends."""
    jobs = [busy_user(sessions.url(user), f"user_{user}", 250, seed)
            for seed in range(20) for user in ("alice", "bob")]  # fmt: skip
    assert sum(await asyncio.gather(*jobs)) == 0
    with connect(sessions.stack.superuser_url) as admin:
        row = admin.execute("select count(*)::int from pg_stat_activity where usename ~ 'authenticated'").fetchone()
        assert row
        assert row[0] <= 10


def test_results_of_any_size_take_little_memory(sessions: Sessions) -> None:
    """A client that reads slowly holds Postgres up, not the gateway."""
    gateway = psutil.Process(sessions.stack.process.pid)
    before = gateway.memory_info().rss
    for url in (sessions.url(), sessions.owner_url()):
        with connect(url) as client:
            client.pgconn.send_query(b"select repeat('x', 1000) from generate_series(1, 100000)")
            client.pgconn.set_single_row_mode()
            rows = 0
            while result := client.pgconn.get_result():
                rows += result.ntuples
                if rows == 1000:
                    wait_until(lambda: gateway.memory_info().rss < before + 30e6)
            assert rows == 100_000
            assert gateway.memory_info().rss < before + 30e6


def test_a_session_that_keeps_its_connection(sessions: Sessions) -> None:
    with connect(sessions.url(options="pool_mode%3Dsession")) as alice:
        pids = {(alice.execute("select pg_backend_pid()").fetchone() or ("",))[0] for _ in range(5)}
        assert len(pids) == 1
        assert me(alice) == "user_alice"
    with pytest.raises(psycopg.OperationalError, match="pool mode"):
        connect(sessions.url(options="pool_mode%3Dother"))


def test_a_thousand_idle_sessions(sessions: Sessions) -> None:
    gateway = psutil.Process(sessions.stack.process.pid)
    url = sessions.url("bob", sslmode="disable")  # the memory of TLS is OpenSSL's
    idle = [connect(url) for _ in range(50)]
    before = gateway.memory_info().rss
    idle += [connect(url) for _ in range(1000)]
    with connect(sessions.url("alice")) as alice:
        assert me(alice) == "user_alice"
    assert (gateway.memory_info().rss - before) / 1000 < 30_000
    with connect(sessions.stack.superuser_url) as admin:
        row = admin.execute("select count(*)::int from pg_stat_activity where usename ~ 'authenticated'").fetchone()
        assert row
        assert row[0] <= 10
    for connection in idle:
        connection.close()


def test_a_gateway_that_stops_says_so(tmp_path: Path) -> None:
    stack = start(tmp_path / "data", "--no-fsync")
    sessions = Sessions(stack)
    with connect(sessions.url()) as idle, connect(sessions.url("bob")) as busy:
        busy.execute("begin")
        assert me(busy) == "user_bob"
        stack.process.send_signal(signal.SIGINT)
        wait_until(lambda: idle.pgconn.socket >= 0 and bool(select.select([idle.pgconn.socket], [], [], 0)[0]))
        with pytest.raises(psycopg.OperationalError, match="stopping"):
            idle.execute("select 1")
        assert me(busy) == "user_bob"
        busy.execute("commit")
    assert stack.process.wait(30) == 0
