"""``python -m tests.browser.paint``: how long each page of the console takes to its first paint, in Chromium on this
machine, with 200 tables, 50 providers and 100,000 audit records. Exit status 1 where a median is 200 ms or more.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

from playwright.sync_api import sync_playwright

from tests.browser.conftest import CHROMIUM, FLAGS
from tests.browser.console import PAGES, WIDE, visiting
from tests.browser.crowd import PROVIDERS, RECORDS, TABLES, crowded, write_records
from tests.clients.stack import start

ROUNDS = 11
BAR_MILLISECONDS = 200
MORE = ("/activity?from=file", "/activity?from=file&subject=nobody", "/activity?subject=user_alice")
FIRST_PAINT = """() => new Promise((seen) => new PerformanceObserver((list) =>
    seen(list.getEntries()[0].startTime)).observe({type: 'paint', buffered: true}))"""


def measure(folder: Path) -> dict[str, list[float]]:
    """Milliseconds of every round, by page."""
    write_records(folder / "audit.log")
    stack = start(folder / "data", ROWGATE_AUDIT_LOG=str(folder / "audit.log"))
    paints: dict[str, list[float]] = {path: [] for path in (*PAGES, *MORE)}
    try:
        stack.owner("create table todos (id int, user_id text, task text)")
        for number in range(1000):
            stack.sql("select $1::int", [number], token=stack.tokens["alice"])
        with sync_playwright() as playwright, crowded(stack.superuser_url):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
            with visiting(browser, stack.console_url, viewport=WIDE) as visitor:
                for _ in range(ROUNDS):
                    for path, found in paints.items():
                        visitor.page.goto(visitor.root + path, wait_until="load")
                        found.append(visitor.page.evaluate(FIRST_PAINT))
            browser.close()
    finally:
        stack.stop()
    return paints


def main() -> int:
    """Measures, and prints a line for each page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        paints = measure(folder)
    print(f"First paint in ms, {TABLES} tables, {PROVIDERS} providers, {RECORDS} audit records, {ROUNDS} rounds")
    for path, found in paints.items():
        print(f"{path:40} best {min(found):5.0f}   median {median(found):5.0f}   worst {max(found):5.0f}")
    return int(any(median(found) >= BAR_MILLISECONDS for found in paints.values()))


if __name__ == "__main__":
    sys.exit(main())
