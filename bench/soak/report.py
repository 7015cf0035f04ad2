"""What the soak found, for people and as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.soak.tally import Tally


@dataclass
class Report:
    """The whole outcome. ``checks`` are the ends' findings by name."""

    seconds: float
    users: int
    tally: Tally
    checks: dict[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether nothing was found that must not be."""
        return not self.tally.violation_count

    def json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "seconds": round(self.seconds, 1),
            "users": self.users,
            "answers": self.tally.answers,
            "good": self.is_good,
            "violation_count": self.tally.violation_count,
            "violations": self.tally.violations,
            "outcomes": [[*key, count] for key, count in sorted(self.tally.outcomes.items())],
            "faults": self._faults(),
            "checks": self.checks,
        }

    def _faults(self) -> dict[str, dict[str, float]]:
        kinds: dict[str, list[float]] = {}
        for fault in self.tally.faults:
            kinds.setdefault(fault.kind, []).append(-1.0 if fault.recovery is None else fault.recovery)
        return {
            kind: {"times": len(found), "median": statistics.median(found), "longest": max(found)}
            for kind, found in kinds.items()
        }

    def text(self) -> str:
        """A page for people."""
        lines = [
            f"{self.seconds:.0f} s, {self.users} users, {self.tally.answers:,} answers judged",
            "",
            "| fault | times | recovered after, median s | longest s |",
            "|---|---:|---:|---:|",
        ]
        for kind, found in self._faults().items():
            lines.append(f"| {kind} | {found['times']} | {found['median']:.2f} | {found['longest']:.2f} |")
        lines += ["", "| front | outcome | answers |", "|---|---|---:|"]
        shown: Counter[tuple[str, str]] = Counter()
        for (front, _, outcome), count in self.tally.outcomes.items():
            shown[front, outcome] += count
        lines += [f"| {front} | {outcome} | {count:,} |" for (front, outcome), count in sorted(shown.items())]
        lines += ["", *(f"{name}: {found}" for name, found in self.checks.items()), ""]
        if self.is_good:
            lines.append("Every answer was right, asked for, or explained by a fault; nothing was left behind.")
        else:
            lines += [f"{self.tally.violation_count} VIOLATIONS", *(f"- {one}" for one in self.tally.violations)]
        return "\n".join(lines) + "\n"
