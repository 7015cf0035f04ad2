"""Prepared statements that the backends of one pool keep, and how many that may be together.

The least recently used of all backends leaves first. So a busy backend has room that others do not use: quick reads
stand behind each other on few of them, and a service with thousands of texts would have them parsed anew each time.
Never sends anything: what has left a cache is in ``left`` until its owner closes it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Kept = TypeVar("Kept")


class StatementRoom:
    """Room for so many statements."""

    __slots__ = ("_by_age", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._by_age: OrderedDict[bytes, tuple[StatementCache[Any, Any], Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_age)

    def enter(self, name: bytes, cache: StatementCache[Any, Any], key: object) -> None:
        """``cache`` keeps another statement, under ``name``, which no other backend has."""
        self._by_age[name] = (cache, key)
        while len(self._by_age) > self.most:
            eldest, (owner, its_key) = self._by_age.popitem(last=False)
            owner.lose(its_key, eldest)

    def use(self, name: bytes) -> None:
        """It is needed again."""
        self._by_age.move_to_end(name)

    def leave(self, name: bytes) -> None:
        """It is kept no more."""
        del self._by_age[name]


class StatementCache(Generic[Key, Kept]):
    """The statements of one backend, or some of them. Names of those that it is to close go to ``left``."""

    __slots__ = ("_kept", "_left", "_room")

    def __init__(self, room: StatementRoom, left: list[bytes]) -> None:
        self._room = room
        self._left = left
        self._kept: dict[Key, tuple[bytes, Kept]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def find(self, key: Key) -> Kept | None:
        """What is kept for ``key``, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._room.use(found[0])
        return found[1]

    def add(self, key: Key, name: bytes, kept: Kept) -> None:
        """Keeps one more, which the backend has under ``name``."""
        self.forget(key)
        self._kept[key] = (name, kept)
        self._room.enter(name, self, key)

    def forget(self, key: Key) -> None:
        """The backend does not have it after all."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._room.leave(found[0])

    def forget_all(self) -> list[bytes]:
        """Forgets everything; gives the names, which the backend still has unless it has gone or was told so."""
        names = [name for name, _ in self._kept.values()]
        self._kept.clear()
        for name in names:
            self._room.leave(name)
        return names

    def lose(self, key: Key, name: bytes) -> None:
        """For the room: others need the place."""
        del self._kept[key]
        self._left.append(name)
