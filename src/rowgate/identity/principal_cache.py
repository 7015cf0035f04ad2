"""Principals of tokens that were verified a moment ago, so that a token is verified once and not at every request.

A bounded table, the least recently used entry leaving first. It never holds a token: the key is the token's SHA-256,
because a hundred thousand usable credentials in one process's memory would be a treasure in a core dump. That costs
half a microsecond of the one that a look-up takes.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

from rowgate.identity.principal import Principal


class PrincipalCache:
    """At most ``size`` principals (0 keeps none). Times are Unix seconds, given by the caller."""

    __slots__ = ("_entries", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def get(self, token: str, now: float) -> Principal | None:
        """The principal of ``token`` if it was put here and its time is not over; an entry whose time is over goes."""
        # surrogatepass: any str may be asked for, and only verified tokens, which are ASCII, are ever found.
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if now >= entry[0]:
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return entry[1]

    def put(self, token: str, principal: Principal, *, now: float, until: float) -> None:
        """Keep ``principal`` for ``token`` until ``until``; entries least recently used leave where time or room is up.

        Looking at that end alone costs nothing, and since no entry lives for more than minutes, none that is over
        stays behind another for longer than that.
        """
        if self._size <= 0:
            return
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        self._entries[digest] = (until, principal)
        self._entries.move_to_end(digest)
        entries = self._entries
        while len(entries) > self._size or now >= next(iter(entries.values()))[0]:
            entries.popitem(last=False)
            if not entries:
                return

    def clear(self) -> None:
        """Let go of everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
