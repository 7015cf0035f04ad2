"""What the guard tells about the statements of a session."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, DEVELOPMENT, FunctionCatalog, Guard, SessionKind, SessionSetting, SessionStatement
from rowgate.guard.cache import weigh
from rowgate.guard.sessions.judge import MOST_STATEMENTS
from rowgate.guard.sessions.settings import bound
from tests.unit.guard.honest import HONEST

GUARD = Guard(CLIENT, FunctionCatalog.default())


def one(sql: str, guard: Guard = GUARD) -> SessionStatement:
    (statement,) = guard.check_session(sql)
    return statement


def refusal(sql: str, guard: Guard = GUARD) -> StatementRefused:
    with pytest.raises(StatementRefused) as caught:
        guard.check_session(sql)
    return caught.value


@pytest.mark.parametrize("sql", HONEST)
def test_an_honest_query_has_the_verdict_that_it_has_over_http(sql: str) -> None:
    statement = one(sql)
    assert statement.kind is SessionKind.QUERY
    assert statement.verdict == GUARD.check(sql)
    assert statement.text == sql[statement.offset :].removesuffix(";")
    assert statement.offset == 0 or sql.startswith("/*")


@pytest.mark.parametrize(
    ("sql", "kind", "values"),
    [
        ("begin", "begin", {}),
        ("BEGIN WORK", "begin", {}),
        ("start transaction", "begin", {}),
        ("commit", "commit", {}),
        ("end transaction", "commit", {}),
        ("commit and chain", "commit", {"chain": True}),
        ("commit and no chain", "commit", {"chain": False}),
        ("rollback", "rollback", {}),
        ("abort and chain", "rollback", {"chain": True}),
        ('savepoint "S x"', "savepoint", {"name": "S x"}),
        ("release savepoint s", "release", {"name": "s"}),
        ("rollback to s", "rollback_to", {"name": "s"}),
        ("reset all", "reset_all", {}),
        ("show TimeZone", "show", {"name": "timezone"}),
        ("show time zone", "show", {"name": "timezone"}),
        ("show transaction isolation level", "show", {"name": "transaction_isolation"}),
        ("show server_version_num", "show", {"name": "server_version_num"}),
        ("discard all", "discard_all", {}),
        ("deallocate all", "deallocate_all", {}),
        ("deallocate prepare p", "deallocate", {"name": "p"}),
        ("close all", "close_all_cursors", {}),
        ("close c", "close_cursor", {"name": "c"}),
        ("unlisten *", "unlisten_all", {}),
        ("declare c cursor for select 1", "declare_cursor", {"name": "c"}),
        ("declare c no scroll cursor without hold for values (1)", "declare_cursor", {"name": "c"}),
        ("declare c scroll cursor for select * from pg_class", "declare_cursor", {"name": "c"}),
        ("fetch c", "fetch", {"name": "c"}),
        ("fetch backward all from c", "fetch", {"name": "c"}),
        ("move absolute 3 in c", "move", {"name": "c"}),
        ("copy todos(id, task) from stdin", "copy_from", {}),
        ("copy todos from stdin with (format csv, header match, null '', on_error ignore)", "copy_from", {}),
        ("copy todos from stdin csv header quote '\"' delimiter ';' where id > 1", "copy_from", {}),
        ("copy todos to stdout binary", "copy_to", {}),
        ("copy (select 1) to stdout (format csv, force_quote *, encoding 'utf-8')", "copy_to", {}),
        ("copy (delete from todos returning *) to stdout", "copy_to", {}),
        ("select pg_advisory_unlock_all()", "unlock_all", {"answers": True}),
    ],
)
def test_kinds(sql: str, kind: str, values: dict[str, Any]) -> None:
    statement = one(sql)
    assert statement.kind == kind
    assert {name: getattr(statement, name) for name in values} == values
    if not statement.answers:
        assert statement.text == sql


def settings(sql: str) -> tuple[str, list[tuple[str, tuple[str, ...] | None]]]:
    statement = one(sql)
    return statement.kind.value, [(setting.name, setting.values) for setting in statement.settings]


@pytest.mark.parametrize(
    ("sql", "kind", "expected"),
    [
        (
            "begin isolation level repeatable read, read only, not deferrable",
            "begin",
            [
                ("transaction_isolation", ("repeatable read",)),
                ("transaction_read_only", ("on",)),
                ("transaction_deferrable", ("off",)),
            ],
        ),
        ("set transaction read write", "set_transaction", [("transaction_read_only", ("off",))]),
        ("set local transaction read only", "set_transaction", [("transaction_read_only", ("on",))]),
        ("set transaction_read_only = 1", "set_transaction", [("transaction_read_only", ("on",))]),
        (
            "set session characteristics as transaction isolation level serializable, read only",
            "set_session",
            [("default_transaction_isolation", ("serializable",)), ("default_transaction_read_only", ("on",))],
        ),
        ("set application_name = 'a''b'", "set_session", [("application_name", ("a'b",))]),
        ("set session TimeZone to utc", "set_session", [("timezone", ("utc",))]),
        ("set local time zone -3.5", "set_local", [("timezone", ("-3.5",))]),
        ("set time zone local", "reset", [("timezone", None)]),
        ("set names 'Unicode'", "set_session", [("client_encoding", ("UTF8",))]),
        ("set names", "reset", [("client_encoding", None)]),
        ("set local datestyle to default", "set_local", [("datestyle", None)]),
        ("reset search_path", "reset", [("search_path", None)]),
        ('set search_path to "$user", Public, "My Schema"', "set_session",
         [("search_path", ("$user", "public", "My Schema"))]),
        ("set search_path = 'a, b'", "set_session", [("search_path", ("a, b",))]),
        ("set search_path = ''", "set_session", [("search_path", ())]),
        ("select set_config('search_path', '', false)", "set_session", [("search_path", ())]),
        ("select set_config('search_path', ' A, \"B, c\" ', true)", "set_local", [("search_path", ("a", "B, c"))]),
        ("select pg_catalog.set_config('TimeZone'::text, 'UTC'::varchar, false) as x", "set_session",
         [("timezone", ("UTC",))]),
        ("select set_config('transaction_read_only', 'on', true)", "set_transaction",
         [("transaction_read_only", ("on",))]),
    ],
)  # fmt: skip
def test_settings(sql: str, kind: str, expected: list[tuple[str, tuple[str, ...] | None]]) -> None:
    assert settings(sql) == (kind, expected)


def test_one_setting_can_be_had_by_itself() -> None:
    setting = one("set statement_timeout = '1min'").setting
    assert setting == SessionSetting("statement_timeout", ("60000",), 60_000)
    assert one("begin").setting is None


def test_a_text_of_several_statements_is_cut_at_its_bytes() -> None:
    sql = "-- é\nbegin;\n\tselect 'é;𝄞' /* ; */ ;; \r\ncommit /* ☃ */;  -- the end"
    found = GUARD.check_session(sql)
    assert [statement.kind.value for statement in found] == ["begin", "query", "commit"]
    assert [statement.text for statement in found] == ["begin", "select 'é;𝄞' /* ; */", "commit /* ☃ */"]
    for statement in found:
        assert sql[statement.offset :].startswith(statement.text)


@pytest.mark.parametrize("sql", ["", "  ", ";", ";;\n;", "-- nothing", "/* at /* all */ */ ;"])
def test_an_empty_text_has_no_statements(sql: str) -> None:
    assert GUARD.check_session(sql) == ()


def test_each_query_of_a_text_has_its_own_fingerprint_and_tables() -> None:
    first, second = GUARD.check_session("select * from a where x = 1; select * from b")
    assert first.verdict is not None
    assert second.verdict is not None
    assert (first.verdict.tables, second.verdict.tables) == (("a",), ("b",))
    assert first.verdict.fingerprint == GUARD.check("select * from a where x = 2").fingerprint
    assert second.verdict.fingerprint == GUARD.check("select * from b").fingerprint


@pytest.mark.parametrize(
    ("sql", "kind", "tables", "reads_only"),
    [
        ("declare c cursor for select * from a", "select", ("a",), True),
        ("declare c cursor for select * from a for update", "select", ("a",), False),
        ("copy app.a to stdout", "select", ("app.a",), True),
        ("copy a from stdin", "insert", ("a",), False),
        ("copy (select * from a) to stdout", "select", ("a",), True),
        ("copy (insert into a values (1) returning 1) to stdout", "insert", ("a",), False),
        ("select relname from pg_class", "select", ("pg_class",), True),
        ("select setting from pg_settings where name = 'max_index_keys'", "select", (), True),
    ],
)
def test_verdicts(sql: str, kind: str, tables: tuple[str, ...], reads_only: bool) -> None:
    verdict = one(sql).verdict
    assert verdict is not None
    assert (verdict.kind, verdict.tables, verdict.reads_only) == (kind, tables, reads_only)


def test_calls_of_the_users_own_functions_are_known() -> None:
    for sql, calls in (("copy (select f(1)) to stdout", True), ("select pg_get_viewdef('v')", False)):
        verdict = one(sql).verdict
        assert verdict is not None
        assert verdict.calls_user_functions is calls


def test_a_kept_select_has_a_text_that_answers_and_sets_nothing() -> None:
    jit = one("select current_setting('jit') AS cur, set_config('jit', 'off', false) AS \"N\"\"\"")
    assert jit.text == 'SELECT pg_catalog.current_setting(\'jit\') AS "cur", \'off\' AS "N"""'
    assert jit.answers
    assert one("select set_config('application_name', 'x''y', true)").text == "SELECT 'x''y' AS \"set_config\""
    for statement in (jit, one("select pg_advisory_unlock_all() as x")):
        assert one(statement.text).kind is SessionKind.QUERY


