"""What functions a server has, as far as the guard needs to know: a value, made from rows that the caller read.

Postgres adds functions with every major version and every extension, so the allow-list is computed from the server's
own catalogue at start. A copy of the names of Postgres 15 and 18 is shipped for when no server was read. This module
holds the query as text and never runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from rowgate.errors import SetupIncomplete
from rowgate.guard.curated import (
    CURATED_FUNCTIONS,
    REFUSED_IMMUTABLE,
    REFUSED_IMMUTABLE_PREFIXES,
    REFUSED_OF_EXTENSIONS,
    TRUSTED_EXTENSIONS,
)

CATALOG_QUERY: Final = """\
select n.nspname::text as schema,
       p.proname::text as name,
       pg_catalog.bool_and(p.provolatile = 'i') as immutable,
       pg_catalog.bool_and(not exists (
         select 1
         from pg_catalog.unnest(p.proargtypes::pg_catalog.oid[] || p.prorettype) as t(id)
         where t.id in ('pg_catalog.internal'::pg_catalog.regtype, 'pg_catalog.cstring'::pg_catalog.regtype,
                        'pg_catalog._cstring'::pg_catalog.regtype, 'pg_catalog.trigger'::pg_catalog.regtype,
                        'pg_catalog.event_trigger'::pg_catalog.regtype)
       )) as plain,
       e.extname::text as extension,
       pg_catalog.bool_and(pg_catalog.has_function_privilege('public', p.oid, 'execute')) as public,
       pg_catalog.bool_or(p.pronargs >= 1 and p.pronargs - p.pronargdefaults <= 1
                          and p.proargtypes[0] <> 'pg_catalog.internal'::pg_catalog.regtype) as unary
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid
  and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and d.deptype = 'e'
left join pg_catalog.pg_extension e on e.oid = d.refobjid
where n.nspname = 'pg_catalog' or e.oid is not null
group by 1, 2, 5
order by 1, 2, 5"""
"""One row for each name: the columns of :class:`FunctionRow`. Runs on Postgres 14 to 18 as any role."""


class FunctionRow(NamedTuple):
    """A function name of the server, all its overloads together.

    ``immutable``, ``plain`` (no argument or result is ``internal``, ``cstring`` or a trigger) and ``public`` (PUBLIC
    may execute it) hold for every overload; ``unary`` says that some overload can be called with one argument;
    ``extension`` is the owner's name, or None.
    """

    schema: str
    name: str
    immutable: bool
    plain: bool
    extension: str | None
    public: bool
    unary: bool


@dataclass(frozen=True, slots=True)
class FunctionCatalog:
    """The names that the rules of functions need.

    ``builtin`` are all names in pg_catalog, ``allowed`` those of them that may be called. ``extension_functions``
    maps (schema, name), and ``extension_names`` the name alone, of closed extension functions to their extension.
    ``column_functions`` are the closed names that could be called as if they were columns.
    """

    builtin: frozenset[str] = field(repr=False)
    allowed: frozenset[str] = field(repr=False)
    extension_functions: Mapping[tuple[str, str], str] = field(repr=False)
    extension_names: Mapping[str, str] = field(repr=False)
    column_functions: frozenset[str] = field(repr=False)

    @classmethod
    def from_rows(
        cls, rows: Iterable[tuple[Any, ...]], *, trusted_extensions: frozenset[str] = TRUSTED_EXTENSIONS
    ) -> FunctionCatalog:
        """The catalogue of a server, from the rows of :data:`CATALOG_QUERY` (FunctionRow or plain tuples like it).

        Functions of an extension outside ``trusted_extensions`` are closed. Raises SetupIncomplete where the rows
        are not a server's: without pg_catalog's names every function would pass for the user's own.
        """
        builtin: set[str] = set()
        allowed: set[str] = set()
        closed: dict[tuple[str, str], str] = {}
        unary: set[str] = set()
        volatile_of_extensions: set[str] = set()
        for values in rows:
            row = FunctionRow(*values)
            open_extension = row.extension is None or (
                row.extension in trusted_extensions and row.name not in REFUSED_OF_EXTENSIONS
            )
            if row.schema == "pg_catalog":
                if open_extension and _is_open_builtin(row) and (row.name not in builtin or row.name in allowed):
                    allowed.add(row.name)
                else:
                    allowed.discard(row.name)
                builtin.add(row.name)
                if row.unary:
                    unary.add(row.name)
            elif row.extension is not None and not open_extension and row.schema != "auth":
                closed[row.schema, row.name] = row.extension
                # Immutable ones have names like latitude (earthdistance), which honest tables have as columns.
                if row.unary and not row.immutable:
                    volatile_of_extensions.add(row.name)
        if not {"count", "set_config"} <= builtin:
            raise SetupIncomplete(
                "The list of the server's functions is incomplete.",
                detail=f"Expected the names of pg_catalog, got {len(builtin)} without count and set_config.",
                hint="Check that the gateway's control role may read pg_catalog.pg_proc.",
            )
        return cls(
            frozenset(builtin),
            frozenset(allowed),
            MappingProxyType(closed),
            MappingProxyType({name: extension for (_, name), extension in closed.items()}),
            frozenset(name for name in unary - allowed if not _is_input_or_output(name)) | volatile_of_extensions,
        )

    @classmethod
    def default(cls) -> FunctionCatalog:
        """The catalogue of a stock server, Postgres 15 and 18 in one, without extensions."""
        return _default_catalog()


def _is_open_builtin(row: FunctionRow) -> bool:
    if row.name in CURATED_FUNCTIONS:
        return True
    return (
        row.immutable
        and row.plain
        and row.public
        and row.name not in REFUSED_IMMUTABLE
        and not row.name.startswith(REFUSED_IMMUTABLE_PREFIXES)
        # The send functions take their argument by an implicit cast: regclasssend('x') looks a name up.
        and not row.name.endswith("send")
    )


def _is_input_or_output(name: str) -> bool:
    """Type input and output functions do what a cast does, and have names like time_out, which honest tables have as
    columns; those of the object identifier types look names up."""
    return name.endswith(("in", "out")) and not name.startswith(("reg", "acl", "pg_"))


@cache
def _default_catalog() -> FunctionCatalog:
    """Each line of the shipped list is a sign, a digit, a space and a name: ``+`` where every overload of both
    versions is immutable, plain and public, else ``-``; ``1`` where one can be called with one argument, else ``0``.
    Lines that begin with ``#`` are comments."""
    text = files("rowgate.guard").joinpath("pg_catalog_functions.txt").read_text("utf-8")
    rows = []
    for line in text.splitlines():
        if line[:1] in {"+", "-"}:
            is_open = line[0] == "+"
            rows.append(FunctionRow("pg_catalog", line[3:], is_open, is_open, None, is_open, line[1] == "1"))
    return FunctionCatalog.from_rows(rows)
