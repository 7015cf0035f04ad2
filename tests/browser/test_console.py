"""The console in a real browser: the way from nothing to the first authorised row, Clerk from its URL, why somebody has
no row, a fix of the advisor's, a revocation, and pages that are accessible in both themes and on a telephone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browser.clerk import CLERK, STAND_IN
from tests.browser.console import PAGES, WIDE, Visitor, visiting
from tests.browser.crowd import crowded, write_records
from tests.clients.hostile_issuer import HOSTILE, HostileIssuer, hostile_issuer
from tests.clients.stack import ROWGATE, Stack, start

WEIGHT = """() => performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
    .reduce((sum, one) => sum + one.decodedBodySize, 0)"""
WITH_CLERK = [*ROWGATE[:-1], "tests.browser.clerk"]


@pytest.fixture(scope="module")
def clerk() -> Iterator[HostileIssuer]:
    """Clerk's key set, and its users."""
    with hostile_issuer(CLERK) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("console")
    made.parent.chmod(0o755)
    made.chmod(0o755)
    return made


@pytest.fixture(scope="module")
def empty(folder: Path, clerk: HostileIssuer) -> Iterator[Stack]:
    """A stack of its own: an empty database, no provider, and an audit file of a hundred thousand records."""
    write_records(folder / "audit.log")
    settings = {"ROWGATE_AUDIT_LOG": str(folder / "audit.log"), STAND_IN: clerk.origin}
    running = start(folder / "data", program=WITH_CLERK, **settings)
    running.cli("provider", "remove", "local")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def visitor(empty: Stack, browser: Browser) -> Iterator[Visitor]:
    """Somebody who opened the link that was printed at start. The tests below follow them, one after the other."""
    with visiting(browser, empty.console_url, viewport=WIDE, permissions=["clipboard-write"]) as signed_in:
        yield signed_in


def me(stack: Stack, token: str) -> object:
    answer = stack.sql("select auth.user_id() as me", token=token).json()
    return answer["rows"][0]["me"] if "rows" in answer else answer["routine"]


def card_of(place: Locator, name: str) -> Locator:
    return place.get_by_role("region", name=name, exact=True)


def test_the_drawer_leads_from_nothing_to_the_first_authorised_row(empty: Stack, visitor: Visitor) -> None:
    """Without leaving the page that it was opened beside."""
    page = visitor.page
    assert me(empty, empty.tokens["alice"]) == "rowgate:token_issuer_unknown"
    assert empty.owner("select * from todos").json()["code"] == "42P01"
    visitor.open("/sql")
    page.get_by_role("button", name="Steps").click()
    drawer = page.get_by_role("complementary", name="Get started")
    for step in ("provider", "table", "security", "row"):
        card = drawer.locator(f'[data-step="{step}"]')
        expect(card.locator(".badge")).to_have_text("To do")
        expect(card).to_have_attribute("open", "")
        card.get_by_role("button", name="Run it").click()
        expect(drawer.locator(f'[data-step="{step}"] .badge')).to_have_text("Done")
    expect(drawer.get_by_role("status")).to_contain_text("All done")
    assert page.url.endswith("/sql")
    assert visitor.violations() == []
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == "Steps"
    rows = empty.sql("select user_id, task from todos", token=empty.tokens["alice"]).json()["rows"]
    assert rows == [{"user_id": "user_alice", "task": "My first row"}]
    # Ticked by what is there: without its policy the step is to do again.
    empty.owner("alter table todos disable row level security")
    visitor.open("/get-started")
    expect(page.locator('[data-step="security"] .badge')).to_have_text("To do")
    empty.owner("alter table todos enable row level security")


def test_clerk_is_added_by_its_url(empty: Stack, visitor: Visitor, clerk: HostileIssuer) -> None:
    page = visitor.page
    token = clerk.token(sub="user_of_clerk", sid="sess_1")
    assert me(empty, token) == "rowgate:token_issuer_unknown"
    visitor.open("/authorize")
    page.get_by_label("Paste its JWKS").fill(f"{CLERK}/.well-known/jwks.json")
    expect(page.locator("#recognised strong").first).to_have_text("Clerk")
    expect(page.locator("#recognised")).to_contain_text("1 usable")
    page.get_by_role("button", name="Add Clerk").click()
    expect(page.get_by_role("status").first).to_contain_text("The provider was added as clerk")
    card = card_of(page.locator(".cards"), "clerk")
    expect(card.locator(".badge")).to_have_text("Active")
    expect(card.locator(".keys")).to_contain_text("1 usable key, fetched at")
    expect(card).to_contain_text("none since this gateway started")
    assert me(empty, token) == "user_of_clerk"
    visitor.open("/authorize")
    expect(card).to_contain_text("1 verified")


def test_a_pasted_token_is_checked_tick_by_tick(visitor: Visitor, clerk: HostileIssuer) -> None:
    page = visitor.page
    visitor.open("/authorize")
    token = clerk.token(sub="user_of_clerk")
    for tried, told in ((token, "Accepted as user_of_clerk"), (token[:-8] + "AAAAAAAA", "Refused")):
        page.get_by_label("Token", exact=True).fill(tried)
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.locator("#inspected .notice").first).to_contain_text(told)
    expect(page.locator("#inspected .failed")).to_contain_text("signature")
    assert page.locator("#inspected .passed").count() > 3
    assert visitor.violations() == []


