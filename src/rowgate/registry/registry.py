"""The registry of one database over the control connection: read it, change its providers, and follow its changes.

Statements of clients never run here. The role needs what set-up grants to ``rowgate_control``. Nothing is cached:
whoever wants to be in step iterates over ``watch``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any, Final, LiteralString, TypeVar, cast

import psycopg
from psycopg import errors as postgres_errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row, tuple_row
from psycopg.types.json import Jsonb

from rowgate.errors import (
    ConnectFailed,
    ConnectionLost,
    ProviderConflict,
    ProviderUnknown,
    RowgateError,
    SettingInvalid,
    SetupIncomplete,
)
from rowgate.identity.claim_rules import written_rules
from rowgate.identity.provider import Provider
from rowgate.registry.snapshot import SNAPSHOT_QUERY, ExposedRole, RegistrySnapshot, SessionKey, read_snapshot

__all__ = ["ArrayElement", "ExposedRole", "Registry", "RegistrySnapshot", "SessionKey"]

FIRST_BACKOFF: Final = 0.05
LONGEST_BACKOFF: Final = 5.0
CHANNEL: Final = "rowgate_registry"

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_ADD_PROVIDER: Final = """
INSERT INTO rowgate.provider (name, kind, issuer, jwks_url, audiences, authorized_parties, algorithms, roles,
                              other_issuers, client_ids, key_set, rules)
