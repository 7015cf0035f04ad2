"""What of a database an exposed role can reach past row-level security: a value, made from a row that the caller read.

The guard lets a statement name any table of the user's; which of them nobody has put policies on only the catalog
knows. Views count with what they read, because Postgres asks for the privileges and policies of the view's owner there
unless the view is a security_invoker one. Not seen here: what bodies of functions, triggers, operators and defaults
read. This module holds the query as text and never runs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

EXPOSURES_QUERY: Final = """
WITH exposed AS (
    SELECT r.oid, r.rolname::text AS name, r.rolsuper OR r.rolbypassrls AS bypasses
    FROM rowgate.exposed_role AS e JOIN pg_catalog.pg_roles AS r ON r.rolname = e.role_name
), schema AS (
    SELECT oid, nspname::text AS name FROM pg_catalog.pg_namespace
    WHERE NOT pg_catalog.starts_with(nspname::text, 'pg_') AND nspname NOT IN ('information_schema', 'auth', 'rowgate')
)
SELECT
    (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
            c.oid::int8, s.name, c.relname, pg_catalog.format('%I.%I', s.name, c.relname), c.relkind, c.relrowsecurity,
            (
                SELECT option_value::bool FROM pg_catalog.pg_options_to_table(c.reloptions)
                WHERE option_name = 'security_invoker'
            ),
            ARRAY(
                SELECT e.name FROM exposed AS e
                WHERE pg_catalog.has_schema_privilege(e.oid, s.oid, 'USAGE') AND (
                    pg_catalog.has_table_privilege(e.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
                    OR pg_catalog.has_any_column_privilege(e.oid, c.oid, 'SELECT, INSERT, UPDATE')
                )
            ),
            ARRAY(
                SELECT e.name FROM exposed AS e
                WHERE e.bypasses OR (NOT c.relforcerowsecurity AND pg_catalog.pg_has_role(e.oid, c.relowner, 'USAGE'))
            )
        ))
        FROM pg_catalog.pg_class AS c JOIN schema AS s ON s.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    ) AS relations,
    (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
            -p.oid::int8, s.name, p.proname, p.oid::regprocedure::text,
            ARRAY(
                SELECT e.name FROM exposed AS e
                WHERE pg_catalog.has_schema_privilege(e.oid, s.oid, 'USAGE')
                    AND pg_catalog.has_function_privilege(e.oid, p.oid, 'EXECUTE')
            )
        ))
        FROM pg_catalog.pg_proc AS p JOIN schema AS s ON s.oid = p.pronamespace
        WHERE p.prosecdef AND p.prokind <> 'p'
            AND p.prorettype NOT IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
    ) AS definers,
    (
        SELECT pg_catalog.json_agg(DISTINCT pg_catalog.jsonb_build_array(
            w.ev_class::int8,
            CASE d.refclassid WHEN 'pg_catalog.pg_proc'::regclass THEN -d.refobjid::int8 ELSE d.refobjid::int8 END
        ))
        FROM pg_catalog.pg_rewrite AS w
        JOIN pg_catalog.pg_class AS c ON c.oid = w.ev_class AND c.relkind = 'v'
        JOIN schema AS s ON s.oid = c.relnamespace
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_proc'::regclass)
            AND d.refobjid <> w.ev_class
    ) AS dependencies,
    (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(schema_name, function_name)) FROM (
            SELECT s.name, p.proname FROM pg_catalog.pg_proc AS p JOIN schema AS s ON s.oid = p.pronamespace
            UNION SELECT s.name, t.typname FROM pg_catalog.pg_type AS t JOIN schema AS s ON s.oid = t.typnamespace
        ) AS named (schema_name, function_name)
    ) AS functions,
    (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(schema_name, object_name)) FROM rowgate.gate_exemption
    ) AS exemptions
