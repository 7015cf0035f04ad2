"""The same queries give the same answers through the gateway as directly on Postgres: values, types, tags, notices and
the fields of errors, over TCP, over WebSocket and over HTTP; with Postgres 18 and with 15."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.clients.session_stack import SERVERS, Sessions, sessions_on
from tests.clients.websocket_bridge import bridge

NOTICE = (
    "create function noisy() returns int language plpgsql as "
    "$$ begin raise notice 'heard %', 1 using hint = 'a hint', detail = 'a detail'; return 1; end $$"
)
TABLES = [
    "create table things (id int primary key check (id < 1000), name text unique not null, at timestamptz, "
    "tags text[])",
    "insert into things values (1, 'one', '2026-01-02 03:04:05+00', '{a,\"b c\",NULL}'), (2, 'two', null, null)",
    "grant select, insert, update, delete on things to authenticated",
    NOTICE,
    "grant execute on function noisy() to authenticated",
]
QUERIES = [
    "select 1",
    "select null",
    "select 'text'",
    "select 1.5",
    "select 1e400",
    "select 'NaN'::float8",
    "select true, false",
    "select 9223372036854775807",
    "select 32767::int2",
    "select 0.1::float4, 0.1::float8",
    "select '\\xdeadbeef'::bytea",
    "select '2026-01-02'::date, '03:04'::time, '2026-01-02 03:04:05.678901+00'::timestamptz",
    "select interval '1 day 2h'",
    "select '{\"a\": [1, null]}'::json, '{\"b\": 1}'::jsonb",
    "select array[1, 2, null], array[['a', 'b'], ['c', 'd']]",
    "select '10.0.0.1'::inet, '08:00:2b:01:02:03'::macaddr",
    "select 'a1b2c3d4-0000-4000-8000-000000000000'::uuid",
    "select int4range(1, 5), numrange(null, 1)",
    "select row(1, 'a')",
    "select point(1, 2), box '((0,0),(1,1))'",
    "select 'é', '日本', E'a\\tb', ''",
    "select repeat('x', 100000)",
    "select b'101', x'ff'",
    "select 'a'::char(3), 'b'::\"char\"",
    'select 1 as a, 2 as a, 3 as "Weird Name"',
    "select",
    "values (1, 'a'), (2, 'b')",
    "table things",
    "select * from things order by id",
    "select id, name from things where id = 99",
    "select count(*) from things",
    "select sum(id), avg(id), max(name) from things",
    "select t from things t order by id",
    "select things.* from things order by 1",
    "select name, row_number() over (order by id) from things order by 1",
    "with x as (select 1 as n) select n + 1 from x",
    "select generate_series(1, 3)",
    "select g, g * 2 from generate_series(1, 1000) g",
    "select 1 union select 2 order by 1",
    "insert into things (id, name) values (10, 'ten')",
    "update things set name = name || '!' where id = 10",
    "update things set name = 'x' where false",
    "insert into things (id, name) values (11, 'a'), (12, 'b') returning id, name",
    "delete from things where id >= 10",
    "insert into things (id, name) values (1, 'again') on conflict do nothing",
    "select noisy()",
    "select 1/0",
    "select nope from things",
    "select * from nowhere",
    "selec 1",
    "select 'x'::int",
    "insert into things (id, name) values (1, 'dup')",
    "insert into things (id, name) values (2000, 'big')",
    "insert into things (id) values (20)",
    "insert into things (id, name) values (21, 'one')",
    "select sqrt(-1)",
    "select substring('a' from -1 for -2)",
    "select cast('2026-13-01' as date)",
    "select 1 where 1",
    "select count(*",
    "select 'a' || 1 || null",
    "select coalesce(null, 1), nullif(1, 1), greatest(1, 2)",
    "select extract(year from date '2026-01-02')",
    "select a.id from things a join things b on a.id = b.id order by 1",
    "select distinct id % 2 as odd from things order by 1",
]
ERROR_FIELDS = {
    "message": "message_primary", "code": "sqlstate", "detail": "message_detail", "hint": "message_hint",
    "position": "statement_position", "schema": "schema_name", "table": "table_name", "column": "column_name",
    "dataType": "datatype_name", "constraint": "constraint_name", "severity": "severity",
}  # fmt: skip


@pytest.fixture(scope="module", params=SERVERS)
def sessions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with sessions_on(request.param, request, tmp_path_factory.mktemp("same"), *TABLES) as running:
        yield running


@pytest.fixture(scope="module")
def direct(sessions: Sessions) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(sessions.stack.superuser_url, autocommit=True) as connection:
        connection.execute("set role authenticated")
        yield connection


@pytest.fixture(scope="module")
def by_tcp(sessions: Sessions) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(sessions.url(), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def by_websocket(sessions: Sessions) -> Iterator[psycopg.Connection[Any]]:
    with (
        bridge(sessions.stack.ws_url) as port,
        psycopg.connect(sessions.url(), host="127.0.0.1", port=port, sslmode="disable", autocommit=True) as connection,
    ):
        yield connection


def seen(connection: psycopg.Connection[Any], query: str, *, binary: bool = False) -> dict[str, Any]:
    """Everything that a client of libpq can see of an answer."""
    notices: list[tuple[Any, ...]] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        notices.append(tuple(getattr(diagnostic, name) for name in ERROR_FIELDS.values()))

    connection.add_notice_handler(hear)
    try:
        cursor = connection.execute(query.encode(), binary=binary)
        result = cursor.pgresult
        assert result is not None
        columns = range(result.nfields)
        return {
            "columns": [(result.fname(n), result.ftype(n), result.fmod(n), result.fsize(n)) for n in columns],
            "rows": [[result.get_value(row, n) for n in columns] for row in range(result.ntuples)],
            "tag": result.command_status,
            "notices": notices,
        }
    except psycopg.Error as problem:
        return {name: getattr(problem.diag, name) for name in ERROR_FIELDS.values()}
    finally:
        connection.remove_notice_handler(hear)


# Written by the gateway, because the text is not SQL: its own words, the same SQLSTATE and place.
NOT_SQL = {"selec 1", "select count(*"}


@pytest.mark.parametrize("way", ["by_tcp", "by_websocket"])
@pytest.mark.parametrize("query", QUERIES)
def test_in_a_session(request: pytest.FixtureRequest, direct: psycopg.Connection[Any], way: str, query: str) -> None:
    through = request.getfixturevalue(way)
    for binary in (False, True):
        expected, got = [undone(connection, query, binary=binary) for connection in (direct, through)]
        if query in NOT_SQL:
            same = ("sqlstate", "statement_position", "severity")
            expected, got = [{name: answer[name] for name in same} for answer in (expected, got)]
        assert got == expected


def undone(connection: psycopg.Connection[Any], query: str, *, binary: bool) -> dict[str, Any]:
    """The answer, in a transaction that leaves no trace."""
    connection.execute("begin")
    try:
        return seen(connection, query, binary=binary)
    finally:
        connection.execute("rollback")


@pytest.mark.parametrize("query", [query for query in QUERIES if query not in NOT_SQL])
def test_over_http(sessions: Sessions, direct: psycopg.Connection[Any], query: str) -> None:
    expected = seen(direct, query) if not changes(query) else undone(direct, query, binary=False)
    headers = {"Neon-Raw-Text-Output": "true", "Neon-Array-Mode": "true"}
    answer = sessions.stack.sql(query, token=sessions.stack.tokens["alice"], headers=headers).json()
    if "rows" in answer:
        got = [(field["name"], field["dataTypeID"], field["dataTypeModifier"], field["dataTypeSize"])
               for field in answer["fields"]]  # fmt: skip
        assert got == [(name.decode(), *rest) for name, *rest in expected["columns"]]
        rows = [[None if value is None else value.decode() for value in row] for row in expected["rows"]]
        assert answer["rows"] == rows
        if changes(query):
            sessions.stack.owner("delete from things where id >= 10")
    else:
        assert {name: answer[name] for name in ERROR_FIELDS} == {
            name: expected[attribute] for name, attribute in ERROR_FIELDS.items()
        }


def changes(query: str) -> bool:
    return query.startswith(("insert", "update", "delete"))
