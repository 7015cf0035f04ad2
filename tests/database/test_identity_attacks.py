"""Becoming somebody else with SQL alone, with no guard in the way: each row is tried as Alice, and none makes Bob."""

from hashlib import sha256
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.database.conftest import Prepared

CLAIMS = '{"sub":"bob"}'

# (id, statements); every statement may fail, and what follows is tried all the same
FORGERIES: list[tuple[str, list[str]]] = [
    ("value alone", [f"SET LOCAL rowgate.identity = '{'0' * 138}bob'", f"SET LOCAL rowgate.session = '{CLAIMS}'"]),
    (
        "a made-up seal",
        [
            f"SET LOCAL rowgate.session = '{CLAIMS}'",
            "SELECT set_config('rowgate.identity', '4102444800' || repeat('0', 64) || "
            "encode(sha256(current_setting('rowgate.session')::bytea), 'hex') || 'bob', true)",
        ],
    ),
    ("session-wide", [f"SET rowgate.identity = '{'9' * 138}bob'", f"SET rowgate.session = '{CLAIMS}'"]),
    (
        "another user under the seal",
        ["SELECT set_config('rowgate.identity', left(current_setting('rowgate.identity'), 138) || 'bob', true)"],
    ),
    (
        "other claims under the seal",
        [
            f"SET LOCAL rowgate.session = '{CLAIMS}'",
            "SELECT set_config('rowgate.identity', left(current_setting('rowgate.identity'), 74) || "
            "encode(sha256(current_setting('rowgate.session')::bytea), 'hex') || 'bob', true)",
        ],
    ),
    ("other claims alone", [f"SET LOCAL rowgate.session = '{CLAIMS}'"]),
    (
        "a later end under the seal",
        [
            "SELECT set_config('rowgate.identity', '4102444800' || substr(current_setting('rowgate.identity'), 11) "
            "|| 'bob', true)"
        ],
    ),
    (
        "a seal that swallows the user",
        [
            "SELECT set_config('rowgate.identity', left(current_setting('rowgate.identity'), 74) "
            "|| repeat('0', 64) || 'bob', true)"
        ],
    ),
    ("the original's setting", [f"SET LOCAL request.jwt.claims = '{CLAIMS}'", "SET pg_session_jwt.jwk = '{}'"]),
    ("the claims as token", [f"SELECT auth.jwt_session_init('{CLAIMS}')"]),
    ("garbage", ["SET LOCAL rowgate.session = 'x'", "SET LOCAL rowgate.identity = 'x'"]),
    ("one MB", ["SELECT set_config('rowgate.session', repeat('x', 1000000), true)"]),
    ("one MB as user", ["SELECT set_config('rowgate.identity', repeat('x', 1000000), true)"]),
    ("empty", ["SET LOCAL rowgate.identity = ''"]),
    ("reset all", ["RESET ALL"]),
    ("reset role", ["RESET ROLE"]),
    ("set role", ["SET ROLE rowgate_owner", "SET ROLE postgres", "SET ROLE rowgate_control", "SET ROLE anonymous"]),
    ("session authorization", ["SET SESSION AUTHORIZATION postgres", "SET SESSION AUTHORIZATION rowgate_owner"]),
    ("replace the function", ["CREATE OR REPLACE FUNCTION auth.user_id() RETURNS text LANGUAGE sql RETURN 'bob'"]),
    ("an overload", ["CREATE FUNCTION auth.user_id(int DEFAULT 0) RETURNS text LANGUAGE sql RETURN 'bob'"]),
    ("drop the function", ["DROP FUNCTION auth.user_id() CASCADE", "DROP SCHEMA auth CASCADE"]),
    (
        "alter the function",
        ["ALTER FUNCTION auth.user_id() RESET ALL", "ALTER FUNCTION auth.session() SECURITY INVOKER"],
    ),
    ("take the function", ["ALTER FUNCTION auth.user_id() OWNER TO authenticated"]),
    (
        "a key of one's own",
        ["INSERT INTO auth.session_key VALUES (2, 'k', decode(repeat('00', 32), 'hex'), '', '', '', true)"],
    ),
    ("remove the key", ["DELETE FROM auth.session_key", "TRUNCATE auth.session_key", "LOCK TABLE auth.session_key"]),
    ("rotate the key", ["SELECT auth.rotate_session_key()"]),
    ("a function in pg_temp", ["CREATE FUNCTION pg_temp.user_id() RETURNS text LANGUAGE sql RETURN 'bob'"]),
    ("a schema auth in pg_temp", ["CREATE TEMP TABLE session_key AS SELECT 1 AS slot"]),
    ("search_path", ["CREATE SCHEMA evil", "SET LOCAL search_path = pg_temp, public, pg_catalog"]),
    ("ask the other key", ["SELECT auth.sealed_under_other_key(current_setting('rowgate.identity') || 'bob')"]),
]