def test_parameters_that_name_or_are_settings_are_judged_when_they_are_bound() -> None:
    change = one("select set_config('search_path', $1, false)")
    assert (change.kind, change.settings, change.parameters) == (SessionKind.SET_SESSION, (), ((1, "search_path"),))
    assert change.text == 'SELECT $1::pg_catalog.text AS "set_config"'
    assert bound(change, {1: "a, b"}.get).setting == SessionSetting("search_path", ("a", "b"))
    assert bound(change, {1: None}.get).setting == SessionSetting("search_path", None)
    assert bound(change, {1: "a"}.get).parameters == ()
    for value in ("pg_temp", "auth", "a, pg_catalog", 'a"'):
        with pytest.raises(StatementRefused, match="invalid value"):
            bound(change, {1: value}.get)

    query = one("select a from t where b = $1 and c = current_setting($3::varchar, true) and d = current_setting($2)")
    assert query.parameters == ((2, None), (3, None))
    assert bound(query, {2: "jit", 3: None}.get).parameters == ()
    for name in ("rowgate.session", "role", "", "data_directory"):
        with pytest.raises(StatementRefused, match="setting"):
            bound(query, {2: "jit", 3: name}.get)


TOKEN = "eyJhbGciOiJSUzI1NiJ9.secret.secret"


