"""Allowed statements, mutated towards forbidden ones by Postgres's own grammar: constants, columns and tables of a
statement give way to fragments, closed ones and their harmless twins. Where a closed one is anywhere in it, the mutant
is refused; where none is, it stays allowed. Over HTTP and in sessions.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, FunctionCatalog, Guard
from tests.unit.guard.honest import HONEST
from tests.unit.guard.second_reading import members_of, trees_of
from tests.unit.guard.test_properties import BLANKS, CLOSED_FUNCTIONS, EXPRESSION_PLACES, spelled

GUARD = Guard(CLIENT, FunctionCatalog.default(), cache_size=8)
ALLOWED = (*HONEST, *(place.replace("{}", "app.f(1)") for place in EXPRESSION_PLACES))

TOKEN = re.compile(rb"""'(?:[^']|'')*'|[0-9][0-9_.a-fx]*|\$[0-9]+|"(?:[^"]|"")*"|[a-z_][a-z_0-9]*""", re.IGNORECASE)
RELATION = re.compile(rb"""(?:"(?:[^"]|"")*"|\w+)(?:\s*\.\s*(?:"(?:[^"]|"")*"|\w+))?""", re.IGNORECASE)

TABLES = ("RangeVar", "relation")
LEAVES = ("A_Const", "ColumnRef", "ParamRef")


class Twins(NamedTuple):
    """A closed fragment and what is like it in everything but that; ``{}`` is an identifier to be spelled."""

    closed: str
    harmless: str
    name: str = ""
    harmless_name: str = ""


CLOSED_EVERYWHERE = tuple(
    name for name in CLOSED_FUNCTIONS if name not in ("to_regclass", "version") and "." not in name
)

EXPRESSIONS = (
    *(Twins("{}(1)", "{}(1)", name, "app_function") for name in CLOSED_EVERYWHERE),
    *(Twins("pg_catalog.{}('a')", "app.{}('a')", name, "length_of") for name in ("set_config", "pg_ls_dir", "lo_get")),
    Twins("auth.{}('a')", "auth.{}()", "jwt_session_init", "user_id"),
    Twins("(x).{}", "(x).{}", "pg_sleep", "height"),
    Twins("('a'::text).{}", "('a'::text).{}", "current_setting", "length"),
    Twins("(select t.{} from t)", "(select t.{} from t)", "pg_ls_dir", "task"),
    Twins("(select count(*) from {})", "(select count(*) from {})", "pg_authid", "todos"),
    Twins("(select 1 from pg_catalog.{} p)", "(select 1 from app.{} p)", "pg_shadow", "people"),
    Twins("(select 1 from auth.{})", "(select 1 from app.{})", "session_key", "keys"),
    Twins("(select 1 from rowgate.{})", "(select 1 from app.{})", "provider", "provider"),
    Twins("exists (table {})", "exists (table {})", "pg_stat_activity", "activity"),
    Twins("('a' operator(pg_temp.{}) 'b')", "('a' operator(pg_catalog.{}) 'b')", "=", "="),
    Twins("(with w as (select {}(1)) select 1 from w)", "(with w as (select {}(1)) select 1 from w)", "pg_sleep", "f"),
    Twins("(select 1 from t tablesample {}(1))", "(select 1 from t tablesample {}(1))", "app_rows", "bernoulli"),
    Twins("(select 1 from {}(1) f)", "(select 1 from {}(1) f)", "pg_read_file", "app_rows"),
    Twins("(count(*) filter (where {}(1) is null))", "(count(*) filter (where {}(1) is null))", "lastval", "f"),
    Twins("(sum(1) over (order by {}(1)))", "(sum(1) over (order by {}(1)))", "pg_notify", "f"),
    Twins("(a collate {})", "(a collate {})", 'pg_temp."C"', '"C"'),
    Twins("xmlelement(name a, {}('a'))", "xmlelement(name a, {}('a'))", "database_to_xml", "f"),
    Twins("json_object('a': {}(1))", "json_object('a': {}(1))", "pg_terminate_backend", "f"),
    Twins("(case when true then {}(1) end)", "(case when true then {}(1) end)", "dblink", "f"),
)  # fmt: skip
"""Closed over HTTP and in sessions."""

