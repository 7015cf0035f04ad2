"""What a pool remembers of the statements that it ran: which texts come again, and which of them are quick.

Bounded, the oldest text leaving first. Never decides what may run, and never keeps a parameter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from rowgate.postgres.exchange import Statement

MOST_TEXTS: Final = 4096
LONGEST_TEXT: Final = 16 * 1024
QUICK_SECONDS: Final = 0.005
QUICK_RUNS: Final = 3
"""After so many quick runs one after the other a text counts as quick; one slow run ends that."""


class _Text:
    __slots__ = ("parameter_count", "quick_runs")

    def __init__(self, parameter_count: int) -> None:
        self.parameter_count = parameter_count
        self.quick_runs = 0


class KnownTexts:
    """The texts of one pool."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: OrderedDict[bytes, _Text] = OrderedDict()

    def is_repeated(self, statement: Statement) -> bool:
        """Whether the text was run before, with as many parameters, and is not huge: only such are kept prepared.

        The number counts because Postgres's message about a wrong number shows the name of the prepared statement,
        and no client may learn one.
        """
        text = self._texts.get(statement.sql)
        return text is not None and text.parameter_count == len(statement.parameters)

    def are_quick(self, statements: Sequence[Statement]) -> bool:
        """Whether all of them have been quick of late. With other parameters they may still be slow."""
        for statement in statements:  # noqa: SIM110 (nearly always there is one)
            if not self.is_quick(statement.sql):
                return False
        return True

    def is_quick(self, sql: bytes) -> bool:
        """Whether a text has been quick of late; whoever has texts with values in them may name them otherwise."""
        text = self._texts.get(sql)
        return text is not None and text.quick_runs >= QUICK_RUNS

    def remember(self, statements: Sequence[Statement], seconds: float) -> None:
        """Notes texts that have run, all together in so many seconds."""
        for statement in statements:
            self.note(statement.sql, seconds, len(statement.parameters))

    def note(self, sql: bytes, seconds: float, parameter_count: int = 0) -> None:
        """Notes one text that has run."""
        text = self._texts.get(sql)
        if text is None:
            if len(sql) > LONGEST_TEXT:
                return
            text = self._texts[sql] = _Text(parameter_count)
            if len(self._texts) > MOST_TEXTS:
                self._texts.popitem(last=False)
        if seconds >= QUICK_SECONDS:
            text.quick_runs = 0
        elif text.quick_runs < QUICK_RUNS:
            text.quick_runs += 1