def test_a_provider_is_disabled_and_enabled(empty: Stack, visitor: Visitor, clerk: HostileIssuer) -> None:
    page = visitor.page
    token = clerk.token(sub="user_of_clerk")
    visitor.open("/authorize")
    card = card_of(page.locator(".cards"), "clerk")
    card.get_by_role("button", name="Disable").click()
    expect(card.locator(".badge")).to_have_text("Disabled")
    assert me(empty, token) == "rowgate:token_revoked"
    card.get_by_role("button", name="Enable").click()
    expect(card.locator(".badge")).to_have_text("Active")
    assert me(empty, token) == "user_of_clerk"
    card.get_by_role("button", name="Fetch keys again").click()
    expect(card.get_by_role("status")).to_contain_text("Fetched now.")
    local = card_of(page.locator(".cards"), "local")
    local.get_by_role("button", name="Rotate its key").click()
    expect(page.get_by_role("status").first).to_contain_text("local signs with a new key")
    assert me(empty, empty.tokens["alice"]) == "user_alice"


def test_why_bob_has_no_row(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/sql")
    page.keyboard.press("/")
    expect(page.get_by_label("Statement")).to_be_focused()
    page.get_by_label("Statement").fill("SELECT task FROM todos")
    page.get_by_label("Run as").select_option("user:user_bob")
    page.keyboard.press("Tab")
    page.get_by_label("Statement").press("Control+Enter")
    expect(page.get_by_role("heading", name="No row")).to_be_visible()
    page.get_by_role("button", name="Why no row?").click()
    expect(page.get_by_role("heading", name="The owner sees 1")).to_be_visible()
    expect(page.get_by_role("heading", name="user_bob sees 0")).to_be_visible()
    lost = page.locator("tr.lost")
    expect(lost).to_contain_text("says no")
    expect(lost).to_contain_text("user_alice")
    expect(page.locator("#result")).to_contain_text("rows where user_id is the signed-in user")
    visitor.look_at("why-no-row")
    page.get_by_label("Run as").select_option("user:user_alice")
    page.get_by_role("button", name="Why no row?").click()
    expect(page.locator("#result")).to_contain_text("seen")
    expect(page.locator("tr.lost")).to_have_count(0)
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("heading", name="Plan")).to_be_visible()
    assert visitor.violations() == []
    page.get_by_label("Statement").fill("SELECT task FORM todos")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#result mark")).to_have_text("todos")
    assert visitor.violations() == []


def test_a_policy_is_tried_and_applied(empty: Stack, visitor: Visitor) -> None:
    page = visitor.page
    empty.owner("create table pages (id int primary key, body text)")
    empty.owner("insert into pages values (1, 'hello')")
    visitor.open("/tables")
    card = card_of(page.locator("main"), "public.pages")
    expect(card.locator(".badge").first).to_have_text("Off: every row is open")
    card.get_by_text("Add a policy").click()
    card.get_by_label("Template").select_option("public read")
    card.get_by_role("button", name="Preview").click()
    expect(card).to_contain_text("Postgres takes it")
    assert empty.owner("select count(*)::int as n from pg_policies where tablename = 'pages'").json()["rows"] == [
        {"n": 0}
    ]
    card.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("status").first).to_have_text("The policy is in force.")
    expect(card).to_contain_text("may read every row")
    assert empty.sql("select body from pages", url=empty.anonymous_url).json()["rows"] == [{"body": "hello"}]


def test_a_fix_of_the_advisors_is_applied(empty: Stack, visitor: Visitor) -> None:
    page = visitor.page
    empty.owner("create table open_to_all (id int primary key, body text)")
    empty.owner("insert into open_to_all values (1, 'of everybody')")
    read = "select body from open_to_all"
    assert empty.sql(read, token=empty.tokens["bob"]).json()["rows"] == [{"body": "of everybody"}]
    visitor.open("/tables")
    advisor = card_of(page.locator("main"), "Advisor")
    expect(advisor.locator(".badge").first).to_have_text("1 open")
    advisor.get_by_role("button", name="Show the fix of public.open_to_all (table-without-rls)").click()
    expect(advisor).to_contain_text("ALTER TABLE public.open_to_all ENABLE ROW LEVEL SECURITY;")
    expect(advisor).to_contain_text("it was run in a transaction and rolled back")
    visitor.look_at("advisor")
    assert empty.sql(read, token=empty.tokens["bob"]).json()["rows"] == [{"body": "of everybody"}]
    advisor.get_by_role("button", name="Apply it").click()
    expect(page.get_by_role("status").first).to_contain_text("public.open_to_all is mended (table-without-rls).")
    expect(advisor.locator(".title")).to_contain_text("rules were looked at")
    expect(advisor.locator(".title")).not_to_contain_text("1 open")
    assert empty.sql(read, token=empty.tokens["bob"]).json()["rows"] == []


