"""The table of revocations: reading what changed since the last time, adding, removing and pruning.

Rows are read page by page in the order of their changes, so that a hundred thousand of them are read once and not at
every change, and a page bounds what is held at once. Every function takes the connection; none opens one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg.rows import dict_row, tuple_row

from rowgate.errors import RevocationLimit
from rowgate.identity.revocation import Revocation, RevocationChanges
from rowgate.registry.control_connection import Connection, ControlConnection

MOST_REVOCATIONS: Final = 1_000_000
PAGE: Final = 5_000
_COLUMNS: Final = """
id, provider, kind, value, reason, revoked_by,
extract(epoch FROM issued_before)::float8 AS issued_before, extract(epoch FROM expires_at)::float8 AS expires_at,
extract(epoch FROM revoked_at)::float8 AS revoked_at
"""
# S608: what is put in is text of ours.
_CHANGES: Final[LiteralString] = f"""
SELECT change, removed_at IS NOT NULL AS is_removed, {_COLUMNS} FROM rowgate.revocation
WHERE (change, id) > (%s, %s)
ORDER BY change, id LIMIT {PAGE}
"""  # noqa: S608
_LIST: Final[LiteralString] = f"""
SELECT {_COLUMNS} FROM rowgate.revocation
WHERE removed_at IS NULL AND (expires_at IS NULL OR expires_at > pg_catalog.now()) AND id > %s ORDER BY id LIMIT %s
"""  # noqa: S608
# A second revocation of the same thing never narrows the first. One that was removed, or is over, is none any more.
_ADD: Final[LiteralString] = f"""
INSERT INTO rowgate.revocation AS known (provider, kind, value, issued_before, expires_at, reason, revoked_by)
SELECT %(provider)s, %(kind)s, %(value)s, pg_catalog.to_timestamp(%(issued_before)s::float8),
       pg_catalog.to_timestamp(%(expires_at)s::float8), %(reason)s,
       coalesce(nullif(%(revoked_by)s::text, ''), CURRENT_USER)
ON CONFLICT (provider, kind, value, is_bounded) DO UPDATE SET
    issued_before = CASE WHEN known.removed_at IS NOT NULL OR known.expires_at <= pg_catalog.now()
        THEN EXCLUDED.issued_before ELSE greatest(known.issued_before, EXCLUDED.issued_before) END,
    expires_at = CASE WHEN known.removed_at IS NOT NULL OR known.expires_at <= pg_catalog.now() THEN EXCLUDED.expires_at
        WHEN known.expires_at IS NOT NULL AND EXCLUDED.expires_at IS NOT NULL
        THEN greatest(known.expires_at, EXCLUDED.expires_at) END,
    reason = EXCLUDED.reason, revoked_by = EXCLUDED.revoked_by, revoked_at = EXCLUDED.revoked_at, removed_at = NULL
RETURNING {_COLUMNS}
"""
_GENERATION: Final = "SELECT generation FROM rowgate.revocation_change"
# Removed rows are kept for a day, so that a gateway that was away for a while learns of the removal by its change.
_PRUNE: Final = """
DELETE FROM rowgate.revocation
WHERE expires_at <= pg_catalog.now() OR removed_at < pg_catalog.now() - interval '1 day'
"""
_REMEMBER: Final = """
INSERT INTO rowgate.received_message (sender, message_id, expires_at) VALUES (%s, %s, pg_catalog.to_timestamp(%s))
ON CONFLICT (sender, message_id) DO UPDATE SET expires_at = EXCLUDED.expires_at
WHERE received_message.expires_at < pg_catalog.now()
"""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message of an identity provider that must count once: who sent it, its id, and until when (Unix seconds) it
    could come again."""

    sender: str
    message_id: str
    expires_at: float


class RevocationReader:
    """What changed since it was asked last; everything at first, and after rows in force were deleted."""

    def __init__(self) -> None:
        self._generation: int | None = None
        self._last = (-1, -1)

    async def read(self, control: ControlConnection, connection: Connection) -> RevocationChanges:
        """The changes; each page has ``control``'s deadline. Raises psycopg's errors, and SetupIncomplete; then the
        next call gives everything anew."""
        # Read first: what is deleted after it is noticed the next time.
        generation = (await control.within(connection, _rows(connection, _GENERATION)))[0][0]
        is_complete = generation != self._generation
        self._generation = None
        last = (-1, -1) if is_complete else self._last
        added: list[Revocation] = []
        removed: list[Revocation] = []
        while True:
            page = await control.within(connection, _page(connection, last))
            for row in page:
                last = (row.pop("change"), row["id"])
                (removed if row.pop("is_removed") else added).append(Revocation(**row))
            if len(page) < PAGE:
                break
        self._generation, self._last = generation, last
        return RevocationChanges(tuple(added), tuple(removed), is_complete)


async def add(
    connection: Connection, revocations: Sequence[Revocation], message: ReceivedMessage | None
) -> list[Revocation] | None:
    """Adds revocations in one transaction; gives the rows as they are now. None where ``message`` was acted on before:
    then nothing is added. Raises RevocationLimit where the table is full."""
    async with connection.transaction():
        if message is not None:
            values = (message.sender, message.message_id, message.expires_at)
            if (await connection.execute(_REMEMBER, values)).rowcount != 1:
                return None
        (count,) = (await _rows(connection, "SELECT pg_catalog.count(*) FROM rowgate.revocation"))[0]
        if count + len(revocations) > MOST_REVOCATIONS:
            raise RevocationLimit(
                "There are too many revocations already.", detail=f"expected at most {MOST_REVOCATIONS}, got {count}"
            )
        cursor = connection.cursor(row_factory=dict_row)
        done = []
        for one in revocations:
            await cursor.execute(_ADD, _values(one))
            done += [Revocation(**row) for row in await cursor.fetchall()]
        return done


async def page_of(connection: Connection, after: int, limit: int) -> list[Revocation]:
    """At most ``limit`` revocations in force, in the order of their ids, those with an id greater than ``after``."""
    cursor = await connection.cursor(row_factory=dict_row).execute(_LIST, [after, limit])
    return [Revocation(**row) for row in await cursor.fetchall()]


async def remove(connection: Connection, revocation_id: int, left: Revocation | None = None) -> bool:
    """Takes a revocation back, with ``left`` in its place, in one transaction; tells whether there was one in force."""
    async with connection.transaction():
        cursor = await connection.execute(
            "UPDATE rowgate.revocation SET removed_at = pg_catalog.now() WHERE id = %s AND removed_at IS NULL",
            [revocation_id],
        )
        if cursor.rowcount == 1 and left is not None:
            await connection.execute(_ADD, _values(left))
        return cursor.rowcount == 1


def _values(row: Revocation) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Revocation.__dataclass_fields__}


async def prune(connection: Connection) -> int:
    """Deletes revocations that have expired or were removed a while ago, and ids of messages that cannot come again;
    gives the number of revocations."""
    async with connection.transaction():
        await connection.execute("DELETE FROM rowgate.received_message WHERE expires_at < pg_catalog.now()")
        return (await connection.execute(_PRUNE)).rowcount


async def _page(connection: Connection, last: tuple[int, int]) -> list[dict[str, Any]]:
    return await (await connection.cursor(row_factory=dict_row).execute(_CHANGES, last)).fetchall()


async def _rows(connection: Connection, query: LiteralString) -> list[tuple[Any, ...]]:
    return await (await connection.cursor(row_factory=tuple_row).execute(query)).fetchall()
