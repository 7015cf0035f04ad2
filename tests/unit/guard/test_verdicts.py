"""What the guard lets through, and what its verdicts say."""

from __future__ import annotations

import pytest

from rowgate.errors import SettingInvalid, StatementRefused
from rowgate.guard import CLIENT, DEVELOPMENT, FunctionCatalog, Guard, Profile, Verdict
from tests.unit.guard.honest import HONEST

GUARD = Guard(CLIENT, FunctionCatalog.default())


def refusal(sql: str, guard: Guard = GUARD) -> StatementRefused:
    with pytest.raises(StatementRefused) as caught:
        guard.check(sql)
    return caught.value


@pytest.mark.parametrize("sql", HONEST)
def test_an_honest_statement_passes(sql: str) -> None:
    verdict = GUARD.check(sql)
    assert verdict.kind in {"select", "insert", "update", "delete", "merge"}
    assert len(verdict.fingerprint) == 16


def test_the_table_of_honest_statements_is_not_thin() -> None:
    assert len(set(HONEST)) >= 150


@pytest.mark.parametrize(
    ("sql", "kind", "reads_only"),
    [
        ("select 1", "select", True),
        ("values (1)", "select", True),
        ("table t", "select", True),
        ("select * from t for share", "select", False),
        ("select nextval('s')", "select", False),
        ("with x as (delete from t returning 1) select * from x", "select", False),
        ("insert into t values (1)", "insert", False),
        ("update t set a = 1", "update", False),
        ("delete from t", "delete", False),
        ("merge into t using s on true when matched then do nothing", "merge", False),
        ("", "empty", True),
        (" \n-- nothing\n/* at all */ ;;", "empty", True),
    ],
)
def test_kind_and_reads_only(sql: str, kind: str, reads_only: bool) -> None:
    verdict = GUARD.check(sql)
    assert (verdict.kind, verdict.reads_only) == (kind, reads_only)


def test_tables_and_functions_are_sorted_and_named_as_written() -> None:
    verdict = GUARD.check(
        "select lower(a), count(*), app.score(b), extract(year from c) from public.todos, lists l, lists"
        " where user_id = auth.user_id() and exists (select from public.todos)"
    )
    assert verdict.tables == ("lists", "public.todos")
    assert verdict.functions == ("app.score", "auth.user_id", "count", "extract", "lower")


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("with x as (select * from a) select * from x", ("a",)),
        ("with todos as (select * from todos) select * from todos", ("todos",)),
        ("with recursive todos as (select * from todos) select * from todos", ()),
        ("with a as (select * from b), b as (select * from a) select * from b", ("b",)),
        ("with recursive a as (select * from b), b as (select 1) select * from a", ()),
        ("with x as (select 1) select * from public.x", ("public.x",)),
        ("with x as (select 1) insert into x select * from x", ("x",)),
        ("select * from (with x as (select 1) select * from x) y, x", ("x",)),
        ("with x as (select 1) (select * from x) union select (select max(a) from x)", ()),
        ("with t as (select 1) delete from todos using t where true", ("todos",)),
        ("select 1 from todos t for update of t", ("todos",)),
    ],
)
def test_table_expressions_are_no_tables_where_their_name_holds(sql: str, tables: tuple[str, ...]) -> None:
    assert GUARD.check(sql).tables == tables


def test_the_fingerprint_ignores_literals_and_sees_shape() -> None:
    one, two = GUARD.check("select * from t where a = 1"), GUARD.check("SELECT * FROM t WHERE a = 22 -- x")
    assert one.fingerprint == two.fingerprint
    assert GUARD.check("select * from t where b = 1").fingerprint != one.fingerprint


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        ("select pg_sleep(1)", 8),
        ("select 'é☃𝄞', pg_sleep(1)", 15),
        ('select 1 from "größe", pg_class', 24),
        ("select 'é'::regclass", 13),
        ("select 'é'; select 2", 13),
        ("select 'é' fro m x", 16),
        ("é", 1),
    ],
)
def test_the_position_counts_characters_from_one(sql: str, position: int) -> None:
    assert refusal(sql).position == position