@pytest.mark.parametrize(
    "sql",
    [
        f"select auth.jwt_session_init('{TOKEN}')",
        f"SELECT auth.jwt_session_init('{TOKEN}'::text) AS x;",
        f'select "auth"."jwt_session_init"(cast($${TOKEN}$$ as text))',
        f'select U&"auth".U&"jwt\\005Fsession_init"(\'{TOKEN}\')',
    ],
)
def test_a_token_is_handed_over_and_kept_nowhere(sql: str) -> None:
    guard = Guard(CLIENT, FunctionCatalog.default())
    statement = one(sql, guard)
    assert (statement.kind, statement.token, statement.token_parameter) == (SessionKind.PRESENT_TOKEN, TOKEN, None)
    assert "secret" not in repr(statement)
    assert "secret" not in statement.text
    assert statement is not one(sql, guard)
    assert len(guard._session_cache) == 0


def test_a_token_can_be_a_parameter() -> None:
    for sql in ("select auth.jwt_session_init($2)", "select auth.jwt_session_init($2::text)"):
        statement = one(sql)
        assert (statement.kind, statement.token, statement.token_parameter) == (SessionKind.PRESENT_TOKEN, None, 2)


def test_a_refused_text_with_a_token_is_not_kept_either() -> None:
    guard = Guard(CLIENT, FunctionCatalog.default())
    for check in (guard.check, guard.check_session):
        with pytest.raises(StatementRefused):
            check(f"select auth.jwt_session_init('{TOKEN}'), 1")
    assert len(guard._session_cache) == len(guard._cache) == 0


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        ("select 1; set role none", 11),
        ("select 'é☃𝄞';  reset role", 16),
        ("begin; select 'é', pg_sleep(1)", 20),
        ("commit; select 1 fro m x", 22),
        ("begin;\n /* é */ listen c", 17),
        ("begin; select prosrc from pg_proc", 15),
        ("begin; copy todos from program 'x'", 8),
    ],
)
def test_the_position_counts_characters_of_the_whole_text(sql: str, position: int) -> None:
    assert refusal(sql).position == position


