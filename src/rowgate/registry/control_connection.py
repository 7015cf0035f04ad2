"""The control connection to one database: made when needed, made again when broken, never waiting for ever.

It knows nothing of what is read over it. Statements of clients never run here.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import errors as postgres_errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rowgate.errors import ConnectFailed, ConnectionLost, SettingInvalid, SetupIncomplete

Result = TypeVar("Result")
Connection = psycopg.AsyncConnection[Any]


class ControlConnection:
    """One connection, used by one after the other. Make it with ``connect``, and close it.

    A question that is not answered within ``deadline`` seconds means that the connection is broken.
    """

    def __init__(self, conninfo: str, deadline: float) -> None:
        self._conninfo = _with_pinned_search_path(conninfo)
        self._deadline = deadline
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def connect(self) -> None:
        """Connects. Raises ConnectFailed."""
        self._connection = await self._open()

    async def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            await self._connection.close()

    @property
    def is_open(self) -> bool:
        """Whether the connection was up when it was used last."""
        return self._connection is not None and not self._connection.closed

    @asynccontextmanager
    async def listener(self, channel: LiteralString) -> AsyncIterator[Connection]:
        """A connection of its own that listens; what is read over it afterwards misses no change."""
        connection = await self._open()
        try:
            # Before the first reading, so that no change falls between the two.
            await self.within(connection, connection.execute(f"LISTEN {channel}"))
            yield connection
        finally:
            _cut(connection)
            await connection.close()

    async def _open(self) -> Connection:
        try:
            async with asyncio.timeout(self._deadline):
                return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except (psycopg.Error, TimeoutError) as problem:
            raise ConnectFailed(
                "The registry's database cannot be reached.", detail=str(problem) or "no answer in time"
            ) from problem

    async def read(self, work: Callable[[Connection], Coroutine[Any, Any, Result]]) -> Result:
        """Runs a reading; once more on a new connection where the old one turns out to be broken."""
        return await self.read_in_parts(lambda connection: self.within(connection, work(connection)))

    async def read_in_parts(self, work: Callable[[Connection], Coroutine[Any, Any, Result]]) -> Result:
        """The same for a reading that calls ``within`` for each of its parts, because all of it may take long."""
        async with self._turn:
            connection = self._connection
            if connection is not None and not connection.closed:
                try:
                    return await _translated(work(connection))
                except ConnectionLost:
                    pass
            self._connection = connection = await self._open()
            return await _translated(work(connection))

    async def write(self, work: Callable[[Connection], Coroutine[Any, Any, Result]]) -> Result:
        """Runs a change, never twice: whether a connection that breaks under it committed it is unknown."""
        # A connection that broke before is found out by a reading, which may be repeated.
        await self.read(_ask)
        async with self._turn:
            connection = self._connection
            if connection is None or connection.closed:
                connection = self._connection = await self._open()
            return await _translated(self.within(connection, work(connection)))

    async def within(self, connection: Connection, work: Awaitable[Result]) -> Result:
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


async def _translated(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return await work
    except psycopg.OperationalError as problem:
        raise ConnectionLost("The connection to the registry broke.", detail=str(problem)) from problem


async def _ask(connection: Connection) -> None:
    await connection.execute("SELECT 1")


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


def _cut(connection: Connection) -> None:
    """Shuts the connection's socket down in both directions: whatever waits on it sees its end."""
    if connection.closed:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
