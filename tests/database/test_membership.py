"""auth.org_id(), auth.org_role() and auth.has_permission() in Postgres: what they tell, and that nobody forges it."""

import json
from typing import Any

import psycopg
import pytest

from rowgate.rls import extension
from rowgate.rls.plan import SetupOptions
from rowgate.rls.setup import apply
from tests.database.conftest import CONTROL_PASSWORD, Prepared
from tests.servers import TestServer, database_of

MEMBERSHIP = {"org_id": "acme", "org_role": "org:admin", "permissions": ["org:notes:read", 'ž"\\']}
ASK = "SELECT auth.org_id(), auth.org_role(), auth.has_permission('org:notes:read'), auth.session() ->> 'sub'"
KEEP = "SELECT auth.jwt_session_init(%s, %s)"
NOTHING = (None, None, False)


def ask(client: psycopg.Connection[Any]) -> tuple[Any, ...]:
    return client.execute(ASK).fetchone() or ()


def member(
    prepared: Prepared, client: psycopg.Connection[Any], membership: object = MEMBERSHIP, **more: Any
) -> list[str]:
    return prepared.sealed(client, "alice", membership=json.dumps(membership).encode(), **more)


def test_what_the_gateway_sealed_is_told(prepared: Prepared) -> None:
    claims = '\n{ "sub" : "alice",\n\t"o":{"id":"other"}, "x": "é!" }'.encode()
    with prepared.client() as client:
        client.execute(KEEP, member(prepared, client, claims=claims))
        assert ask(client) == ("acme", "org:admin", True, "alice")
        found = client.execute(
            "SELECT auth.session(), auth.user_id(), auth.has_permission('ž\"\\'), auth.has_permission('org:notes'), "
            "auth.has_permission(''), auth.has_permission(NULL), auth.organization() ->> 'id'"
        ).fetchone()
        assert found == (json.loads(claims), "alice", True, False, False, False, "other")


@pytest.mark.parametrize(
    ("membership", "expected"),
    [
        ({"org_id": "acme", "permissions": []}, ("acme", None, False)),
        ({"permissions": ["org:notes:read"]}, (None, None, True)),
        ({"org_role": "admin"}, (None, "admin", False)),
        ({}, NOTHING),
    ],
)
def test_what_is_not_there_is_null_or_false(prepared: Prepared, membership: object, expected: tuple[Any, ...]) -> None:
    with prepared.client() as client:
        client.execute(KEEP, member(prepared, client, membership))
        assert ask(client)[:3] == expected


def test_nobody_has_nothing(prepared: Prepared) -> None:
    with prepared.client() as client:
        assert ask(client) == (*NOTHING, None)
        client.rollback()
        client.execute(KEEP, prepared.sealed(client, "alice"))
        assert ask(client) == (*NOTHING, "alice")
        client.rollback()
        client.execute("SELECT auth.jwt_session_init(%s)", [prepared.token(client, {"sub": "alice"})])
        assert ask(client) == (*NOTHING, "alice")


FORGED = "!" + json.dumps({"org_id": "evil", "org_role": "org:admin", "permissions": ["org:notes:read"]})
CLAIMS = '{"sub": "alice"}'

# (what is tried, the settings written over those of a sealed member; None leaves it)
FORGERIES: list[tuple[str, str | None, str | None]] = [
    ("another membership under the seal", None, f"{FORGED}\n{CLAIMS}"),
    ("a membership for the claims alone", None, f"{FORGED}\n"),
    ("a membership without claims", None, FORGED),
    ("nothing but a mark", None, "!"),
    ("no seal", "", f"{FORGED}\n{CLAIMS}"),
    ("a made-up seal", "4102444800" + "0" * 128 + "alice", f"{FORGED}\n{CLAIMS}"),
    ("the claims without their membership", None, CLAIMS),
    ("nonsense", None, "!nonsense\nnonsense"),
]


@pytest.mark.parametrize(("name", "identity", "claims"), FORGERIES, ids=[row[0] for row in FORGERIES])
def test_nobody_makes_a_membership(prepared: Prepared, name: str, identity: str | None, claims: str | None) -> None:
    with prepared.client() as client:
        client.execute(KEEP, member(prepared, client))
        if identity is not None:
            client.execute("SELECT set_config('rowgate.identity', %s, true)", [identity])
        client.execute("SELECT set_config('rowgate.session', %s, true)", [claims])
        assert ask(client)[:3] == NOTHING


