"""Clerk, where there is no internet: ``python -m tests.browser.clerk`` is the command ``rowgate`` on a machine for
which Clerk's host is a server of the tests. Names and TLS are the only things that differ.
"""

from __future__ import annotations

import os

from rowgate.cli.main import run
from rowgate.identity.fetcher import FetchedDocument, HttpFetcher

CLERK = "https://your-app.clerk.accounts.dev"
STAND_IN = "CLERK_STAND_IN"
"""The variable that says where the server of the tests is."""

_fetch = HttpFetcher.fetch


async def _fetch_from_stand_in(self: HttpFetcher, url: str) -> FetchedDocument:
    return await _fetch(self, url.replace(CLERK, os.environ[STAND_IN]))


if __name__ == "__main__":
    HttpFetcher.fetch = _fetch_from_stand_in  # type: ignore[method-assign]
    run()
