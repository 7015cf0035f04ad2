"""The page Settings: every setting with where it comes from, revocations, and the tokens of the management API.

Secret settings are named and never shown. A new token is shown once.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.frame import Frame, go_to
from rowgate.errors import AdminTokenUnknown, ProviderUnknown, RevocationUnknown, SettingInvalid
from rowgate.identity.revocation import Revocation
from rowgate.settings import Settings, describe

PATH: Final = "/settings"
KINDS: Final = ("subject", "session", "token")
MOST_SHOWN: Final = 200
TOKEN_SECONDS: Final = 90 * 86_400.0


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

    def __init__(self, frame: Frame, settings: Settings) -> None:
        self._frame = frame
        self._settings = settings

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
        return self._frame.page(
            visit.request, visit.session, "settings.html", settings=self._shown(), new_token=new_token, tokens=tokens,
            revocations=await registry.revocations(limit=MOST_SHOWN), most=MOST_SHOWN, kinds=KINDS, date=_date,
            providers=[one.name for one in visit.database.providers],
        )  # fmt: skip

    async def revoke(self, visit: Visit) -> Response:
        """Refuses a user, a session or a token from now on."""
        given = visit.fields
        if given.get("provider") not in [one.name for one in visit.database.providers]:
            raise ProviderUnknown("No provider has this name.")
        kind: Any = given.get("kind")
        if kind not in KINDS:
            raise SettingInvalid("There is no such kind of revocation.")
        row = Revocation(
            provider=given["provider"], kind=kind, value=given.get("value", "").strip(), expires_at=None,
            reason=given.get("reason", "").strip(), revoked_by="console",
        )  # fmt: skip
        await visit.database.registry.revoke([row])
        return go_to(f"{PATH}#revocations")

    async def restore(self, visit: Visit) -> Response:
        """Takes a revocation back."""
        text = visit.fields.get("id", "")
        if not (text.isascii() and text.isdigit() and len(text) < 18):
            raise RevocationUnknown("No revocation in force has this id.")
        await visit.database.registry.remove_revocation(int(text))
        return go_to(f"{PATH}#revocations")

    async def add_token(self, visit: Visit) -> Response:
        """A new token of the management API, good for 90 days."""
        token = secrets.token_urlsafe(32)
        name = visit.fields.get("name", "").strip()
        digest = sha256(token.encode()).digest()
        await visit.database.registry.add_admin_token(name, digest, time.time() + TOKEN_SECONDS)
        return await self.show(visit, token)

    async def remove_token(self, visit: Visit) -> Response:
        """Takes one back; sessions that were opened with it end."""
        name = visit.fields.get("name", "")
        if not name:
            raise AdminTokenUnknown("No admin token has this name.")
        await visit.database.registry.remove_admin_token(name)
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
            found.append(Shown(one.name, one.environment_variable, text, source, one.meaning))
        return found


def _text(value: Any) -> str:
    if value is None:
        return "off"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _date(moment: float | None) -> str:
    return "never" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
