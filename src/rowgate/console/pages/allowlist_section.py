"""The allow-list on the page Settings: what was recorded beside what is approved, approving, rejecting and withdrawing.

The two files are changed by the code of ``rowgate allowlist``. The lists are the whole gateway's, so whoever signed in
for one endpoint of several neither sees nor changes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.frame import go_to
from rowgate.errors import RequestRefused, SettingInvalid
from rowgate.gateway.allowlist_review import Entry, approve, approved, reject, unapproved, withdraw
from rowgate.gateway.gateway import Gateway
from rowgate.settings import Settings

PATH: Final = "/settings/allowlist"
BACK: Final = "/settings#allowlist"
SHOWN: Final = 50

Read = Callable[[Path], list[Entry]]
Change = Callable[[Path, Iterable[Entry]], None]


@dataclass(frozen=True, slots=True)
class Section:
    """What the page shows. ``refusal`` says why a file cannot be read; counts are of all, lists hold the first ones."""

    modes: tuple[tuple[str, str], ...]
    file: str
    recorded: tuple[Entry, ...]
    recorded_count: int
    listed: tuple[Entry, ...]
    listed_count: int
    refusal: SettingInvalid | None = None


class AllowListSection:
    """What it holds, and its forms."""

    def __init__(self, gateway: Gateway, settings: Settings) -> None:
        self._gateway = gateway
        self._path = Path(settings.allowlist_file)

    def routes(self, doorway: Doorway) -> list[Route]:
        """Their addresses."""
        return [
            Route(f"{PATH}/approve", doorway.guarded(self.approve), methods=["POST"]),
            Route(f"{PATH}/reject", doorway.guarded(self.reject), methods=["POST"]),
            Route(f"{PATH}/withdraw", doorway.guarded(self.withdraw), methods=["POST"]),
        ]

    async def section(self, visit: Visit) -> Section | None:
        """What the page shows; None to whoever may not see it."""
        if not self._may_see(visit):
            return None
        allowlist = self._gateway.allowlist
        modes = tuple(sorted(allowlist.modes.items())) if allowlist is not None else ()
        try:
            if allowlist is not None:
                await allowlist.write()
            recorded, listed = await asyncio.to_thread(lambda: (unapproved(self._path), approved(self._path)))
        except SettingInvalid as problem:
            return Section(modes, self._path.name, (), 0, (), 0, problem)
        return Section(
            modes, self._path.name, tuple(recorded[:SHOWN]), len(recorded), tuple(listed[:SHOWN]), len(listed)
        )

    async def approve(self, visit: Visit) -> Response:
        """Puts the chosen ones on the list; where it is locked, they pass from now on."""
        count = await self._change(visit, unapproved, approve)
        return _said(visit, f"{count} approved.")

    async def reject(self, visit: Visit) -> Response:
        """Takes the chosen ones out of what was recorded."""
        count = await self._change(visit, unapproved, reject)
        return _said(visit, f"{count} rejected. What comes again is recorded again.")

    async def withdraw(self, visit: Visit) -> Response:
        """Takes the chosen ones off the list; where it is locked, they are refused from now on."""
        count = await self._change(visit, approved, withdraw)
        return _said(visit, f"{count} taken off the allow-list.")

    async def _change(self, visit: Visit, read: Read, change: Change) -> str:
        if not self._may_see(visit):
            raise RequestRefused("The allow-list is the whole gateway's.", hint="Use `rowgate allowlist` beside it.")
        wanted = {name for name, value in visit.fields.items() if value == "on"}
        found = [one for one in await asyncio.to_thread(read, self._path) if _name(one) in wanted]
        if not found:
            raise RequestRefused("No statement was chosen.", hint="Tick some of them first.")
        await asyncio.to_thread(change, self._path, found)
        if self._gateway.allowlist is not None:
            self._gateway.allowlist.read_again()
        return f"{len(found)} statement" + ("" if len(found) == 1 else "s")

    def _may_see(self, visit: Visit) -> bool:
        return visit.session.holder is None or len(self._gateway.endpoint_names) == 1


def _name(entry: Entry) -> str:
    """The name of its box in the form."""
    role, statement = entry
    return f"{statement.sha256}:{role}"


def _said(visit: Visit, message: str) -> Response:
    visit.session.message = message + " This process follows at once, others when they start."
    return go_to(BACK)
