"""Who is signed in: one-time links, sessions, and the secrets that forms must carry.

Kept in memory, so that a restart signs everybody out. A session's secret is in its cookie alone; here is its SHA-256.
This module does no I/O and never sees an admin token.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

LINK_SECONDS: Final = 3600.0
SESSION_SECONDS: Final = 12 * 3600.0
MOST_SESSIONS: Final = 64
KEPT_STATEMENTS: Final = 20


@dataclass(slots=True)
class ConsoleSession:
    """One person in one browser.

    ``endpoint`` is what they open, ``choices`` the endpoints that they may change to (none where there is only one);
    ``holder`` is whose admin token it was, None with a one-time link. ``form_secret`` is what their forms must carry;
    ``statements`` are the latest that they ran, ``message`` is what the next page says of what was just done.
    ``expires_at`` is by the clock of ``ConsoleSessions``.
    """

    endpoint: str | None
    holder: str | None
    expires_at: float
    form_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    message: str = ""
    choices: tuple[str, ...] = ()
    statements: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_STATEMENTS), repr=False)

    def take_message(self) -> str:
        """What the page is to say, this once."""
        message, self.message = self.message, ""
        return message

    def change_endpoint(self, name: str) -> None:
        """From now on pages show another endpoint. Forms of pages that show the one before are good no more."""
        self.endpoint = name
        self.form_secret = secrets.token_urlsafe(32)
        self.statements.clear()

    def allows(self, given: str) -> bool:
        """Whether a form comes from a page of this session."""
        return hmac.compare_digest(self.form_secret.encode(), given.encode("utf-8", "surrogatepass"))


class ConsoleSessions:
    """The sessions that are open, and the one-time links that are not used. ``clock`` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._links: dict[bytes, float] = {}
        self._sessions: OrderedDict[bytes, ConsoleSession] = OrderedDict()

    def new_link(self) -> str:
        """The secret of a link that opens one session, within an hour."""
        secret = secrets.token_urlsafe(32)
        self._links[_digest(secret)] = self._clock() + LINK_SECONDS
        return secret

    def use_link(self, secret: str) -> bool:
        """Whether the link is good; from now on it is not."""
        until = self._links.pop(_digest(secret), None)
        return until is not None and self._clock() < until

    def open(self, endpoint: str | None, holder: str | None) -> str:
        """A new session; gives the secret for its cookie. The oldest ends where there are too many."""
        secret = secrets.token_urlsafe(32)
        self._sessions[_digest(secret)] = ConsoleSession(endpoint, holder, self._clock() + SESSION_SECONDS)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return secret

    def find(self, secret: str) -> ConsoleSession | None:
        """The session of a cookie; None where there is none, or it is over."""
        digest = _digest(secret)
        session = self._sessions.get(digest)
        if session is not None and self._clock() >= session.expires_at:
            del self._sessions[digest]
            return None
        return session

    def end(self, secret: str) -> None:
        """Ends the session of a cookie."""
        self._sessions.pop(_digest(secret), None)


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
