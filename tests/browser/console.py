"""The console in a browser: signing in, and what every page must be: free of complaints, accessible, and light.

Chromium is the distribution's; axe-core is the one from npm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Request, Response

from tests.clients.stack import HERE as CLIENTS

AXE = CLIENTS / "node_modules" / "axe-core" / "axe.min.js"
SCREENS = Path(__file__).parents[2] / "build" / "screens"
PAGES = ("/get-started", "/authorize", "/connect", "/sql", "/tables", "/activity", "/settings")
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
ALL_SCREENS = os.environ.get("SCREENS") == "all"
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 375, "height": 800}


@dataclass
class Visitor:
    """A page of the browser, and what it complained about."""

    page: Page
    root: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Opens a page of the console and waits until its parts are there."""
        self.page.goto(self.root + path, wait_until="load")
        self.settle()

    def settle(self) -> None:
        """Waits until no part of the page is on its way."""
        self.page.wait_for_function("() => 'htmx' in window && !document.querySelector('.htmx-request')")

    def violations(self) -> list[Any]:
        """What axe-core finds on the page, in short."""
        if not self.page.evaluate("() => 'axe' in window"):
            # By the browser's own hand: the console's policy lets no foreign script in.
            self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate("(rules) => axe.run(document, rules)", RULES)["violations"]
        return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]

    def show(self, name: str) -> None:
        """A picture of the page, for people to look at."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENS / f"{name}.png", full_page=True)

    def look_at(self, name: str) -> None:
        """The page that is open must be accessible in both themes, in one of them also on a telephone, and fit the
        window. Pictures are taken of what is looked at; with ``SCREENS=all`` of both themes in both widths."""
        self.settle()
        for size, theme in ((NARROW, "light"), (NARROW, "dark"), (WIDE, "dark"), (WIDE, "light")):
            is_shown = (size is WIDE) == (theme == "light")
            if not (is_shown or size is WIDE or ALL_SCREENS):
                continue
            self.page.set_viewport_size(size)
            self.page.emulate_media(color_scheme=theme)
            assert self.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == theme, name
            if is_shown or size is WIDE:
                assert self.violations() == [], (name, theme, size)
            if is_shown or ALL_SCREENS:
                self.show(f"{name}-{size['width']}" + ("-dark" if theme == "dark" else ""))
            assert self.page.evaluate("document.documentElement.scrollWidth") == size["width"], name


@contextmanager
def visiting(browser: Browser, sign_in_url: str, **options: Any) -> Iterator[Visitor]:
    """A browser that is signed in; fails where a page complained."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(15_000)
    visitor = Visitor(page, sign_in_url.partition("/sign-in")[0])

    def look(response: Response) -> None:
        if response.status >= 400:
            visitor.complaints.append(f"{response.status} {response.url}")

    def fail(request: Request) -> None:
        # Requests that the browser itself gave up, because another page was opened, have not failed.
        if "ERR_ABORTED" not in str(request.failure):
            visitor.complaints.append(f"{request.url} {request.failure}")

    page.on("console", lambda said: visitor.complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda problem: visitor.complaints.append(str(problem)))
    page.on("requestfailed", fail)
    page.on("response", look)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(sign_in_url, wait_until="networkidle")
    try:
        yield visitor
    finally:
        context.close()
    assert visitor.complaints == []
