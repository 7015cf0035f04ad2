"""Forging an identity, over HTTP against a whole stack: each row is an attack, and none makes anyone somebody else.

Who attacks has a valid token of Alice (or none) and may send any SQL. What must hold: no statement runs as another
user, nothing that one request leaves behind reaches the next one on the same connection.
"""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx
import pytest

from tests.clients.stack import Stack
from tests.plain_http import HTTP


def forged(payload: dict[str, Any], key: bytes = b"0" * 32, header: dict[str, Any] | None = None) -> str:
    """A session token as the gateway would make it, signed with a key of the attacker's own."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(json.dumps(header or {"alg": "HS256", "kid": "0"}).encode())
    signed = f"{head}.{part(json.dumps(payload).encode())}"
    return f"{signed}.{part(hmac.digest(key, signed.encode(), hashlib.sha256))}"


BOB = {"pid": 1, "exp": int(time.time()) + 40, "role": "authenticated", "claims": {"sub": "user_bob"}}
CLAIMS = '{"sub":"user_bob"}'
MEMBER = '!{"org_id":"acme","org_role":"org:admin","permissions":[]}' + "\n" + CLAIMS

# (id, statements sent as one batch, or alone where there is one)
ATTACKS: list[tuple[str, list[str]]] = [
    ("set the claims", [f"set rowgate.session = '{CLAIMS}'", "select auth.user_id() as me"]),
    ("set the claims locally", [f"set local rowgate.session = '{CLAIMS}'", "select auth.user_id() as me"]),
    ("set the user", ["set rowgate.identity = 'user_bob'", "select auth.user_id() as me"]),
    ("set the original's setting", [f"set request.jwt.claims = '{CLAIMS}'", "select auth.user_id() as me"]),
    ("set_config", [f"select set_config('rowgate.session', '{CLAIMS}', false)", "select auth.user_id() as me"]),
    (
        "set_config quoted",
        [f"""select "set_config"('rowgate.session', '{CLAIMS}', true)""", "select auth.user_id() as me"],
    ),
    ("set_config with its schema", [f"select pg_catalog.set_config('request.jwt.claims', '{CLAIMS}', true)"]),
    ("set_config in unicode", [f"""select U&"set\\005Fconfig"('rowgate.session', '{CLAIMS}', true)"""]),
    ("set_config in a condition", ["select 1 where set_config('rowgate.identity', 'user_bob', true) = 'x' or true"]),
    ("set a membership", [f"set rowgate.session = '{MEMBER}'", "select auth.org_id() as me"]),
    ("keep a membership", [f"select auth.jwt_session_init('x', '{MEMBER}')", "select auth.org_role() as me"]),
    ("read the membership whole", ["select auth.membership() as me"]),
    ("replace the permissions", ["create or replace function auth.has_permission(text) returns bool return true"]),
    ("read the revocations", ["select * from rowgate.revocation"]),
    ("take a revocation back", ["delete from rowgate.revocation"]),
    ("read the webhooks' secrets", ["select secret from rowgate.webhook"]),
    ("let oneself into the management API", ["insert into rowgate.admin_token values ('x', sha256('x'))"]),
    ("read the settings", ["select current_setting('rowgate.session') as me"]),
    ("read all settings", ["select * from pg_settings"]),
    ("show", ["show rowgate.session"]),
    ("a forged session token", [f"select auth.jwt_session_init('{forged(BOB)}')", "select auth.user_id() as me"]),
    ("an unsigned session token", [f"select auth.jwt_session_init('{forged(BOB, header={'alg': 'none'})}')"]),
    ("read the key", ["select * from auth.session_key"]),
    ("make a key", ["select auth.rotate_session_key()"]),
    ("reset role", ["reset role", "select current_user as me"]),
    ("set role", ["set role postgres", "select current_user as me"]),
    ("set role to the owner", ["set role neondb_owner", "select current_user as me"]),
    ("set role none", ["set role none", "select current_user as me"]),
    ("set role by set_config", ["select set_config('role', 'none', false)", "select current_user as me"]),
    ("set session authorization", ["set session authorization default", "select session_user as me"]),
    ("commit", ["commit", "select auth.user_id() as me"]),
    ("rollback", ["rollback", "select auth.user_id() as me"]),
    ("begin", ["begin", f"set local rowgate.session = '{CLAIMS}'", "select auth.user_id() as me"]),
    ("commit and go on as somebody", ["commit", f"set request.jwt.claims = '{CLAIMS}'", "select auth.user_id() as me"]),
    ("discard all", ["discard all", "select auth.user_id() as me"]),
    ("reset all", ["reset all", "select auth.user_id() as me"]),
    ("do", [f"do $$ begin perform set_config('rowgate.session', '{CLAIMS}', false); end $$"]),
    (
        "a function of one's own",
        ["create function pg_temp.user_id() returns text language sql as $$ select 'user_bob' $$"],
    ),
    (
        "replace the function",
        ["create or replace function auth.user_id() returns text language sql as $$ select 'x' $$"],
    ),
    ("a schema of one's own", ["create schema evil"]),
    ("a table that outlives the request", ["create temp table left_behind (secret text)"]),
    ("a prepared statement", ["prepare left_behind as select 1"]),
    ("deallocate", ["deallocate all"]),
    ("listen", ["listen left_behind"]),
    ("a cursor that outlives the request", ["declare left_behind cursor with hold for select 1"]),
    ("an advisory lock", ["select pg_advisory_lock(1)"]),
    ("a row in the other's name", ["insert into forging (user_id) values ('user_bob')"]),
    ("give a row away", ["update forging set user_id = 'user_bob'"]),
    ("several statements in one text", [f"select 1; set rowgate.session = '{CLAIMS}'"]),
    ("the search path", ["set search_path = pg_temp, public", "select auth.user_id() as me"]),
    ("turn row-level security off", ["set row_security = off", "select * from forging"]),
    ("alter one's role", ["alter role authenticated set search_path = evil"]),
    ("explain analyze", ["explain analyze select * from forging"]),
    ("copy", ["copy forging to stdout"]),
    ("copy to a program", ["copy (select 1) to program 'id'"]),
    ("read a file", ["select pg_read_file('/etc/passwd')"]),
    ("large objects", ["select lo_from_bytea(0, 'x')"]),
    ("sql in a string", ["select query_to_xml('select 1', true, true, '')"]),
    ("other people's queries", ["select query from pg_stat_activity"]),
]


WHO_AND_WHAT = "select auth.user_id() as me, current_user as role, (select count(*)::int4 from forging) as n"


@pytest.fixture(scope="module", autouse=True)
def table(stack: Stack) -> None:
    for sql in ("drop table if exists forging", "create table forging (id serial primary key, user_id text not null)",
                "alter table forging enable row level security",
                "create policy own on forging using (auth.user_id() = user_id) with check (auth.user_id() = user_id)",
                "insert into forging (user_id) values ('user_alice'), ('user_bob')"):  # fmt: skip
        assert stack.owner(sql).status_code == 200


def send(stack: Stack, statements: list[str], token: str | None, url: str) -> httpx.Response:
    headers = {"Neon-Connection-String": url} | ({"Authorization": f"Bearer {token}"} if token else {})
    body: dict[str, Any] = {"query": statements[0]}
    if len(statements) > 1:
        body = {"queries": [{"query": one} for one in statements]}
    return HTTP.post(stack.sql_url, json=body, headers=headers, timeout=30)


@pytest.mark.parametrize(("attack", "statements"), ATTACKS, ids=[attack for attack, _ in ATTACKS])
@pytest.mark.parametrize("who", ["alice", "anonymous"])
def test_nobody_becomes_somebody_else(stack: Stack, attack: str, statements: list[str], who: str) -> None:
    token = stack.tokens["alice"] if who == "alice" else None
    url = stack.authenticated_url if token else stack.anonymous_url
    answer = send(stack, statements, token, url)
    if answer.status_code == 200:
        # The one thing that may pass: a statement that is allowed and finds no row that is one's own.
        assert (answer.json()["rows"], answer.json()["rowCount"]) == ([], 0), f"{attack} went through: {answer.text}"
    else:
        assert answer.json()["code"] in ("42501", "42601", "28000"), answer.text
    # Whoever has the connection next is who they are, and sees their own rows.
    for number in range(3):
        after = stack.sql(WHO_AND_WHAT, token=stack.tokens["bob"]).json()
        assert after["rows"] == [{"me": "user_bob", "role": "authenticated", "n": 1}], number
    nobody = stack.sql("select auth.user_id() as me, current_user as role", url=stack.anonymous_url).json()
    assert nobody["rows"] == [{"me": None, "role": "anonymous"}]


def test_a_function_of_the_owner_that_leaves_something_behind(stack: Stack) -> None:
    """The guard lets the owner's functions through; what they leave in the session must not reach the next request."""
    for sql in (
        "create or replace function leave_behind() returns void language plpgsql as $$ begin "
        "perform set_config('app.secret', 'of alice', false); perform set_config('request.jwt.claims', "
        "'{\"sub\":\"user_bob\"}', false); perform set_config('rowgate.identity', 'user_bob', false); "
        "perform pg_advisory_lock(4242); end $$",
        "create or replace function see_left_behind() returns text language sql as "
        "$$ select coalesce(current_setting('app.secret', true), '') || '/' || coalesce(auth.user_id(), 'nobody') $$",
    ):
        assert stack.owner(sql).status_code == 200
    assert stack.sql("select leave_behind()", token=stack.tokens["alice"]).status_code == 200
    for _ in range(30):
        seen = stack.sql("select see_left_behind() as seen", token=stack.tokens["bob"]).json()
        assert seen["rows"] == [{"seen": "/user_bob"}]
    locks = "select count(*)::int4 as n from pg_locks where locktype = 'advisory' and objid = 4242"
    deadline = time.monotonic() + 5
    while stack.owner(locks).json()["rows"] != [{"n": 0}]:
        assert time.monotonic() < deadline


def test_the_token_itself_is_out_of_reach(stack: Stack) -> None:
    """Not in the statement's text, not in the activity view, not in the server's log."""
    answer = stack.owner("select query from pg_stat_activity").json()
    for token in (stack.tokens["alice"], stack.tokens["bob"]):
        assert token not in json.dumps(answer)
        assert token.encode() not in (stack.data_dir / "postgres.log").read_bytes()
