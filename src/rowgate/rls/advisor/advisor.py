"""Looks at a database by every rule and says what it found. Changes nothing: it reads in a transaction of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from rowgate.errors import SetupIncomplete
from rowgate.rls.advisor.finding import EXPOSED, Finding, Rule, Severity
from rowgate.rls.advisor.functions import FUNCTIONS
from rowgate.rls.advisor.policies import POLICIES
from rowgate.rls.advisor.roles import ROLES
from rowgate.rls.advisor.tables import TABLES
from rowgate.rls.advisor.views import VIEWS
from rowgate.rls.advisor.walls import HARDENING, IDENTITY

FAMILIES: Final[tuple[tuple[str, tuple[Rule, ...]], ...]] = (
    ("Roles", ROLES),
    ("Signed identity", IDENTITY),
    ("What PUBLIC may do", HARDENING),
    ("Tables", TABLES),
    ("Views", VIEWS),
    ("Policies", POLICIES),
    ("Functions", FUNCTIONS),
)
"""Every rule, by family, in the order in which they are shown."""

# What the gate lets through on purpose is not told again; who may not read the list is told everything.
_EXEMPT: Final = "SELECT pg_catalog.format('%I.%I', schema_name, object_name) FROM rowgate.gate_exemption"


_WHERE: Final = "SELECT pg_catalog.current_database()::text, (SELECT count(*) FROM exposed)"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a database. ``unread`` are the ids of rules that the connected role may not look at."""

    database: str
    findings: tuple[Finding, ...]
    unread: tuple[str, ...] = ()

    def of(self, rule: Rule) -> tuple[Finding, ...]:
        """What one rule found."""
        return tuple(one for one in self.findings if one.id == rule.id)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is worse than a hint."""
        return all(one.severity is Severity.HINT for one in self.findings)


def advise(connection: psycopg.Connection[Any]) -> Report:
    """Looks at the database of ``connection``, which must not be in a transaction, as any role that may log in.

    Raises SetupIncomplete where set-up has exposed no role.
    """
    with connection.transaction(force_rollback=True), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        cursor.execute((EXPOSED + _WHERE).encode())
        database, exposed = cursor.fetchone() or ("", 0)
        if not exposed:
            raise SetupIncomplete("This database exposes no role.")
        exempt = _exempt(connection)
        found: list[Finding] = []
        unread: list[str] = []
        for rule in (rule for _, rules in FAMILIES for rule in rules):
            try:
                with connection.transaction():
                    found += _findings(cursor, rule, exempt)
            except psycopg.errors.InsufficientPrivilege:
                unread.append(rule.id)
    return Report(database, tuple(found), tuple(unread))


def _findings(cursor: psycopg.Cursor[Any], rule: Rule, exempt: frozenset[str]) -> list[Finding]:
    cursor.execute((EXPOSED + rule.query).encode())
    rows = cursor.fetchall()
    if rule.read is not None:
        rows = list(rule.read(rows))
    return [
        Finding(rule.id, rule.severity, str(name), rule.why, str(fix).strip())
        for name, fix in sorted(rows, key=lambda row: str(row[0]))
        if str(name).partition("(")[0] not in exempt
    ]


def _exempt(connection: psycopg.Connection[Any]) -> frozenset[str]:
    try:
        with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
            return frozenset(name for (name,) in cursor.execute(_EXEMPT).fetchall())
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return frozenset()
