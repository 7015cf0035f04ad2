"""The gate of row-level security: whether a statement that the guard let through names something exposed.

A gate belongs to one reading of the catalog; when that changes, make a new one, and with it everything that was decided
is forgotten. It never talks to a database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rowgate.errors import RowSecurityMissing
from rowgate.guard.exposures import Exposure, Exposures
from rowgate.guard.verdict import Verdict, shown

MOST_PASSED: Final = 8192

_SYSTEM_SCHEMAS: Final = ("pg_catalog.", "information_schema.")
_SYSTEM_RELATIONS: Final = (*_SYSTEM_SCHEMAS, "pg_")


@dataclass(frozen=True, slots=True)
class Findings:
    """What a statement names: ``exposures`` that its role reaches, and names that nobody knew when the catalog was
    read (``unknown``): they may be of something newer."""

    exposures: tuple[Exposure, ...]
    unknown: bool


NO_FINDINGS: Final = Findings((), False)


class Gate:
    """Judges verdicts by ``exposures``."""

    __slots__ = ("_passed", "exposures")

    def __init__(self, exposures: Exposures) -> None:
        self.exposures = exposures
        # By identity: a text that is known has the same verdict each time, and hashing its names takes longer than this
        # whole question may. The verdict is kept, so that no other can have its place in memory.
        self._passed: dict[tuple[str, int], Verdict] = {}

    def passes(self, role: str, verdict: Verdict) -> bool:
        """Whether this very verdict was found harmless for ``role`` before; False asks :meth:`judge`."""
        return self._passed.get((role, id(verdict))) is verdict

    def judge(self, role: str, verdict: Verdict) -> Findings:
        """What the statement names that ``role`` can reach past row-level security.

        A name without a schema counts for every schema: which one it means depends on a search_path that sessions
        choose, and on what others make meanwhile.
        """
        exposures, known = self.exposures, True
        found: list[Exposure] = []
        for name in verdict.tables:
            if name.startswith(_SYSTEM_RELATIONS):
                continue  # the guard has its own list of them, and no name of a user's begins like that
            known = known and name in exposures.known_relations
            found += (one for one in exposures.relations.get(name, ()) if role in one.roles)
        for name in (*verdict.functions, *verdict.dotted):
            found += (one for one in exposures.functions.get(name, ()) if role in one.roles)
        if verdict.calls_user_functions:
            known = known and all(
                name in exposures.known_functions or name.startswith(_SYSTEM_SCHEMAS) for name in verdict.user_functions
            )
        if found or not known:
            return Findings(tuple(found), not known)
        self.remember(role, verdict)
        return NO_FINDINGS

    def remember(self, role: str, verdict: Verdict) -> None:
        """From now on the verdict passes for ``role``."""
        if len(self._passed) >= MOST_PASSED:
            self._passed.clear()
        self._passed[role, id(verdict)] = verdict


def missing_row_security(exposure: Exposure) -> RowSecurityMissing:
    """The error that says what is exposed, and the SQL that closes it."""
    return RowSecurityMissing(
        f"The {exposure.kind} {shown(exposure.label)} may not be used: row-level security does not protect it.",
        detail=exposure.why,
        hint=f"The owner closes it with: {exposure.fix_sql} Or, where it is public on purpose: "
        f"rowgate gate allow '{exposure.label}'",
    )
