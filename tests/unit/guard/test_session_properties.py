"""Properties of sessions: whatever text comes is decided; nothing closed passes in any spelling or place; and what is
cut out of a text is one statement that says the same alone."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, DEVELOPMENT, FunctionCatalog, Guard
from tests.unit.guard.honest import HONEST
from tests.unit.guard.recorded import OPEN
from tests.unit.guard.test_properties import BLANKS, EXPRESSION_PLACES, TOKENS, spelled

GUARD = Guard(CLIENT, FunctionCatalog.default(), cache_size=8)
DEVELOPER = Guard(DEVELOPMENT, FunctionCatalog.default(), cache_size=8)

CLOSED_CALLS = (
    *("set_config('role', 'x', false)", "current_setting('rowgate.session')", "current_setting(a)", "pg_sleep(1)"),
    *("pg_get_functiondef(1)", "pg_table_size('t')", "auth.jwt_session_init('x')", "pg_advisory_unlock_all()"),
    *("pg_read_file('x')", "query_to_xml('x', true, true, '')", "pg_notify('a', 'b')", "lastval()", "auth.init()"),
    *("pg_terminate_backend(1)", "set_config('TimeZone', 'UTC', false)", "pg_stat_get_live_tuples(1)"),
)

SESSION_PLACES = (
    "{}",
    "begin; {}",
    "{}; commit",
    "-- é\nselect 'é' ; {}",
    "set application_name = 'x;'; {} ; reset all",
)

QUERY_PLACES = ("declare c cursor for {}", "copy ({}) to stdout", "select 1; declare c scroll cursor for {}; fetch c")

STATEMENTS = (
    *("begin", "commit and chain", "rollback to s", "savepoint s", "set time zone 'UTC'", "reset all", "show jit"),
    *("discard all", "deallocate p", "declare c cursor for select 1", "fetch 1 from c", "close all", "unlisten *"),
    *("copy t from stdin", "copy (select 1) to stdout csv", "select pg_advisory_unlock_all()", "table pg_class"),
    *("select set_config('jit', 'off', false)", "select auth.jwt_session_init($1)", "select 'é;☃' as \"𝄞\""),
)


def decided(guard: Guard, sql: str) -> str:
    """The kinds of the statements, or the SQLSTATE of the refusal; anything else fails the test."""
    try:
        return ",".join(statement.kind for statement in guard.check_session(sql))
    except StatementRefused as refused:
        error = refused
    assert error.position is None or 1 <= error.position <= len(sql) + 1
    assert error.message
    return error.refused_sqlstate


@given(st.sampled_from(SESSION_PLACES), st.sampled_from(EXPRESSION_PLACES[1:]), st.sampled_from(CLOSED_CALLS))
def test_a_closed_call_is_refused_wherever_it_stands(around: str, place: str, call: str) -> None:
    assert decided(GUARD, around.replace("{}", place.replace("{}", call))) == "42501"


@given(st.sampled_from(QUERY_PLACES), st.sampled_from(CLOSED_CALLS))
def test_a_closed_call_is_refused_behind_a_cursor_and_in_copy(place: str, call: str) -> None:
    assert decided(GUARD, place.replace("{}", f"select {call}")) == "42501"


@given(
    st.sampled_from(["pg_authid", "pg_stat_activity", "pg_db_role_setting", "pg_settings", "pg_statistic"]).flatmap(
        spelled
    ),
    st.sampled_from(
        ["select * from {}", "table only {}", "select (table {})", "copy {} to stdout", "declare c cursor for table {}"]
    ),
    st.booleans(),
)
def test_a_closed_catalog_is_refused_however_it_is_spelled(name: str, place: str, qualified: bool) -> None:
    assert decided(GUARD, place.format(f"pg_catalog.{name}" if qualified else name)) == "42501"


@given(spelled("prosrc"), spelled("pg_proc"), st.sampled_from(["{c}", "p.{c}", "(p).{c}", "lower(p.{c})", "p", "p.*"]))
def test_a_closed_column_is_refused_however_it_is_spelled(column: str, catalog: str, reference: str) -> None:
    sql = f"select {reference.format(c=column)} from {catalog} p"
    assert decided(GUARD, sql) == "42501"


@given(spelled("role"), BLANKS, st.sampled_from(["set {} = none", "set local {} to x", "reset {}", "show {}"]))
def test_a_closed_setting_is_refused_however_it_is_spelled(name: str, blank: str, place: str) -> None:
    # SHOW and SET ROLE have grammar of their own, which does not take every spelling.
    assert decided(GUARD, place.replace(" ", f" {blank}", 1).format(name)) in {"42501", "42601"}


@given(st.text())
@example("\0")
@example("\ud800")
@example(";;")
def test_any_text_is_decided(text: str) -> None:
    decided(GUARD, text)
    decided(GUARD, f"begin; {text}")
    decided(DEVELOPER, f"explain {text}; commit")


@given(st.sampled_from([text.sql for text in OPEN] + list(HONEST)), st.data())
def test_a_mutated_text_of_a_client_is_decided(sql: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(sql)))
        end = min(len(sql), start + data.draw(st.integers(0, 12)))
        words = st.sampled_from([*TOKENS, *STATEMENTS, "set", "to", "pg_proc", "current_setting"])
        sql = f"{sql[:start]}{data.draw(words | st.just(sql[end : end + 20]) | st.text(max_size=4))}{sql[end:]}"
    decided(GUARD, sql)


@given(st.lists(st.tuples(BLANKS, st.sampled_from([*STATEMENTS, *HONEST[:40]]), BLANKS), max_size=8))
def test_what_is_cut_out_is_the_statement_itself(parts: list[tuple[str, str, str]]) -> None:
    # A comment to the end of the line would swallow the semicolon.
    text = ";".join(f"{before}{sql.rstrip(';')}\n{after}\n" for before, sql, after in parts)
    found = GUARD.check_session(text)
    assert len(found) == len(parts)
    for statement, (_, sql, _) in zip(found, parts, strict=True):
        (alone,) = GUARD.check_session(sql)
        assert (statement.kind, statement.settings, statement.name) == (alone.kind, alone.settings, alone.name)
        assert (statement.verdict is None) == (alone.verdict is None)
        if statement.verdict is not None and alone.verdict is not None:
            assert statement.verdict.tables == alone.verdict.tables
        if not statement.answers:
            assert sql.rstrip(";") in statement.text
            assert text[statement.offset :].startswith(statement.text)
            (again,) = GUARD.check_session(statement.text)
            assert again.text == statement.text


@given(st.sampled_from(HONEST), st.sampled_from(HONEST))
def test_parse_takes_one_statement_and_sees_two(first: str, second: str) -> None:
    assert len(GUARD.check_session(f"{first.rstrip(';')}\n; {second}")) == 2
