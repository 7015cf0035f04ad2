"""The registry of one database over the control connection: read it, change its providers, and follow its changes.

Statements of clients never run here. The role needs what set-up grants to ``rowgate_control``. Nothing is cached:
whoever wants to be in step iterates over ``watch``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg.rows import dict_row, tuple_row
from psycopg.types.json import Jsonb

from rowgate.errors import (
    AdminTokenConflict,
    AdminTokenUnknown,
    GateObjectUnknown,
    ProviderConflict,
    ProviderUnknown,
    RevocationUnknown,
    RowgateError,
    WebhookConflict,
    WebhookUnknown,
)
from rowgate.identity.claim_rules import written_rules
from rowgate.identity.provider import Provider
from rowgate.identity.revocation import Revocation, RevocationChanges
from rowgate.identity.webhooks import Webhook, check_secret
from rowgate.registry import access, exemptions, revocations
from rowgate.registry.control_connection import Connection, ControlConnection
from rowgate.registry.exemptions import Exemption
from rowgate.registry.revocations import ReceivedMessage, RevocationReader
from rowgate.registry.snapshot import (
    SNAPSHOT_QUERY,
    AdminToken,
    ExposedRole,
    RegistrySnapshot,
    SessionKey,
    read_snapshot,
)

__all__ = ["AdminToken", "ArrayElement", "ExposedRole", "ReceivedMessage", "Registry", "RegistrySnapshot", "SessionKey"]

FIRST_BACKOFF: Final = 0.05
LONGEST_BACKOFF: Final = 5.0
CHANNEL: Final = "rowgate_registry"

_log = logging.getLogger(__name__)

_ADD_PROVIDER: Final = """
INSERT INTO rowgate.provider (name, kind, issuer, jwks_url, audiences, authorized_parties, algorithms, roles,
                              other_issuers, client_ids, key_set, rules, label)
SELECT %(name)s, %(kind)s, %(issuer)s, %(jwks_url)s, %(audiences)s, %(authorized_parties)s, %(algorithms)s, %(roles)s,
       %(other_issuers)s, %(client_ids)s, %(key_set)s, %(rules)s, %(label)s
