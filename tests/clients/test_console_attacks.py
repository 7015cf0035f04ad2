"""Attacks on the console: what strangers wrote, in every place that shows it; forms of other sites, at every address.

Headers, cookies, links and names of hosts are in test_console.py; a real browser looks at the same in tests/browser/.
"""

import re
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from starlette.routing import Route

from rowgate.console.pages.app import page_routes
from rowgate.console.pages.sign_in import ConsoleSessions
from rowgate.settings import Settings
from tests.clients.hostile_issuer import HOSTILE, HostileIssuer, hostile_issuer
from tests.clients.markup import inline_code
from tests.clients.stack import Stack
from tests.clients.two_gateways import eventually
from tests.plain_http import HTTP

NOBODY = cast(Any, None)
ROUTES = [
    route
    for route in page_routes(NOBODY, Settings(), ConsoleSessions(), NOBODY, NOBODY, NOBODY, NOBODY)
    if isinstance(route, Route)
]
"""Every address of the console."""
OPEN = {"/", "/sign-in", "/static/{name}"}
"""What needs no session."""
NAME = HOSTILE.replace("{", "").replace("}", "")[:40]
"""As a name in Postgres, of at most 63 bytes."""


def path_of(route: Route) -> str:
    return route.path.replace("{name}", "local").replace("{number}", "1")


def addresses(method: str) -> list[str]:
    return sorted(path_of(one) for one in ROUTES if method in (one.methods or ()) and one.path not in OPEN)


@pytest.fixture(scope="module")
def console(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.admin_url, timeout=30) as client:
        client.post("/sign-in", data={"token": stack.admin_token})
        yield client


@pytest.fixture(scope="module")
def headers(console: httpx.Client) -> dict[str, str]:
    """What parts of a page send."""
    found = re.search(r'name="form_secret" value="([^"]+)"', console.get("/connect").text)
    assert found
    return {"x-form-secret": found[1], "HX-Request": "true"}


@pytest.fixture(scope="module")
def issuer(stack: Stack) -> Iterator[HostileIssuer]:
    with hostile_issuer() as running:
        stack.cli("provider", "add", running.jwks_url, "--name", "hostile", "--issuer", running.issuer,
                  "--allow-http-loopback")  # fmt: skip
        yield running
        stack.cli("provider", "remove", "hostile")


def assert_text(page: str, *, shown: str = "") -> None:
    """Nothing of ``HOSTILE`` became markup or was run as a template; ``shown`` is there as text."""
    assert inline_code(page) == []
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "${7*7}49" not in page
    assert "${49" not in page
    assert shown in page


def test_there_is_something_to_attack() -> None:
    assert sorted(inline_code(f'<p style="x" title="{HOSTILE}">')) == ["img onerror", "p style", "script"]
    assert inline_code('<script src="/x"></script><p> onerror=1 style=2</p>') == []
    assert {"/authorize/local/remove", "/tables/findings/apply", "/settings/allowlist/approve"} <= set(
        addresses("POST")
    )
    assert {"/activity/memory/1", "/activity/live", "/tables/findings"} <= set(addresses("GET"))


