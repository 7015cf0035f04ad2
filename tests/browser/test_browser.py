"""The serverless driver in a real browser: other origins, CORS, and WebSockets, as a page has them.

Chromium is the distribution's, without a window; the page comes from one origin, the gateway answers on another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.site import running_site
from tests.clients.session_stack import Sessions, running_sessions
from tests.clients.stack import SERVERLESS_DRIVERS


@pytest.fixture(scope="module")
def listed() -> Iterator[str]:
    """The origin that the gateway lists."""
    with running_site() as origin:
        yield origin


@pytest.fixture(scope="module")
def foreign() -> Iterator[str]:
    """Another origin."""
    with running_site() as origin:
        yield origin


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory, listed: str) -> Iterator[Sessions]:
    with running_sessions(tmp_path_factory.mktemp("browser"), ROWGATE_CORS_ORIGINS=listed) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    yield opened
    context.close()


def run(page: Page, origin: str, function: str, sessions: Sessions, driver: str) -> dict[str, Any]:
    """What one function of page.mjs saw in a page of ``origin``."""
    gateway = urlsplit(sessions.stack.ws_url)
    token = sessions.stack.tokens["alice"]
    role = "authenticated" if function == "overHttp" else f"authenticated:{token}"
    job = {
        "driver": driver, "token": token, "url": f"postgresql://{role}@{gateway.hostname}/neondb",
        "sqlUrl": sessions.stack.sql_url, "wsProxy": f"{gateway.netloc}{gateway.path}",
    }  # fmt: skip
    page.goto(origin)
    seen: dict[str, Any] = page.evaluate(
        "([name, job]) => import('/page.mjs').then((page) => page[name](job))", [function, job]
    )
    return seen


@pytest.mark.parametrize("driver", SERVERLESS_DRIVERS)
def test_over_http(sessions: Sessions, page: Page, listed: str, driver: str) -> None:
    seen = run(page, listed, "overHttp", sessions, driver)
    assert seen["me"] == "user_alice"
    assert seen["typed"] == {"n": 42, "t": "é", "a": [1, 2], "x": None}
    assert seen["transaction"] == [[{"task": "browser"}], [{"n": 1}], [{"user_id": "user_alice"}]]
    # The page reads the error, not only that there was one: its answer is open to the listed origin as well.
    assert (seen["lost"]["name"], seen["lost"]["code"]) == ("NeonDbError", "22012")
    assert (seen["left"], seen["forged"]["code"], seen["stranger"]["code"]) == (0, "42501", "28000")


@pytest.mark.parametrize("driver", SERVERLESS_DRIVERS)
def test_over_websocket(sessions: Sessions, page: Page, listed: str, driver: str) -> None:
    assert run(page, listed, "overWebSocket", sessions, driver) == {
        "me": "user_alice", "error": "22012", "count": 1, "after": 0, "large": 2000, "pool": 12,
    }  # fmt: skip


@pytest.mark.parametrize("driver", ["neon-0", "neon-1"])
def test_a_foreign_origin_is_refused(sessions: Sessions, page: Page, foreign: str, driver: str) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    seen = run(page, foreign, "refused", sessions, driver)
    assert "Failed to fetch" in seen["http"]["message"]
    assert seen["simple"]["name"] == "TypeError"
    assert (seen["webSocket"], seen["client"]) == (1006, "refused")
    assert any("blocked by CORS policy" in text for text in said), said
    # What the browser asked for in advance was not allowed, so the statement never came.
    assert sessions.stack.owner("select count(*)::int as n from todos").json()["rows"] == [{"n": 0}]