WHERE NOT EXISTS (
    SELECT FROM rowgate.provider
    WHERE (issuer || other_issuers) && (%(issuer)s::text || %(other_issuers)s::text[])
)
ON CONFLICT DO NOTHING
"""

# pg_type.typarray of the element names the array, so pseudo-arrays such as int2vector stay out.
_ARRAY_QUERY: Final = """
SELECT a.oid::int8, e.oid::int8, e.typdelim::text
FROM pg_catalog.pg_type AS e JOIN pg_catalog.pg_type AS a ON a.oid = e.typarray
"""


@dataclass(frozen=True, slots=True)
class ArrayElement:
    """What an array's text needs to be read: the OID of its elements' type, and the character between them."""

    element_oid: int
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """A registered provider and its row: ``id`` is a UUID, times are Unix seconds."""

    id: str
    label: str
    created_at: float
    updated_at: float
    provider: Provider


class Registry:
    """The registry of one database. Make it with ``connect``, and close it.

    ``clock`` gives this machine's unix seconds. A connection on which nothing happens is asked after
    ``keepalive`` seconds whether it lives; a question that is not answered within ``deadline`` seconds means that it
    does not.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        clock: Callable[[], float] = time.time,
        keepalive: float = 15.0,
        deadline: float = 10.0,
    ) -> None:
        self._control = ControlConnection(conninfo, deadline)
        self._clock = clock
        self._keepalive = keepalive
        self._listening: bool | None = None

    @classmethod
    async def connect(
        cls,
        conninfo: str,
        *,
        clock: Callable[[], float] = time.time,
        keepalive: float = 15.0,
        deadline: float = 10.0,
    ) -> Registry:
        """Connects with a connection string that names one database. Raises ConnectFailed or
        SettingInvalid."""
        registry = cls(conninfo, clock=clock, keepalive=keepalive, deadline=deadline)
        await registry._control.connect()
        return registry

    async def close(self) -> None:
        """Closes the connection. An iteration over ``watch`` ends by being cancelled."""
        await self._control.close()

    @property
    def is_connected(self) -> bool:
        """Whether changes are noticed: by ``watch`` from its first reading or failure on, until then as far as the
        connection is up."""
        if self._listening is not None:
            return self._listening
        return self._control.is_open

    async def snapshot(self) -> RegistrySnapshot:
        """Everything in the registry at this moment.

        Raises SetupIncomplete where set-up has not been run (completely), ConnectFailed or ConnectionLost.
        """
        return await self._control.read(self._read_snapshot)

    async def list_providers(self) -> tuple[Provider, ...]:
        """The registered providers, by name. Raises like ``snapshot``."""
        return (await self.snapshot()).providers

    async def rows(self, query: LiteralString, *parameters: object) -> list[Any]:
        """All rows, as tuples, of a query that only reads. Names without a schema are pg_catalog's.

        Raises like ``snapshot``.
        """

        async def read(connection: Connection) -> list[Any]:
            cursor = await connection.cursor(row_factory=tuple_row).execute(query, parameters or None)
            return await cursor.fetchall()

        return await self._control.read(read)

    async def array_types(self) -> dict[int, ArrayElement]:
        """Every array type of the database, those that users made included, by OID. Raises like ``snapshot``."""
        return {array: ArrayElement(element, delimiter) for array, element, delimiter in await self.rows(_ARRAY_QUERY)}

    async def provider_entries(self) -> tuple[ProviderEntry, ...]:
        """The registered providers that are sound, with what the management API tells of them. Raises like
        ``snapshot``."""
        by_name = {one.name: one for one in await self.list_providers()}
        rows = await self.rows(
            "SELECT name, id::text, label, extract(epoch FROM created_at)::float8, "
            "extract(epoch FROM updated_at)::float8 FROM rowgate.provider ORDER BY created_at, name"
        )
        return tuple(
            ProviderEntry(entry_id, label, created_at, updated_at, by_name[name])
            for name, entry_id, label, created_at, updated_at in rows
            if name in by_name
        )

    async def add_provider(self, provider: Provider, *, label: str = "") -> None:
        """Registers a provider; ``label`` is a name for people. Registering exactly the same one again does nothing.

        Raises ProviderConflict where another one has its name or its issuer, else like ``snapshot``.
        """
        values = {
            field.name: list(value) if isinstance(value := getattr(provider, field.name), tuple) else value
            for field in fields(provider)
        }
        values |= {"rules": Jsonb(written_rules(provider.claim_rules)), "label": label}

        async def write(connection: Connection) -> bool:
            # Two issuers of one row are unique only while nobody else adds one.
            async with connection.transaction():
                await connection.execute("LOCK TABLE rowgate.provider IN SHARE ROW EXCLUSIVE MODE")
                cursor = await connection.execute(_ADD_PROVIDER, values)
                return cursor.rowcount == 1

        if await self._control.write(write):
            return
        for known in await self.list_providers():
            if known == provider:
                return
            if known.name == provider.name or set(known.issuers) & set(provider.issuers):
                same = "name" if known.name == provider.name else "issuer"
                raise ProviderConflict(
                    f"A provider with this {same} is registered already.",
                    detail=f"{known.name} has the issuer {known.issuer}",
                    hint=f"Remove it first with `rowgate provider remove {known.name}`.",
                )
        raise ProviderConflict("A provider with this name or issuer is registered already, and is not sound.")

    async def remove_provider(self, name: str) -> None:
        """Removes a provider; its tokens are refused from then on. Raises ProviderUnknown, else like ``snapshot``."""

        async def write(connection: Connection) -> bool:
            cursor = await connection.execute("DELETE FROM rowgate.provider WHERE name = %s", [name])
            return cursor.rowcount == 1

        if not await self._control.write(write):
            raise ProviderUnknown("No provider has this name.", detail=f"got {name!r}")

    # --- who may call ----------------------------------------------------------------------------------------

    async def add_webhook(self, webhook: Webhook) -> None:
        """Registers a webhook. Raises SettingInvalid, ProviderUnknown or WebhookConflict, else like ``snapshot``."""
        check_secret(webhook.kind, webhook.secret)
        if webhook.provider not in [one.name for one in await self.list_providers()]:
            raise ProviderUnknown("No provider has this name.", detail=f"got {webhook.provider!r}")
        if not await self._control.write(lambda connection: access.add_webhook(connection, webhook)):
            raise WebhookConflict("A webhook with this name is registered already.", detail=f"got {webhook.name!r}")

    async def remove_webhook(self, name: str) -> None:
        """Removes a webhook; calls of it are refused from then on. Raises WebhookUnknown, else like ``snapshot``."""
        if not await self._control.write(lambda connection: access.remove_webhook(connection, name)):
            raise WebhookUnknown("No webhook has this name.", detail=f"got {name!r}")

    async def add_admin_token(self, name: str, digest: bytes, expires_at: float | None = None) -> None:
        """Lets whoever has the token with this SHA-256 use the management API, until ``expires_at`` (Unix seconds).

        Raises SettingInvalid or AdminTokenConflict, else like ``snapshot``.
        """
        access.check_name(name)
        if not await self._control.write(
            lambda connection: access.add_admin_token(connection, name, digest, expires_at)
        ):
            raise AdminTokenConflict("An admin token with this name exists already.", detail=f"got {name!r}")

    async def remove_admin_token(self, name: str) -> None:
        """Takes an admin token back. Raises AdminTokenUnknown, else like ``snapshot``."""
        if not await self._control.write(lambda connection: access.remove_admin_token(connection, name)):
            raise AdminTokenUnknown("No admin token has this name.", detail=f"got {name!r}")

    # --- the gate of row-level security -----------------------------------------------------------------------

    async def exemptions(self) -> tuple[Exemption, ...]:
        """What the gate lets through on purpose, by name. Raises like ``snapshot``."""
        return await self._control.read(exemptions.all_of)

    async def add_exemption(self, schema: str, name: str, reason: str = "") -> None:
        """Lets a relation, or the functions of a name, through the gate. Doing it again changes the reason.

        Raises GateObjectUnknown where the database has nothing of this name, SettingInvalid, else like ``snapshot``.
        """
        if not await self._control.write(lambda connection: exemptions.add(connection, schema, name, reason)):
            raise GateObjectUnknown("The database has no relation or function of this name.", detail=f"{schema}.{name}")

    async def remove_exemption(self, schema: str, name: str) -> None:
        """Takes an exemption back. Raises GateObjectUnknown, else like ``snapshot``."""
        if not await self._control.write(lambda connection: exemptions.remove(connection, schema, name)):
            raise GateObjectUnknown("Nothing of this name is exempt.", detail=f"got {schema}.{name}")

    # --- revocations ------------------------------------------------------------------------------------------

    async def revoke(
        self, rows: Sequence[Revocation], *, message: ReceivedMessage | None = None
    ) -> list[Revocation] | None:
        """Revokes, all or nothing; gives the rows as they are in the registry. Revoking again what is revoked keeps
        the wider bounds.

        With ``message`` it happens once for each message; None where that message came before. Raises
        RevocationLimit, else like ``snapshot``.
        """
        return await self._control.write(lambda connection: revocations.add(connection, rows, message))

    async def revocations(self, *, after: int = 0, limit: int = 1000) -> list[Revocation]:
        """Revocations in force, by id, from the first one after ``after``. Raises like ``snapshot``."""
        return await self._control.read(lambda connection: revocations.page_of(connection, after, limit))

    async def revocation_changes(self) -> RevocationChanges:
        """All revocations, to begin with. Raises like ``snapshot``."""
        reader = RevocationReader()
        return await self._control.read_in_parts(lambda connection: reader.read(self._control, connection))

    async def remove_revocation(self, revocation_id: int, *, left: Revocation | None = None) -> None:
        """Takes a revocation back, with ``left`` in its place where something less is to stay.

        Raises RevocationUnknown, else like ``snapshot``.
        """
        if not await self._control.write(lambda connection: revocations.remove(connection, revocation_id, left)):
            raise RevocationUnknown("No revocation in force has this id.", detail=f"got {revocation_id}")

    async def prune_revocations(self) -> int:
        """Deletes what has expired; gives the number of revocations. Raises like ``snapshot``."""
        return await self._control.write(revocations.prune)

    # --- following --------------------------------------------------------------------------------------------

    async def watch(self) -> AsyncIterator[RegistrySnapshot]:
        """The registry now, after every change and every ``keepalive`` seconds, for as long as it is iterated over.

        Revocations come as changes: all of them with the first snapshot of each connection, then what is new.

        It has a connection of its own. When that breaks it is made again, with growing pauses, and what came of the
        registry meanwhile is read. Never raises because of the database: while it cannot be read, nothing comes.
        """
        pause = FIRST_BACKOFF
        try:
            while True:
                try:
                    async with self._control.listener(CHANNEL) as connection:
                        reader = RevocationReader()
                        snapshot = await self._read_all(connection, reader)
                        pause, self._listening = FIRST_BACKOFF, True
                        yield snapshot
                        while True:
                            await self._wait_for_change(connection)
                            yield await self._read_all(connection, reader)
                except (RowgateError, psycopg.Error) as problem:
                    _log.warning("the registry cannot be followed, trying again: %s", problem)
                self._listening = False
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_BACKOFF)
        finally:
            self._listening = None

    async def _wait_for_change(self, connection: Connection) -> None:
        """Waits for a notification, at most ``keepalive`` seconds: reading again then shows that the connection lives,
        and follows the database's clock."""
        async for _ in connection.notifies(timeout=self._keepalive, stop_after=1):
            return

    async def _read_all(self, connection: Connection, reader: RevocationReader) -> RegistrySnapshot:
        snapshot = await self._control.within(connection, self._read_snapshot(connection))
        return replace(snapshot, revocations=await reader.read(self._control, connection))

    async def _read_snapshot(self, connection: Connection) -> RegistrySnapshot:
        asked_at = self._clock()
        cursor = await connection.cursor(row_factory=dict_row).execute(SNAPSHOT_QUERY)
        row = cast(dict[str, Any], await cursor.fetchone())
        return read_snapshot(row, asked_at, self._clock())
