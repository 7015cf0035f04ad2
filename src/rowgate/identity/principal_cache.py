"""Principals of tokens that were verified a moment ago, so that a token is verified once and not at every request.

A bounded table: the oldest entry leaves first, and what is used has a second chance. It never holds a token: the key is
the token's SHA-256, because a hundred thousand usable credentials in one process's memory would be a treasure in a core
dump. That costs half a microsecond of the one that a look-up takes.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

from rowgate.errors import TokenRevoked
from rowgate.identity.principal import Principal
from rowgate.identity.revocation import RevocationSet
from rowgate.second_chance import drop_one


class _Entry:
    __slots__ = ("edition", "is_used", "principal", "until")

    def __init__(self, principal: Principal, until: float, edition: object) -> None:
        self.principal = principal
        self.until = until
        self.edition = edition
        self.is_used = False


class PrincipalCache:
    """At most ``size`` principals (0 keeps none). Times are Unix seconds, given by the caller.

    Each entry remembers the edition of ``revocations`` that it was checked against, so that a change costs each token
    one check when it comes next, and neither a scan of the table nor a check of every request.
    """

    __slots__ = ("_entries", "_revocations", "_size")

    def __init__(self, size: int, revocations: RevocationSet) -> None:
        self._size = size
        self._revocations = revocations
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def get(self, token: str, now: float) -> Principal | None:
        """The principal of ``token`` if it was put here, its time is not over and it was not revoked; else the entry
        goes."""
        # surrogatepass: any str may be asked for, and only verified tokens, which are ASCII, are ever found.
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if now >= entry.until:
            del self._entries[digest]
            return None
        if entry.edition is not self._revocations.edition:
            try:
                self._revocations.check(entry.principal)
            except TokenRevoked:
                del self._entries[digest]
                return None
            entry.edition = self._revocations.edition
        entry.is_used = True
        return entry.principal

    def put(self, token: str, principal: Principal, *, now: float, until: float) -> None:
        """Keep ``principal``, which is not revoked, for ``token`` until ``until``.

        Others leave where time or room is up. Looking at the oldest alone costs nothing, and since no entry lives for
        more than minutes, none that is over stays behind another for longer than that.
        """
        if self._size <= 0:
            return
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        entries = self._entries
        entries.pop(digest, None)
        while entries and now >= next(iter(entries.values())).until:
            entries.popitem(last=False)
        if len(entries) >= self._size:
            drop_one(entries)
        if now < until:
            entries[digest] = _Entry(principal, until, self._revocations.edition)

    def clear(self) -> None:
        """Let go of everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
