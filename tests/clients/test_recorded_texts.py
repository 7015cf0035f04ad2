"""Every text that was recorded from real clients runs in a session, and gives what Postgres 18 and 15 give directly.

The same text goes both ways as the same role, with the same values for its parameters; what comes back must be alike
to the message of an error. What is refused on purpose is judged in ``tests/unit/guard``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import DiagnosticField, ExecStatus, PGresult, TransactionStatus

from tests.clients.session_stack import SERVERS, Sessions, sessions_on
from tests.unit.guard.recorded import OPEN, Recorded

# What the recorded texts name. Identity is the business of other tests: directly on Postgres there is none.
TABLES = [
    "alter table todos disable row level security",
    "create type mood as enum ('sad', 'ok')",
    "create type addr as (street text, number int)",
    "create domain posint as int check (value > 0)",
    "alter table todos alter user_id set default 'user_alice', add a int, add tags text[], add m mood",
    "create table lists (name text)",
    "create table child (todo bigint references todos)",
    "create view v as select 1 as one",
    "create materialized view mv as select 1 as one",
    "create table part (n int) partition by list (n)",
    "create table part1 partition of part for values in (1)",
    "create table _prisma_migrations (id text, checksum text, finished_at timestamptz, migration_name text, logs text, "
    "rolled_back_at timestamptz, started_at timestamptz, applied_steps_count int)",
    "create schema app",
    "create function app.f() returns int language sql as 'select 1'",
    "grant usage on schema app to authenticated",
    "grant select on mv to authenticated",
]
# The oids of what the clients looked at when they were recorded: here it is always todos.
RECORDED_OID = re.compile(r"\b16[34]\d\d\b")
# Alike in kind, and in value each connection's own.
OWN_VALUES = re.compile(r"session_user|pg_backend_pid|pg_database|pg_roles|rolname|datname|returning \*", re.IGNORECASE)
NEEDS_SAVEPOINT = re.compile(r'(?:release(?: savepoint)?|rollback to savepoint) ("[^"]+"|\w+)', re.IGNORECASE)
NEEDS_CURSOR = re.compile(r'(?:fetch|move|close) (?:forward \w+ from |1 from )?("[^"]+"|\w+)', re.IGNORECASE)
NEEDS_TRANSACTION = re.compile(r"savepoint|declare", re.IGNORECASE)
EMPTY_BINARY_COPY = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff"
SETTING_PARAMETERS = {"set_config('jit', $1": b"off", "current_setting($1": b"default_table_access_method"}


@pytest.fixture(scope="module", params=SERVERS)
def sessions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with sessions_on(request.param, request, tmp_path_factory.mktemp("recorded"), *TABLES) as running:
        yield running


@pytest.fixture(scope="module")
def direct(sessions: Sessions) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(
        sessions.stack.superuser_url, autocommit=True, prepare_threshold=None, options="-c search_path=public"
    ) as connection:
        yield connection


@pytest.fixture(scope="module")
def through(sessions: Sessions) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(sessions.url(), autocommit=True, prepare_threshold=None) as connection:
        yield connection


def preparation(text: str) -> list[str]:
    """What the client has done before, as far as the text alone does not run without it."""
    if found := NEEDS_SAVEPOINT.match(text):
        return ["begin", f"savepoint {found[1]}"]
    if found := NEEDS_CURSOR.match(text):
        return ["begin", f"declare {found[1]} cursor for select generate_series(1, 10)"]
    return ["begin"] if NEEDS_TRANSACTION.match(text) else []


def parameters(direct: psycopg.Connection[Any], sql: str, oid: int) -> list[bytes] | None:
    """A value for each parameter, by its type; None without any."""
    if "$1" not in sql:
        return None
    prepared = direct.pgconn.prepare(b"", sql.encode())
    assert prepared.status == ExecStatus.COMMAND_OK, prepared.error_message
    described = direct.pgconn.describe_prepared(b"")
    types = [described.param_type(number) for number in range(described.nparams)]
    names = [str(direct.execute("select format_type(%s, null)", [each]).fetchone()[0]) for each in types]  # type: ignore[index]
    values = {
        "oid": str(oid), "oid[]": f"{{{oid}}}", "boolean": "true", "integer": "1", "bigint": "1", "smallint": "1",
        "regclass": "todos", "mood": "sad",
    }  # fmt: skip
    given = [values.get(name, "{public}" if name.endswith("[]") else "public").encode() for name in names]
    for beginning, value in SETTING_PARAMETERS.items():
        if beginning in sql:
            given[0] = value
    return given


def answers(connection: psycopg.Connection[Any], sql: str, values: list[bytes] | None) -> list[PGresult]:
    """What comes back: several results for a text of several statements; COPY gets no rows."""
    wire = connection.pgconn
    if values is not None:
        prepared = wire.prepare(b"", sql.encode())
        return [wire.exec_prepared(b"", values) if prepared.status == ExecStatus.COMMAND_OK else prepared]
    results = []
    wire.send_query(sql.encode())
    while result := wire.get_result():
        results.append(result)
        if result.status == ExecStatus.COPY_IN:
            if "binary" in sql:
                wire.put_copy_data(EMPTY_BINARY_COPY)
            wire.put_copy_end()
        while result.status == ExecStatus.COPY_OUT and wire.get_copy_data(0)[0] > 0:
            pass
    return results


def told(result: PGresult, *, rows: bool) -> dict[str, Any]:
    columns = range(result.nfields)
    return {
        "status": ExecStatus(result.status),
        "error": [result.error_field(field) for field in (DiagnosticField.SQLSTATE, DiagnosticField.MESSAGE_PRIMARY)],
        "tag": result.command_status if rows else b"",
        "columns": [(result.fname(n), result.ftype(n), result.fmod(n)) for n in columns],
        "rows": [[result.get_value(row, n) for n in columns] for row in range(result.ntuples)] if rows else [],
    }


@pytest.mark.parametrize("text", OPEN, ids=lambda text: text.id)
def test_it_runs_as_it_does_directly(
    direct: psycopg.Connection[Any], through: psycopg.Connection[Any], text: Recorded
) -> None:
    try:
        oid = direct.execute("select 'todos'::regclass::oid::int").fetchone()[0]  # type: ignore[index]
        sql = RECORDED_OID.sub(str(oid), text.sql)
        direct.execute("set role authenticated")
        values = parameters(direct, sql, oid)
        for connection in (direct, through):
            for step in preparation(sql):
                connection.execute(step.encode())
        rows = not OWN_VALUES.search(sql)
        expected, got = [
            [told(result, rows=rows) for result in answers(connection, sql, values)] for connection in (direct, through)
        ]
        assert got == expected
        for answer in got:
            if answer["status"] == ExecStatus.FATAL_ERROR:
                # psql asks each server for the columns of its own version.
                assert text.title.startswith("psql")
                assert answer["error"][0] == b"42703"
    finally:
        for connection in (direct, through):
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute("rollback")
            connection.execute("discard all")
