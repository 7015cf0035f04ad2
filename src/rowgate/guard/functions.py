"""Which functions a statement may call, by name: the rules, and the lists that a person chose.

A name of ``pg_catalog`` must be on the allow-list that the catalogue computed; the user's own functions are for GRANT
to decide. Not visible here, and left to GRANT as well: the functions behind operators and casts, the user's own
functions in column notation, and the bodies of functions, views, triggers and policies. A name of ``pg_catalog`` that
the user has overloaded for other argument types resolves to either; the rule for the name holds for both, and the
user's own can be reached with its schema. This module never asks a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rowgate.guard.catalog import FunctionCatalog
from rowgate.guard.relations import is_refused_schema
from rowgate.guard.type_names import PSEUDO_TYPES, REFUSED_TYPES
from rowgate.guard.verdict import Refusal, shown

IDENTITY_FUNCTIONS: Final = frozenset(
    {"user_id", "uid", "session", "jwt", "organization", "organization_id", "org_id", "org_role", "has_permission"}
)
"""What is open in the schema ``auth``. ``init`` and ``jwt_session_init`` set the identity and stay closed."""

REFUSED_PREFIXES: Final = (
    *("pg_", "pgstat", "lo_", "binary_upgrade_", "dblink", "http_", "cron_"),
    *("crosstab", "connectby", "xpath_table", "postgis_", "_postgis_"),
)
"""Beginnings of names that are refused in every schema: Postgres's own, and extensions that run SQL given as text,
reach the network or change the server."""

_COLUMN_PREFIXES: Final = ("pg_", "binary_upgrade_", "dblink", "crosstab", "postgis_")
"""Fewer than :data:`REFUSED_PREFIXES`: tables have columns like http_status and cron_expression."""

_REFUSED_ANYWHERE: Final = frozenset({"jwt_session_init"})

_REFUSED_COLUMNS: Final = _REFUSED_ANYWHERE | (REFUSED_TYPES - PSEUDO_TYPES)

_ADVICE: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("set_config", "current_setting", "pg_settings_", "pg_show_all"), "Read the identity with auth.user_id() or"
     " auth.session(); settings belong to the gateway."),
    (("jwt_session_init", "init"), "Send the token with the request; the gateway sets the identity."),
    (("currval", "lastval", "setval"), "Use INSERT ... RETURNING to read a generated value."),
    (("pg_sleep",), "Wait in the client."),
    (("pg_advisory", "pg_try_advisory"), "Use SELECT ... FOR UPDATE, or a unique constraint."),
    (("lo_", "loread", "lowrite"), "Keep binary data in a bytea column."),
    (("query_to_", "cursor_to_", "table_to_", "schema_to_", "database_to_", "ts_stat", "ts_rewrite", "crosstab",
      "connectby", "xpath_table", "dblink"), "Send the inner query as a statement of its own."),
    (("setseed",), "Use random() as it is; the seed belongs to a connection that others use too."),
    (("current_database", "version", "current_schemas", "inet_"), "The client knows this from its connection string."),
    (("has_", "row_security_active"), "Try the statement; Postgres says 42501 where a privilege is missing."),
    (("to_reg", "reg"), "Name relations, types and functions directly in the statement."),
    (("http_",), "Call the service from your own backend."),
)  # fmt: skip

_DEFAULT_ADVICE: Final = (
    "Use another function, or ask the database owner for one in a schema of your own that gives only what you need."
)


def judge_function(parts: Sequence[str], catalog: FunctionCatalog) -> Refusal | None:
    """The refusal for a call of the function named ``parts`` (from the left), or None where it may be called."""
    if len(parts) == 1:
        return _judge_unqualified(parts[0], catalog)
    if len(parts) == 2:
        return _judge_qualified(parts[0], parts[1], catalog)
    return Refusal(
        "A function may not be qualified with a database name.", f"Got {shown('.'.join(parts))}.", "Write schema.name."
    )


def is_known_harmless(whole: str, catalog: FunctionCatalog) -> bool:
    """Whether the allowed function called ``whole`` (as the statement wrote it) is Postgres's own or an identity one.

    Such a function leaves nothing in the session; of the user's own and of extensions nobody knows.
    """
    schema, dot, _ = whole.rpartition(".")
    return schema in ("pg_catalog", "auth") if dot else whole in catalog.builtin


def judge_column(name: str, catalog: FunctionCatalog) -> Refusal | None:
    """The refusal for ``name`` in ``something.name`` or ``(something).name``, or None where it may stand there.

    Where ``something`` is a value without such a column, Postgres calls the function ``name`` with it (docs,
    "Using Composite Types in Queries"), and not for composite values alone: ``select f.pg_sleep from
    generate_series(1.0, 9) f`` sleeps, ``('port'::text).current_setting`` answers. So the name is judged as one of
    a function, as far as one argument is enough to call it. Which columns exist is not known here; a column of that
    name is still reached without its table's name.
    """
    if name in catalog.allowed:
        return None
    if name in catalog.column_functions or name in _REFUSED_COLUMNS or name.startswith(_COLUMN_PREFIXES):
        return Refusal(
            f"The name {shown(name)} may not follow a dot.",
            "Postgres would call the function of this name, which is not open to exposed roles.",
            "If it is a column of yours, write it without the table's name, or rename it.",
        )
    return None


def _judge_unqualified(name: str, catalog: FunctionCatalog) -> Refusal | None:
    if name in catalog.builtin:
        return None if name in catalog.allowed else _closed_builtin(name)
    refusal = _judge_users_own(name, name)
    if refusal is not None:
        return refusal
    # With one argument, type_name(value) is a cast (Postgres docs, "Type Casts"), and no function is needed for it.
    if name in REFUSED_TYPES:
        return _refusal(name, name, "It reads the system catalogs past every GRANT.")
    extension = catalog.extension_names.get(name)
    if extension is not None:
        return _closed_extension(name, name, extension)
    return None


def _judge_qualified(schema: str, name: str, catalog: FunctionCatalog) -> Refusal | None:
    whole = f"{schema}.{name}"
    if schema == "pg_catalog":
        return None if name in catalog.allowed else _closed_builtin(name)
    if schema == "auth":
        if name in IDENTITY_FUNCTIONS:
            return None
        return _refusal(whole, name, f"In the schema auth only {', '.join(sorted(IDENTITY_FUNCTIONS))} are open.")
    if is_refused_schema(schema):
        return _refusal(whole, name, f"The schema {shown(schema)} is closed to exposed roles.")
    refusal = _judge_users_own(whole, name)
    if refusal is not None:
        return refusal
    extension = catalog.extension_functions.get((schema, name))
    if extension is not None:
        return _closed_extension(whole, name, extension)
    return None


def _judge_users_own(whole: str, name: str) -> Refusal | None:
    if name in _REFUSED_ANYWHERE:
        return _refusal(whole, name, "It sets the identity of the connection.")
    if name.startswith(REFUSED_PREFIXES):
        prefix = next(prefix for prefix in REFUSED_PREFIXES if name.startswith(prefix))
        return _refusal(whole, name, f"Names that begin with {prefix} belong to Postgres and its extensions.")
    return None


def _closed_builtin(name: str) -> Refusal:
    return _refusal(name, name, f"pg_catalog.{shown(name)} is not among the functions open to exposed roles.")


def _closed_extension(whole: str, name: str, extension: str) -> Refusal:
    return _refusal(whole, name, f"It belongs to the extension {shown(extension)}, which is closed to exposed roles.")


def _refusal(whole: str, name: str, detail: str) -> Refusal:
    hint = next((text for names, text in _ADVICE if name.startswith(names)), _DEFAULT_ADVICE)
    return Refusal(f"The function {shown(whole)} may not be called.", detail, hint)
