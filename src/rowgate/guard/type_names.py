"""Which types a statement may name: in casts, column definition lists, JSON and XML columns.

A cast to ``regclass`` and its like asks the system catalogs whether a name exists and what an oid is called, past
every GRANT (Postgres docs, "Object Identifier Types"). This module reads names only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rowgate.guard.relations import is_refused_schema
from rowgate.guard.verdict import Refusal, shown

PSEUDO_TYPES: Final = frozenset({"cstring", "internal"})
"""No types of values."""

REFUSED_TYPES: Final = PSEUDO_TYPES | frozenset(
    {
        *("regclass", "regcollation", "regdatabase", "regnamespace", "regoper", "regoperator"),
        *("regproc", "regprocedure", "regrole", "regtype"),
        "aclitem",  # its input looks role names up
    }
)
"""``regconfig`` and ``regdictionary`` stay open: to_tsvector('english'::regconfig, …) is how every ORM writes it, and
they name text search objects only."""

_OPEN_PG_TYPES: Final = frozenset({"pg_lsn", "pg_snapshot"})


def judge_type(parts: Sequence[str]) -> Refusal | None:
    """The refusal for a type's name (parts from the left), or None where it may be named.

    ``pg_*`` are the row types of the system catalogs.
    """
    if not 1 <= len(parts) <= 2:
        return Refusal(
            "A type may not be qualified with a database name.", f"Got {shown('.'.join(parts))}.", "Write schema.name."
        )
    name = parts[-1]
    if len(parts) == 2 and parts[0] != "pg_catalog":
        if is_refused_schema(parts[0]):
            return _refusal(parts, f"The schema {shown(parts[0])} is closed to exposed roles.")
        return None
    bare = name.lstrip("_")  # _regclass is the internal name of regclass[]
    if bare in REFUSED_TYPES:
        return _refusal(parts, "It reads the system catalogs past every GRANT.")
    if bare.startswith("pg_") and bare not in _OPEN_PG_TYPES:
        return _refusal(parts, "Types that begin with pg_ belong to the system catalogs.")
    return None


def _refusal(parts: Sequence[str], detail: str) -> Refusal:
    return Refusal(
        f"The type {shown('.'.join(parts))} may not be used.",
        detail,
        "Cast to text, integer or another type of values; name relations and functions directly.",
    )