@pytest.mark.parametrize("path", addresses("POST"))
def test_forms_of_other_sites_do_nothing(stack: Stack, console: httpx.Client, path: str) -> None:
    """CSRF: without the session's secret, with a wrong one, and from another origin though with the cookie."""
    for fields in ({}, {"form_secret": "wrong"}):
        answer = console.post(path, data={"url": "https://evil.example", **fields})
        assert (answer.status_code, "not from a page of your session" in answer.text) == (400, True)
    assert console.post(path, data={}, headers={"Origin": "https://evil.example"}).status_code == 403
    assert console.get(path).status_code in {404, 405}
    answer = HTTP.post(stack.admin_url + path, data={})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    part = HTTP.post(stack.admin_url + path, data={}, headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (204, "/sign-in")


@pytest.mark.parametrize("path", addresses("GET"))
def test_no_page_without_a_session_or_by_another_name(stack: Stack, console: httpx.Client, path: str) -> None:
    answer = HTTP.get(stack.admin_url + path)
    assert (answer.status_code, answer.headers["location"], answer.content) == (303, "/sign-in", b"")
    assert console.get(path, headers={"Host": "evil.example"}).status_code == 403
    shown = console.get(path)
    assert shown.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in shown.headers["content-security-policy"]
    assert inline_code(shown.text) == []


def test_claims_are_text_wherever_they_are_shown(
    stack: Stack, console: httpx.Client, headers: dict[str, str], issuer: HostileIssuer
) -> None:
    """Stored XSS: the provider's signature is good, so its users' names get as far as names can get."""
    token = issuer.token(
        sub=HOSTILE, name=HOSTILE, org_id=HOSTILE, o={"id": HOSTILE, "rol": HOSTILE}, jti=HOSTILE, sid=HOSTILE,
        act={"sub": HOSTILE},
    )  # fmt: skip
    me = "select auth.user_id() as who, auth.session() as claims"
    assert eventually(lambda: stack.sql(me, token=token).json().get("rows", [{}])[0].get("who") == HOSTILE) is not None
    inspected = console.post("/authorize/inspect", data={"token": token}, headers=headers).text
    assert_text(inspected, shown="Accepted as <strong>&#34;&gt;&lt;script&gt;alert(1)")
    form = {"as": "token", "token": token, "role": "authenticated", "statement": me}
    assert_text(console.post("/sql/run", data=form, headers=headers).text, shown="&lt;img src=x onerror=alert(2)&gt;")
    stack.sql("select * from pg_authid", token=token)
    activity = console.get("/activity").text
    assert_text(activity, shown="&lt;script&gt;alert(1)&lt;/script&gt;")
    filtered = console.get("/activity", params={"subject": HOSTILE, "code": HOSTILE}).text
    assert_text(filtered, shown='value="&#34;&gt;&lt;script')
    row = re.search(r'href="(/activity/memory/\d+)"', console.get("/activity", params={"subject": HOSTILE}).text)
    assert row
    record = console.get(row[1]).text
    assert_text(record, shown="&lt;script&gt;alert(1)")
    settings = re.search(r'href="(/settings\?[^"]*)"', record)
    assert settings
    assert_text(console.get(settings[1].replace("&amp;", "&")).text, shown='value="&#34;&gt;&lt;script')
    console.post("/settings/revoke", data={"provider": "hostile", "kind": "subject", "value": HOSTILE,
                                           "reason": HOSTILE}, headers=headers)  # fmt: skip
    assert_text(console.get("/settings").text, shown="&lt;img src=x onerror=alert(2)&gt;")
    assert eventually(lambda: "rows" not in stack.sql("select 1", token=token).json()) is not None
    refused = console.post("/authorize/inspect", data={"token": token}, headers=headers).text
    assert_text(refused, shown="token_revoked")


def test_errors_of_postgres_are_text(console: httpx.Client, headers: dict[str, str]) -> None:
    text = HOSTILE.replace("'", "''")
    statement = (
        f"do $do$ begin raise exception using message = '{text}', detail = '{text}', hint = '{text}', "
        f"errcode = 'P0001', column = '{text}', table = '{text}'; end $do$"
    )
    for path in ("/sql/run", "/sql/explain", "/sql/why"):
        for actor in ("owner", "user:user_alice"):
            shown = console.post(path, data={"as": actor, "statement": statement}, headers=headers).text
            assert_text(shown)
    ran = console.post("/sql/run", data={"as": "owner", "statement": statement}, headers=headers).text
    assert "&lt;script&gt;alert(1)" in ran
    assert_text(console.get("/sql").text, shown='data-statement="do $do$')


def test_names_in_the_database_are_text(stack: Stack, console: httpx.Client, headers: dict[str, str]) -> None:
    name = NAME.replace('"', '""')
    for statement in (
        f'create schema "{name}"',
        f'create table "{name}"."{name}" (user_id text default auth.user_id(), "{name}" text)',
        f'alter table "{name}"."{name}" enable row level security',
        f'create policy "{name}" on "{name}"."{name}" using (user_id = auth.user_id())',
        f'grant usage on schema "{name}" to authenticated',
        f'grant all on "{name}"."{name}" to authenticated',
        f"insert into \"{name}\".\"{name}\" values ('user_bob', '{HOSTILE.replace(chr(39), chr(39) * 2)}')",
    ):
        answer = stack.owner(statement)
        assert answer.status_code == 200, answer.text
    try:
        query = f'select * from "{name}"."{name}"'
        assert_text(console.get("/tables").text, shown="&lt;script&gt;alert(1)")
        assert_text(console.get("/tables", params={"find": HOSTILE}).text)
        assert_text(console.get("/tables/findings").text, shown="&lt;script&gt;")
        for path in ("/sql/run", "/sql/explain", "/sql/why"):
            for actor in ("owner", "user:user_alice", "user:user_bob"):
                shown = console.post(path, data={"as": actor, "statement": query}, headers=headers).text
                assert_text(shown)
        why = console.post("/sql/why", data={"as": "user:user_alice", "statement": query}, headers=headers).text
        assert_text(why, shown="&lt;script&gt;alert(1)")
        fields = {"schema": NAME, "table": NAME, "column": NAME, "template": "own rows"}
        shown = console.post("/tables/preview", data=fields, headers=headers).text
        assert_text(shown, shown="&lt;script&gt;alert(1)")
        assert_text(console.get("/get-started").text)
        stack.sql(query, token=stack.tokens["alice"])
        assert_text(console.get("/activity").text, shown="&lt;script&gt;alert(1)")
    finally:
        stack.owner(f'drop schema "{name}" cascade')


def test_a_providers_own_words_are_text(stack: Stack, console: httpx.Client, headers: dict[str, str]) -> None:
    """A name with markup is refused; an audience is whatever the operator says."""
    refused = console.post("/authorize/add", data={"url": stack.jwks_url, "name": HOSTILE}, headers=headers).text
    assert_text(refused, shown="notice bad")
    with hostile_issuer() as running:
        stack.cli("provider", "add", running.jwks_url, "--name", "words", "--issuer", f"https://x.example/{NAME}",
                  "--audience", HOSTILE, "--allow-http-loopback")  # fmt: skip
        try:
            assert eventually(lambda: "words" in console.get("/authorize").text) is not None
            assert_text(console.get("/authorize").text, shown="&lt;script&gt;alert(1)")
        finally:
            stack.cli("provider", "remove", "words")