SELECT %(name)s, %(kind)s, %(issuer)s, %(jwks_url)s, %(audiences)s, %(authorized_parties)s, %(algorithms)s, %(roles)s,
       %(other_issuers)s, %(client_ids)s, %(key_set)s, %(rules)s
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
        self._conninfo = _with_pinned_search_path(conninfo)
        self._clock = clock
        self._keepalive = keepalive
        self._deadline = deadline
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()
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
        registry._connection = await registry._open()
        return registry

    async def close(self) -> None:
        """Closes the connection. An iteration over ``watch`` ends by being cancelled."""
        if self._connection is not None:
            await self._connection.close()

    @property
    def is_connected(self) -> bool:
        """Whether changes would be noticed now: the state of ``watch`` once it runs, else of the connection."""
        if self._listening is not None:
            return self._listening
        return self._connection is not None and not self._connection.closed

    async def snapshot(self) -> RegistrySnapshot:
        """Everything in the registry at this moment.

        Raises SetupIncomplete where set-up has not been run (completely), ConnectFailed or ConnectionLost.
        """
        return await self._read(self._read_snapshot)

    async def list_providers(self) -> tuple[Provider, ...]:
        """The registered providers, by name. Raises like ``snapshot``."""
        return (await self.snapshot()).providers

    async def rows(self, query: LiteralString, *parameters: object) -> list[Any]:
        """All rows, as tuples, of a query that only reads. Names without a schema are pg_catalog's.

        Raises like ``snapshot``.
        """

        async def read(connection: psycopg.AsyncConnection[Any]) -> list[Any]:
            cursor = await connection.cursor(row_factory=tuple_row).execute(query, parameters or None)
            return await cursor.fetchall()

        return await self._read(read)

    async def array_types(self) -> dict[int, ArrayElement]:
        """Every array type of the database, those that users made included, by OID. Raises like ``snapshot``."""
        return {array: ArrayElement(element, delimiter) for array, element, delimiter in await self.rows(_ARRAY_QUERY)}

    async def add_provider(self, provider: Provider) -> None:
        """Registers a provider. Registering exactly the same one again does nothing.

        Raises ProviderConflict where another one has its name or its issuer, else like ``snapshot``.
        """
        values = {
            field.name: list(value) if isinstance(value := getattr(provider, field.name), tuple) else value
            for field in fields(provider)
        }
        values["rules"] = Jsonb(written_rules(provider.claim_rules))

        async def write(connection: psycopg.AsyncConnection[Any]) -> bool:
            # Two issuers of one row are unique only while nobody else adds one.
            async with connection.transaction():
                await connection.execute("LOCK TABLE rowgate.provider IN SHARE ROW EXCLUSIVE MODE")
                cursor = await connection.execute(_ADD_PROVIDER, values)
                return cursor.rowcount == 1

        if await self._write(write):
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

        async def write(connection: psycopg.AsyncConnection[Any]) -> bool:
            cursor = await connection.execute("DELETE FROM rowgate.provider WHERE name = %s", [name])
            return cursor.rowcount == 1

        if not await self._write(write):
            raise ProviderUnknown("No provider has this name.", detail=f"got {name!r}")

    async def watch(self) -> AsyncIterator[RegistrySnapshot]:
        """The registry now, after every change and every ``keepalive`` seconds, for as long as it is iterated over.

        It has a connection of its own. When that breaks it is made again, with growing pauses, and what came of the
        registry meanwhile is read. Never raises because of the database: while it cannot be read, nothing comes.
        """
        pause = FIRST_BACKOFF
        self._listening = False
        try:
            while True:
                try:
                    async with self._listener() as connection:
                        snapshot = await self._within(connection, self._read_snapshot(connection))
                        pause, self._listening = FIRST_BACKOFF, True
                        yield snapshot
                        while True:
                            await self._wait_for_change(connection)
                            yield await self._within(connection, self._read_snapshot(connection))
                except (RowgateError, psycopg.Error) as problem:
                    _log.warning("the registry cannot be followed, trying again: %s", problem)
                self._listening = False
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_BACKOFF)
        finally:
            self._listening = None

    @asynccontextmanager
    async def _listener(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        connection = await self._open()
        try:
            # Before the first reading, so that no change falls between the two.
            await self._within(connection, connection.execute(f"LISTEN {CHANNEL}"))
            yield connection
        finally:
            _cut(connection)
            await connection.close()

    async def _wait_for_change(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Waits for a notification, at most ``keepalive`` seconds: reading again then shows that the connection lives,
        and follows the database's clock."""
        async for _ in connection.notifies(timeout=self._keepalive, stop_after=1):
            return

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        try:
            async with asyncio.timeout(self._deadline):
                return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except (psycopg.Error, TimeoutError) as problem:
            raise ConnectFailed(
                "The registry's database cannot be reached.", detail=str(problem) or "no answer in time"
            ) from problem

    async def _read(self, work: Callable[[psycopg.AsyncConnection[Any]], Coroutine[Any, Any, _Result]]) -> _Result:
        """Runs a reading; once more on a new connection where the old one turns out to be broken."""
        async with self._turn:
            connection = self._connection
            if connection is not None and not connection.closed:
                try:
                    return await self._translated(connection, work(connection))
                except ConnectionLost:
                    pass
            self._connection = connection = await self._open()
            return await self._translated(connection, work(connection))

    async def _write(self, work: Callable[[psycopg.AsyncConnection[Any]], Coroutine[Any, Any, _Result]]) -> _Result:
        """Runs a change, never twice: whether a connection that breaks under it committed it is unknown."""
        # A connection that broke before is found out by a reading, which may be repeated.
        await self.rows("SELECT 1")
        async with self._turn:
            connection = self._connection
            if connection is None or connection.closed:
                connection = self._connection = await self._open()
            return await self._translated(connection, work(connection))

    async def _translated(
        self, connection: psycopg.AsyncConnection[Any], work: Coroutine[Any, Any, _Result]
    ) -> _Result:
        try:
            return await self._within(connection, work)
        except psycopg.OperationalError as problem:
            raise ConnectionLost("The connection to the registry broke.", detail=str(problem)) from problem

    async def _within(self, connection: psycopg.AsyncConnection[Any], work: Awaitable[_Result]) -> _Result:
        """Runs work on the connection; after ``deadline`` seconds the socket is shut down, which ends it.

        Cancelling would not do: psycopg then waits for the server, which may be what does not answer.
        """
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task}, timeout=self._deadline)
        except asyncio.CancelledError:
            _cut(connection)
            await asyncio.gather(task, return_exceptions=True)
            raise
        if not task.done():
            _cut(connection)
        try:
            return await task
        except (
            postgres_errors.UndefinedTable,
            postgres_errors.UndefinedColumn,
            postgres_errors.InvalidSchemaName,
            postgres_errors.InsufficientPrivilege,
        ) as problem:
            raise SetupIncomplete(
                "The database's registry is not there, or this role may not read it.",
                detail=problem.diag.message_primary,
            ) from problem

    async def _read_snapshot(self, connection: psycopg.AsyncConnection[Any]) -> RegistrySnapshot:
        asked_at = self._clock()
        cursor = await connection.cursor(row_factory=dict_row).execute(SNAPSHOT_QUERY)
        row = cast(dict[str, Any], await cursor.fetchone())
        return read_snapshot(row, asked_at, self._clock())


def _with_pinned_search_path(conninfo: str) -> str:
    """What is written here without a schema is pg_catalog's, whatever others put into schema public."""
    try:
        own = conninfo_to_dict(conninfo).get("options") or ""
    except psycopg.ProgrammingError as problem:
        raise SettingInvalid(
            "The registry's connection string is not one.",
            hint="Write it as postgresql://role:password@host:5432/database.",
        ) from problem
    return make_conninfo(conninfo, options=f"{own} -c search_path=pg_catalog".strip())


def _cut(connection: psycopg.AsyncConnection[Any]) -> None:
    """Shuts the connection's socket down in both directions: whatever waits on it sees its end."""
    if connection.closed:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
