"""What an attack is: a row with its input, its wall, what it would gain, and through which ways it gets.

A value without any I/O; the rows are beside it, and ``fields.py`` tries them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

NEXT = "bob: "
"""Before a step of the user who has the connection, or asks the gateway, next."""


class Goal(StrEnum):
    """How it is seen that an attack has gained something."""

    ANSWERED = "answered"  # the last step was carried out
    SEEN = "seen"  # an answer holds what is Bob's, or a secret of the server
    BECAME = "became"  # a value of the last answer is no longer Alice's, or her role
    CHANGED = "changed"  # the database is no longer as it was
    NEXT = "next"  # whoever comes next finds something else than usual


class Way(StrEnum):
    """Where an attack is tried."""

    HTTP = "HTTP"
    SESSION = "session"
    WEBSOCKET = "session over WebSocket"
    NO_GUARD = "no guard"
    BASELINE = "baseline"

    @property
    def letter(self) -> str:
        """How a row writes it. Sessions are the same whatever carries them, so both are held to one letter."""
        return {"no guard": "N", "session over WebSocket": "S"}.get(self.value, self.value[0].upper())


class Attack(NamedTuple):
    """One row. ``steps`` are statements of Alice, or of the next user where they begin with ``NEXT``.

    ``wall`` is what is meant to stop it first. ``through`` are the ways that it gets through: a letter for each (H, S,
    N, B), with 15 or 18 behind it where only that version lets it. ``reason`` says why that is so, for the ways through
    the gateway.
    """

    id: str
    wall: str
    goal: Goal
    steps: tuple[str, ...]
    gain: str
    through: str
    reason: str = ""

    def gets_through(self, way: Way, version: int) -> bool:
        """Whether the row says that it gets through there."""
        return way.letter in self.through.split() or f"{way.letter}{version}" in self.through.split()