"""
"""One row, of one snapshot of the database, for the control role. The connection's search_path must be pg_catalog, so
that functions are written with their schema. Numbers of functions are negative, because both kinds have their own."""

_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)

Name = tuple[str, str]
"""Schema and name of a relation or a function."""


class Flaw(StrEnum):
    """Why row-level security does not decide."""

    ROW_SECURITY_OFF = "row_security_off"
    OWNED_BY_ROLE = "owned_by_role"
    VIEW_OF_OWNER = "view_of_owner"
    VIEW_OF_EXPOSED = "view_of_exposed"
    MATERIALIZED_VIEW = "materialized_view"
    FOREIGN_TABLE = "foreign_table"
    DEFINER_FUNCTION = "definer_function"


@dataclass(frozen=True, slots=True)
class Exposure:
    """One thing that ``roles`` can reach and that row-level security does not protect.

    ``signature`` is the SQL spelling with the schema; of a function with its argument types. ``beneath`` is what a
    view with security_invoker reads that is exposed itself.
    """

    flaw: Flaw
    schema: str
    name: str
    signature: str
    roles: frozenset[str]
    beneath: Exposure | None = None

    @property
    def label(self) -> str:
        """Schema and name for people, in quotation marks where SQL would need them."""
        return ".".join(name if _PLAIN.fullmatch(name) else _quoted(name) for name in (self.schema, self.name))

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return _KINDS[self.flaw]

    @property
    def why(self) -> str:
        """What the role could do, in one sentence."""
        if self.beneath is not None:
            return f"It reads the {self.beneath.kind} {self.beneath.signature}. {self.beneath.why}"
        return _REASONS[self.flaw]

    @property
    def fix_sql(self) -> str:
        """SQL for the owner that closes it. Policies, which say who has which rows, are for a person to write."""
        if self.beneath is not None:
            return self.beneath.fix_sql
        return _FIXES[self.flaw].format(it=self.signature, roles=", ".join(map(_quoted, sorted(self.roles))))


_KINDS: Final = {
    Flaw.ROW_SECURITY_OFF: "table",
    Flaw.OWNED_BY_ROLE: "table",
    Flaw.VIEW_OF_OWNER: "view",
    Flaw.VIEW_OF_EXPOSED: "view",
    Flaw.MATERIALIZED_VIEW: "materialized view",
    Flaw.FOREIGN_TABLE: "foreign table",
    Flaw.DEFINER_FUNCTION: "function",
}
_REASONS: Final = {
    Flaw.ROW_SECURITY_OFF: "It has no row-level security: whoever may read it reads the rows of everybody.",
    Flaw.OWNED_BY_ROLE: "Row-level security does not hold for its owner, or for roles that bypass it.",
    Flaw.VIEW_OF_OWNER: "It reads with the rights of its owner, whom the policies of its tables may not hold for.",
    Flaw.VIEW_OF_EXPOSED: "It reads something that is exposed.",
    Flaw.MATERIALIZED_VIEW: "It keeps rows of everybody, and cannot have row-level security.",
    Flaw.FOREIGN_TABLE: "Its rows are another server's, and it cannot have row-level security.",
    Flaw.DEFINER_FUNCTION: "It runs with the rights of its owner, whom policies may not hold for.",
}
_FIXES: Final = {
    Flaw.ROW_SECURITY_OFF: "ALTER TABLE {it} ENABLE ROW LEVEL SECURITY;",
    Flaw.OWNED_BY_ROLE: "ALTER TABLE {it} FORCE ROW LEVEL SECURITY;",
    Flaw.VIEW_OF_OWNER: "ALTER VIEW {it} SET (security_invoker = true);",
    Flaw.VIEW_OF_EXPOSED: "REVOKE ALL ON TABLE {it} FROM PUBLIC, {roles};",
    Flaw.MATERIALIZED_VIEW: "REVOKE ALL ON TABLE {it} FROM PUBLIC, {roles};",
    Flaw.FOREIGN_TABLE: "REVOKE ALL ON TABLE {it} FROM PUBLIC, {roles};",
    Flaw.DEFINER_FUNCTION: "REVOKE ALL ON FUNCTION {it} FROM PUBLIC, {roles};",
}


@dataclass(frozen=True, slots=True)
class Exposures:
    """What one database exposes at one moment.

    ``relations`` and ``functions`` map names, as a statement may write them (with schema or without), to what is
    exposed under that name in any schema: which one a name without a schema means depends on a search_path that
    sessions choose. ``known_relations`` and ``known_functions`` are all such names; types are among the functions,
    because ``name(value)`` may be a cast. ``exempt`` is what was allowed on purpose.
    """

    relations: Mapping[str, tuple[Exposure, ...]]
    functions: Mapping[str, tuple[Exposure, ...]]
    known_relations: frozenset[str]
    known_functions: frozenset[str]
    exempt: frozenset[Name]

    @property
    def all(self) -> tuple[Exposure, ...]:
        """Everything that is exposed and not exempt, by name."""
        found = {one for group in (*self.relations.values(), *self.functions.values()) for one in group}
        return tuple(sorted(found, key=lambda one: (one.schema, one.name, one.flaw)))


NOTHING_EXPOSED: Final = Exposures({}, {}, frozenset(), frozenset(), frozenset())


def read_exposures(row: Sequence[Any]) -> Exposures:
    """What a row of ``EXPOSURES_QUERY`` says."""
    relation_rows, definer_rows, dependency_rows, function_rows, exemption_rows = (part or () for part in row)
    exempt = frozenset((schema, name) for schema, name in exemption_rows)
    relations = [_Relation(*values) for values in relation_rows]
    judged = [one for one in relations if (one.schema, one.name) not in exempt]
    definers = {
        number: Exposure(Flaw.DEFINER_FUNCTION, schema, name, signature, frozenset(roles))
        for number, schema, name, signature, roles in definer_rows
        if (schema, name) not in exempt
    }
    own = {one.number: one.own_exposures() for one in judged} | {number: [one] for number, one in definers.items()}
    reads: dict[int, list[int]] = {one.number: [] for one in judged if one.kind == "v" and one.invoker}
    for view, other in dependency_rows:
        if view in reads:  # other views read with the rights of their owner, and what is exempt is so with all it reads
            reads[view].append(other)
    found = [one for group in own.values() for one in group if one.flaw is not Flaw.DEFINER_FUNCTION]
    found += [one for view in judged if view.number in reads for one in _beneath(view, reads, own)]
    return Exposures(
        _by_name(one for one in found if one.roles),
        _by_name(one for one in definers.values() if one.roles),
        frozenset(_spellings((one.schema, one.name) for one in relations)),
        frozenset(_spellings((schema, name) for schema, name in function_rows)),
        exempt,
    )


@dataclass(frozen=True, slots=True)
class _Relation:
    """A relation as the query gives it: ``kind`` is pg_class.relkind, ``roles`` may use it, ``bypassing`` are the
    exposed roles that policies do not hold for."""

    number: int
    schema: str
    name: str
    signature: str
    kind: str
    row_security: bool
    invoker: bool | None
    roles: list[str]
    bypassing: list[str]

    def own_exposures(self) -> list[Exposure]:
        roles = frozenset(self.roles)
        flaw = {"m": Flaw.MATERIALIZED_VIEW, "f": Flaw.FOREIGN_TABLE}.get(self.kind)
        if self.kind in ("r", "p"):
            flaw = Flaw.OWNED_BY_ROLE if self.row_security else Flaw.ROW_SECURITY_OFF
            roles &= frozenset(self.bypassing) if self.row_security else roles
        elif self.kind == "v" and not self.invoker:
            flaw = Flaw.VIEW_OF_OWNER
        return [Exposure(flaw, self.schema, self.name, self.signature, roles)] if flaw is not None and roles else []


def _beneath(view: _Relation, reads: Mapping[int, list[int]], own: Mapping[int, list[Exposure]]) -> Iterator[Exposure]:
    """What a view with security_invoker leads to, through views of its kind. A role needs the privileges on what is
    read itself, so only roles that reach both count."""
    seen, pending = {view.number}, list(reads[view.number])
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        pending += reads.get(number, ())
        for one in own.get(number, ()):
            roles = one.roles & frozenset(view.roles)
            if roles:
                yield Exposure(Flaw.VIEW_OF_EXPOSED, view.schema, view.name, view.signature, roles, one)


def _by_name(exposures: Iterable[Exposure]) -> Mapping[str, tuple[Exposure, ...]]:
    grouped: dict[str, list[Exposure]] = {}
    for one in exposures:
        for spelling in _spellings([(one.schema, one.name)]):
            grouped.setdefault(spelling, []).append(one)
    return MappingProxyType({name: tuple(group) for name, group in grouped.items()})


def _spellings(names: Iterable[Name]) -> Iterator[str]:
    """As a verdict spells names: alone, and behind the schema."""
    for schema, name in names:
        yield name
        yield f"{schema}.{name}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
