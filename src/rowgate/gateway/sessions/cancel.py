"""Cancel keys: what a client got at its login, and what to do when somebody comes with it on another connection.

Where several processes serve one address, that connection may reach another one than the session did: the process id
then says whose the session is. Keys are random and compared in constant time; a wrong one gets silence, as Postgres
gives it. Never tells who exists.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

LONG_KEY_BYTES: Final = 32
SHORT_KEY_BYTES: Final = 4
_PROCESS_IDS: Final = 1 << 31

Cancel = Callable[[], Awaitable[None]]


class Siblings(Protocol):
    """The processes that serve together with this one."""

    def is_own(self, process_id: int) -> bool:
        """Whether a session of this process may have such a process id: each process has its own."""

    async def cancel(self, process_id: int, key: bytes) -> None:
        """Passes a request on to the process whose session it names, and waits until it was acted on."""


class CancelKeys:
    """The keys of all sessions of this process. ``siblings`` are there where others serve beside it."""

    def __init__(self, siblings: Siblings | None = None) -> None:
        self._siblings = siblings
        self._sessions: dict[int, tuple[bytes, Cancel]] = {}

    def register(self, cancel: Cancel, *, long_key: bool) -> tuple[int, bytes]:
        """A process id and a key for a new session; ``long_key`` where its protocol is 3.2 (section 54.2.8)."""
        while True:
            process_id = secrets.randbelow(_PROCESS_IDS - 1) + 1
            if process_id not in self._sessions and (self._siblings is None or self._siblings.is_own(process_id)):
                break
        key = secrets.token_bytes(LONG_KEY_BYTES if long_key else SHORT_KEY_BYTES)
        self._sessions[process_id] = (key, cancel)
        return process_id, key

    def forget(self, process_id: int) -> None:
        """The session has ended."""
        self._sessions.pop(process_id, None)

    async def cancel(self, process_id: int, key: bytes) -> None:
        """Cancels what the session runs, wherever it is, if the key is its own."""
        if self._siblings is None or self._siblings.is_own(process_id):
            await self.cancel_here(process_id, key)
        else:
            await self._siblings.cancel(process_id, key)

    async def cancel_here(self, process_id: int, key: bytes) -> None:
        """The same for the sessions of this process alone."""
        known, cancel = self._sessions.get(process_id, (b"", None))
        if hmac.compare_digest(known, key) and cancel is not None:
            await cancel()
