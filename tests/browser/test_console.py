"""The console in a real browser: the way from nothing to the first authorised row, a provider from a pasted URL, why
somebody has no row, a revocation, and pages that are accessible in both themes and on a telephone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.console import PAGES, Visitor, visiting
from tests.clients.stack import Stack, start

WIDE = {"width": 1440, "height": 900}
FIRST_PAINT = """() => new Promise((seen) => new PerformanceObserver((list) =>
    seen(list.getEntries()[0].startTime)).observe({type: 'paint', buffered: true}))"""
WEIGHT = """() => performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
    .filter((one) => !one.name.endsWith('/keys')).reduce((sum, one) => sum + one.decodedBodySize, 0)"""
NARROW = {"width": 375, "height": 800}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: an empty database, and no provider."""
    folder = tmp_path_factory.mktemp("console")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    running = start(folder / "data")
    running.cli("provider", "remove", "local")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def visitor(empty: Stack, browser: Browser) -> Iterator[Visitor]:
    """Somebody who opened the link that was printed at start. The tests below follow them, one after the other."""
    with visiting(browser, empty.console_url, viewport=WIDE, permissions=["clipboard-write"]) as signed_in:
        yield signed_in


def me(stack: Stack, user: str) -> object:
    answer = stack.sql("select auth.user_id() as me", token=stack.tokens[user]).json()
    return answer["rows"][0]["me"] if "rows" in answer else answer["routine"]


def test_from_nothing_to_a_provider_by_its_url(empty: Stack, visitor: Visitor) -> None:
    """Clerk is recognised by its URL alone, though nobody can fetch it from here; the keys that are fetched, shown and
    then trusted are those of the local provider."""
    page = visitor.page
    expect(page.locator('[data-step="provider"]')).to_have_attribute("open", "")
    assert me(empty, "alice") == "rowgate:token_issuer_unknown"
    visitor.open("/authorize")
    expect(page.get_by_role("heading", name="No provider yet")).to_be_visible()
    page.get_by_label("Paste its JWKS").fill("https://your-app.clerk.accounts.dev/.well-known/jwks.json")
    expect(page.locator("#recognised strong").first).to_have_text("Clerk")
    page.get_by_label("Paste its JWKS").fill(empty.jwks_url)
    expect(page.locator("#recognised")).to_contain_text("1 usable")
    page.get_by_role("button", name="Add Local identity provider").click()
    expect(page.get_by_role("status").first).to_contain_text("The provider was added")
    expect(page.locator(".keys")).to_contain_text("1 usable key, fetched")
    expect(page.locator(".provider .badge")).to_have_text("Active")
    page.get_by_label("Token", exact=True).fill(empty.tokens["alice"])
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator("#inspected .notice")).to_contain_text("Accepted as user_alice")
    assert page.locator("#inspected .failed").count() == 0
    page.get_by_label("Token", exact=True).fill(empty.tokens["alice"][:-8] + "AAAAAAAA")
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator("#inspected .failed")).to_contain_text("signature")


