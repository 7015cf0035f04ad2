"""Prepared statements that the backends of one pool keep, and how many that may be together.

The oldest of all backends leaves first, and what is used has a second chance. So a busy backend has room that others do
not use: quick reads stand behind each other on few of them, and a service with thousands of texts would have them
parsed anew each time. Never sends anything: what has left a cache is in ``left`` until its owner closes it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Generic, TypeVar

from rowgate.second_chance import drop_one

Key = TypeVar("Key")
Kept = TypeVar("Kept")


class Entry(Generic[Key, Kept]):
    """One statement that ``owner`` keeps for ``key``; its backend has it under ``name``."""

    __slots__ = ("is_used", "kept", "key", "name", "owner")

    def __init__(self, owner: StatementCache[Key, Kept], key: Key, name: bytes, kept: Kept) -> None:
        self.owner = owner
        self.key = key
        self.name = name
        self.kept = kept
        self.is_used = False


class StatementRoom:
    """Room for so many statements."""

    __slots__ = ("_by_age", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._by_age: OrderedDict[bytes, Entry[Any, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_age)

    def make_place(self) -> bool:
        """Room for one more; False where there is none for any."""
        while self._by_age and len(self._by_age) >= self.most:
            entry = drop_one(self._by_age)
            entry.owner.lose(entry)
        return self.most > 0

    def enter(self, entry: Entry[Any, Any]) -> None:
        """There is one more, and place for it. No other has its name."""
        self._by_age[entry.name] = entry

    def leave(self, name: bytes) -> None:
        """It is kept no more."""
        del self._by_age[name]


class StatementCache(Generic[Key, Kept]):
    """The statements of one backend, or some of them. Names of those that it is to close go to ``left``."""

    __slots__ = ("_kept", "_left", "_room")

    def __init__(self, room: StatementRoom, left: list[bytes]) -> None:
        self._room = room
        self._left = left
        self._kept: dict[Key, Entry[Key, Kept]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def find(self, key: Key) -> Kept | None:
        """What is kept for ``key``, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        found.is_used = True
        return found.kept

    def add(self, key: Key, name: bytes, kept: Kept) -> None:
        """Keeps one more, which the backend has under ``name``."""
        self.forget(key)
        if not self._room.make_place():
            self._left.append(name)
            return
        entry = self._kept[key] = Entry(self, key, name, kept)
        self._room.enter(entry)

    def forget(self, key: Key) -> None:
        """The backend does not have it after all."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._room.leave(found.name)

    def forget_all(self) -> list[bytes]:
        """Forgets everything; gives the names, which the backend still has unless it has gone or was told so."""
        names = [entry.name for entry in self._kept.values()]
        self._kept.clear()
        for name in names:
            self._room.leave(name)
        return names

    def lose(self, entry: Entry[Key, Kept]) -> None:
        """For the room: others need the place."""
        del self._kept[entry.key]
        self._left.append(entry.name)
