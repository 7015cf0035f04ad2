"""Quick reads of many sessions and requests on a few connections: everybody gets their own rows, errors and settings,
and whoever is slow, large or gone harms nobody."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.clients.session_stack import Sessions, running_sessions

COUNT = "select count(*), auth.user_id() from generate_series(1, %s::bigint)"
WARM = 5
SLOW = 20_000_000_000
PLENTY = 1_000_000
READS = 40


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(
        tmp_path_factory.mktemp("shared"), ROWGATE_POOL_SIZE="2", ROWGATE_SUBJECT_POOL_PERCENT="100",
        ROWGATE_SUBJECT_RATE="1", ROWGATE_RATE_BURST_SECONDS=str(PLENTY),
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def alice(sessions: Sessions) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(sessions.url("alice"), autocommit=True) as connection:
        for _ in range(WARM):
            connection.execute(COUNT, [1])
        yield connection


async def test_each_gets_their_own_among_many(sessions: Sessions) -> None:
    users = ["alice", "bob"]

    async def session(number: int) -> None:
        user = users[number % 2]
        connection = await psycopg.AsyncConnection.connect(sessions.url(user), autocommit=True)
        async with connection, connection.cursor() as cursor:
            for turn in range(60):
                value = number * 1000 + turn
                await cursor.execute("select %s::int, auth.user_id()", [value], prepare=bool(number % 4 < 2))
                assert await cursor.fetchone() == (value, f"user_{user}")
                await cursor.execute(f"select {value}, auth.user_id()")  # the simple protocol of a new text
                assert await cursor.fetchone() == (value, f"user_{user}")
                if turn % 20 == 7:
                    with pytest.raises(psycopg.errors.DivisionByZero):
                        await cursor.execute("select 1 / %s::int", [0])

    async def over_http(number: int) -> None:
        user = users[number % 2]
        async with httpx.AsyncClient() as client:
            for turn in range(60):
                answer = await client.post(
                    sessions.stack.sql_url,
                    json={"query": "select $1::int as n, auth.user_id() as me", "params": [turn]},
                    headers={
                        "Neon-Connection-String": sessions.stack.authenticated_url,
                        "Authorization": f"Bearer {sessions.stack.tokens[user]}",
                    },
                )
                assert answer.json()["rows"] == [{"n": turn, "me": f"user_{user}"}]

    await asyncio.gather(*(session(number) for number in range(16)), *(over_http(number) for number in range(6)))


def test_settings_of_a_session_hold_in_shared_reads(sessions: Sessions) -> None:
    query = "select to_char(timestamptz '2026-01-01 00:00:00Z', 'HH24')"
    with (
        psycopg.connect(sessions.url("alice"), autocommit=True) as tokyo,
        psycopg.connect(sessions.url("bob"), autocommit=True) as london,
    ):
        tokyo.execute("set timezone = 'Asia/Tokyo'")
        london.execute("set timezone = 'Europe/London'")
        for _ in range(3 * WARM):
            assert tokyo.execute(query).fetchone() == ("09",)
            assert london.execute(query).fetchone() == ("00",)


def test_the_name_of_an_application_is_told_to_whoever_asks(sessions: Sessions) -> None:
    with psycopg.connect(sessions.url("alice", application_name="mine"), autocommit=True) as connection:
        for _ in range(3 * WARM):
            assert connection.execute("select current_setting('application_name')").fetchone() == ("mine",)
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_slow_read_ends_with_its_clients_cancel(sessions: Sessions, alice: psycopg.Connection[Any]) -> None:
    started = time.monotonic()
    cancel_soon(alice)
    with pytest.raises(psycopg.errors.QueryCanceled):
        alice.execute(COUNT, [SLOW])
    assert time.monotonic() - started < 10
    assert alice.execute(COUNT, [2]).fetchone() == (2, "user_alice")


def cancel_soon(connection: psycopg.Connection[Any]) -> None:
    timer = threading.Timer(0.5, connection.cancel)
    timer.daemon = True
    timer.start()


def busy(sessions: Sessions) -> int:
    with psycopg.connect(sessions.stack.superuser_url, autocommit=True) as superuser:
        row = superuser.execute(
            "select count(*) from pg_stat_activity where state = 'active' and query like '%generate_series%' "
            "and pid <> pg_backend_pid()"
        ).fetchone()
    return 0 if row is None else int(row[0])


def test_nobody_waits_behind_a_slow_read_and_it_ends_with_its_client(
    sessions: Sessions, alice: psycopg.Connection[Any]
) -> None:
    leaving = psycopg.connect(sessions.url("bob"), autocommit=True)
    leaving.pgconn.send_query_params(b"select count(*), auth.user_id() from generate_series(1, $1::bigint)",
                                     [str(SLOW).encode()])  # fmt: skip
    leaving.pgconn.flush()
    deadline = time.monotonic() + 10
    while not busy(sessions):
        assert time.monotonic() < deadline
    started = time.monotonic()
    for number in range(20):
        assert alice.execute(COUNT, [number]).fetchone() == (number, "user_alice")
    assert time.monotonic() - started < 5
    leaving.close()
    deadline = time.monotonic() + 5
    while busy(sessions):
        assert time.monotonic() < deadline, "a statement has outlived its client"


def test_a_large_answer_comes_whole(sessions: Sessions, alice: psycopg.Connection[Any]) -> None:
    query = "select repeat('x', %s::int), auth.user_id()"
    for _ in range(WARM):
        alice.execute(query, [1])
    (text, me) = alice.execute(query, [3_000_000]).fetchone() or ("", "")
    assert (len(text), me) == (3_000_000, "user_alice")
    assert alice.execute(query, [2]).fetchone() == ("xx", "user_alice")


def test_an_error_stands_where_it_stood(sessions: Sessions, alice: psycopg.Connection[Any]) -> None:
    for text in ["select 1, 10 / (1 - {})", "select 2 / nullif({}, 1), 7 / ({} - 1)"]:
        for number in [5, 6, 7, 8, 9]:
            alice.execute(text.format(number, number).encode())
        with pytest.raises(psycopg.errors.DivisionByZero):
            alice.execute(text.format(1, 1).encode())
        assert alice.execute("select 1").fetchone() == (1,)


def test_a_transaction_sees_itself_between_shared_reads(sessions: Sessions, alice: psycopg.Connection[Any]) -> None:
    count = "select count(*) from todos where task = %s"
    for _ in range(WARM):
        assert alice.execute(count, ["shared"]).fetchone() == (0,)
    with alice.transaction(force_rollback=True):
        alice.execute("insert into todos (task) values ('shared')")
        assert alice.execute(count, ["shared"]).fetchone() == (1,)
        with psycopg.connect(sessions.url("alice"), autocommit=True) as other:
            assert other.execute(count, ["shared"]).fetchone() == (0,)
    assert alice.execute(count, ["shared"]).fetchone() == (0,)


def left(sessions: Sessions) -> int:
    """What the rate leaves alice, after one request over HTTP."""
    answer = sessions.stack.sql("select 1", token=sessions.stack.tokens["alice"])
    return int(answer.headers["ratelimit"].partition(";r=")[2].partition(";")[0])


@pytest.mark.parametrize("prepare", [False, True], ids=["unnamed", "prepared"])
def test_a_read_that_has_to_run_elsewhere_pays_once(
    sessions: Sessions, alice: psycopg.Connection[Any], prepare: bool
) -> None:
    alice.execute("set default_transaction_read_only = on")  # which no read shares a connection with
    before, began = left(sessions), time.monotonic()
    for number in range(READS):
        alice.execute(COUNT, [number], prepare=prepare)
    refilled = int(time.monotonic() - began) + 1
    paid = before - left(sessions)
    assert READS + 1 - refilled <= paid <= READS + 1


def test_a_simple_read_that_has_to_run_elsewhere_pays_once(sessions: Sessions, alice: psycopg.Connection[Any]) -> None:
    for number in range(WARM):
        alice.execute(f"select {number}, auth.user_id()".encode())
    alice.execute("set default_transaction_read_only = on")
    before, began = left(sessions), time.monotonic()
    for number in range(READS):
        alice.execute(f"select {number}, auth.user_id()".encode())
    refilled = int(time.monotonic() - began) + 1
    paid = before - left(sessions)
    assert READS + 1 - refilled <= paid <= READS + 1
