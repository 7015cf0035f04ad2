"""What happened: counts of every outcome, the faults and their times, and whatever should not have been.

An outcome is right, or an error that was asked for, or one that a fault explains. Everything else is a violation.
Never does anything to the service.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MOST_KEPT = 100
AFTERMATH_SECONDS = 2.0
"""How long after its end a fault still explains errors: an answer may have been on its way."""


@dataclass
class Fault:
    """One fault: when it began, when the service was well again, and the ``codes`` that it explains.

    ``user`` is the only one it explains anything for; None is everybody.
    """

    kind: str
    codes: frozenset[str]
    user: str | None
    began: float
    over: float | None = None
    recovery: float | None = None
    """Seconds from the end of the fault to the first good answer."""


@dataclass
class Tally:
    """Everything that is counted."""

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By front, operation, and ``right``, ``expected CODE`` or ``explained CODE``."""
    faults: list[Fault] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    violation_count: int = 0
    answers: int = 0

    def right(self, front: str, operation: str) -> None:
        """An answer was what it had to be."""
        self.answers += 1
        self.outcomes[front, operation, "right"] += 1

    def expected(self, front: str, operation: str, code: str) -> None:
        """An error came that had been asked for."""
        self.answers += 1
        self.outcomes[front, operation, f"expected {code}"] += 1

    def failed(self, front: str, operation: str, code: str, *, user: str, began: float, text: str = "") -> None:
        """An error came that nobody had asked for; it is a violation unless a fault explains it."""
        self.answers += 1
        if self.is_explained(code, user, began):
            self.outcomes[front, operation, f"explained {code}"] += 1
        else:
            self.violation(f"{front} {operation} of {user}: unexplained {code} {text[:300]}")

    def violation(self, text: str) -> None:
        """Something that must not happen has happened."""
        self.violation_count += 1
        on = [one.kind for one in self.faults if one.over is None] or [
            f"after {one.kind}, {time.monotonic() - (one.over or 0):.1f} s ago" for one in self.faults[-1:]
        ]
        text = f"{time.strftime('%H:%M:%S')} {text} [{', '.join(on)}]"
        print(f"  VIOLATION {text}", file=sys.stderr, flush=True)
        if len(self.violations) < MOST_KEPT:
            self.violations.append(text)

    def is_explained(self, code: str, user: str, began: float) -> bool:
        """Whether a fault was on between ``began`` (monotonic) and now that brings ``code`` to ``user``."""
        return any(
            code in one.codes
            and one.user in (None, user)
            and (one.over is None or began <= one.over + AFTERMATH_SECONDS)
            for one in self.faults
        )

    @contextmanager
    def fault(self, kind: str, codes: frozenset[str] = frozenset(), user: str | None = None) -> Iterator[Fault]:
        """A fault goes on, and has been recovered from at the end of the block."""
        fault = Fault(kind, codes, user, time.monotonic())
        self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.over = time.monotonic()