SECRETS = [
    "SELECT * FROM auth.session_key",
    "SELECT secret FROM auth.session_key",
    "COPY auth.session_key TO STDOUT",
    "TABLE rowgate.exposed_role",
    "TABLE rowgate.provider",
    "TABLE rowgate.schema_version",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT rolpassword FROM pg_authid",
    "CREATE VIEW public.v AS SELECT * FROM auth.session_key",
    "SELECT auth.sealed_under_other_key('x')",
    "SELECT auth.rotate_session_key()",
    "SELECT auth.announce_session_key()",
]


def attempt(connection: psycopg.Connection[Any], statement: str) -> None:
    """Runs a statement; an error counts as nothing."""
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.Error:
        return


@pytest.mark.parametrize(("name", "statements"), FORGERIES, ids=[name for name, _ in FORGERIES])
def test_nobody_becomes_bob(prepared: Prepared, name: str, statements: list[str]) -> None:
    with prepared.client() as client:
        client.execute("SELECT auth.jwt_session_init(%s)", [prepared.token(client, {"sub": "alice"})])
        for statement in statements:
            attempt(client, statement)
        row = client.execute(
            "SELECT auth.user_id(), auth.session() ->> 'sub', auth.jwt() ->> 'sub', current_user::text"
        ).fetchone()
        assert row is not None
        assert set(row) <= {"alice", "authenticated", None}
        assert row[3] == "authenticated"
        tasks = {task for (task,) in client.execute("SELECT task FROM public.todos").fetchall()}
        assert tasks <= {"a1", "a2"}
        client.rollback()


@pytest.mark.parametrize("statement", SECRETS)
def test_secrets_cannot_be_read(prepared: Prepared, statement: str) -> None:
    with prepared.client(autocommit=True) as client:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refusal:
            client.execute(statement.encode()).fetchall()
        assert prepared.key()[1].hex() not in str(refusal.value)


NAMES = ("rowgate.identity", "rowgate.session")
WHO = "SELECT auth.user_id(), jsonb_typeof(auth.session())"


def put(connection: psycopg.Connection[Any], values: list[str]) -> None:
    """What anyone may do who can call set_config."""
    for name, value in zip(NAMES, values, strict=True):
        connection.execute("SELECT set_config(%s, %s, true)", [name, value])


def test_copied_seals_are_worth_nothing_on_another_backend(prepared: Prepared) -> None:
    with prepared.client() as client, prepared.client() as other:
        client.execute("SELECT auth.jwt_session_init(%s)", [prepared.token(client, {"sub": "bob"})])
        copied = [(client.execute("SELECT current_setting(%s)", [name]).fetchone() or ("",))[0] for name in NAMES]
        assert all(copied)
        put(other, copied)
        assert other.execute(WHO).fetchone() == (None, "null")


def test_the_gateways_seals_give_an_identity(prepared: Prepared) -> None:
    with prepared.client() as client:
        client.execute("SELECT auth.jwt_session_init(%s, %s)", prepared.sealed(client, "alice"))
        row = client.execute("SELECT auth.user_id(), auth.session() ->> 'sub'").fetchone()
        assert row == ("alice", "alice")
        assert client.execute("SELECT task FROM todos ORDER BY 1").fetchall() == [("a1",), ("a2",)]
        client.commit()
        assert client.execute(WHO).fetchone() == (None, "null")


def test_seals_of_another_backend_role_or_time_are_worth_nothing(prepared: Prepared) -> None:
    with prepared.client() as client, prepared.client("anonymous") as other:
        for values in (
            prepared.sealed(other, "alice"),
            prepared.sealed(client, "alice", role="anonymous"),
            prepared.sealed(client, "alice", lifetime=-1),
        ):
            put(client, values)
            assert client.execute(WHO).fetchone() == (None, "null")
            client.rollback()


def test_a_seal_holds_for_its_own_user_claims_and_time(prepared: Prepared) -> None:
    with prepared.client() as client:
        identity, claims = prepared.sealed(client, "alice")
        until, seal, rest = identity[:10], identity[10:74], identity[74:]
        for values in (
            [until + seal + rest[:64] + "bob", claims],
            [until + seal + sha256(CLAIMS.encode()).hexdigest() + "bob", CLAIMS],
            [str(int(until) + 1) + seal + rest, claims],
            [until + seal.upper() + rest, claims],
            [until + "0" * 64 + rest, claims],
            ["0" + identity, claims],
            [identity[1:], claims],
            [until + rest, claims],
            [until + seal, claims],
            ["x", claims],
            ["\u00e9" * 138 + "alice", claims],
        ):
            put(client, values)
            assert client.execute(WHO).fetchone() == (None, "null"), values
            client.rollback()
        put(client, [identity, CLAIMS])
        assert client.execute(WHO).fetchone() == ("alice", "null")


