"""Pools as the gateway makes them, on the tests' servers, and what Postgres itself says about their backends.

Every pool has an application name of its own, so that its backends can be told from all others. When its block ends,
none of them may be left, and nothing may have failed unseen in the event loop.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from inspect import getsource
from struct import unpack_from
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from rowgate.pgwire.stream import MessageStream
from rowgate.postgres.exchange import Result, Statement
from rowgate.postgres.execution import Order, execute
from rowgate.postgres.opening import Login, Opener, exposed_role_settings
from rowgate.postgres.pool import Pool
from rowgate.postgres.target import Target
from tests.servers import TestServer, database_of, unique_name

Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine to its end."""
Row = tuple[str | None, ...]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Backend:
    """One line of pg_stat_activity."""

    process_id: int
    state: str
    query: str


@dataclass(frozen=True)
class Exposed:
    """A database with one exposed role and its login role, and the superuser's connection to it."""

    server: TestServer
    database: str
    role: str
    login_name: str
    password: str
    admin: psycopg.Connection[Any]

    def target(self, **options: Any) -> Target:
        """Where the server is; ``options`` are keywords of a connection string."""
        return Target.parse(make_conninfo(self.server.conninfo(self.database), **options))

    def opener(self, **options: Any) -> Opener:
        """An opener with small bounds; ``options`` are the fields of ``Opener``."""
        bounds: dict[str, Any] = {"connect_timeout": 5.0, "max_result_bytes": 1_000_000}
        return Opener(**({"target": self.target()} | bounds | options))

    def login(self, name: str = "rowgate", *, server_timeout: float = 30.0) -> Login:
        """The login as the gateway makes it. ``server_timeout`` is Postgres's own statement_timeout in seconds."""
        settings = exposed_role_settings(
            self.role, search_path="public", statement_timeout_ms=int(server_timeout * 1000)
        )
        return Login(self.login_name, self.password, self.database, {**settings, "application_name": name})

    @asynccontextmanager
    async def pool(
        self,
        *,
        size: int = 2,
        queue_length: int = 100,
        queue_timeout: float = 10.0,
        statement_timeout: float = 30.0,
        server_timeout: float = 30.0,
        cache_size: int = 20,
        share: int = 100,
        party_queue_length: int | None = None,
        party_connections: int | None = None,
        **opener_options: Any,
    ) -> AsyncIterator[OpenPool]:
        """A pool, closed afterwards; then its backends must go, and nothing may have failed unseen. Times are in
        seconds."""
        unseen: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unseen.append(str(context)))
        name = unique_name("pool")
        opener = self.opener(**opener_options)
        login = self.login(name, server_timeout=server_timeout)
        pool = Pool(
            opener,
            login,
            size=size,
            queue_length=queue_length,
            queue_timeout=queue_timeout,
            statement_timeout=statement_timeout,
            statement_cache_size=cache_size,
            share=share,
            party_queue_length=party_queue_length,
            party_connections=party_connections,
        )
        opened = OpenPool(self, pool, opener, name)
        try:
            yield opened
        finally:
            await pool.close()
        await eventually(lambda: not opened.backends())
        await eventually(lambda: pool.prepared == 0)
        gc.collect()  # a failure that nobody asked for is reported when its future goes
        assert not unseen, unseen

    def backends(self, name: str) -> list[Backend]:
        """The backends with this application name, as Postgres sees them now."""
        rows = self.admin.execute(
            "SELECT pid, coalesce(state, ''), query FROM pg_stat_activity WHERE application_name = %s", [name]
        ).fetchall()
        return [Backend(*row) for row in rows]


@dataclass(frozen=True)
class OpenPool:
    """One pool under test. ``name`` is the application name of its backends."""

    exposed: Exposed
    pool: Pool
    opener: Opener
    name: str

    async def run(self, *texts: str, **options: Any) -> list[list[Row]]:
        """Runs statements without parameters as one request, and gives the rows of each; ``options`` are those of
        ``Order``."""
        return table(await execute(self.pool, order(*texts, **options)))

    async def value(self, text: str, *parameters: str | None) -> str | None:
        """The only value that one statement gives."""
        ((row,),) = table(await execute(self.pool, Order([statement(text, *parameters)])))
        (value,) = row
        return value

    async def process_id(self) -> int:
        """The backend that serves the next request of a pool of one."""
        return int(await self.value("select pg_backend_pid()") or 0)

    def backends(self) -> list[Backend]:
        """The pool's backends, as Postgres sees them now."""
        return self.exposed.backends(self.name)

    async def running(self, part: str) -> Backend:
        """The backend that runs a statement with ``part`` in its text, as soon as there is one."""

        def one() -> Backend | None:
            busy = (backend for backend in self.backends() if backend.state == "active")
            return next((backend for backend in busy if part in backend.query), None)

        return await eventually(one)


@contextmanager
def exposed_on(server: TestServer) -> Iterator[Exposed]:
    """A new database with an exposed role that may make tables in it; all of it is dropped afterwards."""
    role, login, password = unique_name("reader"), unique_name("reader_login"), secrets.token_urlsafe(12)
    with psycopg.connect(server.conninfo(), autocommit=True) as roles:
        roles.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        roles.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOINHERIT PASSWORD {} IN ROLE {}").format(
                sql.Identifier(login), password, sql.Identifier(role)
            )
        )
        try:
            with database_of(server) as name, psycopg.connect(server.conninfo(name), autocommit=True) as admin:
                admin.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(sql.Identifier(role)))
                yield Exposed(server, name, role, login, password, admin)
        finally:
            for one in (login, role):
                roles.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(one)))


def statement(text: str, *parameters: str | None) -> Statement:
    """SQL with its parameters, in bytes."""
    return Statement(text.encode(), [None if one is None else one.encode() for one in parameters])


def order(*texts: str, **options: Any) -> Order:
    """One request of statements without parameters."""
    return Order([statement(text) for text in texts], **options)


def table(results: Sequence[Result]) -> list[list[Row]]:
    """The rows of each statement, as text."""
    return [
        [_row(body) for region in result.regions for _, body in MessageStream(len(region)).feed(region)]
        for result in results
    ]


def _row(body: bytes) -> Row:
    """PostgreSQL 18, section 54.7, DataRow: a count, then each value with its length before it, -1 for NULL."""
    (count,) = unpack_from(">H", body)
    position = 2
    values: list[str | None] = []
    for _ in range(count):
        (length,) = unpack_from(">i", body, position)
        position += 4
        values.append(None if length < 0 else body[position : position + length].decode())
        position += max(length, 0)
    return tuple(values)


async def eventually(condition: Callable[[], Found | None], seconds: float = 5.0) -> Found:
    """What ``condition`` gives, as soon as that is true; fails when it is not in time."""
    deadline = time.monotonic() + seconds
    pause = 0.0  # the first look comes as soon as what has just been started has begun
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {seconds} seconds: {getsource(condition).strip()}"
        await asyncio.sleep(pause)
        pause = min(pause + 0.001, 0.01)


async def failure(work: Awaitable[Any], seconds: float = 10.0) -> BaseException:
    """What ``work`` raises, in at most so many seconds."""
    given: Any = None
    try:
        async with asyncio.timeout(seconds):
            given = await work
    except asyncio.CancelledError as problem:
        asking = asyncio.current_task()
        if asking is not None and asking.cancelling():
            raise  # it is the one who asks that is cancelled
        return problem
    except Exception as problem:
        return problem
    raise AssertionError(f"it should have failed, and gave {given!r}")
