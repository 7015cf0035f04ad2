"""The tables of those who may call: webhooks of identity providers, and tokens for the management API.

Secrets of webhooks are kept as they are, because signatures are checked with them; of admin tokens only the SHA-256 is.
"""

from __future__ import annotations

import re
from typing import Final

from rowgate.errors import SettingInvalid
from rowgate.identity.webhooks import Webhook
from rowgate.registry.control_connection import Connection

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)


def check_name(name: str) -> None:
    """Raises SettingInvalid where ``name`` cannot be that of a webhook or an admin token."""
    if not _NAME.fullmatch(name):
        raise SettingInvalid(
            "The name cannot be used.",
            detail=f"expected 1 to 63 lower-case letters, digits, '.', '_' or '-', got {name[:80]!r}",
        )


async def add_webhook(connection: Connection, webhook: Webhook) -> bool:
    """Tells whether the name was free."""
    check_name(webhook.name)
    cursor = await connection.execute(
        "INSERT INTO rowgate.webhook (name, provider, kind, secret) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [webhook.name, webhook.provider, webhook.kind, webhook.secret],
    )
    return cursor.rowcount == 1


async def remove_webhook(connection: Connection, name: str) -> bool:
    """Tells whether there was one."""
    return (await connection.execute("DELETE FROM rowgate.webhook WHERE name = %s", [name])).rowcount == 1


async def add_admin_token(connection: Connection, name: str, digest: bytes, expires_at: float | None) -> bool:
    """Tells whether the name was free."""
    cursor = await connection.execute(
        "INSERT INTO rowgate.admin_token (name, digest, expires_at) "
        "VALUES (%s, %s, pg_catalog.to_timestamp(%s::float8)) ON CONFLICT DO NOTHING",
        [name, digest, expires_at],
    )
    return cursor.rowcount == 1


async def remove_admin_token(connection: Connection, name: str) -> bool:
    """Tells whether there was one."""
    return (await connection.execute("DELETE FROM rowgate.admin_token WHERE name = %s", [name])).rowcount == 1