@pytest.mark.parametrize(
    ("sql", "sqlstate", "message"),
    [
        ("listen c", "42501", "LISTEN is not available."),
        ("prepare p as select 1", "42501", "PREPARE is not available."),
        ("prepare transaction 'x'", "42501", "Two-phase commit is not available."),
        ("declare c cursor with hold for select 1", "42501", "A cursor WITH HOLD is not available."),
        ("set role none", "42501", "The setting role is not open."),
        ("set client_encoding = 'latin1'", "22023", 'invalid value for parameter "client_encoding": "latin1"'),
        ("set constraints all deferred", "42501", "SET CONSTRAINTS is not available."),
        ("create role x", "42501", "CREATE ROLE is not available."),
        ("select prosrc from pg_proc", "42501", "The relation pg_proc may not be read like this: prosrc."),
        ("select 1;" * (MOST_STATEMENTS + 1), "54001", "The text has too many statements."),
        ("select 1" + " " * 65_536, "54001", "The statement is too large."),
    ],
)
def test_refusals_explain_themselves(sql: str, sqlstate: str, message: str) -> None:
    error = refusal(sql)
    assert (error.refused_sqlstate, error.message) == (sqlstate, message)
    assert error.detail
    assert error.hint


def test_as_many_statements_as_fit_are_decided() -> None:
    assert len(GUARD.check_session("select 1;" * MOST_STATEMENTS)) == MOST_STATEMENTS


def test_explain_is_for_development() -> None:
    statement = one("explain (costs off) select * from pg_class", Guard(DEVELOPMENT, FunctionCatalog.default()))
    assert statement.kind is SessionKind.QUERY
    assert statement.verdict is not None
    assert statement.verdict.kind == "explain"
    assert refusal("explain select 1").message == "EXPLAIN is not available."


def test_decisions_of_sessions_are_remembered_apart_from_those_of_http() -> None:
    guard = Guard(CLIENT, FunctionCatalog.default())
    assert guard.check_session("select 1; begin") is guard.check_session("select 1; begin")
    with pytest.raises(StatementRefused):
        guard.check("begin")
    assert one("begin", guard).kind is SessionKind.BEGIN
    with pytest.raises(StatementRefused):
        guard.check("begin")
    assert refusal("listen c", guard) is not refusal("listen c", guard)


def test_a_decision_weighs_what_its_statements_weigh() -> None:
    statements = GUARD.check_session("select 1; select * from todos")
    assert weigh("x", statements) > weigh("x", statements[:1]) > weigh("x", ())


@pytest.mark.parametrize(("sql", "allowed"), [("begin; commit", True), ("listen c", False), ("x" * 70_000, False)])
def test_what_needs_no_worker_is_done_at_once(sql: str, allowed: bool) -> None:
    future: Future[tuple[SessionStatement, ...]] = GUARD.submit_session(sql)
    assert future.done()
    assert (future.exception() is None) is allowed


def test_a_large_text_is_decided_on_the_worker() -> None:
    guard = Guard(CLIENT, FunctionCatalog.default())
    sql = "begin; select " + ", ".join(f"a{number}" for number in range(5_000)) + "; commit"
    future = guard.submit_session(sql)
    assert future.result(timeout=60) is guard.check_session(sql)
    with pytest.raises(StatementRefused, match="role"):
        guard.submit_session(sql + "; set role none").result(timeout=60)


def test_a_statement_is_a_value() -> None:
    statement = one("begin")
    with pytest.raises(AttributeError):
        statement.kind = SessionKind.COMMIT  # type: ignore[misc]
    assert statement == one("begin")
    assert "secret" not in repr(one("select 'secret'"))
