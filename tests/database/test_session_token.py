"""What pg_session_jwt makes of session tokens: whom it believes, for how long, and what the functions then say."""

import json
import time
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.database.conftest import Prepared, compact_jws

UUID = "0b1c8a52-7f7e-4f57-9a55-3f2b0c9d1e11"


def begin(connection: psycopg.Connection[Any], token: str) -> None:
    connection.execute("SELECT auth.jwt_session_init(%s)", [token])


def one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_a_token_gives_an_identity_for_one_transaction(prepared: Prepared) -> None:
    with prepared.client() as client:
        begin(client, prepared.token(client, {"sub": "alice", "deep": {"list": [1, "zwei", None]}}))
        assert one(client, "SELECT auth.user_id()") == "alice"
        assert one(client, "SELECT auth.session()") == {"sub": "alice", "deep": {"list": [1, "zwei", None]}}
        assert one(client, "SELECT auth.jwt() = auth.session()") is True
        assert client.execute("SELECT task FROM todos ORDER BY 1").fetchall() == [("a1",), ("a2",)]
        client.commit()
        assert one(client, "SELECT auth.user_id()") is None
        assert one(client, "SELECT auth.session() = 'null'::jsonb") is True
        assert client.execute("SELECT task FROM todos").fetchall() == []


def test_without_a_token_there_is_no_identity(prepared: Prepared) -> None:
    with prepared.client("anonymous") as client:
        row = client.execute(
            "SELECT auth.user_id(), auth.uid(), auth.organization(), auth.organization_id(), auth.session(), auth.jwt()"
        ).fetchone()
        assert row == (None, None, None, None, None, None)
        assert one(client, "SELECT jsonb_typeof(auth.session())") == "null"


@pytest.mark.parametrize("end", ["ROLLBACK", "COMMIT", "ROLLBACK TO SAVEPOINT before"])
def test_the_identity_ends_with_what_it_began_in(prepared: Prepared, end: str) -> None:
    with prepared.client(autocommit=True) as client:
        client.execute("BEGIN")
        client.execute("SAVEPOINT before")
        begin(client, prepared.token(client, {"sub": "alice"}))
        client.execute(end.encode())
        assert one(client, "SELECT auth.user_id()") is None


@pytest.mark.parametrize(
    ("claims", "user_id", "uid", "organization", "organization_id"),
    [
        ({"sub": "alice"}, "alice", None, None, None),
        ({"sub": UUID}, UUID, UUID, None, None),
        ({"sub": UUID.upper()}, UUID.upper(), UUID, None, None),
        ({"sub": UUID + " "}, UUID + " ", None, None, None),
        ({"sub": 7}, None, None, None, None),
        ({"sub": None}, None, None, None, None),
        ({"sub": ""}, None, None, None, None),
        ({"sub": {"a": 1}}, None, None, None, None),
        ({"sub": ["alice"]}, None, None, None, None),
        ({}, None, None, None, None),
        ({"sub": "žluťoučký \U0001f408 'kůň' \\ \n"}, "žluťoučký \U0001f408 'kůň' \\ \n", None, None, None),
        ({"o": {"id": UUID, "role": "admin"}}, None, None, {"id": UUID, "role": "admin"}, UUID),
        ({"o": {"id": "7"}}, None, None, {"id": "7"}, None),
        ({"o": {"id": 7}}, None, None, {"id": 7}, None),
        ({"o": {}}, None, None, {}, None),
        ({"o": "acme"}, None, None, None, None),
        ({"o": None}, None, None, None, None),
    ],
)
def test_null_rules(
    prepared: Prepared, claims: Any, user_id: Any, uid: Any, organization: Any, organization_id: Any
) -> None:
    with prepared.client() as client:
        begin(client, prepared.token(client, claims))
        row = client.execute(
            "SELECT auth.session(), auth.user_id(), auth.uid()::text, auth.organization(), auth.organization_id()::text"
        ).fetchone()
        assert row == (claims, user_id, uid, organization, organization_id)


