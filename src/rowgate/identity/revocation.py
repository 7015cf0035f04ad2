"""What was revoked before its time, and whether a principal is among it.

A set in memory that follows the registry by its changes. It is asked when a token is verified, and once for each cached
principal after a change: ``edition`` is another object then, so that a cached token costs one comparison. This module
does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from rowgate.errors import SettingInvalid, TokenRevoked
from rowgate.identity.principal import Principal
from rowgate.identity.strict_json import is_unicode

RevocationKind = Literal["token", "session", "subject", "sessionless", "provider"]
"""What is revoked: the token with this ``jti``; all tokens of a session; all of a user; all of a user that name no
session; all of a provider."""

KINDS: Final[tuple[RevocationKind, ...]] = get_args(RevocationKind)
LONGEST_VALUE: Final = 1024
_LAST_MOMENT: Final = 253_402_300_799.0
SWEEP_SECONDS: Final = 60.0
KEPT_SECONDS: Final = 90 * 86_400.0
"""How long a revocation counts unless something else is said: longer than tokens live, which must not outlast it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One row. Times are Unix seconds.

    ``provider`` is the name of the provider whose tokens are meant, ``value`` the ``jti``, session id or user id (empty
    for ``provider``). With ``issued_before`` only tokens issued before that moment are meant, and those that do not say
    when they were issued. From ``expires_at`` on the row counts no more; None is never. Raises SettingInvalid where a
    field is not so.
    """

    provider: str
    kind: RevocationKind
    value: str = ""
    issued_before: float | None = None
    expires_at: float | None = None
    reason: str = ""
    revoked_by: str = ""
    revoked_at: float | None = None
    id: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise _unsound("kind", f"one of {', '.join(KINDS)}")
        if not self.provider or len(self.provider) > 63:
            raise _unsound("provider", "the name of a provider")
        if self.kind == "provider" and (self.value or self.issued_before is None):
            raise _unsound("value", "a moment, and no id, where all tokens of a provider are meant")
        if self.kind != "provider" and not self.value:
            raise _unsound("value", "an id that is not empty")
        for name in ("issued_before", "expires_at"):
            moment = getattr(self, name)
            if moment is not None and not 0 <= moment <= _LAST_MOMENT:
                raise _unsound(name, f"seconds since 1970, up to {_LAST_MOMENT:.0f}")
        for name, longest in (("value", LONGEST_VALUE), ("reason", LONGEST_VALUE), ("revoked_by", 256)):
            text = getattr(self, name)
            if "\0" in text or len(text.encode("utf-8", "surrogatepass")) > longest or not is_unicode(text):
                raise _unsound(name, f"at most {longest} bytes of text")


Told = tuple[RevocationKind, str, float | None]
"""What a provider tells of: kind, value, and the moment before which it was issued."""


def told_by_provider(
    provider: str, told: Iterable[Told], *, reason: str, revoked_by: str, now: float
) -> tuple[Revocation, ...]:
    """Rows for what a provider has told, each once, for the usual time. Raises SettingInvalid."""
    return tuple(
        Revocation(
            provider=provider,
            kind=kind,
            value=value,
            issued_before=before,
            expires_at=now + KEPT_SECONDS,
            reason=reason,
            revoked_by=revoked_by,
        )
        for kind, value, before in dict.fromkeys(told)
    )


@dataclass(frozen=True, slots=True)
class RevocationChanges:
    """What changed since the last time. ``is_complete``: the rows are all there are. ``removed`` are rows that count no
    more. Rows of ``added`` take the place of those about the same thing; with and without ``issued_before`` are two."""

    added: tuple[Revocation, ...] = field(default=(), repr=False)
    removed: tuple[Revocation, ...] = field(default=(), repr=False)
    is_complete: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.added or self.removed or self.is_complete)


NO_CHANGES: Final = RevocationChanges()

_Key = tuple[str, RevocationKind, str, bool]
_Bounds = tuple[float | None, float | None]


class RevocationSet:
    """Every revocation in force. Belongs to one event loop; ``clock`` gives Unix seconds."""

    __slots__ = ("_clock", "_rows", "_swept_at", "edition")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: dict[_Key, _Bounds] = {}
        self._swept_at = clock()
        self.edition = object()

    def __len__(self) -> int:
        return len(self._rows)

    def apply(self, changes: RevocationChanges) -> bool:
        """Takes changes in; tells whether a principal may be revoked now that was not before."""
        if changes.is_complete:
            self._rows.clear()
        for row in changes.removed:
            self._rows.pop(_key(row), None)
        for row in changes.added:
            self._rows[_key(row)] = (row.issued_before, row.expires_at)
        self._forget_expired()
        if not changes.added:
            return False
        self.edition = object()
        return True

    def knows(self, row: Revocation) -> bool:
        """Whether what ``row`` says is in force here already."""
        bounds = self._rows.get(_key(row))
        return bounds is not None and (bounds[0] or 0.0) >= (row.issued_before or 0.0)

    def check(self, principal: Principal) -> None:
        """Raises TokenRevoked where ``principal`` is revoked."""
        if not self._rows:
            return
        name = principal.provider
        keys: Iterable[tuple[RevocationKind, str | None]] = (
            ("token", principal.token_id),
            ("session", principal.session_id),
            ("subject", principal.subject),
            ("sessionless", principal.subject if principal.session_id is None else None),
            ("provider", ""),
        )
        now = self._clock()
        for kind, value in keys:
            if value is None:
                continue
            for is_bounded in (False, True):
                found = self._rows.get((name, kind, value, is_bounded))
                if found is not None and _covers(found, principal.issued_at, now):
                    raise TokenRevoked(_MESSAGES[kind], detail=f"revoked at the provider {name}")

    def _forget_expired(self) -> None:
        now = self._clock()
        if 0 <= now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = now
        over = [key for key, (_, expires_at) in self._rows.items() if expires_at is not None and now >= expires_at]
        for key in over:
            del self._rows[key]


_MESSAGES: Final[dict[RevocationKind, str]] = {
    "token": "The token was revoked.",
    "session": "The token's session was ended.",
    "subject": "The tokens of this user were revoked.",
    "sessionless": "The user has signed out since the token was issued.",
    "provider": "The tokens that this provider issued until now were revoked.",
}


def _key(row: Revocation) -> _Key:
    return row.provider, row.kind, row.value, row.issued_before is not None


def _covers(bounds: _Bounds, issued_at: float | None, now: float) -> bool:
    issued_before, expires_at = bounds
    if expires_at is not None and now >= expires_at:
        return False
    return issued_before is None or issued_at is None or issued_at < issued_before


def _unsound(field_name: str, expected: str) -> SettingInvalid:
    return SettingInvalid(
        f"The revocation's {field_name} cannot be used.",
        detail=f"expected {expected}",
        hint="See `rowgate revoke --help`.",
    )
