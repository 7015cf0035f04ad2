"""What clients rely on over HTTP, line by line, against a real stack: conversions, errors, batches, bad input."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.clients.stack import Driver, Stack
from tests.plain_http import HTTP


def rows(stack: Stack, query: str, params: list[Any] | None = None) -> Any:
    answer = stack.sql(query, params, token=stack.tokens["alice"])
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


def post(stack: Stack, content: bytes, **headers: str) -> httpx.Response:
    sent = {"Neon-Connection-String": stack.authenticated_url, "Authorization": f"Bearer {stack.tokens['alice']}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTP.post(stack.sql_url, content=content, headers=sent, timeout=60)


# --- values ---------------------------------------------------------------------------------------------------------

TYPED = [
    ("1::int2", 1),
    ("2147483647", 2147483647),
    ("9223372036854775807::int8", "9223372036854775807"),
    ("1.10::numeric", "1.10"),
    ("1.5::float8", 1.5),
    ("'NaN'::float8", "NaN"),
    ("'-Infinity'::float4", "-Infinity"),
    ("true", True),
    ("null::text", None),
    ("'a\"b'::text", 'a"b'),
    ("""'{"a": [1, 2.50]}'::jsonb""", {"a": [1, 2.5]}),
    ("'{1,2,NULL}'::int4[]", [1, 2, None]),
    ("'{}'::int4[]", []),
    ("'{{1,2},{3,4}}'::int4[]", [[1, 2], [3, 4]]),
    ("'[2:3]={1,2}'::int4[]", [1, 2]),
    ("""array['a,b', 'c"d', null, 'NULL']""", ["a,b", 'c"d', None, "NULL"]),
    ("'{t,f}'::bool[]", [True, False]),
    ("'{9223372036854775807}'::int8[]", ["9223372036854775807"]),
    ("'\\xdeadbeef'::bytea", "\\xdeadbeef"),
    ("date '2026-01-02'", "2026-01-02"),
    ("int4range(1, 5)", "[1,5)"),
]


@pytest.mark.parametrize(("expression", "expected"), TYPED)
def test_typed_output(stack: Stack, expression: str, expected: object) -> None:
    assert rows(stack, f"select {expression} as value") == [{"value": expected}]


@pytest.mark.parametrize(("expression", "expected"), TYPED)
def test_raw_output_is_postgres_own_text(stack: Stack, expression: str, expected: object) -> None:
    raw = {"Neon-Raw-Text-Output": "true", "Neon-Array-Mode": "true"}
    answer = stack.sql(f"select {expression}, ({expression})::text", token=stack.tokens["alice"], headers=raw)
    [[value, text]] = answer.json()["rows"]
    assert value == (text if expression != "true" else "t")


def test_arrays_of_the_users_own_types(stack: Stack) -> None:
    stack.owner("drop type if exists mood cascade")
    assert stack.owner("create type mood as enum ('sad', 'so, so')").status_code == 200
    assert rows(stack, "select array['sad', 'so, so']::mood[] as moods, 'sad'::mood as one") == [
        {"moods": ["sad", "so, so"], "one": "sad"}
    ]


@pytest.mark.parametrize(
    ("value", "cast", "expected"),
    [
        ("x", "text", "x"),
        (1, "int4", 1),
        (True, "bool", True),
        (None, "text", None),
        (18446744073709551615, "numeric", "18446744073709551615"),
        ({"a": [1, None]}, "jsonb", {"a": [1, None]}),
        ([1, 2], "int4[]", [1, 2]),
        (["a", None, 'q"x'], "text[]", ["a", None, 'q"x']),
    ],
)
def test_parameters_of_every_json_kind(stack: Stack, value: object, cast: str, expected: object) -> None:
    assert rows(stack, f"select $1::{cast} as value", [value]) == [{"value": expected}]


def test_parameters_have_no_type_of_their_own(stack: Stack) -> None:
    answer = stack.sql("select $1", ["x"], token=stack.tokens["alice"]).json()
    assert answer["fields"][0]["dataTypeID"] == 25


def test_a_large_parameter(stack: Stack) -> None:
    assert rows(stack, "select length($1) as size", ["\\x" + "ab" * 65536]) == [{"size": 131074}]


# --- results ----------------------------------------------------------------------------------------------------------


def test_the_answers_keys(stack: Stack) -> None:
    answer = stack.sql("select 1 as one, 2 as one", token=stack.tokens["alice"]).json()
    assert list(answer) == ["fields", "rows", "command", "rowCount", "rowAsArray"]
    assert (answer["command"], answer["rowCount"], answer["rowAsArray"]) == ("SELECT", 1, False)
    empty = stack.sql("  ", token=stack.tokens["alice"]).json()
    assert empty == {"fields": [], "rows": [], "command": "", "rowCount": None, "rowAsArray": False}


def test_command_tags_of_the_owner(stack: Stack) -> None:
    def tag(sql: str) -> tuple[str, int | None]:
        answer = stack.owner(sql).json()
        return answer["command"], answer["rowCount"]

    stack.owner("drop table if exists tags")
    assert tag("create table tags (id int)") == ("CREATE", None)
    assert tag("insert into tags values (1), (2)") == ("INSERT", 2)
    assert tag("update tags set id = 3") == ("UPDATE", 2)
    assert tag("delete from tags") == ("DELETE", 2)
    assert tag("set work_mem = '1MB'") == ("SET", None)
    assert tag("show work_mem") == ("SHOW", None)


def test_a_batch_is_one_transaction(stack: Stack) -> None:
    now = {"query": "select now() as at"}
    queries = [now, {"query": "select $1::int4 as n", "params": [7], "arrayMode": True}, now]
    answer = post(stack, json.dumps({"queries": queries}).encode(), Neon_Batch_Isolation_Level="RepeatableRead",
                  Neon_Batch_Read_Only="true")  # fmt: skip
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert results[0]["rows"] == results[2]["rows"]
    assert (results[1]["rows"], results[1]["rowAsArray"]) == ([[7]], True)
    assert answer.headers["Neon-Batch-Isolation-Level"] == "RepeatableRead"
    assert answer.headers["Neon-Batch-Read-Only"] == "true"
    assert "Neon-Batch-Deferrable" not in answer.headers
    assert post(stack, b'{"queries": []}').json() == {"results": []}


def test_a_read_only_batch_cannot_write(stack: Stack) -> None:
    stack.owner("create table if not exists writable (id int)")
    body = json.dumps({"queries": [{"query": "insert into writable values (1)"}]}).encode()
    answer = post(stack, body, Neon_Batch_Read_Only="true")
    assert (answer.status_code, answer.json()["code"]) == (400, "25006")


def test_an_error_at_commit_is_an_error(stack: Stack) -> None:
    for sql in ("drop table if exists later_check", "drop table if exists target",
                "create table target (id int primary key)",
                "create table later_check (id int references target deferrable initially deferred)"):  # fmt: skip
        assert stack.owner(sql).status_code == 200
    for body in (
        {"query": "insert into later_check values (1)"},
        {"queries": [{"query": "insert into later_check values (1)"}]},
    ):
        answer = post(stack, json.dumps(body).encode())
        assert (answer.status_code, answer.json()["code"]) == (400, "23503"), answer.text
    assert stack.owner("select * from later_check").json()["rows"] == []


# --- errors -----------------------------------------------------------------------------------------------------------

BAD = [
    (b"not json", {}, 400, "08P01"),
    (b"", {}, 400, "08P01"),
    (b"[]", {}, 400, "08P01"),
    (b"{}", {}, 400, "08P01"),
    (b'{"query": 1}', {}, 400, "08P01"),
    (b'{"query": "select 1", "params": {}}', {}, 400, "08P01"),
    (b'{"query": "select \\u0000"}', {}, 400, "22021"),
    (b'{"query": "select $1", "params": ["\\u0000"]}', {}, 400, "22021"),
    (b'{"query": "select \'\\ud800\'"}', {}, 400, "08P01"),
    (b'{"query": "\xff\xfe"}', {}, 400, "08P01"),
    (b'{"query": "selec"}', {}, 400, "42601"),
    (b'{"query": "select 1; select 2"}', {}, 400, "42601"),
    (b'{"query": "select * from no_such_table"}', {}, 400, "42P01"),
    (b'{"query": "select 1/0"}', {}, 400, "22012"),
    (b'{"query": "select $1"}', {}, 400, "08P01"),
    (b'{"query": "set role postgres"}', {}, 400, "42501"),
    (b'{"query": "select 1"}', {"Neon_Connection_String": ""}, 400, "08P01"),
    (b'{"query": "select 1"}', {"Neon_Connection_String": "mysql://a@h/d"}, 400, "08P01"),
    (b'{"query": "select 1"}', {"Neon_Connection_String": "postgresql://nobody@localhost/neondb"}, 400, "28000"),
    (b'{"query": "select 1"}', {"Neon_Connection_String": "postgresql://postgres@localhost/neondb"}, 400, "28000"),
    (b'{"query": "select 1"}', {"Neon_Connection_String": "postgresql://authenticated@localhost/nope"}, 400, "3D000"),
    (b'{"query": "select 1"}', {"Authorization": "Basic abc"}, 400, "08P01"),
    (b'{"query": "select 1"}', {"Authorization": "Bearer a.b.c"}, 400, "28000"),
    (b'{"queries": []}', {"Neon_Batch_Isolation_Level": "Chaos"}, 400, "08P01"),
]


@pytest.mark.parametrize(("body", "headers", "status", "code"), BAD)
def test_bad_input_gets_an_answer_that_a_person_understands(
    stack: Stack, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = post(stack, body, **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert len(answer.json()["message"]) > 5
    assert "Traceback" not in answer.text
    assert stack.sql("select 1 as ok", token=stack.tokens["alice"]).json()["rows"] == [{"ok": 1}]


def test_a_body_over_the_limit(stack: Stack) -> None:
    answer = post(stack, b'{"query": "select $1", "params": ["' + b"x" * 20_000_000 + b'"]}')
    assert answer.status_code == 413
    assert "request is too large (max is 10485760 bytes)" in answer.json()["message"]
    assert rows(stack, "select 1 as ok") == [{"ok": 1}]


def test_a_result_over_the_limit(stack: Stack) -> None:
    """A result that Postgres sends as it makes it, so that only stopping it ends it."""
    sql = "select a, repeat('x', 100) from generate_series(1, 5000) a, generate_series(1, 5000) b"
    answer = stack.sql(sql, token=stack.tokens["alice"])
    assert answer.status_code == 507
    assert "response is too large (max is 10485760 bytes)" in answer.json()["message"]
    assert rows(stack, "select 1 as ok") == [{"ok": 1}]


def test_errors_have_all_of_postgres_fields(stack: Stack) -> None:
    stack.owner("drop table if exists unique_thing")
    stack.owner("create table unique_thing (id int primary key)")
    stack.owner("insert into unique_thing values (1)")
    error = stack.owner("insert into unique_thing values (1)").json()
    assert error["code"] == "23505"
    assert (error["severity"], error["table"], error["schema"]) == ("ERROR", "unique_thing", "public")
    assert (error["constraint"], error["routine"]) == ("unique_thing_pkey", "_bt_check_unique")
    assert error["detail"] == "Key (id)=(1) already exists."
    assert isinstance(error["line"], str)
    error = stack.sql("select nope from pg_x", token=stack.tokens["alice"]).json()
    assert error["position"] is not None
    error = stack.sql("select 1 +", token=stack.tokens["alice"]).json()
    assert (error["code"], error["position"]) == ("42601", "11")


def test_passwords(stack: Stack) -> None:
    good = stack.database_url
    wrong = good.replace(good.split(":")[2].split("@")[0], "wrong")
    for url in (wrong, wrong.replace("neondb_owner", "no_such_user")):
        answer = stack.sql("select 1", url=url)
        user = url.split("//")[1].split(":")[0]
        assert (answer.status_code, answer.json()["code"]) == (400, "28P01")
        assert answer.json()["message"] == f"password authentication failed for user '{user}'"
    assert stack.owner("select current_user as me, auth.user_id() as id").json()["rows"] == [
        {"me": "neondb_owner", "id": None}
    ]
    unknown = stack.sql("select 1", url=good.removesuffix("neondb") + "nope")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "3D000")
    login = stack.sql("select 1", url=good.replace("neondb_owner", "rowgate_authenticated"))
    assert (login.status_code, login.json()["code"]) == (400, "28P01")


def test_a_changed_password_counts_at_once(stack: Stack) -> None:
    stack.owner("drop role if exists changing")
    assert stack.owner("create role changing login password 'first'").status_code == 200
    first, second = (
        stack.database_url.split("//")[0] + f"//changing:{word}@localhost/neondb" for word in ("first", "second")
    )
    assert stack.sql("select 1", url=first).status_code == 200
    stack.owner("alter role changing password 'second'")
    assert stack.sql("select 1", url=first).json()["code"] == "28P01"
    assert stack.sql("select 1", url=second).status_code == 200
    stack.owner("drop role changing")


def test_an_error_thirty_times_in_a_row(stack: Stack) -> None:
    for number in range(30):
        assert stack.sql("select 1/0", token=stack.tokens["alice"]).json()["code"] == "22012"
        assert rows(stack, "select $1::int4 as n", [number]) == [{"n": number}]


def test_the_table_changes_under_a_prepared_statement(stack: Stack) -> None:
    stack.owner("drop table if exists changing")
    stack.owner("create table changing (id int)")
    stack.owner("alter table changing enable row level security")
    stack.owner("create policy all_rows on changing using (true)")
    stack.owner("insert into changing values (1)")
    for _ in range(5):
        assert rows(stack, "select * from changing") == [{"id": 1}]
    stack.owner("alter table changing add column more text default 'x'")
    for _ in range(5):
        assert rows(stack, "select * from changing") == [{"id": 1, "more": "x"}]
    stack.owner("alter table changing alter column id type text")
    for _ in range(5):
        assert rows(stack, "select * from changing") == [{"id": "1", "more": "x"}]


# --- time ---------------------------------------------------------------------------------------------------------


def test_many_requests_of_one_user_at_once(stack: Stack) -> None:
    """Two hundred requests with two hundred answers, each to its asker."""
    with ThreadPoolExecutor(40) as workers:
        answers = list(
            workers.map(lambda n: rows(stack, "select $1::int4 as n, auth.user_id() as me", [n]), range(200))
        )
    assert answers == [[{"n": n, "me": "user_alice"}] for n in range(200)]


def test_ten_identities_never_mix(stack: Stack) -> None:
    people = []
    for number in range(10):
        person = {"id": f"user_mix_{number}", "first_name": f'Mix "{number}" é'}
        assert HTTP.post(stack.issuer_url + "/users", json=person).status_code == 201
        token = HTTP.post(stack.issuer_url + "/token", json={"user": person["id"]}).json()["token"]
        people.append((person["id"], token))

    def ask(number: int) -> bool:
        person, token = people[number % 10]
        url = stack.authenticated_url if number % 3 else stack.anonymous_url
        answer = stack.sql("select auth.user_id() as me, auth.session() ->> 'sub' as sub", token=token, url=url).json()
        return bool(answer["rows"] == [{"me": person, "sub": person}])

    with ThreadPoolExecutor(20) as workers:
        assert all(workers.map(ask, range(300)))
    nobody = stack.sql("select auth.user_id() as me", url=stack.anonymous_url).json()
    assert nobody["rows"] == [{"me": None}]


def test_an_aborted_request_is_cancelled_in_postgres(stack: Stack, driver: Driver) -> None:
    stack.owner("create or replace function slow_insert() returns void language plpgsql as "
                "$$ begin perform pg_sleep(2); insert into aborted values (1); end $$")  # fmt: skip
    stack.owner("drop table if exists aborted")
    stack.owner("create table aborted (id int)")
    stack.owner("grant insert on aborted to authenticated")
    token = stack.tokens["alice"]
    aborted, fine = driver.run(stack.authenticated_url, token, [
        {"sql": "select slow_insert()", "abortAfter": 250},
        {"sql": "select 1 as ok", "abortAfter": 2500},
    ])  # fmt: skip
    assert "error" in aborted
    assert fine["rows"] == [{"ok": 1}]
    running = "select count(*)::int4 as n from pg_stat_activity where state = 'active' and query like 'select slow_%'"
    assert wait_until_rows(stack, running, [{"n": 0}])
    assert stack.owner("select * from aborted").json()["rows"] == []


def wait_until_rows(stack: Stack, query: str, expected: list[dict[str, Any]], seconds: float = 3.0) -> bool:
    """Asks again until the answer is as expected, at most so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if stack.owner(query).json()["rows"] == expected:
            return True
    return False