def refused_tokens() -> list[tuple[str, Any]]:
    """Name, and a function of (key id, secret, payload that would pass) giving the token."""

    def signed(change: dict[str, Any]) -> Any:
        return lambda kid, secret, good: compact_jws({"alg": "HS256", "kid": kid}, {**good, **change}, secret)

    def payload(value: object) -> Any:
        return lambda kid, secret, good: compact_jws({"alg": "HS256", "kid": kid}, value, secret)

    def header(value: dict[str, Any]) -> Any:
        return lambda kid, secret, good: compact_jws(value, good, secret)

    def text(change: Any) -> Any:
        return lambda kid, secret, good: change(compact_jws({"alg": "HS256", "kid": kid}, good, secret))

    now = time.time()
    return [
        ("wrong key", lambda kid, secret, good: compact_jws({"alg": "HS256", "kid": kid}, good, bytes(32))),
        ("no key", lambda kid, secret, good: compact_jws({"alg": "HS256", "kid": kid}, good, b"")),
        ("wrong kid", lambda kid, secret, good: compact_jws({"alg": "HS256", "kid": "k"}, good, secret)),
        ("alg none", lambda kid, secret, good: compact_jws({"alg": "none", "kid": kid}, good, secret)),
        ("alg HS512", lambda kid, secret, good: compact_jws({"alg": "HS512", "kid": kid}, good, secret)),
        ("alg lower case", lambda kid, secret, good: compact_jws({"alg": "hs256", "kid": kid}, good, secret)),
        ("no alg", lambda kid, secret, good: compact_jws({"kid": kid}, good, secret)),
        ("more header", lambda kid, secret, good: compact_jws({"alg": "HS256", "kid": kid, "b": 1}, good, secret)),
        ("no kid", header({"alg": "HS256"})),
        ("other pid", signed({"pid": 1})),
        ("pid as text", lambda k, s, good: signed({"pid": str(good["pid"])})(k, s, good)),
        ("pid null", signed({"pid": None})),
        ("expired", signed({"exp": int(now) - 1})),
        ("expired long ago", signed({"exp": 0})),
        ("too long", signed({"exp": int(now) + 3600})),
        ("exp null", signed({"exp": None})),
        ("exp nan", signed({"exp": "NaN"})),
        ("exp infinity", signed({"exp": "Infinity"})),
        ("exp text", signed({"exp": "tomorrow"})),
        ("exp object", signed({"exp": {}})),
        ("other role", signed({"role": "anonymous"})),
        ("login role", signed({"role": "rowgate_authenticated"})),
        ("role null", signed({"role": None})),
        ("claims null", signed({"claims": None})),
        ("claims array", signed({"claims": [{"sub": "bob"}]})),
        ("claims text", signed({"claims": "bob"})),
        (
            "claims too long when written out",
            lambda kid, secret, good: compact_jws(
                {"alg": "HS256", "kid": kid},
                json.dumps({**good, "claims": {"n": "?"}}).replace('"?"', "[1e60000, 1e60000, 1e60000]").encode(),
                secret,
            ),
        ),
        ("payload array", payload([1])),
        ("payload text", payload("x")),
        ("payload empty", payload(b"")),
        ("payload not JSON", payload(b"{")),
        ("payload not UTF-8", payload(b'{"a":"\xff"}')),
        ("payload with NUL", payload(b'{"claims":{"sub":"\\u0000"}}')),
        ("payload deep", payload(b"[" * 40000)),
        ("empty", text(lambda token: "")),
        ("blank", text(lambda token: " ")),
        ("dots", text(lambda token: "..")),
        ("garbage", text(lambda token: "garbage \x01 \u20ac")),
        ("one MB", text(lambda token: "x" * 1_000_000)),
        ("one MB after it", text(lambda token: token + "x" * 1_000_000)),
        ("blank before", text(lambda token: " " + token)),
        ("blank after", text(lambda token: token + " ")),
        ("newline after", text(lambda token: token + "\n")),
        ("padding after", text(lambda token: token + "=")),
        ("twice", text(lambda token: token + token)),
        ("no signature", text(lambda token: token.rpartition(".")[0])),
        ("empty signature", text(lambda token: token.rpartition(".")[0] + ".")),
        ("header and signature", text(lambda token: token.split(".")[0] + ".." + token.split(".")[2])),
        ("header alone", text(lambda token: token.split(".")[0])),
        ("five parts", text(lambda token: token + ".a.b")),
        ("upper case", text(lambda token: token.upper())),
    ]


