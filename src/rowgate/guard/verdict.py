"""What the guard says about one statement: a verdict that lets it through, or the refusal that does not.

Both are plain values, so that they can be cached and handed to any thread. They never hold parameter values, and
this module never decides anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from rowgate.errors import StatementRefused

FORBIDDEN: Final = "42501"
SYNTAX_ERROR: Final = "42601"
TOO_COMPLEX: Final = "54001"
BAD_CHARACTER: Final = "22021"

_LONGEST_SHOWN = 120


class Fingerprint:
    """The hash of a statement's shape, computed when it is first read: it takes a second parse, and much of what is
    judged is never asked for it.

    ``text`` is the hash, or a function that gives it and is dropped then. Safe to use from several threads: where two
    are the first, both get the same.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | Callable[[], str]) -> None:
        self._text = text

    @property
    def text(self) -> str:
        """16 hexadecimal digits; empty for an empty statement. Raises what the function raises."""
        text = self._text
        if not isinstance(text, str):
            text = self._text = text()
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Fingerprint({self.text!r})"


class Verdict(msgspec.Struct, frozen=True):
    """A statement that may go to Postgres.

    ``kind`` is ``select`` (VALUES and TABLE too), ``insert``, ``update``, ``delete``, ``merge``, ``explain`` or
    ``empty``. ``tables`` and ``functions`` are the names as the statement wrote them, schema included where it was
    given, sorted and without repetition; common table expressions are no tables. ``reads_only`` is True when nothing in
    the text itself writes or locks rows; functions of the user that it calls may still do so. ``calls_user_functions``
    is True when it names a function that is neither Postgres's own nor one of the identity: what such a function leaves
    in the session nobody knows. ``user_functions`` are those, and ``dotted`` are the names that follow a dot, sorted:
    Postgres calls a function of that name where there is no such column.
    """

    kind: str
    tables: tuple[str, ...]
    functions: tuple[str, ...]
    lazy_fingerprint: Fingerprint
    reads_only: bool
    calls_user_functions: bool = False
    user_functions: tuple[str, ...] = ()
    dotted: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """libpg_query's hash of the statement's shape: 16 hexadecimal digits, the same whatever the literals are; empty
        for an empty text. Computed when it is first read."""
        return self.lazy_fingerprint.text


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a statement may not go to Postgres, as a value.

    An exception collects a traceback each time it is raised, so the cache keeps this and makes a fresh one.
    ``position`` counts characters from 1, as the Position field of ErrorResponse does (Postgres docs, section
    "Error and Notice Message Fields").
    """

    message: str
    detail: str | None = None
    hint: str | None = None
    sqlstate: str = FORBIDDEN
    position: int | None = None

    def at(self, position: int | None) -> Refusal:
        """The same refusal, pointing at ``position`` (characters from 1, or None)."""
        return replace(self, position=position)

    def error(self) -> StatementRefused:
        """A new exception that says the same; the caller raises it."""
        return StatementRefused(
            self.message, detail=self.detail, hint=self.hint, position=self.position, sqlstate=self.sqlstate
        )

    @classmethod
    def of(cls, error: StatementRefused) -> Refusal:
        """The value behind an exception of the guard."""
        return cls(error.message, error.detail, error.hint, error.refused_sqlstate, error.position)


def shown(text: str) -> str:
    """``text`` cut to what fits into an error message: texts come from strangers and may be 64 kB long."""
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
