"""The console's pages for people and for attackers, over plain HTTP; tests/browser/ has them in a browser."""

import html
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.markup import inline_code
from tests.clients.stack import Stack
from tests.clients.two_gateways import eventually
from tests.plain_http import HTTP

PAGES = ("/get-started", "/authorize", "/connect", "/sql", "/tables", "/activity", "/settings")


@pytest.fixture(scope="module")
def console(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody who signed in with the admin token."""
    with httpx.Client(base_url=stack.admin_url, timeout=30) as client:
        answer = client.post("/sign-in", data={"token": stack.admin_token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/get-started")
        yield client


@pytest.fixture(scope="module")
def secret(console: httpx.Client) -> str:
    """What forms of this session carry."""
    found = re.search(r'name="form_secret" value="([^"]+)"', console.get("/authorize").text)
    assert found
    return found[1]


def test_the_link_signs_in_once(stack: Stack) -> None:
    first, second = HTTP.get(stack.console_url), HTTP.get(stack.console_url)
    assert (first.status_code, second.status_code) == (303, 403)
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "set-cookie" not in second.headers
    assert stack.console_url.partition("link=")[2] not in second.text


@pytest.mark.parametrize("page", [*PAGES, "/authorize/local/keys", "/sign-out"])
def test_strangers_are_led_to_the_sign_in_page(stack: Stack, page: str) -> None:
    answer = (httpx.get if page in PAGES else httpx.post)(stack.admin_url + page)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert HTTP.post(f"{stack.admin_url}/sign-in", data={"token": "wrong"}).status_code == 403
    assert HTTP.post(f"{stack.admin_url}/sign-in", data={"token": ""}).status_code == 403


def test_a_session_is_never_one_that_was_there_before(stack: Stack) -> None:
    """Session fixation: whatever cookie the browser brings, it gets another one, and the brought one opens nothing."""
    with httpx.Client(base_url=stack.admin_url) as client:
        name = f"rowgate_console_{httpx.URL(stack.admin_url).port}"
        brought = {"Cookie": f"{name}=chosen-by-somebody-else"}
        made = client.post("/sign-in", data={"token": stack.admin_token}, headers=brought)
        assert "chosen-by-somebody-else" not in made.headers["set-cookie"]
        earlier = made.cookies[name]
        again = client.post("/sign-in", data={"token": stack.admin_token})
        assert again.cookies[name] != earlier
    for cookie in ("chosen-by-somebody-else", earlier):
        assert HTTP.get(f"{stack.admin_url}/authorize", headers={"Cookie": f"{name}={cookie}"}).status_code == 303


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, {}),
        ({"form_secret": "wrong"}, {}),
        ({"form_secret": ""}, {"x-form-secret": ""}),
        ({}, {"x-form-secret": b"\xc3\xa9"}),
    ],
)
@pytest.mark.parametrize("action", ["add", "local/remove", "local/disable", "local/sign-out", "inspect", "recognise"])
def test_a_form_of_another_site_does_nothing(
    console: httpx.Client, stack: Stack, action: str, fields: dict[str, str], headers: dict[str, Any]
) -> None:
    """CSRF: the cookie alone is not enough."""
    answer = console.post(f"/authorize/{action}", data={"url": "https://evil.example", **fields}, headers=headers)
    assert answer.status_code == 400
    assert "not from a page of your session" in answer.text
    assert "local" in console.get("/authorize").text


def test_another_origin_and_another_name_are_refused(console: httpx.Client, secret: str) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        answer = console.post("/authorize/local/remove", data={"form_secret": secret}, headers=headers)
        assert answer.status_code == 403, headers
    assert console.get("/authorize", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"form_secret=%ff", "application/x-www-form-urlencoded"),
        (b"a=1&a=2", "application/x-www-form-urlencoded"),
        (b"&".join(b"f%d=1" % number for number in range(200)), "application/x-www-form-urlencoded"),
        ("é".encode(), "application/x-www-form-urlencoded"),
    ],
)
def test_bodies_that_are_no_form(console: httpx.Client, body: bytes, kind: str) -> None:
    answer = console.post("/authorize/inspect", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400


@pytest.mark.parametrize("page", [*PAGES, "/sign-in"])
def test_no_page_can_be_framed_or_run_foreign_scripts(console: httpx.Client, page: str) -> None:
    answer = console.get(page)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert inline_code(answer.text) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_weighs_little(console: httpx.Client, page: str) -> None:
    """With everything that it loads, uncompressed."""
    text = console.get(page).text
    parts = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', text))
    assert len(parts) == 4
    assert len(text) + sum(len(console.get(part).content) for part in parts) < 150_000


def test_files_are_kept_by_browsers_until_they_change(console: httpx.Client) -> None:
    address = re.search(r'href="(/static/console.css\?[0-9a-f]{12})"', console.get("/connect").text)
    assert address
    assert "immutable" in console.get(address[1]).headers["cache-control"]
    for other in ("/static/console.css", "/static/console.css?0123456789ab"):
        assert console.get(other).headers["cache-control"] == "no-cache"


def test_no_address_of_the_visitor_is_gone_to(stack: Stack) -> None:
    """Open redirect: nothing that a link or a form says changes where one is led."""
    for path in ("/?next=https://evil.example", "//evil.example", "/sign-in?return=//evil.example"):
        answer = HTTP.get(stack.admin_url + path)
        assert "evil" not in answer.headers.get("location", "")
    form = {"token": stack.admin_token, "return": "https://evil.example", "next": "//evil.example"}
    assert HTTP.post(f"{stack.admin_url}/sign-in", data=form).headers["location"] == "/get-started"


def test_files_outside_are_not_served(stack: Stack) -> None:
    for name in ("..%2fframe.py", "../frame.py", "%2e%2e/frame.py", "nothing.js"):
        assert HTTP.get(f"{stack.admin_url}/static/{name}").status_code == 404


def test_an_admin_token_that_is_removed_ends_its_sessions(stack: Stack) -> None:
    token = stack.cli("admin-token", "create", "passing").stdout.strip().split()[-1]
    with httpx.Client(base_url=stack.admin_url) as client:
        assert eventually(lambda: client.post("/sign-in", data={"token": token}).status_code == 303) is not None
        assert client.get("/authorize").status_code == 200
        stack.cli("admin-token", "revoke", "passing")
        assert eventually(lambda: client.get("/authorize").status_code == 401) is not None


def test_disable_and_enable_count_at_once(stack: Stack, console: httpx.Client, secret: str) -> None:
    def me() -> Any:
        return stack.sql("select auth.user_id() as me", token=stack.tokens["alice"]).json()

    form = {"form_secret": secret}
    assert console.post("/authorize/local/disable", data=form).headers["location"] == "/authorize"
    assert eventually(lambda: me().get("routine") == "rowgate:token_revoked") is not None
    assert "Disabled" in console.get("/authorize").text
    console.post("/authorize/local/enable", data=form)
    assert eventually(lambda: me().get("rows") == [{"me": "user_alice"}]) is not None
    assert console.post("/authorize/nobody/disable", data=form).status_code == 404


def test_who_was_signed_out_stays_so_after_a_provider_was_disabled(
    stack: Stack, console: httpx.Client, secret: str
) -> None:
    """Both are one row of revocations, and enabling takes only its own part of it back."""
    form = {"form_secret": secret}
    try:
        console.post("/authorize/local/sign-out", data=form)
        assert "issued until now is refused" in console.get("/authorize").text
        console.post("/authorize/local/disable", data=form)
        refused = console.post("/authorize/local/sign-out", data=form)
        assert (refused.status_code, "Enable it first" in refused.text) == (400, True)
        console.post("/authorize/local/enable", data=form)
        assert "local is enabled." in console.get("/authorize").text
        routine = stack.sql("select 1", token=stack.tokens["alice"]).json()["routine"]
        assert routine == "rowgate:token_revoked"
    finally:
        for one in HTTP.get(f"{stack.admin_url}/api/v1/revocations", headers=bearer(stack)).json()["revocations"]:
            HTTP.delete(f"{stack.admin_url}/api/v1/revocations/{one['id']}", headers=bearer(stack))
    asked = lambda: stack.sql("select auth.user_id() as me", token=stack.tokens["alice"]).json().get("rows")  # noqa: E731
    assert eventually(lambda: asked() == [{"me": "user_alice"}]) is not None


def test_the_local_provider_signs_with_a_new_key_at_once(stack: Stack, console: httpx.Client, secret: str) -> None:
    def keys() -> list[str]:
        return [key["kid"] for key in HTTP.get(stack.jwks_url).json()["keys"]]

    before = keys()
    assert "1 verified" in console.get("/authorize").text or "verified, the last one" in console.get("/authorize").text
    assert console.post("/authorize/local/rotate", data={"form_secret": secret}).headers["location"] == "/authorize"
    assert "signs with a new key" in console.get("/authorize").text
    assert keys()[0] not in before
    shown = console.post("/authorize/local/keys", data={"form_secret": secret}, headers={"HX-Request": "true"}).text
    assert keys()[0] in shown
    fresh = stack.cli("token", "user_bob").stdout.strip()
    for token, user in ((fresh, "user_bob"), (stack.tokens["alice"], "user_alice")):
        assert stack.sql("select auth.user_id() as me", token=token).json()["rows"] == [{"me": user}]


@pytest.mark.parametrize(
    ("fields", "bounded", "days"),
    [
        ({"kind": "subject"}, False, None),
        ({"kind": "until-now"}, True, 90),
        ({"kind": "session"}, False, 90),
        ({"kind": "token", "keep": "never"}, False, None),
        ({"kind": "subject", "keep": "2592000"}, False, 30),
    ],
)
def test_what_is_revoked_and_for_how_long(
    stack: Stack, console: httpx.Client, secret: str, fields: dict[str, str], bounded: bool, days: int | None
) -> None:
    form = {"form_secret": secret, "provider": "local", "value": "some-id", **fields}
    assert console.post("/settings/revoke", data=form).status_code == 303
    assert "some-id of local is refused" in console.get("/settings").text
    (row,) = HTTP.get(f"{stack.admin_url}/api/v1/revocations", headers=bearer(stack)).json()["revocations"]
    assert (row["issued_before"] is not None) is bounded
    left = None if row["expires_at"] is None else round((row["expires_at"] - time.time()) / 86_400)
    assert left == days
    assert console.post("/settings/restore", data={"form_secret": secret, "id": row["id"]}).status_code == 303
    assert "Nobody is refused" in console.get("/settings").text


def test_forms_of_settings_that_make_no_sense(console: httpx.Client, secret: str) -> None:
    for path, fields in (
        ("revoke", {"provider": "local", "kind": "provider", "value": "x"}),
        ("revoke", {"provider": "local", "kind": "subject", "value": "x", "keep": "7"}),
        ("revoke", {"provider": "local", "kind": "subject", "value": ""}),
        ("add-token", {"name": "x", "keep": "1e9"}),
        ("restore", {"id": "-1"}),
        ("remove-token", {"name": ""}),
    ):
        answer = console.post(f"/settings/{path}", data={"form_secret": secret, **fields})
        assert answer.status_code in {400, 404}, path


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_what_strangers_wrote_is_text(stack: Stack, console: httpx.Client, secret: str) -> None:
    """Stored and reflected XSS: URLs, tokens and names come back as text."""
    headers = {"x-form-secret": secret, "HX-Request": "true"}
    for path, fields in (
        ("/authorize/recognise", {"url": "https://x.example/" + HOSTILE, "audiences": HOSTILE}),
        ("/authorize/inspect", {"token": HOSTILE}),
        ("/authorize/add", {"url": HOSTILE, "name": HOSTILE}),
        ("/sql/run", {"as": "owner", "statement": f"select '{HOSTILE}' as \"{HOSTILE[:60].replace(chr(34), '')}\""}),
        ("/sql/run", {"as": "user:user_alice", "statement": f"select {HOSTILE}"}),
        ("/sql/run", {"as": "token", "token": HOSTILE, "role": HOSTILE, "statement": "select 1"}),
        ("/sql/why", {"as": "anonymous", "statement": HOSTILE}),
        ("/sql/explain", {"as": "owner", "statement": f"select '{HOSTILE}'"}),
        ("/settings/revoke", {"provider": "local", "kind": "subject", "value": HOSTILE, "reason": HOSTILE}),
        ("/settings/add-token", {"name": HOSTILE}),
        ("/tables/preview", {"schema": HOSTILE, "table": HOSTILE, "column": HOSTILE, "template": HOSTILE}),
    ):
        answer = console.post(path, data=fields, headers=headers)
        assert answer.status_code in {200, 303}, path
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
    name = HOSTILE.replace('"', '""')[:60]
    stack.owner(f'create table "{name}" (user_id text, "{name}" int)')
    stack.owner(f'alter table "{name}" enable row level security')
    stack.owner(f'create policy "{name}" on "{name}" using ("{name}" = 1)')
    try:
        for page in PAGES:
            text = console.get(page, params={"done": HOSTILE, "role": HOSTILE}).text
            assert "<script>alert" not in text
            assert "<img src=x" not in text
        assert "&lt;script&gt;alert(1)" in console.get("/tables").text
    finally:
        stack.owner(f'drop table "{name}"')
        for one in HTTP.get(f"{stack.admin_url}/api/v1/revocations", headers=bearer(stack)).json()["revocations"]:
            HTTP.delete(f"{stack.admin_url}/api/v1/revocations/{one['id']}", headers=bearer(stack))


def bearer(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.admin_token}"}


def test_users_go_no_second_way_around_the_guard(console: httpx.Client, secret: str) -> None:
    """What the gateway refuses its clients, the editor refuses whoever runs as one of them."""
    headers = {"x-form-secret": secret, "HX-Request": "true"}
    for who in ("user:user_alice", "anonymous"):
        for text in (
            "select * from pg_authid",
            "set role neondb_owner",
            "select * from rowgate.provider",
            "drop table x",
        ):
            told = console.post("/sql/run", data={"as": who, "statement": text}, headers=headers).text
            assert "42501" in told, (who, text)
    told = console.post("/sql/run", data={"as": "token", "token": "x", "statement": "select 1"}, headers=headers).text
    assert "token_malformed" in told
    told = console.post(
        "/sql/run", data={"as": "token", "token": "x.y.z", "role": "rowgate_control", "statement": "select 1"},
        headers=headers,
    ).text  # fmt: skip
    assert "rowgate:role_unknown" in told
    for who in ("", "user:nobody", "superuser", "token"):
        told = console.post("/sql/run", data={"as": who, "statement": "select 1"}, headers=headers).text
        assert "notice bad" in told, who


def test_secret_settings_are_not_shown(console: httpx.Client, stack: Stack) -> None:
    password = stack.control_url.partition("rowgate_control:")[2].partition("@")[0]
    owner = stack.database_url.partition("neondb_owner:")[2].partition("@")[0]
    assert len(password) > 8
    for page in PAGES:
        text = console.get(page).text
        assert password not in text
        assert owner not in text
        assert stack.admin_token not in text


# --- activity -----------------------------------------------------------------------------------------------------


def test_activity_shows_who_asked_what_and_what_became_of_it(stack: Stack, console: httpx.Client) -> None:
    stack.sql("select reverse(left('a secret constant', 3)) as seen_in_activity", token=stack.tokens["alice"])
    assert stack.sql("select 1", token="no.token.really").status_code == 400
    assert stack.sql("select * from pg_authid", token=stack.tokens["bob"]).status_code == 400
    page = console.get("/activity", params={"subject": "user_alice"}).text
    assert "select reverse(left($1, $2)) as seen_in_activity" in page
    assert "a secret constant" not in page
    row = re.search(r'href="(/activity/memory/\d+)">[\d:]+</a></td><td>user_alice', page)
    assert row
    opened = console.get(row[1]).text
    text = "select reverse(left($1, $2)) as seen_in_activity"
    for part in ("user_alice", "local", "<dt>The guard said</dt><dd>allowed", text):
        assert part in opened
    assert "a secret constant" not in opened
    everything = console.get("/activity").text
    for part in ("token_malformed", "The guard did not let a statement through.", "Connections to Postgres"):
        assert part in everything
    assert (
        "user_alice" not in console.get("/activity", params={"code": "token_malformed"}).text.split("Requests</h2>")[1]
    )
    assert "None of the records is so." in console.get("/activity", params={"front": "session", "since": "60"}).text


def test_activity_follows_unless_it_is_told_not_to(console: httpx.Client) -> None:
    assert 'hx-trigger="every 2s"' in console.get("/activity").text
    assert 'hx-trigger="every 2s"' not in console.get("/activity", params={"live": "off"}).text
    part = console.get("/activity/live", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert "Requests a second" in part


@pytest.mark.parametrize(
    "path",
    ["/activity/memory/0", "/activity/memory/999999999", "/activity/memory/x", "/activity/memory/-1",
     "/activity/file/0", "/activity/memory/" + "9" * 30],
)  # fmt: skip
def test_a_record_that_is_not_there(console: httpx.Client, path: str) -> None:
    answer = console.get(path)
    assert answer.status_code == 400
    assert "not there any more" in answer.text


@pytest.mark.parametrize(
    "query",
    [{"before": "x"}, {"since": "99"}, {"front": "none"}, {"from": "file"}, {"subject": "\0"}, {"code": "é" * 500}],
)
def test_filters_that_make_no_sense_harm_nothing(console: httpx.Client, query: dict[str, str]) -> None:
    assert console.get("/activity", params=query).status_code == 200


# --- the advisor's findings -----------------------------------------------------------------------------------------


def preview(console: httpx.Client, secret: str, rule: str, name: str) -> str:
    form = {"rule": rule, "object": name}
    headers = {"x-form-secret": secret, "HX-Request": "true"}
    return console.post("/tables/findings/preview", data=form, headers=headers).text


def test_a_finding_is_mended_by_what_was_shown_and_by_nothing_else(
    stack: Stack, console: httpx.Client, secret: str
) -> None:
    stack.owner("create table found (id int)")
    try:
        found = console.get("/tables/findings").text
        assert 'name="object" value="public.found"' in found
        shown = preview(console, secret, "table-without-rls", "public.found")
        assert "ALTER TABLE public.found ENABLE ROW LEVEL SECURITY;" in shown
        assert "rolled back" in shown
        digest = re.search(r'name="digest" value="([0-9a-f]{64})"', shown)
        assert digest
        form = {"rule": "table-without-rls", "object": "public.found", "digest": digest[1]}
        for wrong in ({**form, "digest": "0" * 64}, {**form, "object": "public.other"}, {**form, "rule": "x"}):
            answer = console.post("/tables/findings/apply", data={**wrong, "form_secret": secret})
            assert answer.status_code == 400
        assert console.post("/tables/findings/apply", data=form).status_code == 400  # no secret: another site
        assert secured(stack, "found") is False
        own = {**form, "form_secret": secret, "fix_sql": "drop table found", "sql": "drop table found"}
        assert console.post("/tables/findings/apply", data=own).headers["location"] == "/tables"
        assert secured(stack, "found") is True
        page = console.get("/tables").text
        assert "public.found is mended (table-without-rls)." in page
        assert "public.found is mended" not in console.get("/tables").text
        assert "not found any more" in console.post("/tables/findings/apply", data=own).text
    finally:
        stack.owner("drop table found")


def secured(stack: Stack, name: str) -> object:
    return stack.owner("select relrowsecurity as secured from pg_class where relname = $1", [name]).json()["rows"][0][
        "secured"
    ]


def test_what_the_owner_may_not_mend_is_said_and_left(console: httpx.Client, secret: str) -> None:
    found = console.get("/tables/findings").text
    name = re.search(
        r'name="rule" value="(open-to-public-\d+)"><input type="hidden" name="object" value="([^"]+)"', found
    )
    assert name
    shown = preview(console, secret, name[1], html.unescape(name[2]))
    assert "as a superuser" in shown
    assert "Apply it" not in shown


def test_names_of_strangers_in_findings_are_text(stack: Stack, console: httpx.Client, secret: str) -> None:
    name = HOSTILE.replace('"', '""')[:60]
    stack.owner(f'create table "{name}" (id int)')
    try:
        found = console.get("/tables/findings").text
        assert "&lt;script&gt;alert(1)" in found
        value = re.search(r'name="object" value="([^"]*script[^"]*)"', found)
        assert value
        shown = preview(console, secret, "table-without-rls", html.unescape(value[1]))
        assert "&lt;script&gt;" in shown
        for text in (found, shown):
            assert "<script>alert" not in text
            assert "<img src=x" not in text
    finally:
        stack.owner(f'drop table "{name}"')
