"""Which relations a statement may name: every one outside Postgres's and Rowgate's own schemas.

Row-level security and GRANT decide about the rows of the rest. This module reads names only; it never asks a
database what they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rowgate.guard.verdict import Refusal, shown

REFUSED_SCHEMAS: Final = frozenset({"information_schema", "auth", "rowgate", "cron", "net", "vault"})
"""Schemas whose relations and functions are closed (``auth`` opens single functions); ``pg_*`` is closed as well.

``cron``, ``net`` and ``vault`` are where pg_cron, pg_net and Supabase's vault keep jobs, answers and secrets.
"""

_CATALOG_HINT = "Ask the database owner for a view, in a schema of your own, of what the role may know."


def is_refused_schema(schema: str) -> bool:
    """Whether ``schema`` is closed. Postgres reserves the prefix ``pg_`` (docs, "CREATE SCHEMA"): pg_catalog,
    pg_toast, pg_temp and its numbered forms."""
    return schema in REFUSED_SCHEMAS or schema.startswith("pg_")


def judge_relation(node: dict[str, Any]) -> Refusal | None:
    """The refusal for a RangeVar node, or None where it may be named.

    A name that begins with ``pg_`` is refused in every schema: unqualified it reaches pg_catalog, and extensions put
    views like pg_stat_statements into the user's schemas.
    """
    catalog, schema, name = node.get("catalogname"), node.get("schemaname"), node.get("relname", "")
    if catalog is not None:
        return Refusal(
            "A relation may not be qualified with a database name.",
            f"Got {shown(catalog)}.{shown(schema or '')}.{shown(name)}.",
            "Write schema.name; the connection string chooses the database.",
        )
    if schema is not None and is_refused_schema(schema):
        return Refusal(
            f"Relations in the schema {shown(schema)} may not be used.",
            f"Got {shown(schema)}.{shown(name)}.",
            _CATALOG_HINT,
        )
    if name.startswith("pg_"):
        return Refusal(
            f"The relation {shown(name)} may not be used.",
            "Names that begin with pg_ belong to Postgres and its extensions.",
            _CATALOG_HINT,
        )
    return None


def judge_qualified_name(parts: Sequence[str], what: str) -> Refusal | None:
    """The refusal for the name of an operator, a collation or an operator class, or None.

    ``parts`` is the name from the left, ``what`` the kind of object in English. Those of pg_catalog are open:
    Postgres's operators are functions that read their operands.
    """
    if len(parts) > 2:
        return Refusal(
            f"The name of the {what} has too many parts.", f"Got {shown('.'.join(parts))}.", "Write schema.name."
        )
    if len(parts) == 2 and parts[0] != "pg_catalog" and is_refused_schema(parts[0]):
        return Refusal(
            f"The {what} {shown('.'.join(parts))} may not be used.",
            f"The schema {shown(parts[0])} is closed to exposed roles.",
            f"Use the {what} of pg_catalog or of your own schema.",
        )
    return None
