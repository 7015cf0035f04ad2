"""Statements of sessions that one backend has parsed, shared by all sessions of its role.

A session prepares statements under names of its own; a backend knows each text with its parameter types once, under a
name that nobody can guess. Bounded: the least recently used leaves first. Never sends anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

StatementKey = tuple[bytes, bytes]
"""SQL text, and the parameter types as Parse carries them."""


class SharedStatements:
    """At most ``size`` statements. ``new_name`` gives names for them."""

    __slots__ = ("_names", "_new_name", "_size", "unnamed")

    def __init__(self, size: int, new_name: Callable[[], bytes]) -> None:
        self._size = size
        self._new_name = new_name
        self._names: OrderedDict[StatementKey, bytes] = OrderedDict()
        self.unnamed: object | None = None
        """What the backend's unnamed statement was parsed for; its owner compares by identity."""

    def find(self, key: StatementKey) -> bytes | None:
        """The backend's name for a statement that it knows, or None."""
        name = self._names.get(key)
        if name is not None:
            self._names.move_to_end(key)
        return name

    def add(self, key: StatementKey) -> bytes:
        """A name under which the statement is about to be parsed."""
        name = self._names[key] = self._new_name()
        return name

    def forget(self, key: StatementKey) -> None:
        """The backend does not know it after all."""
        self._names.pop(key, None)

    def forget_all(self) -> list[bytes]:
        """Forgets everything; gives the names to close."""
        names = list(self._names.values())
        self._names.clear()
        self.unnamed = None
        return names

    def overflow(self) -> list[bytes]:
        """Forgets what is too much; gives the names to close."""
        names = []
        while len(self._names) > self._size:
            names.append(self._names.popitem(last=False)[1])
        return names
