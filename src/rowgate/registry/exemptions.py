"""The table of what the gate of row-level security lets through on purpose."""

from __future__ import annotations

from dataclasses import dataclass

from rowgate.errors import SettingInvalid
from rowgate.registry.control_connection import Connection

_LONGEST_REASON = 1024


@dataclass(frozen=True, slots=True)
class Exemption:
    """A relation, or all functions of a name, and why it is public. ``created_at`` is in Unix seconds."""

    schema: str
    name: str
    reason: str
    created_at: float


async def all_of(connection: Connection) -> tuple[Exemption, ...]:
    """Every exemption, by name."""
    cursor = await connection.execute(
        "SELECT schema_name, object_name, reason, extract(epoch FROM created_at)::float8 "
        "FROM rowgate.gate_exemption ORDER BY schema_name, object_name"
    )
    return tuple(Exemption(*row) for row in await cursor.fetchall())


async def add(connection: Connection, schema: str, name: str, reason: str) -> bool:
    """Tells whether the database has something of the name. Raises SettingInvalid for a reason that is too long."""
    if "\0" in schema + name + reason or len(reason.encode("utf-8", "replace")) > _LONGEST_REASON:
        raise SettingInvalid("The reason cannot be kept.", detail=f"expected text of at most {_LONGEST_REASON} bytes")
    cursor = await connection.execute(
        "INSERT INTO rowgate.gate_exemption (schema_name, object_name, reason) "
        "SELECT %(schema)s::text, %(name)s::text, %(reason)s::text "
        "FROM pg_catalog.pg_namespace AS n WHERE n.nspname = %(schema)s::text AND ("
        "EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace = n.oid AND c.relname = %(name)s::text) "
        "OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = n.oid AND p.proname = %(name)s::text)) "
        "ON CONFLICT (schema_name, object_name) DO UPDATE SET reason = EXCLUDED.reason",
        {"schema": schema, "name": name, "reason": reason},
    )
    return cursor.rowcount == 1


async def remove(connection: Connection, schema: str, name: str) -> bool:
    """Tells whether there was one."""
    cursor = await connection.execute(
        "DELETE FROM rowgate.gate_exemption WHERE schema_name = %s AND object_name = %s", [schema, name]
    )
    return cursor.rowcount == 1
