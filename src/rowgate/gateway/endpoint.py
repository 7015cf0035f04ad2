"""An endpoint: one Postgres server behind the gateway, and its databases, each opened when first asked for.

Never opens a connection for a database that does not exist, so that made-up names cost nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final

from rowgate.errors import DatabaseUnknown, RowgateError
from rowgate.gateway.database import Database
from rowgate.guard.catalog import CATALOG_QUERY, FunctionCatalog
from rowgate.guard.guard import Guard
from rowgate.guard.statements import CLIENT, DEVELOPMENT
from rowgate.identity.fetcher import HttpFetcher
from rowgate.identity.key_cache import KeySetCache
from rowgate.postgres.opening import Opener
from rowgate.postgres.target import Target
from rowgate.registry.registry import Registry
from rowgate.settings import Settings

REMEMBER_FAILURE_SECONDS: Final = 1.0
MOST_FAILURES: Final = 1024


class Endpoint:
    """One server. ``name`` is the first label of the host in clients' connection strings; empty serves any host."""

    def __init__(self, name: str, target: Target, settings: Settings) -> None:
        self.name = name
        self.target = target
        self._settings = settings
        self.opener = Opener(
            target,
            connect_timeout=settings.connect_timeout_ms / 1000,
            max_result_bytes=settings.max_result_bytes,
        )
        self._fetcher = HttpFetcher(
            allow_insecure_loopback=settings.insecure_issuers, networks=settings.issuer_networks
        )
        self._key_sets: list[KeySetCache] = []
        self._databases: dict[str, Database] = {}
        self._opening: dict[str, asyncio.Task[Database]] = {}
        self._failures: OrderedDict[str, tuple[float, RowgateError]] = OrderedDict()

    async def start(self) -> None:
        """Opens the control connection's own database. Raises SetupIncomplete or ConnectFailed."""
        await self.database(self.target.database)

    async def close(self) -> None:
        """Closes everything that was opened."""
        for task in self._opening.values():
            task.cancel()
        for database in self._databases.values():
            await database.close()
        for key_sets in self._key_sets:
            await key_sets.close()
        await self._fetcher.close()

    @property
    def is_healthy(self) -> bool:
        """Whether the control connection is up."""
        home = self._databases.get(self.target.database)
        return home is not None and home.is_in_step

    @property
    def open_databases(self) -> tuple[Database, ...]:
        """The databases that are open, the control connection's own first."""
        return tuple(self._databases.values())

    def ready_database(self, name: str) -> Database | None:
        """A database that is open already."""
        return self._databases.get(name)

    async def database(self, name: str) -> Database:
        """The database ``name``, opened if need be, by one task however many ask.

        Raises DatabaseUnknown, SetupIncomplete or ConnectFailed.
        """
        database = self._databases.get(name)
        if database is not None:
            return database
        failed_at, failure = self._failures.get(name, (0.0, None))
        if failure is not None and time.monotonic() - failed_at < REMEMBER_FAILURE_SECONDS:
            raise failure
        task = self._opening.get(name)
        if task is None:
            task = self._opening[name] = asyncio.get_running_loop().create_task(self._open(name))
            task.add_done_callback(lambda _: self._opening.pop(name, None))
        return await asyncio.shield(task)

    async def _open(self, name: str) -> Database:
        try:
            database = await self._open_existing(name)
        except RowgateError as problem:
            self._failures[name] = (time.monotonic(), problem)
            if len(self._failures) > MOST_FAILURES:
                self._failures.popitem(last=False)
            raise
        self._failures.pop(name, None)
        self._databases[name] = database
        return database

    async def _open_existing(self, name: str) -> Database:
        home = self._databases.get(self.target.database)
        if home is not None and not await home.has_sibling(name):
            raise DatabaseUnknown(f'database "{name}" does not exist')
        registry = await Registry.connect(self.target.control_conninfo(name))
        try:
            catalog = FunctionCatalog.from_rows(await registry.rows(CATALOG_QUERY))
            guard = Guard(
                DEVELOPMENT if self._settings.allow_explain else CLIENT,
                catalog,
                max_statement_bytes=self._settings.max_statement_bytes,
            )
            key_sets = KeySetCache(self._fetcher, time.time)
            self._key_sets.append(key_sets)
            database = Database(name, self._settings, self.opener, registry, key_sets, guard)
            database.endpoint = self.name
            await database.start()
        except BaseException:
            await registry.close()
            raise
        return database