@pytest.mark.parametrize(
    ("sql", "sqlstate", "message"),
    [
        ("select pg_sleep(1)", "42501", "The function pg_sleep may not be called."),
        ("select x from pg_class", "42501", "The relation pg_class may not be used."),
        ("select x from auth.k", "42501", "Relations in the schema auth may not be used."),
        ("select 'a'::regrole", "42501", "The type regrole may not be used."),
        ("select (1).lo_get", "42501", "The name lo_get may not follow a dot."),
        ("set role none", "42501", "SET is not available."),
        ("create role x", "42501", "CREATE ROLE is not available."),
        ("commit", "42501", "Transaction control is not available."),
        ("select * into t from x", "42501", "SELECT INTO is not available."),
        ("select session_user", "42501", "SESSION_USER may not be used."),
        ("select 1; select 2", "42601", "cannot insert multiple commands into a prepared statement"),
        ("selekt", "42601", 'syntax error at or near "selekt"'),
        ("select 'a\0'", "22021", "The statement contains a NUL character."),
        ("select '\udc80'", "22021", "The statement is not valid Unicode."),
        ("select 1" + " " * 65_536, "54001", "The statement is too large."),
        ("select " + "é" * 32_768, "54001", "The statement is too large."),
        ("select 1" + "+1" * 2000, "54001", "The statement is nested too deeply."),
        ("select " + "(" * 15_000 + "1" + ")" * 15_000, "54001", "The statement is nested too deeply."),
    ],
)
def test_refusals_explain_themselves(sql: str, sqlstate: str, message: str) -> None:
    error = refusal(sql)
    assert (error.refused_sqlstate, error.message) == (sqlstate, message)
    assert error.detail
    assert error.hint


def test_a_message_never_repeats_a_long_text() -> None:
    for sql in ("select '" + "x" * 3000, f'select "{"a" * 60}".b.c.d.e.f(1)', "select $q$" + "secret" * 400):
        assert len(refusal(sql).message) < 200


@pytest.mark.parametrize(
    "sql",
    [
        "explain select 1",
        "explain verbose select * from todos",
        "explain (costs off, format json, verbose, settings, summary) update todos set a = 1",
    ],
)
def test_plain_explain_is_for_development(sql: str) -> None:
    assert Guard(DEVELOPMENT, FunctionCatalog.default()).check(sql).kind == "explain"
    assert refusal(sql).message == "EXPLAIN is not available."


@pytest.mark.parametrize(
    "sql",
    [
        "explain analyze select 1",
        "explain (analyze false) select 1",
        "explain (ANALYZE) select 1",
        "explain (buffers) select 1",
        "explain (generic_plan) select $1",
        "explain (wal, costs off) select 1",
        "explain (serialize text) select 1",
        "explain (memory) select 1",
        "explain select pg_sleep(1)",
        "explain select * from pg_class",
        "explain execute p",
        "explain create table t as select 1",
        "explain declare c cursor for select 1",
        "explain refresh materialized view v",
    ],
)
def test_explain_in_development_has_limits(sql: str) -> None:
    assert refusal(sql, Guard(DEVELOPMENT, FunctionCatalog.default())).refused_sqlstate == "42501"


def test_a_profile_can_be_narrower_on_every_level() -> None:
    reader = Guard(Profile("reader", frozenset({"SelectStmt"})), FunctionCatalog.default())
    assert reader.check("select 1").kind == "select"
    for sql in ("delete from t", "with x as (delete from t returning 1) select 1"):
        assert refusal(sql, reader).message == "DELETE is not available."


def test_a_verdict_is_a_value() -> None:
    with pytest.raises(AttributeError):
        GUARD.check("select 1").kind = "delete"  # type: ignore[misc]
    assert isinstance(GUARD.check("select 1"), Verdict)


@pytest.mark.parametrize("size", [0, -1, (1 << 20) + 1])
def test_the_largest_statement_has_bounds(size: int) -> None:
    with pytest.raises(SettingInvalid):
        Guard(CLIENT, FunctionCatalog.default(), max_statement_bytes=size)


@pytest.mark.parametrize(
    ("sql", "calls"),
    [
        ("select 1", False),
        ("select count(*), lower(task), pg_catalog.upper(task) from todos where user_id = auth.user_id()", False),
        ("select my_function()", True),
        ("select app.count(1)", True),
        ("select 1 where exists (select 1 from t where f(t.a) = 1)", True),
    ],
)
def test_calls_of_the_users_own_functions_are_known(sql: str, calls: bool) -> None:
    assert Guard(CLIENT, FunctionCatalog.default()).check(sql).calls_user_functions is calls