OVER_HTTP = (
    Twins("'a'::{}", "'a'::{}", "regclass", "my_type"),
    Twins("cast('a' as {})", "cast('a' as {})", "regrole", "varchar"),
    Twins("(select count(*) from {})", "(select count(*) from {})", "pg_class", "classes"),
    Twins("(select 1 from {}.tables)", "(select 1 from {}.tables)", "information_schema", "app"),
    Twins("{}('TimeZone')", "{}('TimeZone')", "current_setting", "app_setting"),
    Twins("{}()", "{}()", "version", "app_version"),
    Twins("session_user", "current_user"),
    Twins("current_catalog", "current_schema"),
)
"""Closed over HTTP; sessions may read what there is, and who they are."""

RELATIONS = (
    *(Twins("{}", "{}", name, "people") for name in ("pg_authid", "pg_stats", "pg_settings", "pg_stat_activity")),
    Twins("pg_catalog.{}", "app.{}", "pg_statistic", "statistic"),
    Twins("auth.{}", "app.{}", "session_key", "session_key"),
    Twins("rowgate.{}", "app.{}", "exposed_role", "role"),
    Twins("pg_toast.{}", "toast.{}", "pg_toast_1", "toast_1"),
)

STATEMENTS = (
    "set role none", "set session authorization default", "do $$ begin end $$", "create table x (a int)",
    "copy todos to program 'id'", "copy todos from '/etc/passwd'", "create function f() returns int return 1",
    "alter role current_user superuser", "grant postgres to authenticated", "call p()", "lock table todos",
    "prepare p as select 1", "listen c", "notify c", "load 'x'", "vacuum", "truncate todos", "drop table todos",
    "select 1 into t2", "explain analyze select 1", "comment on table todos is 'x'", "set rowgate.session = 'x'",
    "security label on table todos is 'x'", "create view v as select 1", "declare c cursor with hold for select 1",
    "prepare transaction 'x'", "import foreign schema s from server x into public", "checkpoint",
    "select set_config('role', 'none', false)", "delete from todos where current of c",
)  # fmt: skip


def decided(sql: str) -> str:
    """The kind of the verdict, or the SQLSTATE of the refusal."""
    try:
        return GUARD.check(sql).kind
    except StatementRefused as refused:
        return refused.refused_sqlstate


def decided_session(sql: str) -> str:
    """``passed``, or the SQLSTATE of the refusal."""
    try:
        GUARD.check_session(sql)
    except StatementRefused as refused:
        return refused.refused_sqlstate
    return "passed"


def is_sql(sql: str) -> bool:
    try:
        return bool(trees_of(sql))
    except ValueError:
        return False


@lru_cache(maxsize=4096)
def leaves_of(sql: str, kinds: tuple[str, ...], probe: str) -> tuple[tuple[int, int], ...]:
    """Where in the UTF-8 of a statement nodes of these kinds stand as single tokens that the grammar lets ``probe``
    take the place of: not every constant is an expression."""
    data, token = sql.encode(), RELATION if kinds is TABLES else TOKEN
    found = set()
    for name, node in members_of(trees_of(sql)):
        if name in kinds and len(node.get("fields", "1")) == 1:
            leaf = token.match(data, node.get("location", 0))
            if leaf is not None:
                found.add(leaf.span())
    return tuple(leaf for leaf in sorted(found) if is_sql(put_in(sql, leaf, probe)))


def put_in(sql: str, span: tuple[int, int], fragment: str) -> str:
    """The statement with ``fragment`` in the place of some of its bytes."""
    data = sql.encode()
    return (data[: span[0]] + fragment.encode() + data[span[1] :]).decode()


