"""Statements of sessions that one backend has parsed, shared by all sessions of its role.

A session prepares statements under names of its own; a backend knows each text with its parameter types once, under a
name that nobody can guess. Never sends anything.
"""

from __future__ import annotations

from collections.abc import Callable

from rowgate.postgres.statement_cache import StatementCache, StatementRoom

StatementKey = tuple[bytes, bytes]
"""SQL text, and the parameter types as Parse carries them."""


class SharedStatements(StatementCache[StatementKey, bytes]):
    """The backend's names of statements. ``new_name`` gives names for them."""

    __slots__ = ("_new_name", "unnamed")

    def __init__(self, room: StatementRoom, left: list[bytes], new_name: Callable[[], bytes]) -> None:
        super().__init__(room, left)
        self._new_name = new_name
        self.unnamed: object | None = None
        """What the backend's unnamed statement was parsed for; its owner compares by identity."""

    def name(self, key: StatementKey) -> bytes:
        """A name under which the statement is about to be parsed."""
        name = self._new_name()
        self.add(key, name, name)
        return name
