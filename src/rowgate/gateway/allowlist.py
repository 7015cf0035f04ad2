"""The allow-list at work: statements of a role are recorded, or let through only when they are listed.

Comes after the guard and lets nothing through that the guard refused. What a driver says to open a session (BEGIN, SET,
SHOW) is no query and is not listed. Keeps no constants: what it writes are texts with ``$n`` in their place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rowgate.errors import SettingInvalid, StatementNotListed
from rowgate.gateway.allowlist_file import (
    ListedStatement,
    Lists,
    add_to_lists,
    digest,
    keys_of,
    plain,
    read_lists,
    recorded_path,
)
from rowgate.guard.sessions.statement import SessionStatement
from rowgate.guard.verdict import Verdict
from rowgate.settings import Settings

MODES: Final = frozenset({"record", "lock", "off"})
MOST_RECORDED: Final = 10_000
MOST_REMEMBERED: Final = 4096
LONGEST_REMEMBERED: Final = 4096
WRITE_SECONDS: Final = 5.0

log = logging.getLogger("rowgate.allowlist")


class AllowList:
    """The lists of all roles. Raises SettingInvalid for a mode that is none, or a file that cannot be used."""

    def __init__(self, settings: Settings) -> None:
        wrong = [mode for _, mode in settings.statements if mode not in MODES]
        if wrong:
            raise SettingInvalid(f"statements: {wrong[0]!r} is no mode", hint="Use record, lock or off.")
        self._modes = {role: mode for role, mode in settings.statements if mode != "off"}
        self.path = path = Path(settings.allowlist_file)
        self._recorded_path = recorded_path(path)
        self._is_locked = "lock" in self._modes.values()
        if self._is_locked and not path.exists():
            raise SettingInvalid(f"the allow-list {path} is not there", hint="Set allowlist_file, or record first.")
        self._listed: Lists = {}
        self._fingerprints: dict[str, frozenset[str]] = {}
        self._known: dict[tuple[str, str], bool] = {}
        self._recorded: Lists = read_lists(self._recorded_path) if "record" in self._modes.values() else {}
        self._in_file = keys_of(self._recorded)
        self._changed = False
        self.read_again()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, settings: Settings) -> AllowList | None:
        """What settings ask for; None where no role has a mode. Raises SettingInvalid."""
        found = cls(settings) if settings.statements else None
        return found if found is not None and found._modes else None

    @property
    def modes(self) -> Mapping[str, str]:
        """``record`` or ``lock``, by role."""
        return self._modes

    def read_again(self) -> None:
        """The file has changed: what is listed now counts from now on. Raises SettingInvalid, and nothing changes."""
        listed = read_lists(self.path) if self._is_locked else {}
        self._listed = listed
        self._fingerprints = {
            role: frozenset(one.fingerprint for one in statements.values()) for role, statements in listed.items()
        }
        self._known.clear()

    def check(self, role: str, texts: Iterable[str], verdicts: Iterable[Verdict]) -> None:
        """Statements that the guard has let through. Raises StatementNotListed."""
        mode = self._modes.get(role)
        if mode is None:
            return
        for text, verdict in zip(texts, verdicts, strict=True):
            if verdict.kind != "empty":
                self._check_one(mode, role, text, verdict)

    def check_session(self, role: str, statements: Iterable[SessionStatement]) -> None:
        """The same for statements of a session. Raises StatementNotListed."""
        mode = self._modes.get(role)
        if mode is None:
            return
        for statement in statements:
            if statement.verdict is not None:
                self._check_one(mode, role, statement.text, statement.verdict)

    def start(self) -> None:
        """Writes what is recorded, every few seconds."""
        if "record" in self._modes.values():
            self._task = asyncio.get_running_loop().create_task(self._write_now_and_then())

    async def stop(self) -> None:
        """Writes the rest."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self.write()

    async def write(self) -> None:
        """Writes what was recorded since the last time. What somebody took out of the file meanwhile stays out, what
        another process put in is kept."""
        if not self._changed:
            return
        self._changed = False
        recorded = {role: dict(statements) for role, statements in self._recorded.items()}
        try:
            together = await asyncio.to_thread(add_to_lists, self._recorded_path, recorded, self._in_file)
        except (OSError, SettingInvalid) as problem:
            self._changed = True
            reason = problem.message if isinstance(problem, SettingInvalid) else problem.strerror
            log.error("recorded statements cannot be written: %s", reason)
            return
        if self._in_file - keys_of(together):
            self._known.clear()
        self._in_file = keys_of(together)
        before = keys_of(recorded)
        for role, statements in self._recorded.items():  # what has come while it was written
            since = {key: one for key, one in statements.items() if (role, key) not in before}
            together[role] = {**together.get(role, {}), **since}
        self._recorded = together

    # --- inside -----------------------------------------------------------------------------------------------

    def _check_one(self, mode: str, role: str, text: str, verdict: Verdict) -> None:
        known = self._known.get((role, text))
        if known is not None:
            allowed = known
        elif mode == "record":
            self._record(role, plain(text), verdict)
            allowed = self._remember(role, text, True)
        else:
            # The fingerprint first, because the verdict keeps it: so strangers' texts cost no more. The SHA-256
            # decides, because two statements with one fingerprint can be made.
            allowed = verdict.fingerprint in self._fingerprints.get(role, ()) and self._remember(
                role, text, digest(plain(text)) in self._listed[role]
            )
        if not allowed:
            raise StatementNotListed(
                "The statement is not on the allow-list of this role.", detail=f"fingerprint {verdict.fingerprint}"
            )

    def _remember(self, role: str, text: str, allowed: bool) -> bool:
        if len(text) <= LONGEST_REMEMBERED:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[role, text] = allowed
        return allowed

    def _record(self, role: str, text: str, verdict: Verdict) -> None:
        recorded = self._recorded.setdefault(role, {})
        key = digest(text)
        if key in recorded:
            return
        if len(recorded) >= MOST_RECORDED:
            log.warning("no further statements of %s are recorded: there are %d", role, MOST_RECORDED)
            return
        today = datetime.now(UTC).date().isoformat()
        recorded[key] = ListedStatement(text, key, verdict.fingerprint, verdict.tables, today)
        self._changed = True

    async def _write_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self.write()