def test_the_steps_lead_to_the_first_authorised_row(empty: Stack, visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/get-started")
    expect(page.locator('[data-step="provider"] .badge')).to_have_text("Done")
    assert empty.owner("select * from todos").json()["code"] == "42P01"
    for step in ("table", "security", "row"):
        card = page.locator(f'[data-step="{step}"]')
        expect(card.locator(".badge")).to_have_text("To do")
        expect(card).to_have_attribute("open", "")
        card.get_by_role("button", name="Run it").click()
        expect(page.locator(f'[data-step="{step}"] .badge')).to_have_text("Done")
    expect(page.get_by_role("status").first).to_contain_text("All done")
    rows = empty.sql("select user_id, task from todos", token=empty.tokens["alice"]).json()["rows"]
    assert rows == [{"user_id": "user_alice", "task": "My first row"}]
    # Ticked by what is there: without its policy the step is to do again.
    empty.owner("alter table todos disable row level security")
    visitor.open("/get-started")
    expect(page.locator('[data-step="security"] .badge')).to_have_text("To do")
    empty.owner("alter table todos enable row level security")


def test_why_bob_has_no_row(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/sql")
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
    visitor.show("why-no-row-1440")
    page.get_by_label("Run as").select_option("user:user_alice")
    page.get_by_role("button", name="Why no row?").click()
    expect(page.locator("#result")).to_contain_text("seen")
    expect(page.locator("tr.lost")).to_have_count(0)
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("heading", name="Plan")).to_be_visible()
    page.get_by_label("Statement").fill("SELECT task FORM todos")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#result mark")).to_have_text("todos")


def test_a_policy_is_tried_and_applied(empty: Stack, visitor: Visitor) -> None:
    page = visitor.page
    empty.owner("create table pages (id int primary key, body text)")
    empty.owner("insert into pages values (1, 'hello')")
    visitor.open("/tables")
    card = page.get_by_role("region", name="public.pages", exact=True)
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


def test_alice_is_refused_within_a_second(empty: Stack, visitor: Visitor) -> None:
    page = visitor.page
    assert me(empty, "alice") == "user_alice"
    visitor.open("/settings")
    page.get_by_label("Its id").fill("user_alice")
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_role("region", name="Revocations in force")).to_contain_text("user_alice")
    deadline = time.monotonic() + 1
    while me(empty, "alice") != "rowgate:token_revoked":
        assert time.monotonic() < deadline
    assert me(empty, "bob") == "user_bob"
    page.get_by_role("button", name="Take back").click()
    expect(page.locator("#revocations")).to_contain_text("Nobody is refused")


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_accessible_in_both_themes_and_fit_a_telephone(visitor: Visitor, path: str) -> None:
    page = visitor.page
    name = path.strip("/")
    try:
        for theme, width, size in (("light", "1440", WIDE), ("dark", "375", NARROW)):
            page.emulate_media(color_scheme=theme)
            page.set_viewport_size(size)
            visitor.open(path)
            assert visitor.violations() == [], (theme, width)
            assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
            visitor.show(f"{name}-{width}")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
    finally:
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(WIDE)


def test_the_steps_open_beside_every_other_page(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/tables")
    page.get_by_role("button", name="Steps").click()
    drawer = page.get_by_role("complementary", name="Get started")
    expect(drawer).to_contain_text("Read the first authorised row")
    assert visitor.violations() == []
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == "Steps"


def test_many_tables_and_providers_are_painted_at_once(empty: Stack, visitor: Visitor) -> None:
    """First paint, the best of five, with 200 tables and 50 providers; and what a page weighs then."""
    tables = "".join(
        f"create table many_{number} (id int, user_id text); alter table many_{number} enable row level security;"
        f"create policy own on many_{number} using ((select auth.user_id()) = user_id);"
        for number in range(200)
    )
    providers = (
        "insert into rowgate.provider (name, kind, issuer, jwks_url, algorithms, roles, rules) "
        "select 'many-' || n, 'custom', 'https://many.invalid/' || n, 'https://many.invalid/' || n || '/jwks', "
        "'{RS256}', '{authenticated}', "
        "(select rules from rowgate.provider limit 1) from generate_series(1, 49) as n"
    )
    with psycopg.connect(empty.superuser_url, autocommit=True) as connection:
        connection.execute(tables.encode())
        connection.execute(providers)
    try:
        for path in PAGES:
            paints = []
            for _ in range(5):
                visitor.page.goto(visitor.root + path, wait_until="load")
                paints.append(visitor.page.evaluate(FIRST_PAINT))
            assert min(paints) < 200, (path, paints)
            sizes = visitor.page.evaluate(WEIGHT)
            assert 20_000 < sizes < 150_000, path
    finally:
        with psycopg.connect(empty.superuser_url, autocommit=True) as connection:
            connection.execute("delete from rowgate.provider where name like 'many-%'")
            connection.execute("".join(f"drop table many_{number};" for number in range(200)).encode())


def test_the_theme_is_switched_and_kept(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/connect")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch between light and dark").click()
    visitor.open("/authorize")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert visitor.violations() == []
    page.get_by_role("button", name="Switch between light and dark").click()


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
    visitor.open("/tables")
    assert visitor.page.url.endswith("/sign-in")
    assert visitor.violations() == []
