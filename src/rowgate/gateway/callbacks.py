"""What stands in place of an object's callbacks after its end.

Whoever is called back mostly holds whoever calls, so the two hold each other, and only the garbage collector would free
them, which comes seldom in a process that serves. An object that has ended puts this where its callbacks were: then
nothing is told any more, and both are freed at once. Never does anything.
"""

from __future__ import annotations


def nobody_is_told(*told: object) -> None:
    """Takes whatever a callback is given."""
