"""The examples as two people use them, in Chromium: Alice's todos are Alice's, whatever Bob tries from his page.

The Next.js application runs as it was built; the static page is built here, because it holds its addresses. Pictures of
every page go to build/screens.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from examples.__main__ import EXAMPLES, HERE, make_table, running, secret_of
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.site import serving
from tests.clients.stack import Stack, start, until
from tests.ports import reserve

ROOT = HERE.parent
SCREENS = ROOT / "build" / "screens"
SIZE: Any = {"width": 720, "height": 560}
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Rowgate, with the table as the Next.js example's migrations make it."""
    running_stack = start(tmp_path_factory.mktemp("examples") / "data", "--no-fsync")
    make_table(EXAMPLES["nextjs-todos"], running_stack.ready, environment_of("nextjs-todos", running_stack, 0))
    try:
        yield running_stack
    finally:
        assert running_stack.stop() == 0


def environment_of(name: str, stack: Stack, port: int) -> dict[str, str]:
    assert stack.data_dir is not None
    return {**os.environ, **EXAMPLES[name].environment(stack.ready, secret_of(stack.data_dir), port)}


@contextmanager
def application(name: str, stack: Stack, command: Callable[[int], list[str]], **environment: str) -> Iterator[str]:
    """The example's address, while it runs; ``environment`` is beside what every run of it has."""
    port = reserve()
    address = f"http://localhost:{port}"
    log = SCREENS.parent / f"{name}{'-with-clerk' if 'CLERK_SECRET_KEY' in environment else ''}.log"
    with (
        log.open("w") as output,
        running(
            command(port),
            cwd=EXAMPLES[name].folder,
            env={**environment_of(name, stack, port), **environment},
            stdout=output,
            stderr=output,
        ) as process,
    ):
        deadline = time.monotonic() + 60
        while not answers(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield address


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def next_start(port: int) -> list[str]:
    return ["npm", "start", "--", "--port", str(port)]


@contextmanager
def static_page(stack: Stack) -> Iterator[str]:
    """The files that Vite makes, on a server that knows nothing but files."""
    folder = EXAMPLES["vite-react"].folder
    built = subprocess.run(
        ["npm", "run", "--silent", "build"], cwd=folder, env=environment_of("vite-react", stack, 0),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    handler = functools.partial(QuietFiles, directory=str(folder / "dist"))
    with serving(handler, "localhost") as origin:
        yield origin


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    """Files, and not a word about them."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def built() -> None:
    """The Next.js application as ``next build`` leaves it, without Clerk's keys; and a folder for pictures and logs."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    subprocess.run(["make", "--silent", "examples/nextjs-todos/.next/.built"], cwd=ROOT, check=True, timeout=300)


@pytest.fixture(scope="module")
def addresses(stack: Stack, built: None) -> Iterator[dict[str, str]]:
    """Where each page is."""
    python = [sys.executable, "-m", "uvicorn", "todos:app", "--log-level", "warning", "--port"]
    with ExitStack() as started:
        nextjs = started.enter_context(application("nextjs-todos", stack, next_start))
        yield {
            "nextjs-server": nextjs,
            "nextjs-browser": f"{nextjs}/browser",
            "vite-react": started.enter_context(static_page(stack)),
            "python-todos": started.enter_context(
                application("python-todos", stack, lambda port: [*python, str(port)])
            ),
        }


@dataclass
class Person:
    """Somebody with a browser profile of their own."""

    name: str
    context: BrowserContext
    page: Page
    address: str

    def sign_in(self) -> None:
        self.page.goto(self.address)
        self.page.get_by_text("Sign in", exact=True).click()
        self.page.locator("button.person", has_text=self.name).click()
        self.page.get_by_role("button", name="Sign out").wait_for()
        self.page.goto(self.address)

    def sign_out(self) -> None:
        """At the application; where it leads to the provider, which asks again, there as well."""
        self.page.get_by_role("button", name="Sign out").click()
        expect(
            self.page.get_by_text("Sign in", exact=True).or_(self.page.get_by_text("End the session"))
        ).to_be_visible()
        if self.page.get_by_text("End the session").is_visible():
            self.page.get_by_role("button", name="Sign out").click()

    def add(self, task: str, page: Page | None = None) -> None:
        page = page or self.page
        page.get_by_label("Task", exact=True).fill(task)
        page.get_by_role("button", name="Add", exact=True).click()

    def sees(self, *tasks: str) -> None:
        expect(self.page.locator("li > span")).to_have_text(list(tasks))

    def picture(self, name: str) -> None:
        self.page.screenshot(path=SCREENS / f"{name}-{self.name.lower()}.png")


@pytest.fixture
def person(browser: Browser) -> Iterator[Callable[[str, str], Person]]:
    """Makes people, and closes their browsers."""
    with ExitStack() as opened:

        def make(name: str, address: str) -> Person:
            context = browser.new_context(viewport=SIZE)
            opened.callback(context.close)
            context.set_default_timeout(20_000)
            return Person(name, context, context.new_page(), address)

        yield make


ASK = """
async ([url, connection, token, query, params]) => {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'Neon-Connection-String': connection, Authorization: `Bearer ${token}` },
    body: JSON.stringify({ query, params }),
  });
  return { status: answer.status, ...(await answer.json()) };
}"""

FROM_APPLICATION = "async () => (await (await fetch('/auth/token', { method: 'POST' })).json()).token"
TOKEN_IN = {
    "nextjs-server": FROM_APPLICATION,
    "nextjs-browser": FROM_APPLICATION,
    "vite-react": "() => JSON.parse(Object.values(localStorage).find((one) => one.includes('access'))).access_token",
}
"""How Bob comes by his own token, in the console of his page. The Python application gives its pages none."""


def forge_by_sql(bob: Person, stack: Stack, token: str, row: str) -> None:
    """What Bob sends from his own page, as himself and as Alice."""

    def ask(query: str, *params: Any, as_token: str = token) -> dict[str, Any]:
        sent = [stack.sql_url, stack.authenticated_url, as_token, query, list(params)]
        answer: dict[str, Any] = bob.page.evaluate(ASK, sent)
        return answer

    assert ask("select auth.user_id() as me")["rows"] == [{"me": "user_bob"}]
    for query, params in [
        ("select * from todos where user_id = $1", ["user_alice"]),
        ("select * from todos where id = $1", [row]),
        ("update todos set task = 'forged' where id = $1", [row]),
        ("update todos set user_id = 'user_bob' where user_id = $1", ["user_alice"]),
        ("delete from todos where id = $1", [row]),
    ]:
        answer = ask(query, *params)
        assert (answer["status"], answer["rowCount"], answer["rows"]) == (200, 0, []), query
    assert ask("insert into todos (user_id, task) values ('user_alice', 'forged')")["code"] == "42501"
    for query in (
        "select set_config('request.jwt.claims', '{\"sub\": \"user_alice\"}', false)",
        "set role neondb_owner",
        "select 1; select 2",
    ):
        refused = ask(query)
        assert refused["status"] == 400, query
        assert refused["routine"].startswith("rowgate:"), query
    head, _, signature = token.split(".")
    alices = ask("select 1", as_token=f"{head}.eyJzdWIiOiJ1c2VyX2FsaWNlIn0.{signature}")
    assert alices["status"] == 400
    assert alices["routine"].startswith("rowgate:token_")


def forge_by_form(bob: Person, row: str) -> None:
    """Bob changes the row's id in the forms of his own todo, then sends them."""
    bob.add("mine")
    bob.sees("mine")
    for button in ("mine", "Delete mine"):
        field = bob.page.locator("li form", has=bob.page.get_by_label(button, exact=True)).locator("input[name=id]")
        field.evaluate("(field, id) => { field.value = id }", row)
        with bob.page.expect_response(lambda answer: answer.request.method == "POST"):
            bob.page.get_by_label(button, exact=True).click()
        bob.page.goto(bob.address)
        bob.sees("mine")
    bob.page.get_by_label("Delete mine").click()
    expect(bob.page.locator("li")).to_have_count(0)


@pytest.mark.parametrize("name", ["nextjs-server", "nextjs-browser", "vite-react", "python-todos"])
def test_each_user_has_their_own_todos(
    name: str, stack: Stack, addresses: dict[str, str], person: Callable[[str, str], Person]
) -> None:
    stack.owner("delete from todos")
    alice = person("Alice", addresses[name])
    alice.page.goto(alice.address)
    alice.picture(f"{name}-signed-out")
    alice.sign_in()
    alice.add("milk")
    alice.sees("milk")
    alice.add("call <b>Bob</b>")
    alice.sees("milk", "call <b>Bob</b>")
    alice.page.get_by_role("checkbox", name="milk").click()
    expect(alice.page.get_by_role("checkbox", name="milk")).to_be_checked()
    expect(alice.page.get_by_role("checkbox", name="call")).not_to_be_checked()
    alice.picture(name)
    rows = stack.owner("select id::text, user_id, task, done from todos order by id").json()["rows"]
    assert [(row["user_id"], row["done"]) for row in rows] == [("user_alice", True), ("user_alice", False)]

    bob = person("Bob", addresses[name])
    bob.sign_in()
    bob.page.get_by_label("Task").wait_for()
    bob.sees()
    bob.picture(name)
    if name in TOKEN_IN:
        forge_by_sql(bob, stack, bob.page.evaluate(TOKEN_IN[name]), rows[0]["id"])
    if name in ("nextjs-server", "python-todos"):
        forge_by_form(bob, rows[0]["id"])
    assert stack.owner("select id::text, user_id, task, done from todos order by id").json()["rows"] == rows

    alice.page.reload()
    alice.sees("milk", "call <b>Bob</b>")
    left_open = alice.context.new_page()
    left_open.goto(alice.address)
    left_open.get_by_label("Task", exact=True).wait_for()
    copied = alice.page.evaluate(TOKEN_IN[name]) if name in TOKEN_IN else None
    alice.sign_out()
    expect(alice.page.get_by_text("Sign in", exact=True)).to_be_visible()
    # The page that is still open in another tab is refused at once, and shows it.
    alice.add("too late", left_open)
    expect(left_open.get_by_text("Sign in", exact=True)).to_be_visible()
    expect(left_open.locator("li")).to_have_count(0)
    left_open.screenshot(path=SCREENS / f"{name}-left-open.png")
    if copied is not None:
        # A token that was copied before is the operator's to refuse.
        claims = json.loads(base64.urlsafe_b64decode(copied.split(".")[1] + "=="))
        stack.cli("revoke", "--session-id", claims["sid"])
        refused = stack.sql("delete from todos", token=copied)
        assert (refused.status_code, refused.json()["routine"]) == (400, "rowgate:token_revoked")
    assert stack.owner("select id::text, user_id, task, done from todos order by id").json()["rows"] == rows


def test_strangers_get_no_token_and_no_session(addresses: dict[str, str]) -> None:
    server = addresses["nextjs-server"]
    forged = {"todos_session": "Fe26.2*1*forged", "python_todos": "eyJpZCI6ICJzZXNzXzEifQ==.x.y"}
    for cookies in ({}, forged):
        answer = httpx.post(f"{server}/auth/token", cookies=cookies)
        assert (answer.status_code, answer.json()) == (401, {"token": None})
        assert httpx.post(f"{addresses['python-todos']}/add", data={"task": "x"}, cookies=cookies).status_code == 401
    # A code that this browser has not asked for leads to no session.
    assert httpx.get(f"{server}/auth/callback?code=x&state=y").status_code == 400
    assert httpx.get(f"{addresses['python-todos']}/callback?code=x&state=y").status_code == 400


@pytest.fixture(scope="module")
def clerk_address(stack: Stack, built: None) -> Iterator[str]:
    """The Next.js application with Clerk's keys in its environment and Clerk's own packages, and the local provider's
    Backend API in Clerk's place."""
    keys = json.loads(stack.cli("issuer", "secret-key", "--json").stdout)
    variables = {
        "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": keys["publishable_key"],
        "CLERK_SECRET_KEY": keys["secret_key"],
        "CLERK_API_URL": keys["api_url"],
        "NEXT_PUBLIC_CLERK_TELEMETRY_DISABLED": "1",
        # Nothing of the local provider's own: what is shown comes by Clerk's way alone.
        "LOCAL_ISSUER_URL": "",
        "LOCAL_ISSUER_SECRET_KEY": "",
    }
    with application("nextjs-todos", stack, next_start, **variables) as address:
        yield address


class Clerk:
    """The sessions that Clerk's sign-in page would make, and the cookies that it would leave at the application."""

    def __init__(self, stack: Stack) -> None:
        self._keys = json.loads(stack.cli("issuer", "secret-key", "--json").stdout)

    def call(self, method: str, path: str, **sent: Any) -> Any:
        answer = httpx.request(
            method, f"{self._keys['api_url']}/v1{path}", json=sent or None, timeout=30,
            headers={"Authorization": f"Bearer {self._keys['secret_key']}"},
        )  # fmt: skip
        return answer.raise_for_status().json()

    def sign_in(self, user: str) -> tuple[str, dict[str, str]]:
        """The session's id and the cookies."""
        session = self.call("POST", "/sessions", user_id=user)["id"]
        token = self.call("POST", f"/sessions/{session}/tokens", expires_in_seconds=600)["jwt"]
        # Clerk tells applications at one host apart by a suffix made of the publishable key.
        suffix = base64.urlsafe_b64encode(hashlib.sha1(self._keys["publishable_key"].encode()).digest())[:8].decode()
        values = {"__session": token, "__client_uat": str(int(time.time()) - 60), "__clerk_db_jwt": "dvb_local"}
        return session, {f"{name}_{suffix}": value for name, value in values.items()}


def test_with_clerk_the_same_pages_show_the_same_rows(
    stack: Stack, clerk_address: str, person: Callable[[str, str], Person]
) -> None:
    """Clerk's middleware, ``auth().getToken()`` and ``currentUser()``; SQL on the server and from the browser."""
    stack.owner("delete from todos")
    clerk = Clerk(stack)
    session, cookies = clerk.sign_in("user_alice")
    alice = person("Alice", clerk_address)
    alice.context.add_cookies([{"name": name, "value": value, "url": clerk_address} for name, value in cookies.items()])
    alice.page.goto(clerk_address)
    expect(alice.page.locator(".who")).to_have_text("Alice")
    alice.add("milk")
    alice.sees("milk")
    alice.page.get_by_role("checkbox", name="milk").click()
    expect(alice.page.get_by_role("checkbox", name="milk")).to_be_checked()
    alice.picture("nextjs-clerk")
    alice.page.goto(f"{clerk_address}/browser")
    alice.add("from the browser")
    alice.sees("milk", "from the browser")
    assert {row["user_id"] for row in stack.owner("select user_id from todos").json()["rows"]} == {"user_alice"}

    bob = httpx.get(clerk_address, cookies=clerk.sign_in("user_bob")[1], timeout=30).text
    assert ("Bob" in bob, "Nothing to do." in bob, "milk" in bob) == (True, True, False)
    forged = {name: value[:-8] + "AAAAAAAA" if "session" in name else value for name, value in cookies.items()}
    assert httpx.post(f"{clerk_address}/auth/token", cookies=forged, timeout=30).status_code == 401

    alice.page.goto(clerk_address)
    alice.page.get_by_role("button", name="Sign out").click()
    until(lambda: clerk.call("GET", f"/sessions/{session}")["status"] == "revoked", 20)
    until(lambda: not [one for one in alice.context.cookies() if one["name"].startswith("__session")], 20)
    # Who comes without a token is sent to Clerk, to sign in or to get a new one.
    page = {"Accept": "text/html", "Sec-Fetch-Dest": "document"}
    left = {name: value for name, value in cookies.items() if "session" not in name}
    for kept in (left, {}):
        sent = httpx.get(clerk_address, cookies=kept, headers=page, timeout=30)
        assert (sent.status_code, httpx.URL(sent.headers["location"]).path) == (307, "/v1/client/handshake")
    sign_in = httpx.get(f"{clerk_address}/auth/sign-in", timeout=30)
    assert httpx.URL(sign_in.headers["location"]).path == "/sign-in"
