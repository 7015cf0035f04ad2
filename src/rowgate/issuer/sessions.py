"""Sessions of the local issuer: from a sign-in to a sign-out. Their tokens are short-lived and made anew.

The secrets that belong to a session (the browser's cookie, an OAuth refresh token) are kept as SHA-256 digests only.
This module never issues a token.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rowgate.errors import IssuerInputInvalid, IssuerRecordUnknown
from rowgate.issuer.files import RecordFile
from rowgate.issuer.records import check_identifier, check_moment, invalid, made_from

SESSIONS_FILE: Final = "sessions.json"
LIFETIME: Final = 7 * 86_400
"""Seconds, as at Clerk."""

_KEPT_AFTER_END: Final = 86_400
_MOST_SESSIONS: Final = 10_000
_SPENT_KEPT: Final = 20
_STATUSES: Final = frozenset({"active", "ended", "revoked", "removed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session. Times are milliseconds since 1970; ``actor`` is an object with ``sub`` where someone else acts as
    the user. ``client_id`` is the OAuth client of ``refresh_digest``; ``spent_digests`` are those of the refresh tokens
    before it, newest first. Raises IssuerInputInvalid."""

    id: str
    user_id: str
    status: str = "active"
    organization_id: str | None = None
    actor: dict[str, Any] | None = None
    created_at: int = 0
    updated_at: int = 0
    expires_at: int = 0
    cookie_digest: str = ""
    refresh_digest: str = ""
    spent_digests: tuple[str, ...] = ()
    client_id: str = ""

    def __post_init__(self) -> None:
        check_identifier("session", self.id, "sess_1")
        if self.status not in _STATUSES:
            raise invalid("session", "status", f"one of {', '.join(sorted(_STATUSES))}")
        for name in ("created_at", "updated_at", "expires_at"):
            check_moment("session", name, getattr(self, name))

    def status_at(self, now: int) -> str:
        """``status``, or ``expired`` where its time is over."""
        return "expired" if self.status == "active" and now >= self.expires_at else self.status


class Sessions:
    """The sessions in ``sessions.json`` of ``folder``. ``clock`` gives milliseconds since 1970.

    Every method raises DataFolderUnusable where the file is damaged, or cannot be read or written.
    """

    def __init__(self, folder: Path, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._file = RecordFile(
            folder / SESSIONS_FILE, "sessions", lambda record: made_from(Session, "session", record), asdict
        )
        self.list()

    def list(self) -> tuple[Session, ...]:
        """All sessions that are remembered, oldest first."""
        return self._file.list()

    def get(self, session_id: str) -> Session:
        """The session with this id. Raises IssuerRecordUnknown."""
        for session in self.list():
            if session.id == session_id:
                return session
        raise IssuerRecordUnknown("There is no such session.", detail=f"asked for {session_id[:200]!a}")

    def active(self, session_id: str) -> Session:
        """The session with this id. Raises IssuerRecordUnknown, and IssuerInputInvalid where it is over."""
        session = self.get(session_id)
        status = session.status_at(self._clock())
        if status != "active":
            raise IssuerInputInvalid(
                "The session is over.", detail=f"expected an active session, got one that is {status}", hint="Sign in."
            )
        return session

    def by_cookie(self, value: str) -> Session | None:
        """The active session that a cookie's ``value`` (id and secret) belongs to."""
        return self._proven(value, "cookie_digest")

    def by_refresh_token(self, value: str) -> Session | None:
        """The active session of an OAuth refresh token. One that was used already ends its session, because a copy of
        it must be in a stranger's hands (RFC 9700 section 4.14.2)."""
        session = self._proven(value, "refresh_digest")
        if session is None:
            session_id, _, secret = value.partition(".")
            for one in self.list():
                if one.id == session_id and digest_of(secret) in one.spent_digests:
                    self.end(session_id, "revoked")
        return session

    def renew_refresh_token(self, session_id: str, secret: str, client_id: str) -> None:
        """From now on ``secret`` is the one that belongs to the session. Raises IssuerRecordUnknown."""
        session = self.get(session_id)
        spent = (session.refresh_digest, *session.spent_digests) if session.refresh_digest else ()
        changes = {"refresh_digest": digest_of(secret), "spent_digests": spent[:_SPENT_KEPT], "client_id": client_id}
        self.update(session_id, changes)

    def _proven(self, value: str, field: str) -> Session | None:
        session_id, _, secret = value.partition(".")
        for session in self.list():
            kept = getattr(session, field)
            if session.id == session_id and kept and hmac.compare_digest(kept, digest_of(secret)):
                return session if session.status_at(self._clock()) == "active" else None
        return None

    def add(self, session: Session) -> Session:
        """Keep ``session``; sessions that were over for a day are forgotten, and the oldest beyond a bound."""
        now = self._clock()

        def added(sessions: tuple[Session, ...]) -> tuple[Session, ...]:
            kept = [one for one in sessions if not _is_stale(one, now)]
            return (*kept[-_MOST_SESSIONS + 1 :], session)

        self._file.change(added)
        return session

    def update(self, session_id: str, changes: Mapping[str, Any]) -> Session:
        """The session with ``changes`` to its fields. Raises IssuerRecordUnknown."""
        changed = replace(self.get(session_id), **changes, updated_at=self._clock())
        self._file.change(lambda all_: (changed if one.id == session_id else one for one in all_))
        return changed

    def end(self, session_id: str, status: str) -> Session:
        """The session, now ``ended`` or ``revoked``; one that is over stays as it was. Raises IssuerRecordUnknown."""
        session = self.get(session_id)
        if session.status_at(self._clock()) != "active":
            return session
        return self.update(session_id, {"status": status, "cookie_digest": "", "refresh_digest": ""})

    def end_all_of(self, user_id: str) -> None:
        """End every session of a user."""
        for session in self.list():
            if session.user_id == user_id:
                self.end(session.id, "removed")


def digest_of(secret: str) -> str:
    """What is kept of a secret: it is random and long, so a plain hash hides it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _is_stale(session: Session, now: int) -> bool:
    over = session.expires_at if session.status == "active" else session.updated_at
    return now > over + _KEPT_AFTER_END * 1000
