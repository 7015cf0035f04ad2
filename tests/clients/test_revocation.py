"""Revocation the whole way: two gateways on one database, tokens in their caches, sessions open on both."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from websockets.asyncio.client import connect as connect_websocket

from rowgate.identity.revocation import Revocation
from rowgate.pgwire import messages
from rowgate.pgwire.fields import error_fields
from rowgate.pgwire.stream import MessageStream
from rowgate.registry.registry import Registry
from tests.clients.two_gateways import NAME, Gateways, eventually

BOTH = (0, 1)


@pytest.fixture(scope="module")
def revoke(gateways: Gateways) -> Iterator[Any]:
    """Revokes from this process, because a command takes longer to start than a revocation to arrive."""
    with asyncio.Runner() as runner:
        registry = runner.run(Registry.connect(gateways.prepared.control_conninfo()))

        def run(kind: str, value: str = "", **more: Any) -> None:
            one = Revocation(provider=NAME, kind=kind, value=value, **more)  # type: ignore[arg-type]
            runner.run(registry.revoke([one]))

        yield run
        runner.run(registry.close())


def is_cut(connection: psycopg.Connection[Any]) -> bool:
    """Whether the session has been ended, with the SQLSTATE of a refused token."""
    if connection.closed:
        return True
    try:
        connection.execute("select 1")
    except psycopg.errors.InvalidAuthorizationSpecification:
        return connection.closed
    return False


# (what is revoked, what the token has, what a token has that goes on)
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("token", "jti_x", {"jti": "jti_x"}, {"jti": "jti_y"}),
    ("session", "sess_x", {"sid": "sess_x"}, {"sid": "sess_y"}),
    ("subject", "user_x", {"sub": "user_x"}, {"sub": "user_y"}),
    ("sessionless", "user_z", {"sub": "user_z"}, {"sub": "user_z", "sid": "another"}),
]


@pytest.mark.parametrize(("kind", "value", "hit", "spared"), CASES, ids=[case[0] for case in CASES])
def test_it_counts_on_both_gateways_within_a_second(
    gateways: Gateways, revoke: Any, kind: str, value: str, hit: dict[str, Any], spared: dict[str, Any]
) -> None:
    token, other = gateways.token(**{"subject": "user_1", **hit}), gateways.token(**{"subject": "user_1", **spared})
    for number in BOTH:
        assert gateways.code(number, token) is None
    with gateways.connect(0, token) as first, gateways.connect(1, token) as second, gateways.connect(1, other) as kept:
        revoke(kind, value)
        for number in BOTH:
            took = eventually(lambda number=number: gateways.code(number, token) == "rowgate:token_revoked")  # type: ignore[misc]
            assert took is not None, f"gateway {number} still takes it"
        assert eventually(lambda: is_cut(first) and is_cut(second)) is not None
        assert gateways.code(0, other) is None
        assert kept.execute("select auth.user_id()").fetchone()
    with pytest.raises(psycopg.OperationalError):
        gateways.connect(0, token)


def test_signing_out_everywhere_leaves_the_next_sign_in_alone(gateways: Gateways, revoke: Any) -> None:
    old = gateways.token("user_2", age=60)
    assert gateways.code(1, old) is None
    moment = time.time() - 10
    revoke("subject", "user_2", issued_before=moment)
    assert eventually(lambda: gateways.code(1, old) == "rowgate:token_revoked") is not None
    assert gateways.code(1, gateways.token("user_2", age=0)) is None
    assert gateways.code(1, gateways.token("user_2", iat=...)) == "rowgate:token_revoked"


def test_a_running_statement_is_cut_and_undone(gateways: Gateways, revoke: Any) -> None:
    """The session is in the middle of a transaction, in a statement that runs."""
    with gateways.prepared.admin() as admin:
        admin.execute("create or replace function slowly() returns int language sql security definer as "
                      "'select pg_sleep(30); select 1'")  # fmt: skip
        admin.execute("create table if not exists written (user_id text)")
        admin.execute("grant insert, select on written to authenticated")
    seen: list[Exception] = []
    session = gateways.connect(0, gateways.token("user_3"))
    session.execute("begin")
    session.execute("insert into written values ('half')")

    def run() -> None:
        try:
            session.execute("select slowly()")
        except psycopg.Error as problem:
            seen.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    with gateways.prepared.admin() as admin:
        admin.autocommit = True

        def running() -> bool:
            active = "select from pg_stat_activity where state = 'active' and query like '%slowly%' "
            return admin.execute(active + "and pid <> pg_backend_pid()").fetchone() is not None

        assert eventually(running, 10) is not None
        revoke("subject", "user_3")
        thread.join(5)
        assert [type(one) for one in seen] == [psycopg.errors.InvalidAuthorizationSpecification] or "revoked" in str(
            seen
        )
        assert eventually(lambda: not running(), 5) is not None, "the statement goes on in Postgres"
        assert admin.execute("select count(*) from written").fetchone() == (0,)
    session.close()


async def test_a_websocket_is_cut(gateways: Gateways, revoke: Any) -> None:
    token = gateways.token("user_4")
    stream = MessageStream(1 << 20)
    async with asyncio.timeout(30), connect_websocket(gateways.ready[1]["ws_url"]) as socket:
        startup = messages.startup({"user": "authenticated", "database": gateways.prepared.name})
        await socket.send(startup + messages.raw(b"p", token.encode() + b"\0"))
        kinds: list[int] = []
        while ord("Z") not in kinds:
            kinds += [kind for kind, _ in stream.feed(bytes(await socket.recv()))]  # type: ignore[arg-type]
        await asyncio.to_thread(revoke, "subject", "user_4")
        ((kind, body),) = stream.feed(bytes(await socket.recv()))  # type: ignore[arg-type]
        fields = error_fields(body)
        assert (kind, fields["S"], fields["C"], fields["R"]) == (ord("E"), "FATAL", "28000", "rowgate:token_revoked")
        await socket.wait_closed()


def test_a_fresh_token_of_a_revoked_session_is_refused_in_a_live_one(gateways: Gateways, revoke: Any) -> None:
    with gateways.connect(0, gateways.token("user_5", sid="good")) as session:
        bad = gateways.token("user_5", sid="bad")
        revoke("session", "bad")
        assert eventually(lambda: gateways.code(0, bad) == "rowgate:token_revoked") is not None
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            session.execute("select auth.jwt_session_init(%s)", [bad])


def test_removing_the_provider_cuts_tokens_and_sessions(gateways: Gateways) -> None:
    token = gateways.token("user_6")
    with gateways.connect(0, token) as first, gateways.connect(1, token) as second:
        assert [gateways.code(number, token) for number in BOTH] == [None, None]
        with gateways.prepared.admin() as admin:
            admin.execute("delete from rowgate.provider")
        for number in BOTH:
            took = eventually(lambda number=number: gateways.code(number, token) == "rowgate:token_issuer_unknown")  # type: ignore[misc]
            assert took is not None
        assert eventually(lambda: is_cut(first) and is_cut(second)) is not None
    gateways.add_provider()
    assert eventually(lambda: gateways.code(0, token) is None) is not None
    with gateways.connect(0, token) as session:
        # Registered anew with other rules: whoever came in by the old ones goes.
        gateways.cli("provider", "remove", NAME)
        gateways.add_provider(audience="somebody else")
        assert eventually(lambda: is_cut(session)) is not None
        assert gateways.code(0, token) == "rowgate:token_audience_refused"
    gateways.cli("provider", "remove", NAME)
    gateways.add_provider()


def test_the_commands(gateways: Gateways) -> None:
    token = gateways.token("user_7", sid="sess_7")
    assert eventually(lambda: gateways.code(0, token) is None) is not None
    made = json.loads(gateways.cli("revoke", "--session-id", "sess_7", "--reason", "lost", "--json"))
    assert (made["kind"], made["value"], made["reason"], made["provider"]) == ("session", "sess_7", "lost", NAME)
    assert made["expires_at"] > time.time() + 80 * 86_400
    assert eventually(lambda: gateways.code(0, token) == "rowgate:token_revoked") is not None
    listed = json.loads(gateways.cli("revocation", "list", "--json"))
    assert made in listed
    assert "lost" in gateways.cli("revocation", "list", "--limit", "100")
    gateways.cli("revocation", "remove", str(made["id"]))
    assert eventually(lambda: gateways.code(0, token) is None) is not None
    assert "revocation_unknown" in gateways.cli("revocation", "remove", str(made["id"]), status=2)
    banned = json.loads(gateways.cli("revoke", "--subject", "user_8", "--json"))
    assert banned["expires_at"] is None
    everyone = gateways.cli("revoke", "--issued-before", "2020-01-31T12:00:00Z", "--keep", "1h")
    assert "all tokens issued before 2020-01-31T12:00:00Z" in everyone
    assert json.loads(gateways.cli("revocation", "prune", "--json")) == {"pruned": 0}


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["--subject", "a", "--token-id", "b"], ["--token-id", "b", "--issued-before", "now"], ["--subject", ""],
        ["--issued-before", "tomorrow"], ["--issued-before", "9999999999"], ["--issued-before", "2020-01-31T12:00:00"],
        ["--subject", "a", "--keep", "1y"], ["--subject", "a", "--provider", "nobody"],
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(gateways: Gateways, arguments: list[str]) -> None:
    gateways.cli("revoke", *arguments, status=2)
