"""Changes that only the database's owner may make, each in one transaction, where the console knows the owner.

It runs what a person chose to run on a page, never anything of a user's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from rowgate.console.pages.development import Development
from rowgate.errors import ConnectFailed, RequestRefused

Connection = psycopg.AsyncConnection[Any]


class Owner:
    """The owner's way in; ``is_known`` is False where there is none."""

    def __init__(self, development: Development | None) -> None:
        self._url = development.owner_url if development else ""

    @property
    def is_known(self) -> bool:
        """Whether anything can be run."""
        return bool(self._url)

    async def run(self, script: str, *, keep: bool) -> None:
        """Runs statements in one transaction; without ``keep`` it is rolled back. Raises RequestRefused."""
        async with self.transaction(keep=keep) as connection:
            await connection.execute(script.encode())

    @asynccontextmanager
    async def transaction(self, *, keep: bool, read_only: bool = False) -> AsyncIterator[Connection]:
        """A transaction on a connection of its own. Raises RequestRefused or ConnectFailed."""
        if not self._url:
            raise RequestRefused(
                "The console does not know the owner of this database.",
                hint="Copy the SQL and run it with psql, as the owner.",
            )
        try:
            connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=10)
        except psycopg.Error as problem:
            raise ConnectFailed("The database cannot be reached as its owner.") from problem
        try:
            await connection.set_read_only(read_only)
            async with connection, connection.transaction(force_rollback=not keep):
                await connection.execute("SET LOCAL lock_timeout = '5s'")
                await connection.execute("SET LOCAL statement_timeout = '20s'")
                yield connection
        except psycopg.Error as problem:
            raise RequestRefused(
                problem.diag.message_primary or "Postgres refused the statement.",
                detail=problem.diag.message_detail or (f"SQLSTATE {problem.sqlstate}" if problem.sqlstate else None),
                hint=problem.diag.message_hint or "Nothing was changed.",
            ) from problem
