"""The gate of row-level security for one database: keeps its reading of the catalog fresh, and refuses or warns.

The catalog is read again when the registry tells of a change (set-up's event trigger does, where there is one), at
least as often as the registry is looked after, and before a name that nobody knew goes to Postgres: a table made a
moment ago is judged like any other. No statement of a client runs here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, LiteralString

from rowgate.guard.exposures import EXPOSURES_QUERY, NOTHING_EXPOSED, Exposure, read_exposures
from rowgate.guard.gate import Gate, missing_row_security
from rowgate.guard.verdict import Verdict

SPACING_SECONDS: Final = 0.25
"""Between two readings: made-up names must not keep the control connection busy."""

RETRY_SECONDS: Final = 1.0

ENFORCE: Final = "enforce"
OFF: Final = "off"

log = logging.getLogger("rowgate.gate")


class RowSecurity:
    """What is done about statements that name something exposed, by ``mode``: enforce, warn or off.

    ``rows`` runs a query over the control connection.
    """

    def __init__(self, mode: str, rows: Callable[[LiteralString], Awaitable[Sequence[Any]]]) -> None:
        self._mode = mode
        self._rows = rows
        self._gate = Gate(NOTHING_EXPOSED)
        self._turn = asyncio.Lock()
        self._read_at = float("-inf")
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._warned: set[tuple[str, Exposure]] = set()

    async def start(self) -> None:
        """Reads the catalog. Raises SetupIncomplete, ConnectFailed or ConnectionLost."""
        if self._mode == OFF:
            return
        await self._read_since(time.monotonic())
        self._watcher = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Stops following."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher

    def notice(self) -> None:
        """The catalog may have changed."""
        self._changed.set()

    def passes(self, role: str, verdict: Verdict) -> bool:
        """Whether ``role`` may run the statement, as far as is known; False asks :meth:`admit`."""
        return self._gate.passes(role, verdict)

    async def admit(self, role: str, verdict: Verdict) -> None:
        """Decides about a statement that is new since the catalog was read.

        Raises RowSecurityMissing where it names something exposed and the mode is enforce; what the reading of the
        catalog raises, where a name is unknown and it cannot be read.
        """
        if self._mode == OFF:
            self._gate.remember(role, verdict)
            return
        findings = self._gate.judge(role, verdict)
        if findings.unknown and self._mode == ENFORCE:
            await self._read_since(time.monotonic())
            findings = self._gate.judge(role, verdict)
        if not findings.exposures:
            return  # an unknown name is asked about again the next time, and Postgres says what it thinks of it
        if self._mode == ENFORCE:
            raise missing_row_security(findings.exposures[0])
        for exposure in findings.exposures:
            self._warn(role, exposure)
        self._gate.remember(role, verdict)

    def _warn(self, role: str, exposure: Exposure) -> None:
        if (role, exposure) not in self._warned:
            self._warned.add((role, exposure))
            log.warning(
                "%s used the %s %s. %s `rowgate serve` refuses it. Close it with: %s",
                *(role, exposure.kind, exposure.label, exposure.why, exposure.fix_sql),
            )

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._read_since(time.monotonic())
            except Exception as problem:  # whatever it is, the next reading may succeed, and this task must go on
                log.warning("the catalog cannot be read, the last reading counts: %s", problem)
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def _read_since(self, moment: float) -> None:
        """Reads the catalog, unless a reading has begun since ``moment``: many who wait share one."""
        async with self._turn:
            if self._read_at >= moment:
                return
            await asyncio.sleep(max(self._read_at + SPACING_SECONDS - time.monotonic(), 0.0))
            began = time.monotonic()
            (row,) = await self._rows(EXPOSURES_QUERY)
            exposures = read_exposures(row)
            self._read_at = began
            if exposures != self._gate.exposures:
                self._gate = Gate(exposures)
