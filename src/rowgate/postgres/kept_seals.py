"""Sealed messages of one backend, kept for as long as their seals last: users ask several things in a row.

Two generations of them: a message of the older one is still used while it is fresh, and goes with it. So those of users
who ask no more go too, and the memory is bounded. Never makes a message.
"""

from __future__ import annotations

from typing import Final

from rowgate.postgres.session_context import LIFETIME_SECONDS, ContextSigner, SessionIdentity

# What is left of a seal's life must last until the statement has begun; from then on Postgres counts from its start.
REUSE_SECONDS: Final = LIFETIME_SECONDS - 25.0
MOST_BYTES: Final = 8 * 1024 * 1024
"""Of a generation: some ten thousand users with claims of usual size. A new seal costs a tenth of all that a quick
request does."""
_ENTRY_BYTES: Final = 250


class KeptSeals:
    """For one backend. Times are in seconds of a clock that never goes back."""

    __slots__ = ("_bytes", "_older", "_since", "_younger")

    def __init__(self) -> None:
        self._younger: dict[bytes, tuple[ContextSigner, bytes, bytes, float, bytes]] = {}
        self._older: dict[bytes, tuple[ContextSigner, bytes, bytes, float, bytes]] = {}
        self._since = 0.0
        self._bytes = 0

    def get(self, identity: SessionIdentity, now: float) -> bytes | None:
        """The message for ``identity``, where there is one that can still be used."""
        kept = self._younger.get(identity.claims) or self._older.get(identity.claims)
        if (
            kept is not None
            and kept[0] is identity.signer
            and kept[1] == identity.subject
            and kept[2] == identity.membership
            and now - kept[3] < REUSE_SECONDS
        ):
            return kept[4]
        return None

    def keep(self, identity: SessionIdentity, now: float, message: bytes) -> None:
        """From now on ``message`` is the one for ``identity``; it was sealed at ``now``."""
        weight = len(message) + len(identity.claims) + _ENTRY_BYTES
        if now - self._since > REUSE_SECONDS or self._bytes + weight > MOST_BYTES:
            self._older, self._younger = self._younger, {}
            self._since, self._bytes = now, 0
        self._bytes += weight
        self._younger[identity.claims] = (identity.signer, identity.subject, identity.membership, now, message)

    def forget_all(self) -> None:
        """None can be used any more."""
        self._younger.clear()
        self._older.clear()
        self._bytes = 0