@st.composite
def fragment(draw: st.DrawFn, twins: Twins, closed: bool) -> str:
    """One of the twins, its name in some spelling, with blanks and comments around it."""
    text, name = (twins.closed, twins.name) if closed else (twins.harmless, twins.harmless_name)
    if "{}" in text:
        text = text.replace("{}", draw(spelled(name)) if re.fullmatch(r"\w+", name) else name)
    return draw(BLANKS) + text + draw(BLANKS)


@st.composite
def mutant(draw: st.DrawFn, expressions: tuple[Twins, ...]) -> tuple[str, bool]:
    """A statement after some mutations, and whether something closed was put in."""
    sql, is_closed = draw(st.sampled_from(ALLOWED)).rstrip(";"), False
    steps = [(RELATIONS, TABLES, "probe")] * draw(st.integers(0, 1))
    steps += [(expressions, LEAVES, "(probe())")] * draw(st.integers(1, 3))
    for twins, kinds, probe in steps:
        leaves = leaves_of(sql, kinds, probe)
        if leaves:
            closed = draw(st.booleans())
            put = draw(fragment(draw(st.sampled_from(twins)), closed))
            sql = put_in(sql, draw(st.sampled_from(leaves)), put if kinds is TABLES else f"({put})")
            is_closed = is_closed or closed
    return sql, is_closed


@st.composite
def statement(draw: st.DrawFn) -> str:
    """One that nobody may send, with its words in small or capital letters and something between them."""
    words = draw(st.sampled_from(STATEMENTS)).split(" ")
    return "".join(
        (word.upper() if "'" not in word and draw(st.booleans()) else word) + " " + draw(BLANKS) for word in words
    )


@given(mutant((*EXPRESSIONS, *OVER_HTTP)))
def test_a_mutant_is_refused_where_something_closed_is_in_it(made: tuple[str, bool]) -> None:
    sql, is_closed = made
    assert decided(sql) in ({"42501"} if is_closed else {"select", "insert", "update", "delete", "merge"})


@given(mutant(EXPRESSIONS), st.sampled_from(["{}", "begin; {}\n; commit", "select 'é';{}", "set jit = off; {}"]))
def test_a_mutant_is_refused_in_a_session_too(made: tuple[str, bool], around: str) -> None:
    sql, is_closed = made
    assert decided_session(around.replace("{}", sql)) == ("42501" if is_closed else "passed")


@given(mutant(EXPRESSIONS), st.sampled_from(["declare c cursor for {}", "copy ({}\n) to stdout"]))
def test_neither_cursors_nor_copy_hide_anything(made: tuple[str, bool], around: str) -> None:
    sql, is_closed = made
    text = around.replace("{}", sql)
    assume(is_sql(text))
    assert decided_session(text) == ("42501" if is_closed else "passed")


@given(st.sampled_from(ALLOWED), statement())
def test_no_statement_hides_another(sql: str, hidden: str) -> None:
    sql = sql.rstrip(";")
    assert decided(hidden) in {"42501", "42601"}
    assert decided(f"{sql}\n; {hidden}") == "42601"
    assert decided(f"with hidden as ({hidden}\n) select 1") in {"42501", "42601"}
    assert decided_session(f"{sql}\n; {hidden}") in {"42501", "42601"}
    assert decided_session(f"{hidden}\n; {sql}") in {"42501", "42601"}
    assert decided_session(f"{sql}\n; select 1; {sql}") == "passed"


@pytest.mark.parametrize("twins", [*EXPRESSIONS, *OVER_HTTP], ids=lambda twins: twins.closed.format(twins.name))
def test_the_twins_differ_in_what_is_closed_alone(twins: Twins) -> None:
    closed, harmless = twins.closed.replace("{}", twins.name), twins.harmless.replace("{}", twins.harmless_name)
    assert decided(f"select {closed} from t") == "42501"
    assert decided(f"select {harmless} from t") == "select"
    assert (decided_session(f"select {closed} from t") == "42501") is (twins in EXPRESSIONS)
