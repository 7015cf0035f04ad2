"""Properties: whatever text comes, a verdict or a refusal; and no way to write a closed name that passes."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, DEVELOPMENT, FunctionCatalog, Guard
from tests.unit.guard.honest import HONEST

GUARD = Guard(CLIENT, FunctionCatalog.default(), cache_size=8)
DEVELOPER = Guard(DEVELOPMENT, FunctionCatalog.default(), cache_size=8)

CLOSED_FUNCTIONS = (
    *("set_config", "current_setting", "pg_sleep", "pg_read_file", "query_to_xml", "lo_get", "pg_advisory_lock"),
    *("version", "lastval", "dblink", "pg_terminate_backend", "to_regclass", "ts_stat", "auth.jwt_session_init"),
)

EXPRESSION_PLACES = (
    "select {}",
    "select a, b from t where c = {}",
    "select 1 from t order by {} desc",
    "select 1 from t group by {}",
    "select 1 from t having {} is null",
    "select 1 from t limit {}",
    "select distinct on ({}) a from t",
    "select * from {} as f",
    "select * from rows from ({}, f(1)) as x",
    "select * from t left join lateral {} x on true",
    "values (1, {})",
    "select f(1, {})",
    "select f(a => {})",
    "select f(variadic {})",
    "select count(*) filter (where {} is null) from t",
    "select sum(a order by {}) from t",
    "select sum(a) over (partition by {} order by {}) from t",
    "select case when {} is null then 1 else 2 end",
    "select case 1 when 1 then {} end",
    "select coalesce(1, {}), array[{}], row(1, {})",
    "select ({})::text, cast({} as int)",
    "select (a)[{}], (a)[1:{}]",
    "select -{} + 1",
    "select not {}",
    "select 1 in (2, {})",
    "select 1 between {} and 2",
    "select a like {} escape 'x'",
    "select (select {})",
    "select exists (select 1 where {} is null)",
    "select 1 union select {}",
    "with x as (select {}) select 1",
    "with x as (insert into t values ({}) returning 1) select 1",
    "insert into t values ({})",
    "insert into t select {}",
    "insert into t values (1) on conflict (a) do update set a = {}",
    "insert into t values (1) returning {}",
    "update t set a = {}",
    "update t set (a, b) = (select {}, 1)",
    "delete from t where {} is null",
    "merge into t using s on {} is null when matched then delete",
    "merge into t using s on true when not matched then insert values ({})",
    "select * from json_table({}, '$' columns (a int))",
    "select json_object('a': {}), json_array({}, 1)",
    "select * from xmltable('/a' passing {} columns b int)",
    "select xmlelement(name a, {})",
    "select {} operator(pg_catalog.+) 1",
    "select {} at time zone 'UTC'",
    "select ({}).a, ({}).*",
    'select {} collate "C"',
)

BLANKS = st.text(" \t\n", min_size=0, max_size=2) | st.sampled_from(["/**/", "/* ( */", "--x\n", " /* /* */ */ "])


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """One of the ways in which Postgres lets an identifier be written."""
    way = draw(st.integers(0, 3))
    if way == 0:
        return "".join(draw(st.sampled_from([letter, letter.upper()])) for letter in name)
    if way == 1:
        return f'"{name}"'
    escaped = "".join(
        f"\\{ord(letter):04x}" if draw(st.booleans()) else letter if draw(st.booleans()) else f"\\+{ord(letter):06X}"
        for letter in name
    )
    return f'{"U" if way == 2 else "u"}&"{escaped}"'


@st.composite
def closed_call(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(CLOSED_FUNCTIONS))
    parts = name.split(".")
    if len(parts) == 1 and name != "dblink" and draw(st.booleans()):
        parts.insert(0, "pg_catalog")
    dot = draw(BLANKS) + "." + draw(BLANKS)
    arguments = draw(st.sampled_from(["", "1", "'x'", "a, b", "$1", "'a', 'b', true"]))
    return dot.join(draw(spelled(part)) for part in parts) + draw(BLANKS) + f"({arguments})"


def decided(guard: Guard, sql: str) -> str:
    """The kind of the verdict, or the SQLSTATE of the refusal; anything else fails the test."""
    try:
        return guard.check(sql).kind
    except StatementRefused as refused:
        error = refused
    assert error.position is None or 1 <= error.position <= len(sql) + 1
    assert error.message
    return error.refused_sqlstate


@given(st.sampled_from(EXPRESSION_PLACES), closed_call())
def test_a_closed_function_is_refused_wherever_it_stands(place: str, call: str) -> None:
    assert decided(GUARD, place.replace("{}", call)) == "42501"


@given(st.sampled_from(EXPRESSION_PLACES))
def test_the_places_are_sql(place: str) -> None:
    assert decided(GUARD, place.replace("{}", "app.f(1)")) in {"select", "insert", "update", "delete", "merge"}


@given(
    spelled("pg_class"), st.sampled_from(["select * from {}", "delete from {}", "table only {}", "select (table {})"])
)
def test_a_closed_relation_is_refused_however_it_is_spelled(name: str, place: str) -> None:
    assert decided(GUARD, place.format(name)) == "42501"


@given(spelled("regclass"), st.sampled_from(["'x'::{}", "cast('x' as {})", "array['x']::{}[]", "{}('x')", "('x').{}"]))
def test_a_closed_type_is_refused_however_it_is_spelled(name: str, place: str) -> None:
    assert decided(GUARD, "select " + place.format(name)) == "42501"


@given(st.text())
@example("\0")
@example("\ud800")
@example("select '\U0010ffff' x y")
@example("$a$")
def test_any_text_is_decided(text: str) -> None:
    decided(GUARD, text)
    decided(DEVELOPER, "explain " + text)


TOKENS = (
    *("select", "from", "where", "(", ")", ",", ";", ".", "::", "'", '"', "$$", "$1", "*", "into", "with", "as", "1"),
    *("union", "for update", "values", "insert into t", "returning", "--", "/*", "*/", "E'\\", 'U&"', "\0", "\ud83d"),
    *("over", "[", "]", "json_table(", "xmltable(", "case", "end", "explain", "é", "not", "merge into", "lateral"),
)


@given(st.sampled_from(HONEST), st.data())
def test_a_mutated_honest_statement_is_decided(sql: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(sql)))
        end = min(len(sql), start + data.draw(st.integers(0, 12)))
        middle = data.draw(st.sampled_from(TOKENS) | st.just(sql[end : end + 20]) | st.text(max_size=4))
        sql = f"{sql[:start]}{middle}{sql[end:]}"
    decided(GUARD, sql)


@given(st.lists(st.sampled_from(TOKENS), max_size=30))
def test_a_soup_of_tokens_is_decided(tokens: list[str]) -> None:
    decided(DEVELOPER, " ".join(tokens))


@given(st.sampled_from(HONEST), st.sampled_from(HONEST))
def test_two_statements_in_one_text_are_refused(first: str, second: str) -> None:
    # A comment to the end of the line would swallow the second one.
    assert decided(GUARD, f"{first.rstrip(';')}\n; {second}") == "42601"
