"""What the advisor says: rules, and what each of them finds in a database, as values. Never talks to a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Severity(StrEnum):
    """How much it matters. An error shows rows to whom they do not belong, or opens a wall; a warning may; a hint is a
    choice, or about speed."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule found. ``fix_sql`` mends it when the owner (or a superuser) runs it."""

    id: str
    severity: Severity
    object: str
    why: str
    fix_sql: str


Row = tuple[Any, ...]
Read = Callable[[Sequence[Row]], Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as data. ``query`` gives rows of (object, fix_sql) for what it finds, after the table expressions of
    ``EXPOSED``; ``read`` makes such rows of others where SQL alone cannot tell. ``title`` says what holds where
    nothing is found."""

    id: str
    severity: Severity
    title: str
    why: str
    query: str
    read: Read | None = None


EXPOSED: Final = """
WITH exposed AS (
    SELECT DISTINCT r.oid, r.rolname::text AS name, pg_catalog.quote_ident(r.rolname) AS ident
    FROM pg_catalog.pg_auth_members AS m
    JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid
    JOIN pg_catalog.pg_roles AS l ON l.oid = m.member
    JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
    WHERE pg_catalog.shobj_description(l.oid, 'pg_authid') = 'Rowgate login for the database with oid ' || d.oid
), login AS (
    SELECT l.oid, l.rolname::text AS name, pg_catalog.quote_ident(l.rolname) AS ident
    FROM pg_catalog.pg_roles AS l JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
    WHERE pg_catalog.shobj_description(l.oid, 'pg_authid') = 'Rowgate login for the database with oid ' || d.oid
), everyone AS (
    SELECT 'PUBLIC, ' || pg_catalog.string_agg(ident, ', ' ORDER BY name) AS roles,
        pg_catalog.string_agg(ident, ', ' ORDER BY name) AS exposed_roles
    FROM exposed
), schema AS (
    SELECT n.oid, n.nspname::text AS name FROM pg_catalog.pg_namespace AS n
    WHERE NOT pg_catalog.starts_with(n.nspname::text, 'pg_')
        AND n.nspname NOT IN ('information_schema', 'auth', 'rowgate')
        AND EXISTS (SELECT FROM exposed AS e WHERE pg_catalog.has_schema_privilege(e.oid, n.oid, 'USAGE'))
), relation AS (
    SELECT c.*, s.name AS schema_name, pg_catalog.format('%I.%I', s.name, c.relname) AS ident
    FROM pg_catalog.pg_class AS c JOIN schema AS s ON s.oid = c.relnamespace
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS d
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
), reached AS (
    SELECT * FROM relation AS c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND EXISTS (
        SELECT FROM exposed AS e
        WHERE pg_catalog.has_table_privilege(e.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
            OR pg_catalog.has_any_column_privilege(e.oid, c.oid, 'SELECT, INSERT, UPDATE')
    )
), called AS (
    SELECT p.*, p.oid::regprocedure::text AS ident, s.name AS schema_name
    FROM pg_catalog.pg_proc AS p JOIN schema AS s ON s.oid = p.pronamespace
    WHERE p.prosecdef AND p.prorettype NOT IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d
            WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        )
)
"""
"""What rules speak of: exposed roles (told by their logins, whose comments everybody may read), the schemas that they
can use, what they reach in them, and functions that run with their owner's rights. search_path must be pg_catalog."""