def test_the_token_itself_is_nowhere_to_be_read(prepared: Prepared) -> None:
    with prepared.client() as client:
        token = prepared.token(client, {"sub": "alice"})
        client.execute("SELECT auth.jwt_session_init(%s)", [token])
        shown = client.execute("SELECT name || coalesce(setting, '') FROM pg_settings").fetchall()
        shown += client.execute("SELECT statement FROM pg_prepared_statements").fetchall()
        shown += client.execute("SELECT query FROM pg_stat_activity").fetchall()
        shown += [client.execute("SELECT current_setting('rowgate.session')").fetchone() or ("",)]
        signature = token.rpartition(".")[2]
        assert not [row for row in shown if signature in str(row)]


@pytest.mark.parametrize("kind", ["jsonb", "text", "bytea", "int4", "integer", "numeric", "uuid", "bool", "jsonpath"])
def test_types_in_pg_temp_are_not_used(own_prepared: Prepared, kind: str) -> None:
    """With search_path = pg_catalog alone, pg_temp.jsonb would run its CHECK as the owner of the key."""
    with own_prepared.client() as client:
        client.execute("CREATE TABLE pg_temp.stolen (by text)")
        client.execute("GRANT ALL ON pg_temp.stolen TO PUBLIC")
        client.execute(
            "CREATE FUNCTION pg_temp.evil() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'ran as %', current_user; END $$"
        )
        underlying = {"integer": "int4"}.get(kind, kind)
        client.execute(
            sql.SQL("CREATE DOMAIN pg_temp.{} AS pg_catalog.{} CHECK (pg_temp.evil())").format(
                sql.Identifier(kind), sql.Identifier(underlying)
            )
        )
        client.execute("SET LOCAL search_path = pg_temp, public")
        client.execute(b"SELECT auth.jwt_session_init(%s)", [own_prepared.token(client, {"sub": "alice", "o": {}})])
        row = client.execute(
            "SELECT auth.user_id(), auth.session(), auth.uid(), auth.organization(), auth.organization_id()"
        ).fetchone()
        assert row == ("alice", {"sub": "alice", "o": {}}, None, {}, None)


def test_functions_and_operators_of_others_are_not_used(own_prepared: Prepared) -> None:
    """Everything that the bodies call exists in public too, with arguments that fit better, and does harm."""
    traps = [
        ("sha256", "bytea", "bytea"),
        ("convert_to", "text, text", "bytea"),
        ("encode", "bytea, text", "text"),
        ("octet_length", "text", "integer"),
        ("current_setting", "text, boolean", "text"),
        ("set_config", "text, text, boolean", "text"),
        ("pg_backend_pid", "", "integer"),
        ("now", "", "timestamptz"),
        ("jsonb_path_query_first", "jsonb, text", "jsonb"),
        ("trap", "text, text", "text"),
        ("trap", "jsonb, jsonb", "jsonb"),
        ("trap", "bytea, bytea", "bytea"),
        ("trap_boolean", "text, text", "boolean"),
        ("trap_boolean", "name, text", "boolean"),
    ]
    operators = [
        ("||", "text", "text", "trap"),
        ("||", "bytea", "bytea", "trap"),
        ("->>", "jsonb", "jsonb", "trap"),
        ("->", "jsonb", "jsonb", "trap"),
        ("=", "text", "text", "trap_boolean"),
        ("~", "text", "text", "trap_boolean"),
        ("=", "name", "text", "trap_boolean"),
    ]
    with own_prepared.admin() as admin:
        admin.execute("GRANT CREATE ON SCHEMA public TO authenticated")
    with own_prepared.client() as client:
        for name, arguments, result in traps:
            client.execute(
                f"CREATE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$".encode()
            )
        for name, left, right, function in operators:
            client.execute(
                f"CREATE OPERATOR public.{name} "
                f"(LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.{function})".encode()
            )
        client.commit()
        client.execute("SET LOCAL search_path = public, pg_temp, pg_catalog")
        token = own_prepared.token(client, {"sub": "alice", "o": {"id": "x"}})
        client.execute(sql.SQL("SELECT auth.jwt_session_init({}::pg_catalog.text)").format(sql.Literal(token)))
        row = client.execute(
            "SELECT auth.user_id(), auth.session(), auth.jwt(), auth.uid(), auth.organization(), auth.organization_id()"
        ).fetchone()
        claims = {"sub": "alice", "o": {"id": "x"}}
        assert row == ("alice", claims, claims, None, {"id": "x"}, None)


def test_every_definer_function_pins_its_search_path_and_an_unprivileged_owner(prepared: Prepared) -> None:
    with prepared.admin() as admin:
        rows = admin.execute(
            "SELECT p.proname, p.prosecdef, p.proconfig, r.rolname, r.rolsuper OR r.rolcanlogin "
            "FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner "
            "WHERE p.pronamespace IN ('auth'::regnamespace, 'rowgate'::regnamespace)"
        ).fetchall()
    assert len(rows) > 10
    for name, is_definer, configuration, owner, privileged in rows:
        assert (owner, privileged) == ("rowgate_owner", False), name
        if is_definer:
            assert configuration == ["search_path=pg_catalog, pg_temp"], name
