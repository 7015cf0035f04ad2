"""Pools of the drivers: whatever one borrower leaves behind, the next one is the same user, in a clean session.

Two users' pools run side by side on two connections to Postgres, so what is left behind would be found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.clients.session_stack import Sessions, running_sessions

USERS = ("alice", "bob")
WHO = "select auth.user_id(), current_setting('TimeZone')"
# What borrowers leave: settings, open and failed transactions, cursors, statements, refusals.
MESS = (
    ("set timezone to 'Asia/Tokyo'",),
    ("begin", "set local timezone to 'Asia/Tokyo'"),
    ("begin", "select 1/0"),
    ("begin", "declare c cursor for select auth.user_id()", "fetch 1 from c"),
    ("begin", "savepoint s", "insert into todos (task) values ('left open')"),
    ("begin isolation level serializable, read only", "select 1"),
    ("set role postgres",),
    ("select set_config('TimeZone', 'Asia/Tokyo', false)",),
    ("reset all", "close all"),
)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(
        tmp_path_factory.mktemp("pools"), ROWGATE_POOL_SIZE="2", ROWGATE_SUBJECT_POOL_PERCENT="100"
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_stays(sessions: Sessions) -> Iterator[None]:
    yield
    assert sessions.stack.owner("select count(*)::int as n from todos").json()["rows"] == [{"n": 0}]


async def test_asyncpg(sessions: Sessions) -> None:
    """Its reset query: unlock, close, unlisten and reset, in one text. It prepares whatever it is asked."""

    async def borrowers(user: str) -> None:
        async with asyncpg.create_pool(sessions.url(user), min_size=1, max_size=1) as pool:
            for statements in MESS:
                async with pool.acquire() as connection:
                    for statement in statements:
                        try:
                            await connection.execute(statement)
                        except asyncpg.PostgresError:
                            break
                async with pool.acquire() as connection:
                    assert tuple(await connection.fetchrow(WHO)) == (f"user_{user}", "UTC")

    await asyncio.gather(*[borrowers(user) for user in USERS])


def test_psycopg_pool(sessions: Sessions) -> None:
    """It rolls back; a reset of one's own and a check before each use come with ``reset`` and ``check``."""

    def reset(connection: psycopg.Connection[Any]) -> None:
        connection.autocommit = True
        connection.execute("reset all")

    def pool(user: str) -> ConnectionPool[psycopg.Connection[Any]]:
        return ConnectionPool(
            sessions.url(user), min_size=1, max_size=1, reset=reset, check=ConnectionPool.check_connection,
            kwargs={"autocommit": True}, open=True,
        )  # fmt: skip

    with pool("alice") as alice, pool("bob") as bob:
        for statements in MESS:
            for user, own in zip(USERS, (alice, bob), strict=True):
                with own.connection() as connection:
                    mess(connection, statements)
                with own.connection() as connection:
                    assert connection.execute(WHO).fetchone() == (f"user_{user}", "UTC")


def mess(connection: psycopg.Connection[Any], statements: tuple[str, ...]) -> None:
    for statement in statements:
        try:
            connection.execute(statement.encode())
        except psycopg.Error:
            break
    if connection.info.transaction_status != TransactionStatus.IDLE:
        connection.rollback()


@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE", "AUTOCOMMIT"])
def test_sqlalchemy(sessions: Sessions, level: str) -> None:
    """It rolls back when a connection returns, asks it before each use, and sets isolation levels for some."""
    engines = {
        user: create_engine(
            sessions.url(user).replace("postgresql:", "postgresql+psycopg:"), pool_size=1, max_overflow=0,
            pool_pre_ping=True,
        )
        for user in USERS
    }  # fmt: skip
    for statements in MESS:
        for user, engine in engines.items():
            with engine.connect().execution_options(isolation_level=level) as connection:
                for statement in statements:
                    try:
                        connection.exec_driver_sql(statement)
                    except DBAPIError:
                        break
                if level == "AUTOCOMMIT":
                    connection.exec_driver_sql("rollback")
                    connection.exec_driver_sql("reset all")
            with engine.connect() as connection:
                assert connection.execute(text("select auth.user_id()")).scalar() == f"user_{user}"
                assert connection.execute(text("show transaction_isolation")).scalar() == "read committed"
    for engine in engines.values():
        engine.dispose()


async def test_sqlalchemy_with_asyncpg(sessions: Sessions) -> None:
    engine = create_async_engine(
        sessions.url().replace("postgresql:", "postgresql+asyncpg:"), pool_size=1, max_overflow=0, pool_pre_ping=True
    )
    for statements in MESS[1:6]:
        async with engine.connect() as connection:
            for statement in statements:
                try:
                    await connection.exec_driver_sql(statement)
                except DBAPIError:
                    break
        async with engine.connect() as connection:
            assert tuple((await connection.execute(text(WHO))).one()) == ("user_alice", "UTC")
    await engine.dispose()


def test_node_postgres(sessions: Sessions) -> None:
    """Its pool resets nothing: what a borrower set stays set, and who they are stays as well."""
    seen = sessions.node("the pool of node-postgres", mess=MESS)
    assert seen["users"] == ["user_alice"] * len(MESS)


def test_a_pipeline_of_resets(sessions: Sessions) -> None:
    """In libpq's pipeline mode: reset queries, transactions and statements in one write, for two users in turn."""
    with (
        psycopg.connect(sessions.url("alice"), autocommit=True) as alice,
        psycopg.connect(sessions.url("bob"), autocommit=True) as bob,
    ):
        for _ in range(3):
            for user, connection in zip(USERS, (alice, bob), strict=True):
                with connection.pipeline() as pipeline:
                    cursors = []
                    for statement in ("begin", WHO, "commit", "reset all", WHO, "begin", "rollback", WHO):
                        cursor = connection.execute(statement)
                        if statement == WHO:
                            cursors.append(cursor)
                    pipeline.sync()
                    assert [cursor.fetchone() for cursor in cursors] == [(f"user_{user}", "UTC")] * 3