def test_alice_is_refused_within_a_second(empty: Stack, visitor: Visitor) -> None:
    page = visitor.page
    alice, bob = empty.tokens["alice"], empty.tokens["bob"]
    assert me(empty, alice) == "user_alice"
    visitor.open("/settings")
    page.get_by_label("Provider").select_option("local")
    page.get_by_label("Its id").fill("user_alice")
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_role("region", name="Revocations in force")).to_contain_text("user_alice")
    deadline = time.monotonic() + 1
    while me(empty, alice) != "rowgate:token_revoked":
        assert time.monotonic() < deadline
    assert me(empty, bob) == "user_bob"
    page.get_by_role("button", name="Take back").click()
    expect(page.locator("#revocations")).to_contain_text("Nobody is refused")
    assert me(empty, alice) == "user_alice"


def test_activity_follows_and_opens_a_request(empty: Stack, visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/activity")
    requests = page.get_by_role("region", name="The requests, the newest first")
    empty.sql("select 1 as seen_without_a_reload", token=empty.tokens["bob"])
    expect(requests).to_contain_text("select $1 as seen_without_a_reload")
    page.get_by_role("link", name="Pause").click()
    expect(page.get_by_role("link", name="Follow")).to_be_visible()
    page.get_by_role("textbox", name="User").fill("user_bob")
    page.keyboard.press("Enter")
    expect(requests).not_to_contain_text("user_alice")
    requests.get_by_role("row").filter(has_text="seen_without_a_reload").get_by_role("link").click()
    expect(page.get_by_role("heading", name="Request of")).to_be_visible()
    expect(page.locator("main")).to_contain_text("select $1 as seen_without_a_reload")
    visitor.look_at("request")
    page.get_by_role("link", name="Revoke this user").click()
    expect(page.get_by_label("Its id")).to_have_value("user_bob")
    visitor.open("/activity?from=file&subject=user_4&code=token_expired")
    page.get_by_role("link", name="Older").click()
    requests.get_by_role("link").last.click()
    expect(page.locator("main")).to_contain_text("token_expired")


def test_nothing_that_strangers_wrote_is_run(empty: Stack, visitor: Visitor, clerk: HostileIssuer) -> None:
    """A script that ran would open a dialog; one that the policy of the page stopped would be a complaint."""
    page = visitor.page
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    token = clerk.token(sub=HOSTILE, name=HOSTILE, o={"id": HOSTILE}, jti=HOSTILE)
    empty.sql("select 1", token=token)
    visitor.open("/authorize")
    page.get_by_label("Token", exact=True).fill(token)
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator("#inspected .notice")).to_contain_text("<script>alert(1)</script>")
    visitor.open("/sql")
    page.get_by_label("Statement").fill('select auth.user_id() as "<img src=x onerror=alert(3)>", auth.session()')
    page.get_by_label("Run as").select_option("token")
    page.get_by_label("Token, if pasted").fill(token)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#result td").first).to_contain_text("<script>alert(1)</script>")
    visitor.open("/activity?subject=%3Cscript%3E")
    page.get_by_role("region", name="The requests, the newest first").get_by_role("link").first.click()
    expect(page.locator("main")).to_contain_text("<script>alert(1)</script>")
    assert (dialogs, visitor.complaints) == ([], [])


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_accessible_in_both_themes_and_fit_a_telephone(visitor: Visitor, path: str) -> None:
    visitor.open(path)
    visitor.look_at(path.strip("/"))
    visitor.page.keyboard.press("Tab")
    assert visitor.page.evaluate("document.activeElement.className") == "skip"


def test_pages_are_light_with_many_tables_providers_and_records(empty: Stack, visitor: Visitor) -> None:
    """With everything that a page loads; `make paint` says how long they take to their first paint."""
    with crowded(empty.superuser_url):
        for path in (*PAGES, "/activity?from=file"):
            visitor.page.goto(visitor.root + path, wait_until="load")
            assert 20_000 < visitor.page.evaluate(WEIGHT) < 150_000, path
        visitor.open("/tables")
        expect(visitor.page.locator("#findings")).to_contain_text("rules were looked at")
        assert visitor.page.evaluate(WEIGHT) < 150_000


def test_the_theme_is_switched_and_kept(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/connect")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch between light and dark").click()
    visitor.open("/authorize")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.evaluate("localStorage.clear()")  # from now on the browser's own theme counts again


def test_another_site_cannot_frame_it(visitor: Visitor, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    host = urlsplit(visitor.root)
    page.set_content(f'<iframe src="http://localhost:{host.port}/sign-in"></iframe>')
    expect(page.frame_locator("iframe").get_by_label("Admin token")).to_have_count(0)
    deadline = time.monotonic() + 10
    while not any("frame-ancestors" in text for text in said):
        assert time.monotonic() < deadline, said
        page.wait_for_timeout(20)
    context.close()
    visitor.open("/get-started")
    visitor.page.get_by_role("button", name="Sign out").click()
    expect(visitor.page.get_by_role("heading", name="Sign in")).to_be_visible()
    visitor.look_at("sign-in")
    visitor.open("/tables")
    assert visitor.page.url.endswith("/sign-in")
