"""What the advisor finds, on the page Tables: each finding with the SQL that mends it, tried first and then applied.

The SQL is the advisor's own, looked up anew for each request: nothing that a form says is ever run. It is tried in a
transaction that is rolled back, applied in one only where the console knows the owner, and looked at again after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import psycopg
from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.frame import Frame, Refusal, go_to
from rowgate.console.pages.owner import Owner
from rowgate.errors import ConnectFailed, RequestRefused, RowgateError
from rowgate.rls.advisor.advisor import FAMILIES, Report, advise
from rowgate.rls.advisor.finding import Finding, Rule, Severity

PATH: Final = "/tables/findings"
TABLES: Final = "/tables"
SHOWN_PER_RULE: Final = 10
SEVERITIES: Final = (Severity.ERROR, Severity.WARNING, Severity.HINT)


@dataclass(frozen=True, slots=True)
class Group:
    """What one rule found. ``more`` is how many are not shown."""

    rule: Rule
    findings: tuple[Finding, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Level:
    """The findings of one severity; ``count`` is of all of them."""

    severity: Severity
    groups: tuple[Group, ...]
    count: int


class Findings:
    """The list, the trial of a fix, and its application."""

    def __init__(self, frame: Frame, owner: Owner) -> None:
        self._frame = frame
        self._owner = owner

    def routes(self, doorway: Doorway) -> list[Route]:
        """Their addresses."""
        return [
            Route(PATH, doorway.guarded(self.show), methods=["GET"]),
            Route(f"{PATH}/preview", doorway.guarded(self.preview), methods=["POST"]),
            Route(f"{PATH}/apply", doorway.guarded(self.apply), methods=["POST"]),
        ]

    async def show(self, visit: Visit) -> Response:
        """A part: everything that was found, what matters most first."""
        report = await _report(visit)
        rules = [rule for _, rules in FAMILIES for rule in rules]
        levels = [_level(report, severity, rules) for severity in SEVERITIES]
        return self._frame.page(
            visit.request, visit.session, "findings.html", levels=[one for one in levels if one.count],
            unread=len(report.unread), rules=len(rules),
        )  # fmt: skip

    async def preview(self, visit: Visit) -> Response:
        """A part: the SQL of one finding, and what Postgres says of it."""
        finding = await self._finding(visit)
        refusal = None
        if self._owner.is_known and finding.fix_sql:
            try:
                await self._owner.run(finding.fix_sql, keep=False)
            except RowgateError as problem:
                refusal = Refusal.of(problem)
        return self._frame.page(
            visit.request, visit.session, "finding_preview.html", finding=finding, refusal=refusal,
            digest=_digest(finding), can_apply=self._owner.is_known and refusal is None,
        )  # fmt: skip

    async def apply(self, visit: Visit) -> Response:
        """Runs what was shown, in one transaction, and says whether the finding is gone."""
        finding = await self._finding(visit)
        if not finding.fix_sql or _digest(finding) != visit.fields.get("digest"):
            raise RequestRefused(
                "The database has changed since this was shown.", hint="Load the page again, and look at it once more."
            )
        await self._owner.run(finding.fix_sql, keep=True)
        left = (await _report(visit)).findings
        is_gone = (finding.id, finding.object) not in {(one.id, one.object) for one in left}
        visit.session.message = (
            f"{finding.object} is mended ({finding.id}). " if is_gone
            else f"The SQL ran, but {finding.id} still finds {finding.object}. "
        ) + f"One transaction of the owner ran: {finding.fix_sql}"  # fmt: skip
        return go_to(TABLES)

    async def _finding(self, visit: Visit) -> Finding:
        asked = (visit.fields.get("rule", ""), visit.fields.get("object", ""))
        for one in (await _report(visit)).findings:
            if (one.id, one.object) == asked:
                return one
        raise RequestRefused("This is not found any more.", hint="Load the page again.")


def _level(report: Report, severity: Severity, rules: Sequence[Rule]) -> Level:
    found = [(rule, report.of(rule)) for rule in rules if rule.severity is severity]
    groups = [Group(rule, some[:SHOWN_PER_RULE], max(0, len(some) - SHOWN_PER_RULE)) for rule, some in found if some]
    return Level(severity, tuple(groups), sum(len(some) for _, some in found))


async def _report(visit: Visit) -> Report:
    """Looks by the control connection's role, which every gateway has. Raises SetupIncomplete or ConnectFailed."""
    return await asyncio.to_thread(_look, visit.endpoint.target.control_conninfo(visit.database.name))


def _look(conninfo: str) -> Report:
    try:
        with psycopg.connect(
            conninfo, autocommit=True, connect_timeout=10, application_name="rowgate console"
        ) as connection:  # fmt: skip
            return advise(connection)
    except psycopg.Error as problem:
        raise ConnectFailed("The database cannot be looked at.") from problem


def _digest(finding: Finding) -> str:
    return sha256(finding.fix_sql.encode()).hexdigest()
