"""Why somebody gets no row: the table's rows as the owner sees them, and for each what every policy says of it.

The policies' own expressions are asked by Postgres, with the user's verified identity, in a transaction of the owner's
that only reads and is rolled back. Nothing here decides what a user may see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import sql

from rowgate.console.pages.access import Visit
from rowgate.console.pages.owner import Owner
from rowgate.console.pages.statements import Actor
from rowgate.console.pages.tables_read import Policy, Table, in_words, read_tables
from rowgate.errors import RequestRefused

MOST_ROWS: Final = 50


@dataclass(frozen=True, slots=True)
class Judged:
    """One row, and what each policy says: True, False, or None where its expression gives NULL."""

    values: tuple[str | None, ...]
    verdicts: tuple[bool | None, ...]
    is_seen: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """One table. ``reason`` is said where no policy has a say; ``sentences`` are the policies in words."""

    table: Table
    policies: tuple[Policy, ...]
    sentences: tuple[str, ...]
    reason: str
    rows: tuple[Judged, ...]

    @property
    def lost(self) -> int:
        """How many of the rows the user does not see."""
        return sum(not row.is_seen for row in self.rows)


async def explain_rows(visit: Visit, owner: Owner, actor: Actor, text: str) -> list[Explanation]:
    """An explanation for each table that the statement names. Raises RequestRefused, StatementRefused, TokenRefused."""
    verdict = visit.database.guard.check(text)
    named = set(verdict.tables)
    tables = [
        one
        for one in await read_tables(visit.database.registry, (actor.role,))
        if one.full_name in named or one.name in named
    ]
    if not tables:
        raise RequestRefused("The statement names no table of yours.", hint="Try SELECT * FROM a table.")
    return [await _explain(visit, owner, actor, table) for table in tables]


async def _explain(visit: Visit, owner: Owner, actor: Actor, table: Table) -> Explanation:
    policies = tuple(one for one in table.policies if one.is_for("SELECT", actor.role))
    has_privilege = (actor.role, "SELECT") in table.allowed
    reason = ""
    if not has_privilege:
        reason = f"The role {actor.role} has no SELECT privilege on it."
    elif not table.has_security:
        reason = "Row-level security is off: everybody with the privilege sees every row."
    elif not any(one.is_permissive for one in policies):
        reason = f"No policy lets {actor.role} read it, so there is no row for them."
    async with owner.transaction(keep=False, read_only=True) as connection:
        principal = await visit.database.identify(actor.role, actor.token)
        if principal is not None:
            # Without SET ROLE an identity is bound to the login role.
            identity = visit.database.session_identity(principal, connection.info.user)
            token = identity.token(connection.info.backend_pid)
            await connection.execute("SELECT auth.jwt_session_init(%s)", [token.decode()])
        # Expressions of the catalogue, as Postgres itself has written them: there are no parameters for those.
        asked = [sql.SQL("({})::boolean").format(sql.SQL(one.using or "true")) for one in policies]
        columns = [sql.SQL("{}::text").format(sql.Identifier(name)) for name in table.columns]
        statement = sql.SQL("SELECT {} FROM {} LIMIT {}").format(
            sql.SQL(", ").join([*columns, *asked]) if columns or asked else sql.SQL("true"),
            sql.Identifier(table.schema, table.name),
            sql.Literal(MOST_ROWS),
        )
        found = await (await connection.execute(statement)).fetchall()
    count = len(table.columns)
    rows = tuple(
        Judged(tuple(row[:count]), tuple(row[count:]), has_privilege and _is_seen(table, policies, row[count:]))
        for row in found
    )
    return Explanation(table, policies, tuple(in_words(one, table.columns) for one in policies), reason, rows)


def _is_seen(table: Table, policies: tuple[Policy, ...], verdicts: tuple[bool | None, ...]) -> bool:
    """One permissive policy must say yes, and every restrictive one (PostgreSQL 18, section 5.9)."""
    if not table.has_security:
        return True
    judged = list(zip(policies, verdicts, strict=True))
    return any(said for one, said in judged if one.is_permissive) and all(
        said for one, said in judged if not one.is_permissive
    )
