"""What comes in from one backend: how much of one answer there is, and when no more of it is read for a while.

Reading pauses while a client is slower than its backend. It also rests a moment now and then in a large result, where
others are served as well: a backend and a gateway that never sleep keep everybody else waiting for a core, for a few
milliseconds each time. Never looks at what comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LARGE_BYTES: Final = 512 * 1024
REST_EVERY_BYTES: Final = 256 * 1024
REST_SECONDS: Final = 0.001


class Inflow:
    """The reading side of a transport. ``has_company`` says whether others are served; None: nobody else is."""

    __slots__ = ("_is_paused", "_is_resting", "_loop", "_rest_at", "_transport", "has_company", "received")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._is_paused = self._is_resting = False
        self._rest_at = LARGE_BYTES
        self.has_company: Callable[[], bool] | None = None
        self.received = 0
        """Bytes of the answer that is coming."""

    def read_from(self, transport: asyncio.Transport | None) -> None:
        """What is read comes from ``transport`` from now on; None: it has gone."""
        self._transport = transport

    def begin(self) -> None:
        """Another answer comes."""
        self.received, self._rest_at = 0, LARGE_BYTES

    def count(self, size: int) -> int:
        """So many bytes have come; how many that are of this answer."""
        self.received += size
        if self.received > self._rest_at:
            self._rest()
        return self.received

    def pause(self) -> None:
        """Reads nothing more until ``resume``."""
        if not self._is_paused:
            self._is_paused = True
            if self._transport is not None and not self._is_resting:
                self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._is_paused:
            self._is_paused = False
            if self._transport is not None and not self._is_resting:
                self._transport.resume_reading()

    def _rest(self) -> None:
        self._rest_at = self.received + REST_EVERY_BYTES
        if self._is_resting or self._transport is None or self.has_company is None or not self.has_company():
            return
        self._is_resting = True
        if not self._is_paused:
            self._transport.pause_reading()
        self._loop.call_later(REST_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._is_resting = False
        if self._transport is not None and not self._is_paused:
            self._transport.resume_reading()
