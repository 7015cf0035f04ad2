"""``rowgate setup --harden``: what PUBLIC loses, who keeps it, and that exactly this comes back."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from rowgate.errors import SettingInvalid
from rowgate.rls.hardened_objects import FUNCTIONS, VIEWS
from rowgate.rls.plan import EXIT_NOT_PERMITTED, SetupOptions, StepState
from rowgate.rls.setup import apply, plan
from tests.database.test_setup import logins, managed
from tests.servers import TestServer, unique_name

HARDEN, UNDO = SetupOptions(harden=True), SetupOptions(unharden=True)
NAMES = [name for _, _, names in FUNCTIONS for name in names]

PRIVILEGES = """
SELECT 'function ' || oid::regprocedure::text FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege(%(role)s, oid, 'EXECUTE')
UNION ALL SELECT 'view ' || relname FROM pg_class
WHERE relnamespace = 'pg_catalog'::regnamespace AND has_table_privilege(%(role)s, oid, 'SELECT')
UNION ALL SELECT 'language ' || lanname FROM pg_language WHERE has_language_privilege(%(role)s, oid, 'USAGE')
UNION ALL SELECT 'database ' || one FROM unnest('{TEMPORARY,CREATE,CONNECT}'::text[]) AS one
WHERE has_database_privilege(%(role)s, current_database(), one)
UNION ALL SELECT 'schema ' || one FROM unnest('{USAGE,CREATE}'::text[]) AS one
WHERE has_schema_privilege(%(role)s, 'public', one)
"""


def privileges(connection: psycopg.Connection[Any], role: str) -> set[str]:
    """What a role may do with Postgres's own objects in this database."""
    return {text for (text,) in connection.execute(PRIVILEGES.encode(), {"role": role}).fetchall()}


def test_public_loses_it_others_keep_it_and_it_comes_back(bare: TestServer, database: str) -> None:
    colleague = unique_name("colleague")
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {colleague} LOGIN".encode())
        try:
            assert apply(connection).plan.is_complete
            before, kept = privileges(connection, "authenticated"), privileges(connection, colleague)

            assert plan(connection, HARDEN).in_state(StepState.NEEDED)
            assert privileges(connection, "authenticated") == before, "a plan changes nothing"
            hardened = apply(connection, HARDEN)
            assert hardened.plan.is_complete, hardened.plan
            left = privileges(connection, "authenticated")
            assert left < before
            assert not [name for name in NAMES if any(one.startswith(f"function {name}(") for one in left)]
            assert not {f"view {name}" for name in VIEWS} & left
            assert not {"language plpgsql", "language sql", "database TEMPORARY", "schema CREATE"} & left
            assert privileges(connection, colleague) == kept
            assert apply(connection, HARDEN).applied == ()

            undone = apply(connection, UNDO)
            assert undone.plan.is_complete, undone.plan
            assert privileges(connection, "authenticated") == before
            assert privileges(connection, colleague) == kept
            assert apply(connection, UNDO).applied == ()
            assert connection.execute("SELECT setconfig FROM pg_db_role_setting").fetchall() == []
        finally:
            connection.execute(f"DROP ROLE {colleague}".encode())


def test_only_what_was_taken_comes_back(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        assert apply(connection).plan.is_complete
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC")
        before = privileges(connection, "authenticated")
        for options in (HARDEN, UNDO):
            assert apply(connection, options).plan.is_complete
        assert privileges(connection, "authenticated") == before


def test_identity_settings_and_time_outs_still_work(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        assert apply(connection, HARDEN).plan.is_complete
        login, password = logins(bare.conninfo(database))["authenticated"]
        conninfo = bare.conninfo(database, user=login, password=password)
        with psycopg.connect(conninfo, options="-c role=authenticated", autocommit=True) as client:
            assert client.execute("SELECT auth.user_id(), auth.session()").fetchone() == (None, None)
            assert client.execute("SHOW temp_file_limit").fetchone() == ("1GB",)
            for statement, sqlstate in (
                ("SELECT set_config('role', 'none', false)", "42501"),
                ("SELECT pg_sleep(0)", "42501"),
                ("DO $$ BEGIN END $$", "42501"),
                ("CREATE TEMP TABLE t (a int)", "42501"),
                ("SELECT auth.jwt_session_init('x')", "28000"),
            ):
                with pytest.raises(psycopg.Error) as refusal:
                    client.execute(statement.encode())
                assert refusal.value.sqlstate == sqlstate, statement


def test_an_owner_who_is_no_superuser_does_what_it_may_and_is_told_the_rest(bare: TestServer) -> None:
    with managed(bare) as (name, conninfo), psycopg.connect(conninfo, autocommit=True) as connection:
        outcome = apply(connection, HARDEN)
        assert outcome.plan.exit_code == EXIT_NOT_PERMITTED
        refused = outcome.plan.in_state(StepState.NOT_PERMITTED)
        assert {step.runner for step in refused} <= {"a superuser", "the owner of the schema or a superuser"}
        assert all("no effect" in (step.problem or "") for step in refused), refused
        assert len(refused) >= len(FUNCTIONS) + 2
        left = privileges(connection, "authenticated")
        assert "database TEMPORARY" not in left
        assert "database TEMPORARY" in privileges(connection, connection.info.user)
        # Who may do it runs what was printed, and then nothing is left.
        with psycopg.connect(bare.conninfo(name), autocommit=True) as admin:
            admin.execute(outcome.plan.script(StepState.NOT_PERMITTED).encode())
        assert plan(connection, HARDEN).is_complete


def test_both_at_once_are_refused() -> None:
    with pytest.raises(SettingInvalid):
        SetupOptions(harden=True, unharden=True)
