"""The console's addresses, put together."""

from __future__ import annotations

from starlette.routing import BaseRoute

from rowgate.console.api.access import Access, Find
from rowgate.console.pages.access import Doorway
from rowgate.console.pages.activity import ActivityPage
from rowgate.console.pages.allowlist_section import AllowListSection
from rowgate.console.pages.authorize import Authorize
from rowgate.console.pages.connect import Connect
from rowgate.console.pages.development import Development
from rowgate.console.pages.editor import Editor
from rowgate.console.pages.findings import Findings
from rowgate.console.pages.frame import Frame
from rowgate.console.pages.get_started import GetStarted
from rowgate.console.pages.owner import Owner
from rowgate.console.pages.settings_page import SettingsPage
from rowgate.console.pages.sign_in import ConsoleSessions
from rowgate.console.pages.statements import Statements
from rowgate.console.pages.tables import Tables
from rowgate.gateway.gateway import Gateway
from rowgate.identity.fetcher import Fetcher
from rowgate.settings import Settings


def page_routes(
    gateway: Gateway,
    settings: Settings,
    sessions: ConsoleSessions,
    access: Access,
    find: Find,
    fetcher: Fetcher,
    development: Development | None,
) -> list[BaseRoute]:
    """Every page, its parts and its files."""
    frame = Frame()
    owner = Owner(development)
    statements = Statements(gateway, development)
    allowlist = AllowListSection(gateway, settings)
    authorize = Authorize(frame, gateway, find, fetcher, development, leeway=settings.token_leeway_seconds)
    doorway = Doorway(gateway, frame, access, sessions)
    return [
        *frame.routes(),
        *doorway.routes(),
        *GetStarted(frame, owner, statements, find, development).routes(doorway),
        *authorize.routes(doorway),
        *Connect(frame, gateway, settings).routes(doorway),
        *Editor(frame, owner, statements).routes(doorway),
        *Tables(frame, owner).routes(doorway),
        *Findings(frame, owner).routes(doorway),
        *ActivityPage(frame, gateway, settings).routes(doorway),
        *SettingsPage(frame, settings, allowlist).routes(doorway),
        *allowlist.routes(doorway),
    ]
