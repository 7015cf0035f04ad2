"""The page Settings: every setting with where it comes from, revocations, the allow-list, and the tokens of the
management API.

Secret settings are named and never shown. A new token is shown once.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.allowlist_section import AllowListSection
from rowgate.console.pages.authorize import FOR_EVER
from rowgate.console.pages.frame import Frame, go_to
from rowgate.console.pages.times_and_numbers import to_the_minute, whole_number
from rowgate.errors import AdminTokenUnknown, ProviderUnknown, RevocationUnknown, SettingInvalid
from rowgate.identity.revocation import KEPT_SECONDS, Revocation
from rowgate.settings import Settings, describe

PATH: Final = "/settings"
UNTIL_NOW: Final = "until-now"
TARGETS: Final = {
    "subject": "user, from now on", UNTIL_NOW: "user, what was issued until now", "session": "session",
    "token": "token",
}  # fmt: skip
KEPT: Final = {"": "as usual", "43200": "12 hours", "2592000": "30 days", "never": "for ever"}
TOKENS_KEPT: Final = {"7776000": "90 days", "2592000": "30 days", "86400": "1 day", "never": "until removed"}
MOST_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting as the page shows it."""

    name: str
    variable: str
    value: str
    source: str
    meaning: str


class SettingsPage:
    """The page and its forms."""

    def __init__(self, frame: Frame, settings: Settings, allowlist: AllowListSection) -> None:
        self._frame = frame
        self._settings = settings
        self._allowlist = allowlist

    def routes(self, doorway: Doorway) -> list[Route]:
        """Their addresses."""
        return [
            Route(PATH, doorway.guarded(self.show), methods=["GET"]),
            Route(f"{PATH}/revoke", doorway.guarded(self.revoke), methods=["POST"]),
            Route(f"{PATH}/restore", doorway.guarded(self.restore), methods=["POST"]),
            Route(f"{PATH}/add-token", doorway.guarded(self.add_token), methods=["POST"]),
            Route(f"{PATH}/remove-token", doorway.guarded(self.remove_token), methods=["POST"]),
        ]

    async def show(self, visit: Visit, new_token: str = "") -> Response:
        """The whole page; ``new_token`` is shown this once."""
        registry = visit.database.registry
        tokens = (await registry.snapshot()).admin_tokens
        query = visit.request.query_params
        after = query.get("after", "")
        revocations = await registry.revocations(after=whole_number(after) or 0, limit=MOST_SHOWN + 1)
        return self._frame.page(
            visit.request, visit.session, "settings.html", settings=self._shown(), new_token=new_token, tokens=tokens,
            revocations=revocations[:MOST_SHOWN],
            more=revocations[MOST_SHOWN - 1].id if revocations[MOST_SHOWN:] else 0,
            is_first=not whole_number(after), targets=TARGETS, kept=KEPT, tokens_kept=TOKENS_KEPT, what=_what,
            date=to_the_minute,
            providers=[one.name for one in visit.database.providers], provider=query.get("provider", ""),
            value=query.get("value", ""), holder=visit.session.holder, done=visit.session.take_message(),
            allowlist=await self._allowlist.section(visit), now=time.time(),
        )  # fmt: skip

    async def revoke(self, visit: Visit) -> Response:
        """Refuses a user, a session or a token from now on."""
        given = visit.fields
        if given.get("provider") not in [one.name for one in visit.database.providers]:
            raise ProviderUnknown("No provider has this name.")
        target = given.get("kind", "")
        if target not in TARGETS:
            raise SettingInvalid("There is no such kind of revocation.")
        now = time.time()
        kind: Any = "subject" if target == UNTIL_NOW else target
        usual = None if target == "subject" else now + KEPT_SECONDS
        row = Revocation(
            provider=given["provider"], kind=kind, value=given.get("value", "").strip(),
            issued_before=now if target == UNTIL_NOW else None,
            expires_at=_until(given.get("keep", ""), KEPT, now) if given.get("keep") else usual,
            reason=given.get("reason", "").strip(), revoked_by="console",
        )  # fmt: skip
        await visit.database.registry.revoke([row])
        visit.session.message = f"{row.value} of {row.provider} is refused on every gateway from now on."
        return go_to(f"{PATH}#revocations")

    async def restore(self, visit: Visit) -> Response:
        """Takes a revocation back."""
        number = whole_number(visit.fields.get("id", ""))
        if number is None:
            raise RevocationUnknown("No revocation in force has this id.")
        await visit.database.registry.remove_revocation(number)
        visit.session.message = "The revocation was taken back: what has not expired is accepted again."
        return go_to(f"{PATH}#revocations")

    async def add_token(self, visit: Visit) -> Response:
        """A new token of the management API."""
        token = secrets.token_urlsafe(32)
        name = visit.fields.get("name", "").strip()
        digest = sha256(token.encode()).digest()
        until = _until(visit.fields.get("keep", ""), TOKENS_KEPT, time.time())
        await visit.database.registry.add_admin_token(name, digest, until)
        return await self.show(visit, token)

    async def remove_token(self, visit: Visit) -> Response:
        """Takes one back; sessions that were opened with it end."""
        name = visit.fields.get("name", "")
        if not name:
            raise AdminTokenUnknown("No admin token has this name.")
        await visit.database.registry.remove_admin_token(name)
        visit.session.message = f"The token {name} was removed. It opens nothing any more, and its sessions have ended."
        return go_to(f"{PATH}#tokens")

    def _shown(self) -> list[Shown]:
        defaults = {row.name: row.default for row in fields(Settings)}
        found = []
        for one in describe():
            value = getattr(self._settings, one.name)
            is_default = value == defaults[one.name]
            source = (
                "environment" if one.environment_variable in os.environ else "default" if is_default
                else "command line or file"
            )  # fmt: skip
            text = ("set" if value else "not set") if one.secret else _text(value)
            found.append(Shown(one.name, one.environment_variable, text, source, one.meaning.replace("`", "")))
        return found


def _until(keep: str, known: Mapping[str, str], now: float) -> float | None:
    """The moment that a choice means; the first of ``known`` where nothing was chosen. Raises SettingInvalid."""
    keep = keep or next(iter(known))
    if keep not in known:
        raise SettingInvalid("There is no such time.", detail=f"expected one of {', '.join(known.values())}")
    return None if keep == "never" else now + float(keep)


def _what(row: Revocation) -> str:
    """What a revocation is about, in words."""
    words = {"subject": "user", "sessionless": "user, without a session", "provider": "everybody"}
    bound = row.issued_before
    if bound is not None and bound >= FOR_EVER:
        return "everybody: disabled"
    return words.get(row.kind, row.kind) + ("" if bound is None else f", issued before {to_the_minute(bound)}")


def _text(value: Any) -> str:
    if value is None:
        return "off"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