@pytest.mark.parametrize(("name", "make"), refused_tokens(), ids=[name for name, _ in refused_tokens()])
def test_refused(prepared: Prepared, name: str, make: Any) -> None:
    with prepared.client(autocommit=True) as client:
        kid, secret = prepared.key()
        good = {
            "pid": client.info.backend_pid,
            "exp": int(time.time()) + 45,
            "role": "authenticated",
            "claims": {"sub": "bob"},
        }
        begin(client, compact_jws({"alg": "HS256", "kid": kid}, good, secret))
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification) as refusal:
            begin(client, make(kid, secret, good))
        assert refusal.value.diag.message_hint
        assert refusal.value.diag.message_detail
        assert secret.hex() not in str(refusal.value)
        client.execute("BEGIN")
        client.execute("SAVEPOINT before")
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            begin(client, make(kid, secret, good))
        client.execute("ROLLBACK TO before")
        assert one(client, "SELECT auth.user_id()") is None


def test_null_is_refused(prepared: Prepared) -> None:
    with (
        prepared.client() as client,
        pytest.raises(psycopg.errors.InvalidAuthorizationSpecification),
    ):
        client.execute("SELECT auth.jwt_session_init(NULL)")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_changed_token_passes(prepared: Prepared, data: st.DataObject) -> None:
    """Any one character replaced, left out or put in."""
    with prepared.client(autocommit=True) as client:
        token = prepared.token(client, {"sub": "alice"})
        # A share of the length, because the length differs from one backend to the next.
        position = int(data.draw(st.floats(0, 1, exclude_max=True)) * len(token))
        character = data.draw(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
        rest = token[position + data.draw(st.integers(0, 1)) :]
        changed = token[:position] + data.draw(st.sampled_from([character, ""])) + rest
        if changed == token:
            return
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            begin(client, changed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
        max_leaves=12,
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
)
def test_claims_arrive_as_they_were(prepared: Prepared, value: Any, subject: str) -> None:
    with prepared.client() as client:
        claims = {"sub": subject, "value": value}
        begin(client, prepared.token(client, claims))
        assert one(client, "SELECT auth.session()") == claims
        assert one(client, "SELECT auth.user_id()") == subject


def test_another_role_of_the_login_is_nobody(prepared: Prepared) -> None:
    """The token and the seals name the role: after SET ROLE NONE the login role is not the user."""
    with prepared.client() as client:
        token = prepared.token(client, {"sub": "alice"})
        begin(client, token)
        client.execute("SET LOCAL ROLE NONE")
        assert one(client, "SELECT auth.user_id()") is None
        assert one(client, "SELECT jsonb_typeof(auth.session())") == "null"
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            begin(client, token)


def test_reset_role_leads_nowhere(prepared: Prepared) -> None:
    with prepared.client(autocommit=True) as client:
        for statement in ("RESET ROLE", "RESET ALL", "DISCARD ALL", "SET SESSION AUTHORIZATION DEFAULT"):
            client.execute(statement.encode())
            assert one(client, "SELECT current_user") == "authenticated"


def test_a_plain_login_is_its_own_role(own_prepared: Prepared) -> None:
    """Without a role setting, the token must name the login role."""
    with own_prepared.admin() as admin:
        begin(admin, own_prepared.token(admin, {"sub": "alice"}, role="postgres"))
        assert one(admin, "SELECT auth.user_id()") == "alice"


def test_settings_of_the_session_do_not_matter(prepared: Prepared) -> None:
    with prepared.client() as client:
        begin(client, prepared.token(client, {"sub": "alice", "n": 1.5}))
        for change in (
            "TimeZone = 'Asia/Kathmandu'",
            "DateStyle = 'German'",
            "extra_float_digits = -15",
            "bytea_output = 'escape'",
            "IntervalStyle = 'iso_8601'",
            "standard_conforming_strings = off",
            "search_path = ''",
            "lc_numeric = 'C'",
        ):
            client.execute(f"SET LOCAL {change}".encode())
            assert one(client, "SELECT auth.user_id()") == "alice"
            assert one(client, "SELECT auth.session()") == {"sub": "alice", "n": 1.5}


def test_parallel_workers_lose_no_rows(own_prepared: Prepared) -> None:
    with own_prepared.admin() as admin:
        admin.execute("INSERT INTO todos (user_id, task) SELECT 'alice', i::text FROM generate_series(1, 20000) i")
        admin.execute("ALTER TABLE todos SET (parallel_workers = 2)")
        admin.execute("ANALYZE todos")
    with own_prepared.client() as client:
        begin(client, own_prepared.token(client, {"sub": "alice"}))
        for change in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            client.execute(f"SET LOCAL {change} = 0".encode())
        name = "debug_parallel_query" if own_prepared.server.major_version >= 16 else "force_parallel_mode"
        client.execute(f"SET LOCAL {name} = on".encode())
        assert one(client, "SELECT count(*) FROM todos") == 20002
        assert one(client, "SELECT count(*) FROM todos WHERE user_id = auth.user_id()") == 20002


def test_rotation_keeps_what_is_under_way(own_prepared: Prepared) -> None:
    with own_prepared.client() as client, own_prepared.admin() as admin:
        old_token = own_prepared.token(client, {"sub": "alice"})
        begin(client, old_token)
        admin.execute("SELECT auth.rotate_session_key()")
        admin.commit()
        assert one(client, "SELECT auth.user_id()") == "alice"
        assert one(client, "SELECT auth.session()") == {"sub": "alice"}
        client.commit()
        begin(client, old_token)
        assert one(client, "SELECT auth.user_id()") == "alice"
        client.commit()
        begin(client, own_prepared.token(client, {"sub": "alice"}))
        client.commit()
        assert one(admin, "SELECT count(*) FROM auth.session_key") == 2
        admin.execute("SELECT auth.rotate_session_key()")
        admin.commit()
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            begin(client, old_token)


def test_without_a_key_everyone_is_nobody(own_prepared: Prepared) -> None:
    with own_prepared.client(autocommit=True) as client, own_prepared.admin() as admin:
        client.execute("SELECT auth.init()")
        token = own_prepared.token(client, {"sub": "alice"})
        client.execute("BEGIN")
        begin(client, token)
        admin.execute("DELETE FROM auth.session_key")
        admin.commit()
        assert one(client, "SELECT auth.user_id()") is None
        assert one(client, "SELECT jsonb_typeof(auth.session())") == "null"
        client.execute("ROLLBACK")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no key"):
            client.execute("SELECT auth.init()")
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification) as refusal:
            begin(client, token)
        assert "rowgate setup" in str(refusal.value.diag.message_hint)


def test_it_works_where_set_config_was_taken_from_everyone(own_prepared: Prepared) -> None:
    with own_prepared.admin() as admin:
        admin.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC")
        admin.execute("GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO rowgate_owner")
    with own_prepared.client() as client:
        begin(client, own_prepared.token(client, {"sub": "alice"}))
        assert one(client, "SELECT auth.user_id()") == "alice"


def test_the_gateways_header_is_the_one_that_is_kept(prepared: Prepared) -> None:
    with prepared.admin() as admin:
        kid, secret = prepared.key()
        expected = compact_jws({"alg": "HS256", "kid": kid}, {}, secret).split(".")[0] + "."
        assert one(admin, "SELECT convert_from(signed_header, 'UTF8') FROM auth.session_key WHERE active") == expected
        assert json.dumps(kid) == f'"{kid}"'
        assert len(secret) == 32
