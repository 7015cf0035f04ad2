"""Connections that quick reads share: which have a place, and when those who wait must go elsewhere.

A lane is a connection whose requests only read and have been quick of late, so they stand behind each other. That saves
the backend and the gateway a sleep and a wake-up for each. Never runs anything and never opens a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from rowgate.postgres.connection import Connection

LANE_LENGTH_AT_ANY_PACE: Final = 8
LANE_LENGTH: Final = 32
LANE_SECONDS: Final = 0.004
"""More than eight stand in one lane only while all that it has will not take it longer than this."""
BRISK_SECONDS: Final = 0.0003
"""A backend that answers so fast is sent more even while others are idle. Waking one of those costs as much as such an
answer, and both sides work on in one go instead of sleeping in between: on two cores one lane of thirty point reads
gave an eighth more of them than four lanes of eight. Slower reads go side by side."""
PATIENCE_SECONDS: Final = 0.01
"""How long the first in a lane may take before the others run elsewhere."""


class Lanes:
    """The lanes of one pool. ``cancel`` ends what a lane runs for nobody, and takes it out of use until then."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cancel: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._cancel = cancel
        self.connections: dict[Connection, None] = {}
        """The lanes that there are, in the order in which they became some."""
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, connection: Connection) -> bool:
        return connection in self.connections

    def add(self, connection: Connection) -> None:
        """Further readers may stand behind the one who has it now."""
        self.connections[connection] = None

    def remove(self, connection: Connection) -> None:
        """It serves one request at a time again, or has gone."""
        self.connections.pop(connection, None)

    def find(self, *, brisk: bool = False) -> Connection | None:
        """A lane with a place; ``brisk``: where standing in line takes no longer than waking another backend."""
        now = self._loop.time()
        for lane in self.connections:
            if (not brisk or lane.turns.pace < BRISK_SECONDS) and self.has_place(lane, now):
                return lane
        return None

    def has_place(self, lane: Connection, now: float) -> bool:
        """Whether one more reader may stand in it; ``now`` is the loop's time."""
        since, turns = lane.busy_since, lane.turns
        length = len(turns)
        return (
            since is not None
            and now - since < PATIENCE_SECONDS
            and length < (LANE_LENGTH if length * turns.pace < LANE_SECONDS else LANE_LENGTH_AT_ANY_PACE)
            and lane in self.connections
            and not lane.broken
            and not lane.expired
        )

    def watch(self) -> None:
        """Somebody waits in a lane, or has left one: from now on it is watched."""
        if self._timer is None:
            self._timer = self._loop.call_later(PATIENCE_SECONDS / 2, self._relieve)

    def stop(self) -> None:
        """Watches no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _relieve(self) -> None:
        """Who waits behind something slow goes elsewhere; what is slow and runs for nobody is cancelled."""
        self._timer = None
        latest = self._loop.time() - PATIENCE_SECONDS
        for lane in list(self.connections):
            if not lane.turns.has_followers and not lane.turns.is_abandoned:
                continue
            self.watch()
            if lane.busy_since is not None and lane.busy_since < latest:
                lane.overtake()
                if lane.turns.is_abandoned:
                    self._cancel(lane)
