"""A bounded cache from SQL text to what the guard decided: what is not used leaves.

Bounded twice, by entries and by bytes, because texts come from strangers and differ in size a thousandfold. What is
used has a second chance. Safe to use from several threads. It never decides anything and never writes a text anywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

from rowgate.errors import SettingInvalid
from rowgate.guard.sessions.statement import SessionStatement
from rowgate.guard.stack import INLINE_BYTES
from rowgate.guard.verdict import Refusal, Verdict
from rowgate.second_chance import drop_one

_ENTRY_BYTES = 600
_STATEMENT_BYTES = 300
_NAME_BYTES = 64

_D = TypeVar("_D", Verdict, tuple[SessionStatement, ...])


class _Entry(Generic[_D]):
    __slots__ = ("decision", "is_used", "weight")

    def __init__(self, decision: _D | Refusal, weight: int) -> None:
        self.decision: _D | Refusal = decision
        self.weight = weight
        self.is_used = False


class VerdictCache(Generic[_D]):
    """At most ``entries`` decisions that weigh at most ``max_bytes`` (estimated) together; 0 entries: no cache.

    Raises SettingInvalid for negative bounds.
    """

    __slots__ = ("_bytes", "_decisions", "_lock", "_max_bytes", "_max_entries", "_once")

    def __init__(self, entries: int, max_bytes: int) -> None:
        if entries < 0 or max_bytes < 0:
            raise SettingInvalid(
                "The guard's cache cannot have a negative size.", detail=f"Got {entries} entries, {max_bytes} bytes."
            )
        self._max_entries = entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._decisions: OrderedDict[str, _Entry[_D]] = OrderedDict()
        self._once: set[int] = set()
        self._lock = Lock()

    def get(self, text: str) -> _D | Refusal | None:
        """What was decided about ``text``, or None."""
        entry = self._decisions.get(text)
        if entry is None:
            return None
        entry.is_used = True
        return entry.decision

    def put(self, text: str, decision: _D | Refusal) -> None:
        """Keep a decision. One that alone weighs more than an eighth of the bound is not kept."""
        weight = weigh(text, decision)
        if weight > self._max_bytes // 8:
            return
        with self._lock:
            before = self._decisions.pop(text, None)
            if before is not None:
                self._bytes -= before.weight
            while self._decisions and (
                self._bytes + weight > self._max_bytes or len(self._decisions) >= self._max_entries
            ):
                self._bytes -= drop_one(self._decisions).weight
            if self._max_entries:
                self._decisions[text] = _Entry(decision, weight)
                self._bytes += weight

    def comes_again(self, text: str) -> bool:
        """Whether it was asked about here a short while ago: what is judged cheaply is kept from then on alone."""
        key = hash(text)
        with self._lock:
            if key in self._once:
                self._once.discard(key)
                return True
            if len(self._once) >= self._max_entries:
                self._once.clear()
            self._once.add(key)
            return False

    def __len__(self) -> int:
        return len(self._decisions)

    @property
    def weight(self) -> int:
        """The estimated bytes of all entries."""
        return self._bytes


def weigh(text: str, decision: Verdict | tuple[SessionStatement, ...] | Refusal) -> int:
    """The estimated memory (bytes) of an entry."""
    size = _weigh_text(text)
    weight = _ENTRY_BYTES + size
    if isinstance(decision, Refusal):
        return weight
    weight += min(size, INLINE_BYTES)  # a verdict keeps its text until its fingerprint is read
    if isinstance(decision, Verdict):
        return weight + _weigh_names(decision)
    for statement in decision:
        weight += _STATEMENT_BYTES + _weigh_text(statement.text)
        if statement.verdict is not None:
            weight += _weigh_names(statement.verdict)
    return weight


def _weigh_text(text: str) -> int:
    """Python keeps up to four bytes for a character."""
    return len(text) * (1 if text.isascii() else 4)


def _weigh_names(verdict: Verdict) -> int:
    names = (*verdict.tables, *verdict.functions, *verdict.dotted)
    return _NAME_BYTES * len(names) + sum(map(len, names))
