"""Each attack of the tables is refused in a session by the guard alone, and by the wall that the table names."""

from __future__ import annotations

import pytest

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, DEVELOPMENT, FunctionCatalog, Guard, SessionKind
from tests.attacks.guard_cases import ATTACKS, Attack
from tests.attacks.guard_session_cases import SESSION_ATTACKS, session_sqlstate_of

GUARD = Guard(CLIENT, FunctionCatalog.default())
DEVELOPER = Guard(DEVELOPMENT, FunctionCatalog.default())

WORDS = {
    "catalog": "may not be read like this",
    "column": "may not follow a dot",
    "function": "function",
    "relation": "elation",
    "setting": "The setting",
    "type": "type",
    "value": "invalid value for parameter",
}

OPEN_IN_SESSIONS = frozenset(
    {
        # Transactions, cursors, COPY with the client.
        "commit", "COMMIT AND CHAIN", "end", "rollback", "abort", "begin", "savepoint s", "release s",
        "start transaction isolation level serializable", "rollback to savepoint s", "set transaction read write",
        "fetch all from c", "move 1 in c", "close all", "copy todos to stdout", "copy todos from stdin",
        "select 1;;; commit;", "select 1 /* ; */ ; /* */ select 2",
        # What the gateway keeps for the session.
        "reset all", "discard all", "deallocate all", "unlisten *", "set search_path = evil", "set time zone 'UTC'",
        "set /* quiet */ statement_timeout to 0", "set session characteristics as transaction read only",
        "show search_path", "select auth.jwt_session_init('x')", 'select "auth"."jwt_session_init"($1)',
        # Structure, and the functions that describe it.
        "select * from pg_class", 'select * from "pg_class"', 'select * from U&"pg\\005Fclass"',
        "select * from only (pg_policy)", "select * from information_schema.tables", "select p from pg_class p",
        "delete from todos using pg_class where true", "select * from pg_class tablesample system (1)",
        "select array(select relname from pg_class)", "select json_array(select relname from pg_class)",
        "values ((select count(*) from pg_class))", "select a from todos order by (select 1 from pg_class)",
        "with pg_class as (select 1) select * from pg_class", "update todos set a = rolname from pg_roles",
        "merge into todos using pg_roles r on true when matched then update set a = r.rolname",
        "select collation for ('a')", "select session_user", "select current_catalog",
        "select current_schemas(true)", "select has_table_privilege('auth.secret', 'select')",
        "select row_security_active('todos')", "select pg_get_viewdef('v')", "select obj_description(1, 'pg_class')",
        "select now() at time zone current_setting('TimeZone')",
    }
)  # fmt: skip
"""Rows of the table for queries over HTTP that sessions may send, reviewed one by one. A row is also left out where its
only attack is the harmless version() or a cast to regclass and its kin, which the structural catalogs make harmless."""


def refusal(sql: str, guard: Guard = GUARD) -> StatementRefused:
    with pytest.raises(StatementRefused) as caught:
        guard.check_session(sql)
    return caught.value


@pytest.mark.parametrize("attack", SESSION_ATTACKS, ids=lambda attack: attack.id)
def test_the_attack_is_refused_by_its_wall(attack: Attack) -> None:
    error = refusal(attack.sql)
    assert error.refused_sqlstate == session_sqlstate_of(attack), f"{error.message} would gain {attack.gain}"
    assert WORDS.get(attack.wall, "") in error.message
    assert error.detail
    assert error.hint
    if attack.wall != "syntax":
        assert error.position is not None
        assert 1 <= error.position <= len(attack.sql)


@pytest.mark.parametrize("attack", SESSION_ATTACKS, ids=lambda attack: attack.id)
def test_the_second_attempt_meets_the_same_refusal(attack: Attack) -> None:
    first, second = refusal(attack.sql), refusal(attack.sql)
    assert (first.message, first.position, first.hint) == (second.message, second.position, second.hint)


@pytest.mark.parametrize("attack", SESSION_ATTACKS, ids=lambda attack: attack.id)
def test_http_is_no_wider(attack: Attack) -> None:
    with pytest.raises(StatementRefused):
        GUARD.check(attack.sql)


@pytest.mark.parametrize(
    "attack", [each for each in SESSION_ATTACKS if each.wall not in {"text", "syntax"}], ids=lambda each: each.id
)
def test_nothing_before_or_after_it_helps(attack: Attack) -> None:
    before = refusal(f"/* é */ begin; select 'é' ;\n{attack.sql}")
    assert before.refused_sqlstate == session_sqlstate_of(attack)
    assert before.position is not None
    assert before.position > len("/* é */ begin; select 'é' ;")
    assert refusal(f"{attack.sql}\n; commit").refused_sqlstate == session_sqlstate_of(attack)


@pytest.mark.parametrize(
    "attack", [each for each in SESSION_ATTACKS if each.sql.startswith(("select", "with"))], ids=lambda each: each.id
)
def test_neither_cursor_nor_copy_nor_explain_is_a_way_around(attack: Attack) -> None:
    assert refusal(f"declare c cursor for {attack.sql}").refused_sqlstate in {"42501", "42601", "22021"}
    assert refusal(f"copy ({attack.sql}) to stdout").refused_sqlstate in {"42501", "42601", "22021"}
    assert refusal(f"explain {attack.sql}", DEVELOPER).refused_sqlstate in {"42501", "42601", "22021"}


def is_open(sql: str) -> bool:
    try:
        GUARD.check_session(sql)
    except StatementRefused:
        return False
    return True


def test_what_sessions_add_to_http_is_reviewed() -> None:
    opened = {attack.sql for attack in ATTACKS if is_open(attack.sql)}
    assert {sql for sql in opened if "version()" not in sql and "reg" not in sql} == OPEN_IN_SESSIONS


def test_a_token_is_never_part_of_a_query() -> None:
    for attack in SESSION_ATTACKS:
        if "jwt_session_init" in attack.sql:
            assert not is_open(attack.sql)
    (statement,) = GUARD.check_session("select auth.jwt_session_init('x')")
    assert statement.kind is SessionKind.PRESENT_TOKEN


def test_the_table_is_not_thin_and_has_no_repetitions() -> None:
    assert len({attack.sql for attack in SESSION_ATTACKS}) == len(SESSION_ATTACKS) >= 300
    assert {attack.wall for attack in SESSION_ATTACKS} == {*WORDS, "statement", "node", "syntax", "text"}
