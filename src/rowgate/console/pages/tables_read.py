"""What the catalogue says about the users' tables: row-level security, policies, and what exposed roles may do.

Reads over the control connection, which every gateway has; changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from rowgate.registry.registry import Registry

VERBS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
MOST_TABLES: Final = 500

_TABLES: Final = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relrowsecurity, c.relforcerowsecurity,
       ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0
             AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('information_schema', 'auth', 'rowgate')
    AND n.nspname NOT LIKE 'pg\\_%%'
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype = 'e')
ORDER BY n.nspname, c.relname LIMIT %s
"""
_POLICIES: Final = """
SELECT p.polrelid::int8, p.polname::text, p.polpermissive,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
            ELSE 'ALL' END,
       ARRAY(SELECT CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r)::text END FROM unnest(p.polroles) AS r),
       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
FROM pg_policy AS p ORDER BY p.polname
"""
_PRIVILEGES: Final = """
SELECT c.oid::int8, r.rolname::text, v.verb,
       has_table_privilege(r.oid, c.oid, v.verb)
       OR CASE v.verb WHEN 'DELETE' THEN false ELSE has_any_column_privilege(r.oid, c.oid, v.verb) END
FROM pg_class AS c, pg_roles AS r,
     (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS v (verb)
WHERE c.oid::int8 = ANY (%s) AND r.rolname = ANY (%s)
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy; expressions are as Postgres writes them."""

    name: str
    is_permissive: bool
    verb: str
    roles: tuple[str, ...]
    using: str | None
    check: str | None

    def is_for(self, verb: str, role: str) -> bool:
        """Whether it has a say in what ``role`` does."""
        return self.verb in (verb, "ALL") and (role in self.roles or "public" in self.roles)


@dataclass(frozen=True, slots=True)
class Table:
    """One table. ``allowed`` holds (role, verb) of what was granted."""

    schema: str
    name: str
    has_security: bool
    is_forced: bool
    columns: tuple[str, ...]
    policies: tuple[Policy, ...]
    allowed: frozenset[tuple[str, str]]

    @property
    def full_name(self) -> str:
        """Schema and name, for people."""
        return f"{self.schema}.{self.name}"

    def may(self, role: str, verb: str) -> tuple[str, str]:
        """In a word and a mark, what ``role`` may do."""
        if (role, verb) not in self.allowed:
            return "no", "no privilege"
        if not self.has_security:
            return "open", "every row"
        names = [one.name for one in self.policies if one.is_permissive and one.is_for(verb, role)]
        return ("some", ", ".join(names)) if names else ("no", "no policy")


async def read_tables(registry: Registry, roles: tuple[str, ...]) -> list[Table]:
    """The users' tables by schema and name, at most 500. Raises like ``Registry.rows``."""
    rows = await registry.rows(_TABLES, MOST_TABLES)
    oids = [row[0] for row in rows]
    policies: dict[int, list[Policy]] = defaultdict(list)
    for oid, name, is_permissive, verb, given, using, check in await registry.rows(_POLICIES):
        policies[oid].append(Policy(name, is_permissive, verb, tuple(given), using, check))
    allowed: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for oid, role, verb, is_allowed in await registry.rows(_PRIVILEGES, oids, list(roles)):
        if is_allowed:
            allowed[oid].add((role, verb))
    return [
        Table(schema, name, secured, forced, tuple(columns), tuple(policies[oid]), frozenset(allowed[oid]))
        for oid, schema, name, secured, forced, columns in rows
    ]


def in_words(policy: Policy, columns: tuple[str, ...]) -> str:
    """A policy as a sentence. Conditions are compared with what Postgres makes of the usual ones, never searched."""
    who = "everybody" if "public" in policy.roles else " and ".join(policy.roles)
    what = {"ALL": "read and change", "SELECT": "read", "INSERT": "add", "UPDATE": "change", "DELETE": "delete"}
    condition = policy.using if policy.using is not None else policy.check
    which = _usual(columns).get(condition or "", "")
    verb = what[policy.verb]
    if not policy.is_permissive:
        return f"Whatever else allows it, {who} may {verb} rows only where {which or condition}."
    if condition in (None, "true"):
        return f"{who.capitalize()} may {verb} every row."
    return f"{who.capitalize()} may {verb} rows where {which or condition}."


def _usual(columns: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for column in columns:
        words = {"user_id": "the signed-in user", "organization_id": "the user's organization"}
        for function, meaning in words.items():
            call, told = f"auth.{function}()", f"{column} is {meaning}"
            wrapped = f"( SELECT {call} AS {function})"
            for left, right in ((call, column), (column, call), (wrapped, column), (column, wrapped)):
                found[f"({left} = {right})"] = told
    return found
