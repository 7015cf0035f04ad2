"""A bounded cache from SQL text to what the guard decided, least recently used out first.

Bounded twice, by entries and by bytes, because texts come from strangers and differ in size a thousandfold. Safe to
use from several threads. It never decides anything and never writes a text anywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from rowgate.errors import SettingInvalid
from rowgate.guard.verdict import Refusal, Verdict

_ENTRY_BYTES = 600
_NAME_BYTES = 64


class VerdictCache:
    """At most ``entries`` decisions that weigh at most ``max_bytes`` (estimated) together; 0 entries: no cache.

    Raises SettingInvalid for negative bounds.
    """

    __slots__ = ("_bytes", "_decisions", "_lock", "_max_bytes", "_max_entries")

    def __init__(self, entries: int, max_bytes: int) -> None:
        if entries < 0 or max_bytes < 0:
            raise SettingInvalid(
                "The guard's cache cannot have a negative size.", detail=f"Got {entries} entries, {max_bytes} bytes."
            )
        self._max_entries = entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._decisions: OrderedDict[str, Verdict | Refusal] = OrderedDict()
        self._lock = Lock()

    def get(self, text: str) -> Verdict | Refusal | None:
        """What was decided about ``text``, or None."""
        with self._lock:
            decision = self._decisions.get(text)
            if decision is not None:
                self._decisions.move_to_end(text)
            return decision

    def put(self, text: str, decision: Verdict | Refusal) -> None:
        """Keep a decision. One that alone weighs more than an eighth of the bound is not kept."""
        weight = weigh(text, decision)
        if weight > self._max_bytes // 8:
            return
        with self._lock:
            before = self._decisions.pop(text, None)
            if before is not None:
                self._bytes -= weigh(text, before)
            self._decisions[text] = decision
            self._bytes += weight
            while self._decisions and (self._bytes > self._max_bytes or len(self._decisions) > self._max_entries):
                oldest, dropped = self._decisions.popitem(last=False)
                self._bytes -= weigh(oldest, dropped)

    def __len__(self) -> int:
        return len(self._decisions)

    @property
    def weight(self) -> int:
        """The estimated bytes of all entries."""
        return self._bytes


def weigh(text: str, decision: Verdict | Refusal) -> int:
    """The estimated memory (bytes) of an entry: Python keeps up to four bytes for a character."""
    weight = _ENTRY_BYTES + len(text) * (1 if text.isascii() else 4)
    if isinstance(decision, Verdict):
        for name in (*decision.tables, *decision.functions):
            weight += _NAME_BYTES + len(name)
    return weight