def test_a_membership_of_another_backend_or_role_is_none(prepared: Prepared) -> None:
    with prepared.client() as one, prepared.client() as other:
        other.execute(KEEP, member(prepared, one))
        assert ask(other)[:3] == NOTHING
    with prepared.client() as client:
        client.execute(KEEP, member(prepared, client, role="anonymous"))
        assert ask(client)[:3] == NOTHING


def test_a_member_cannot_put_it_over_another_users_claims(prepared: Prepared) -> None:
    """Bob has a seal of his own, and has seen Alice's values."""
    with prepared.client() as client:
        client.execute(KEEP, member(prepared, client))
        (seen,) = client.execute("SELECT current_setting('rowgate.session')").fetchone() or ("",)
        client.rollback()
        client.execute(KEEP, [prepared.sealed(client, "bob")[0], seen])
        assert ask(client)[:3] == NOTHING


def test_the_functions_are_stable_and_restricted(prepared: Prepared) -> None:
    with prepared.admin() as admin:
        found = admin.execute(
            "SELECT proname, provolatile, proparallel, pg_get_userbyid(proowner) FROM pg_proc "
            "WHERE pronamespace = 'auth'::regnamespace AND proname IN "
            "('org_id', 'org_role', 'has_permission', 'membership', 'session') ORDER BY 1"
        ).fetchall()
    assert len(found) == 5
    assert {row[1:] for row in found} == {("s", "r", "rowgate_owner")}


def test_policies_use_them(prepared: Prepared) -> None:
    with prepared.admin() as admin:
        admin.execute("CREATE TABLE IF NOT EXISTS notes (org_id text, body text)")
        admin.execute("ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
        admin.execute("GRANT SELECT, DELETE ON notes TO authenticated")
        admin.execute("CREATE POLICY mine ON notes FOR SELECT USING ((SELECT auth.org_id()) = org_id)")
        admin.execute(
            "CREATE POLICY clean ON notes FOR DELETE USING ((SELECT auth.org_id()) = org_id "
            "AND (SELECT auth.has_permission('org:notes:delete')))"
        )
        admin.execute("INSERT INTO notes VALUES ('acme', 'a'), ('other', 'o')")
    with prepared.client() as client:
        client.execute(KEEP, member(prepared, client))
        assert client.execute("SELECT body FROM notes").fetchall() == [("a",)]
        assert client.execute("DELETE FROM notes").rowcount == 0
        client.rollback()
        client.execute(KEEP, member(prepared, client, {"org_id": "acme", "permissions": ["org:notes:delete"]}))
        assert client.execute("DELETE FROM notes").rowcount == 1
        client.rollback()
        assert client.execute("SELECT body FROM notes").fetchall() == []
    with prepared.admin() as admin:
        admin.execute("DROP TABLE notes")


def test_the_first_version_is_brought_up_to_date(postgres: TestServer) -> None:
    """As an extension where the server knows its files, and as ordinary SQL where not."""
    options = SetupOptions(control_password=CONTROL_PASSWORD)
    with database_of(postgres) as name, psycopg.connect(postgres.conninfo(name), autocommit=True) as connection:
        first = extension._plain(extension.files()[1])
        if postgres.major_version == 18:
            connection.execute("CREATE EXTENSION pg_session_jwt VERSION 'rowgate_1'")
        else:
            with connection.transaction():
                connection.execute(first.encode())
        connection.execute("CREATE TABLE kept (user_id text)")
        connection.execute("CREATE POLICY own ON kept USING (auth.session() ->> 'sub' = user_id)")
        outcome = apply(connection, options)
        assert outcome.plan.is_complete, outcome.plan
        assert any(title.startswith("Extension pg_session_jwt") for title in outcome.applied)
        assert connection.execute("SELECT auth.has_permission('x')").fetchone() == (False,)
        if postgres.major_version == 18:
            version = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'pg_session_jwt'")
            assert version.fetchone() == (extension.EXTENSION_VERSION,)
        assert apply(connection, options).applied == ()
