"""Set-up on real servers: as superuser and as the owner that managed services give, once and again, in parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from rowgate.errors import SettingInvalid
from rowgate.registry.snapshot import SCHEMA_VERSION
from rowgate.rls import extension, grant_actions
from rowgate.rls.plan import EXIT_NOT_PERMITTED, SetupOptions, StepState
from rowgate.rls.setup import apply, plan
from tests.database.conftest import CONTROL_PASSWORD
from tests.servers import Embedded18, PlainPostgres, TestServer, database_of, unique_name

OWNER_PASSWORD = "owner of the tests"


@contextmanager
def managed(server: TestServer, attributes: str = "CREATEROLE CREATEDB") -> Iterator[tuple[str, str]]:
    """A database and its owner, who is no superuser: (database, the owner's connection string)."""
    owner = unique_name("managed_owner")
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {owner} LOGIN {attributes} PASSWORD '{OWNER_PASSWORD}'".encode())
    try:
        with database_of(server, owner=owner) as name:
            yield name, server.conninfo(name, user=owner, password=OWNER_PASSWORD)
    finally:
        with psycopg.connect(server.conninfo(), autocommit=True) as admin:
            # On 16 and later, what it granted to itself and others hangs on it.
            admin.execute(f"DROP OWNED BY {owner} CASCADE".encode())
            admin.execute(f"DROP ROLE {owner}".encode())


def logins(conninfo: str) -> dict[str, tuple[str, str]]:
    with psycopg.connect(conninfo) as connection:
        connection.execute("SET search_path = pg_catalog")
        rows = connection.execute("SELECT role_name, login_name, login_password FROM rowgate.exposed_role").fetchall()
    return {role: (login, password) for role, login, password in rows}


def can_log_in(server: TestServer, database: str, login: str, password: str) -> bool:
    try:
        psycopg.connect(server.conninfo(database, user=login, password=password)).close()
    except psycopg.OperationalError:
        return False
    return True


def fingerprint(connection: psycopg.Connection[Any]) -> list[Any]:
    """What set-up could change, as far as the catalogs show it."""
    queries = (
        "SELECT rolname, rolcanlogin, rolpassword FROM pg_authid ORDER BY 1",
        "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members ORDER BY 1, 2",
        "SELECT nspname, nspacl::text FROM pg_namespace ORDER BY 1",
        "SELECT oid::regclass::text, relacl::text FROM pg_class WHERE relacl IS NOT NULL OR oid >= 16384 ORDER BY 1",
        "SELECT oid::regprocedure::text FROM pg_proc WHERE oid >= 16384 ORDER BY 1",
        "SELECT extname FROM pg_extension ORDER BY 1",
        "SELECT defaclacl::text FROM pg_default_acl ORDER BY 1",
        "SELECT datname, datacl::text FROM pg_database ORDER BY 1",
    )
    return [connection.execute(query.encode()).fetchall() for query in queries]


def test_both_rooms_mean_the_same_schema_version() -> None:
    assert grant_actions.SCHEMA_VERSION == SCHEMA_VERSION


def test_a_superuser_sets_up_everything_and_again_nothing(bare: TestServer, database: str) -> None:
    options = SetupOptions(control_password=CONTROL_PASSWORD)
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        first = apply(connection, options)
        assert first.plan.is_complete, first.plan
        assert first.control_password == CONTROL_PASSWORD
        before = fingerprint(connection)
        second = apply(connection, options)
        assert second.applied == ()
        assert second.control_password is None
        assert fingerprint(connection) == before
        assert all(step.state is StepState.PRESENT for step in second.plan.steps)
        installed = connection.execute("SELECT extname FROM pg_extension WHERE extname = 'pg_session_jwt'").fetchall()
        assert bool(installed) == (bare.major_version == 18)
    assert can_log_in(bare, database, "rowgate_control", CONTROL_PASSWORD)


def test_a_managed_owner_sets_up_everything(bare: TestServer) -> None:
    with managed(bare) as (name, conninfo):
        with psycopg.connect(conninfo) as connection:
            connection.execute("CREATE TABLE todos (id serial PRIMARY KEY, user_id text)")
            connection.commit()
            outcome = apply(connection)
            assert outcome.plan.is_complete, outcome.plan
            assert outcome.plan.exit_code == 0
            assert apply(connection).applied == ()
        assert outcome.control_password is not None
        assert can_log_in(bare, name, "rowgate_control", outcome.control_password)
        for login, password in logins(bare.conninfo(name)).values():
            assert can_log_in(bare, name, login, password)
        login, password = logins(bare.conninfo(name))["authenticated"]
        with psycopg.connect(
            bare.conninfo(name, user=login, password=password), options="-c role=authenticated"
        ) as client:
            client.execute("INSERT INTO todos (user_id) VALUES ('x')")
            client.execute("SELECT auth.user_id() FROM todos")


@pytest.fixture(scope="module")
def without_extension() -> Iterator[Embedded18]:
    """A Postgres 18 as a managed service has it: nobody may write to its extension folder."""
    server = Embedded18(extension_files=())
    try:
        server.start()
        yield server
    finally:
        server.remove()


def test_a_managed_owner_without_the_extension_since_postgres_16(without_extension: Embedded18) -> None:
    """A membership that a role gives itself there does not inherit: what is handed over is out of reach."""
    with managed(without_extension) as (_, conninfo), psycopg.connect(conninfo) as connection:
        outcome = apply(connection)
        assert outcome.plan.is_complete, [step for step in outcome.plan.steps if step.problem]
        assert apply(connection).applied == ()
        assert connection.execute("SELECT auth.user_id(), auth.org_id()").fetchone() == (None, None)


def test_planning_changes_nothing_and_tells_no_secret(bare: TestServer, database: str) -> None:
    options = SetupOptions(control_password=CONTROL_PASSWORD)
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        before = fingerprint(connection)
        found = plan(connection, options)
        assert fingerprint(connection) == before
        assert found.in_state(StepState.NEEDED)
        assert not found.in_state(StepState.NOT_PERMITTED)
        assert CONTROL_PASSWORD not in repr(found) + found.script() + repr(options)


def test_the_printed_script_does_the_same(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        script = plan(connection).script()
        connection.execute(script.encode())
        left = plan(connection)
        assert left.is_complete, left
        assert left.script() == ""


def test_what_an_owner_may_not_do_is_left_to_the_one_who_may(bare: TestServer) -> None:
    with managed(bare, "NOCREATEROLE") as (name, conninfo):
        with psycopg.connect(conninfo) as connection:
            connection.execute("CREATE TABLE todos (id serial PRIMARY KEY)")
            connection.commit()
            outcome = apply(connection)
            assert outcome.plan.exit_code == EXIT_NOT_PERMITTED
            refused = outcome.plan.in_state(StepState.NOT_PERMITTED)
            assert refused[0].title == "Role rowgate_owner"
            assert all(step.problem and step.runner for step in refused)
            script = outcome.plan.script(StepState.NOT_PERMITTED)
        with psycopg.connect(bare.conninfo(name), autocommit=True) as admin:
            admin.execute(script.encode())
            assert plan(admin).exit_code == 0
            assert apply(admin).plan.is_complete


def test_an_owner_may_not_grant_a_role_that_others_made(bare: TestServer) -> None:
    """Since PostgreSQL 16 CREATEROLE alone is not enough; before it is."""
    with managed(bare) as (name, conninfo):
        with psycopg.connect(bare.conninfo(), autocommit=True) as admin:
            admin.execute("CREATE ROLE authenticated NOLOGIN")
        with psycopg.connect(conninfo) as connection:
            outcome = apply(connection)
        refused = [step.title for step in outcome.plan.in_state(StepState.NOT_PERMITTED)]
        assert refused == (["Login role for authenticated"] if bare.major_version >= 16 else [])
        with psycopg.connect(bare.conninfo(name), autocommit=True) as admin:
            if refused:
                admin.execute(outcome.plan.script(StepState.NOT_PERMITTED).encode())
        with psycopg.connect(conninfo) as connection:
            assert apply(connection).plan.is_complete


def test_a_second_database_leaves_the_first_as_it_is(bare: TestServer, database: str) -> None:
    options = SetupOptions(control_password=CONTROL_PASSWORD)
    with database_of(bare) as second:
        for name in (database, second):
            with psycopg.connect(bare.conninfo(name), autocommit=True) as connection:
                assert apply(connection, options).plan.is_complete
        first_logins, second_logins = logins(bare.conninfo(database)), logins(bare.conninfo(second))
        assert first_logins["authenticated"][0] == "rowgate_authenticated"
        assert not {login for login, _ in first_logins.values()} & {login for login, _ in second_logins.values()}
        for name, found in ((database, first_logins), (second, second_logins)):
            assert all(can_log_in(bare, name, login, password) for login, password in found.values())
            with psycopg.connect(bare.conninfo(name), autocommit=True) as connection:
                assert plan(connection, options).is_complete
    with database_of(bare) as third:
        # The login of the database that is gone is taken over; roles do not pile up.
        with psycopg.connect(bare.conninfo(third), autocommit=True) as connection:
            assert apply(connection, options).plan.is_complete
        assert can_log_in(bare, database, *first_logins["authenticated"])


def test_rotation(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        apply(connection)
        before = logins(bare.conninfo(database))
        (old_key,) = connection.execute("SELECT key_id FROM auth.session_key").fetchone() or ("",)
        outcome = apply(connection, SetupOptions(rotate_key=True, rotate_passwords=True))
        assert outcome.applied == ("Login role for authenticated", "Login role for anonymous", "Session key")
        assert outcome.plan.is_complete
        keys = connection.execute("SELECT key_id, active FROM auth.session_key ORDER BY slot").fetchall()
        assert keys[0] == (old_key, False)
        assert [active for _, active in keys] == [False, True]
        assert apply(connection).applied == ()
    after = logins(bare.conninfo(database))
    for role, (login, password) in after.items():
        assert login == before[role][0]
        assert can_log_in(bare, database, login, password)
        assert not can_log_in(bare, database, login, before[role][1])


def test_a_login_that_does_not_work_gets_a_new_password(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        apply(connection)
        connection.execute("ALTER ROLE rowgate_authenticated PASSWORD 'changed'")
        assert apply(connection).applied == ("Login role for authenticated",)
    assert can_log_in(bare, database, *logins(bare.conninfo(database))["authenticated"])


def test_a_registry_of_the_version_before_is_upgraded(bare: TestServer, database: str) -> None:
    """Version 1 knew no revocations; its providers stay."""
    options = SetupOptions(control_password=CONTROL_PASSWORD)
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        apply(connection, options)
        connection.execute(
            "DROP TABLE rowgate.revocation, rowgate.revocation_change, rowgate.received_message, rowgate.webhook, "
            "rowgate.admin_token CASCADE; UPDATE rowgate.schema_version SET version = 1;"
            "INSERT INTO rowgate.provider (name, kind, issuer, jwks_url, algorithms, roles) VALUES "
            "('clerk', 'clerk', 'https://c.example', 'https://c.example/jwks', '{RS256}', '{authenticated}')"
        )
        outcome = apply(connection, options)
        assert outcome.applied == ("Schema rowgate", "Privileges of rowgate_control")
        assert outcome.plan.is_complete
        assert connection.execute("SELECT name FROM rowgate.provider").fetchall() == [("clerk",)]
        assert apply(connection, options).applied == ()


def test_dropping_the_extension_and_setting_up_again(postgres18: Embedded18) -> None:
    with database_of(postgres18) as name, psycopg.connect(postgres18.conninfo(name), autocommit=True) as connection:
        apply(connection)
        connection.execute("DROP EXTENSION pg_session_jwt CASCADE")
        assert connection.execute("SELECT FROM pg_namespace WHERE nspname = 'auth'").fetchall() == []
        outcome = apply(connection)
        assert outcome.plan.is_complete
        assert "Session key" in outcome.applied
        assert "Privileges of rowgate_control" in outcome.applied


def test_the_plain_script_was_used_before(postgres18: Embedded18) -> None:
    with database_of(postgres18) as name, psycopg.connect(postgres18.conninfo(name), autocommit=True) as connection:
        with connection.transaction():
            connection.execute(extension.script().encode())
        outcome = apply(connection)
        assert outcome.plan.is_complete
        assert "Extension pg_session_jwt" not in outcome.applied


def test_both_ways_make_the_same_objects(postgres18: Embedded18) -> None:
    def objects(install: str) -> list[Any]:
        with database_of(postgres18) as name, psycopg.connect(postgres18.conninfo(name)) as connection:
            connection.execute(install.encode())
            return (
                connection.execute(
                    "SELECT oid::regprocedure::text, pg_get_functiondef(oid), proowner::regrole::text, proacl::text "
                    "FROM pg_proc WHERE pronamespace = 'auth'::regnamespace ORDER BY 1"
                ).fetchall()
                + connection.execute(
                    "SELECT relname, relowner::regrole::text, relacl::text FROM pg_class "
                    "WHERE relnamespace = 'auth'::regnamespace ORDER BY 1"
                ).fetchall()
            )

    assert objects("CREATE EXTENSION pg_session_jwt") == objects(extension.script())


def test_a_foreign_schema_auth_is_left_alone(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA auth")
        connection.execute("CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'")
        outcome = apply(connection)
        refused = outcome.plan.in_state(StepState.NOT_PERMITTED)
        assert refused[0].title.startswith("Extension pg_session_jwt")
        assert "not Rowgate's" in str(refused[0].problem)
        assert connection.execute(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'auth'::regnamespace"
        ).fetchone() == (1,)


@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS", "CREATEROLE", "REPLICATION"])
def test_a_role_that_is_above_policies_is_not_exposed(bare: TestServer, database: str, attribute: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE authenticated {attribute}".encode())
        outcome = apply(connection)
        assert "Role authenticated" in [step.title for step in outcome.plan.in_state(StepState.NOT_PERMITTED)]


def test_a_login_is_a_member_of_its_role_alone(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        apply(connection)
        found = connection.execute(
            "SELECT member::regrole::text, roleid::regrole::text FROM pg_auth_members WHERE member IN "
            "('rowgate_authenticated'::regrole, 'rowgate_anonymous'::regrole, 'rowgate_control'::regrole)"
        ).fetchall()
        assert sorted(found) == [("rowgate_anonymous", "anonymous"), ("rowgate_authenticated", "authenticated")]
        attributes = connection.execute(
            "SELECT DISTINCT rolinherit, rolsuper, rolcreaterole, rolbypassrls FROM pg_roles "
            "WHERE rolname LIKE 'rowgate%'"
        ).fetchall()
        assert attributes == [(False, False, False, False)]
        connection.execute("GRANT pg_read_all_data TO rowgate_authenticated")
        refused = plan(connection).in_state(StepState.NOT_PERMITTED)
        assert [step.title for step in refused] == ["Login role for authenticated"]
        assert "pg_read_all_data" in str(refused[0].problem)


def test_grants_for_tables_of_now_and_of_later(bare: TestServer, database: str) -> None:
    options = SetupOptions(roles=("authenticated", "Läser"), schemas=("public", "Zweites Schema"))
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "Zweites Schema"')
        for number in (1, 2):
            for schema in ("public", "Zweites Schema"):
                table = sql.Identifier(schema, f'T "{number}" %s')
                connection.execute(sql.SQL("CREATE TABLE {} (id serial, big bigserial)").format(table))
            outcome = apply(connection, options)
            assert outcome.plan.is_complete, outcome.plan
            if number == 2:
                assert outcome.applied == ()
        for role in options.roles:
            lacking = connection.execute(
                "SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = ANY (%(schemas)s) AND NOT CASE WHEN c.relkind = 'S' "
                "THEN has_sequence_privilege(%(role)s, c.oid, 'USAGE') "
                "WHEN c.relkind = 'r' THEN has_table_privilege(%(role)s, c.oid, 'SELECT') "
                "AND has_table_privilege(%(role)s, c.oid, 'INSERT') AND has_table_privilege(%(role)s, c.oid, 'UPDATE') "
                "AND has_table_privilege(%(role)s, c.oid, 'DELETE') ELSE true END",
                {"schemas": list(options.schemas), "role": role},
            ).fetchall()
            assert lacking == []
        connection.execute('DROP OWNED BY "Läser"')
        connection.execute('DROP OWNED BY "rowgate_Läser"')
        connection.execute('DROP ROLE "Läser", "rowgate_Läser"')


def test_relations_of_extensions_are_not_granted(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        connection.execute("CREATE TABLE mine ()")
        connection.execute("CREATE TABLE theirs ()")
        connection.execute("ALTER EXTENSION plpgsql ADD TABLE theirs")
        apply(connection)
        found = connection.execute(
            "SELECT has_table_privilege('anonymous', 'mine', 'SELECT'), "
            "has_table_privilege('anonymous', 'theirs', 'SELECT')"
        ).fetchone()
        assert found == (True, False)


def test_no_table_grants(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        connection.execute("CREATE TABLE todos ()")
        assert apply(connection, SetupOptions(grant_tables=False)).plan.is_complete
        assert connection.execute("SELECT has_table_privilege('authenticated', 'todos', 'SELECT')").fetchone() == (
            False,
        )


def test_a_missing_schema_is_named(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        refused = plan(connection, SetupOptions(schemas=("nowhere",))).in_state(StepState.NOT_PERMITTED)
        assert "there is no schema nowhere" in str(refused[0].problem)


def test_nothing_hostile_in_public_is_run(bare: TestServer, database: str) -> None:
    """Before PostgreSQL 15 everyone may create there; set-up runs as superuser."""
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION public.trap(text, oid) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$"
        )
        connection.execute("CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = oid, FUNCTION = public.trap)")
        for name, arguments in (("format", "text, name"), ("sha256", "bytea"), ("left", "text, int")):
            connection.execute(
                f"CREATE FUNCTION public.{name}({arguments}) RETURNS text LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE 'trapped'; END $$".encode()
            )
        connection.execute("SET search_path = public, pg_catalog")
        assert apply(connection).plan.is_complete


def test_a_connection_in_a_transaction_is_refused(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database)) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(SettingInvalid, match="transaction"):
            plan(connection)


def test_the_guides_steps_as_the_owner_without_set_up(postgres18: Embedded18) -> None:
    """Steps 3 to 5 of the guide, verbatim, on a database that nobody prepared."""
    with managed(postgres18) as (name, conninfo):
        with psycopg.connect(conninfo, autocommit=True) as owner:
            owner.execute("CREATE TABLE todos (id serial PRIMARY KEY, user_id text, task text)")
            owner.execute("CREATE EXTENSION IF NOT EXISTS pg_session_jwt;")
            owner.execute("CREATE EXTENSION IF NOT EXISTS pg_session_jwt;")
            owner.execute(
                "GRANT SELECT, UPDATE, INSERT, DELETE ON ALL TABLES IN SCHEMA public TO authenticated;\n"
                "GRANT SELECT, UPDATE, INSERT, DELETE ON ALL TABLES IN SCHEMA public TO anonymous;"
            )
            owner.execute("alter table todos enable row level security")
            for command, check in (
                ("insert", "with check"), ("select", "using"), ("update", "using"), ("delete", "using"),
            ):  # fmt: skip
                owner.execute(
                    f'create policy "Individuals can {command} todos." on todos for {command} '
                    f"{check} (auth.user_id() = user_id)".encode()
                )
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute("SELECT * FROM auth.session_key")
        with psycopg.connect(postgres18.conninfo(name), autocommit=True) as admin:
            assert apply(admin).plan.is_complete


def test_control_may_do_its_work_and_no_more(bare: TestServer, database: str) -> None:
    with psycopg.connect(bare.conninfo(database), autocommit=True) as connection:
        connection.execute("CREATE TABLE todos ()")
        apply(connection, SetupOptions(control_password=CONTROL_PASSWORD))
    conninfo = bare.conninfo(database, user="rowgate_control", password=CONTROL_PASSWORD)
    with psycopg.connect(conninfo, autocommit=True) as control:
        control.execute(
            "SELECT * FROM rowgate.provider, rowgate.exposed_role, rowgate.schema_version, auth.session_key"
        )
        for statement in (
            "INSERT INTO rowgate.exposed_role VALUES ('a', 'b', 'c')",
            "DELETE FROM auth.session_key",
            "SELECT auth.rotate_session_key()",
            "SELECT * FROM todos",
            "SET ROLE authenticated",
            "SET ROLE rowgate_owner",
            "CREATE TABLE rowgate.more ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                control.execute(statement.encode())


def test_the_managed_server_knows_no_extension(postgres15: PlainPostgres) -> None:
    with psycopg.connect(postgres15.conninfo()) as connection:
        assert connection.execute("SELECT FROM pg_available_extensions WHERE name = 'pg_session_jwt'").fetchall() == []
