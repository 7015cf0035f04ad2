"""A user with sessions, by psycopg over TCP with TLS or over WebSocket: transactions, savepoints, prepared statements,
cursors, COPY, settings, cancels, and tokens that expire or are presented anew."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from bench.soak.http_users import DEADLINE_SECONDS
from bench.soak.rows import FACTS, MOST_ROWS, UserRows, facts_of
from bench.soak.stack import DATABASE, SoakStack
from bench.soak.tally import Tally
from bench.soak.watch import both_ends

LIFETIMES = (20, 90)
SHORT_LIFETIME = 5
RENEWED_BEFORE_SECONDS = 8
EXPIRY_MARGIN_SECONDS = 2.0
"""The gateway ends sessions a second before their token's end, and clocks count whole seconds."""
OPERATIONS_OF_A_SESSION = (5, 60)
LARGE_ROWS = 4000
EXPIRED = "token_expired"
NO_CODE = "no_code"
SECOND_RESULT = "result_and_error"
"""A statement's result, and before the end of the exchange the server's FATAL: psycopg tells of neither."""
UNREAD_WORD = "unread_word"
"""The session has ended and psycopg does not tell why: libpq's pipeline mode writes before it reads, and an error in a
rollback is only logged."""
UNREAD = ("flush request failed", "the connection is closed", "connection socket closed")
TWO_RESULTS = ("received 2 results from command", "you cannot mix COPY with other operations")
LOST = frozenset(
    {"08006", "connection_lost", "57P01", "57P02", "57P03", "token_revoked", EXPIRED, SECOND_RESULT, UNREAD_WORD}
)


def conninfo(stack: SoakStack, port: int, token: str, *, tls: bool) -> str:
    """A connection string for libpq."""
    return make_conninfo(
        host="localhost", hostaddr="127.0.0.1", port=port, dbname=DATABASE, user="authenticated", password=token,
        sslmode="verify-full" if tls else "disable", sslrootcert=str(stack.certificates.authority_file),
        connect_timeout=30,
    )  # fmt: skip


class SessionUser:
    """One of them, on ``front``, which is at ``port``. ``run`` goes on until it is cancelled."""

    def __init__(self, front: str, port: int, user: str, stack: SoakStack, tally: Tally, chance: random.Random,
                 pause: float) -> None:  # fmt: skip
        self.user = user
        self._front = front
        self._port = port
        self._stack = stack
        self._tally = tally
        self._chance = chance
        self._pause = pause
        self._rows = UserRows(user)
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._expires = 0.0
        self._renews = True
        self._last_word = ""
        self._answered_at = 0.0  # since then the session may have been ended, which is read with the next operation
        self._written: list[str] = []
        self._operations: tuple[tuple[int, Callable[[Any], Coroutine[Any, Any, bool]]], ...] = (
            (25, self._facts),
            (15, self._prepared),
            (12, self._own_rows),
            (20, self._transaction),
            (6, self._rolled_back),
            (6, self._savepoint),
            (5, self._delete),
            (4, self._pipeline),
            (3, self._copy_out),
            (3, self._cursor),
            (3, self._setting),
            (2, self._large),
            (2, self._slow),
            (2, self._cancelled),
            (5, self._refused),
            (3, self._failed_transaction),
        )

    async def run(self) -> None:
        """One session after another."""
        try:
            while True:
                await asyncio.sleep(self._chance.expovariate(1 / self._pause))
                await self._session()
        finally:
            self._drop()

    async def _session(self) -> None:
        began = time.monotonic()
        self._renews = self._chance.random() < 0.85
        lifetime = self._chance.randint(*LIFETIMES) if self._renews else SHORT_LIFETIME
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self._connect(lifetime)
        except TimeoutError:
            self._tally.violation(f"{self._front} login of {self.user}: none in {DEADLINE_SECONDS} s")
            return
        except psycopg.Error as problem:
            self._fail("login", problem, began)
            return
        self._tally.right(self._front, "login")
        self._answered_at = time.monotonic()
        weights = [weight for weight, _ in self._operations]
        for _ in range(self._chance.randint(*OPERATIONS_OF_A_SESSION)):
            await asyncio.sleep(self._chance.expovariate(1 / self._pause))
            if self._renews and time.time() > self._expires - RENEWED_BEFORE_SECONDS:
                await self._attempt("fresh token", self._present)
            elif self._connection is not None:
                (operation,) = self._chance.choices(self._operations, weights)
                await self._attempt(operation[1].__name__.strip("_").replace("_", " "), operation[1])
            if self._connection is None:
                return
        if self._connection is not None and self._chance.random() < 0.8:
            await self._connection.close()
            self._connection = None
        self._drop()

    async def _connect(self, lifetime: int) -> None:
        token = self._stack.token(self.user, lifetime)
        self._expires = time.time() + lifetime
        self._last_word = ""
        tls = self._front == "tcp"
        self._connection = await psycopg.AsyncConnection.connect(
            conninfo(self._stack, self._port, token, tls=tls), autocommit=True
        )
        self._connection.prepare_threshold = 2
        self._connection.add_notice_handler(self._hear)

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        """libpq takes a FATAL that comes while nothing is asked for a notice."""
        if notice.severity_nonlocalized == "FATAL":
            self._last_word = _code(notice.source_function, notice.sqlstate)

    async def _attempt(self, name: str, operation: Callable[[Any], Coroutine[Any, Any, bool]]) -> None:
        """Runs one operation, which says whether its answer was right."""
        self._written.clear()
        running = asyncio.get_running_loop().create_task(operation(self._connection))
        try:
            done, _ = await asyncio.wait({running}, timeout=DEADLINE_SECONDS)
            if not done:
                self._tally.violation(
                    f"{self._front} {name} of {self.user}: no answer in {DEADLINE_SECONDS} s; "
                    f"{await asyncio.to_thread(self._both_ends)}"
                )
                self._drop()
            elif running.result():
                self._tally.right(self._front, name)
                self._written.clear()
        except psycopg.Error as problem:
            self._fail(name, problem, self._answered_at)
        finally:
            running.cancel()
        self._answered_at = time.monotonic()
        self._rows.doubt(self._written)
        if self._connection is not None and self._connection.closed:
            self._drop()

    def _both_ends(self) -> str:
        """How the two ends of the connection stand: who of them is it that waits?"""
        connection = self._connection
        if connection is None or connection.closed:
            return "the connection is closed"
        with socket.socket(fileno=os.dup(connection.fileno())) as client:
            return both_ends(client, self._stack)

    def _fail(self, name: str, problem: psycopg.Error, began: float) -> None:
        """An error that was not asked for."""
        code = _code_of(problem)
        is_over = self._connection is None or self._connection.closed
        if self._last_word and (is_over or code == NO_CODE):
            code = self._last_word
        text = str(problem)
        if code == NO_CODE and name == "login" and "FATAL:" in text:
            code = "login_refused"  # libpq keeps no fields of what it reads at login
        if code in (EXPIRED, UNREAD_WORD) and time.time() > self._expires - EXPIRY_MARGIN_SECONDS:
            self._tally.expected(self._front, name, code)
        else:
            self._tally.failed(self._front, name, code, user=self.user, began=began, text=text)
        # psycopg leaves a connection alone after an error within a statement; after these it is of no use.
        if is_over or code in LOST or code == NO_CODE:
            self._drop()

    def _drop(self) -> None:
        """Ends the connection without a word of the protocol's, where it is open still."""
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None

    def _wrong(self, name: str, found: Any) -> bool:
        self._tally.violation(f"{self._front} {name} of {self.user}: wrong answer {str(found)[:300]}")
        return False

    def _is(self, name: str, found: Any, wanted: Any) -> bool:
        return True if found == wanted else self._wrong(name, found)

    # --- what a user does -------------------------------------------------------------------------------------

    async def _present(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        lifetime = self._chance.randint(*LIFETIMES)
        token = self._stack.token(self.user, lifetime)
        await connection.execute("select auth.jwt_session_init(%s)", (token,))
        self._expires = time.time() + lifetime
        return True

    async def _facts(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        cursor = await connection.execute("select n, user_id from facts order by n")
        return self._is("facts", await cursor.fetchall(), facts_of(self.user))

    async def _prepared(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        number = self._chance.randrange(FACTS)
        cursor = await connection.execute("select n, user_id from facts where n = %s", (number,), prepare=True)
        return self._is("prepared", await cursor.fetchall(), [(number, self.user)])

    async def _own_rows(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        cursor = await connection.execute("select key, value, user_id from todos")
        problem = self._rows.mismatch(await cursor.fetchall())
        return True if problem is None else self._wrong("own rows", problem)

    async def _transaction(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        if len(self._rows.sure) >= MOST_ROWS:
            return await self._delete(connection)
        keys = [self._rows.new_key() for _ in range(self._chance.randint(1, 3))]
        self._written += keys
        async with connection.transaction():
            for key in keys:
                cursor = await connection.execute(
                    "insert into todos (key, value) values (%s, 1) returning user_id", (key,)
                )
                if not self._is("transaction", await cursor.fetchone(), (self.user,)):
                    return False
            await asyncio.sleep(self._chance.random() * 0.05)
            cursor = await connection.execute("select count(*) from todos where key = any(%s)", (keys,))
            if not self._is("transaction", await cursor.fetchone(), (len(keys),)):
                return False
        _require_open(connection)
        for key in keys:
            self._rows.has(key, 1)
        return True

    async def _rolled_back(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        async with connection.transaction(force_rollback=True):
            await connection.execute("insert into todos (key, value) values (%s, 1)", (self._rows.new_key(),))
        return True

    async def _savepoint(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        kept, undone = self._rows.new_key(), self._rows.new_key()
        self._written.append(kept)
        async with connection.transaction():
            await connection.execute("insert into todos (key, value) values (%s, 4)", (kept,))
            async with connection.transaction(force_rollback=True):
                await connection.execute("insert into todos (key, value) values (%s, 4)", (undone,))
        _require_open(connection)
        self._rows.has(kept, 4)
        return True

    async def _delete(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        keys = list(self._rows.sure)[: self._chance.randint(1, 5)]
        self._written += keys
        cursor = await connection.execute("delete from todos where key = any(%s)", (keys,))
        if not self._is("delete", cursor.rowcount, len(keys)):
            return False
        for key in keys:
            self._rows.lacks(key)
        return True

    async def _pipeline(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        async with connection.pipeline():
            cursors = [
                await connection.execute("select n, user_id from facts where n = %s", (number,)) for number in range(5)
            ]
            found = [await cursor.fetchone() for cursor in cursors]
        return self._is("pipeline", found, facts_of(self.user)[:5])

    async def _copy_out(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        async with connection.cursor().copy("copy (select n, user_id from facts order by n) to stdout") as copy:
            found = [row async for row in copy.rows()]
        return self._is("copy out", [(int(number), user) for number, user in found], facts_of(self.user))

    async def _cursor(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        found: list[Any] = []
        async with connection.transaction(), connection.cursor(name="some") as cursor:
            await cursor.execute("select n, user_id from facts order by n")
            while rows := await cursor.fetchmany(6):
                found += rows
        return self._is("cursor", found, facts_of(self.user))

    async def _setting(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        zone, hour = self._chance.choice((("Asia/Tokyo", "09"), ("UTC", "00"), ("Asia/Kolkata", "05")))
        await connection.execute(f"set timezone = '{zone}'".encode())
        cursor = await connection.execute("select to_char(timestamptz '2026-01-01 00:00:00Z', 'HH24'), auth.user_id()")
        return self._is("setting", await cursor.fetchone(), (hour, self.user))

    async def _large(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        cursor = await connection.execute(
            "select user_id, repeat('x', 500) from facts, generate_series(1, %s)", (LARGE_ROWS // FACTS,)
        )
        rows = await cursor.fetchall()
        return self._is("large", (len(rows), {user for user, _ in rows}), (LARGE_ROWS, {self.user}))

    async def _slow(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        cursor = await connection.execute("select slowly(%s)", (0.3,))
        return self._is("slow", await cursor.fetchone(), (self.user,))

    async def _cancelled(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        running = asyncio.get_running_loop().create_task(connection.execute("select slowly(3)"))
        await asyncio.sleep(0.1)
        with suppress(psycopg.Error):  # what has become of the statement says more
            await connection.cancel_safe(timeout=DEADLINE_SECONDS)
        try:
            await running
        except errors.QueryCanceled:
            self._tally.expected(self._front, "cancelled", "57014")
            return True
        return True  # a cancel that comes before its statement, or after it, is lost (PostgreSQL 18, section 54.2.8)

    async def _refused(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        query, wanted = self._chance.choice((
            ("select pg_read_file('x')", "statement_refused"),
            ("set role postgres", "statement_refused"),
            ("copy todos from program 'true'", "statement_refused"),
            ("select * from auth.session_key", "statement_refused"),
                ("select * from bare", "row_security_missing"),
            ("select * from nowhere", "42P01"),
            ("select 1 / 0", "22012"),
        ))  # fmt: skip
        try:
            await connection.execute(query.encode())
        except psycopg.Error as problem:
            code = _code_of(problem)
            if code != wanted:
                raise
            self._tally.expected(self._front, "refused", code)
            return True
        return self._wrong("refused", query)

    async def _failed_transaction(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        """An error in the middle: nothing of it may stay, and the session goes on."""
        try:
            async with connection.transaction():
                await connection.execute("insert into todos (key, value) values (%s, 1)", (self._rows.new_key(),))
                await connection.execute("select 1 / %s::int", (0,))
        except errors.DivisionByZero:
            cursor = await connection.execute("select auth.user_id()")
            return self._is("failed transaction", await cursor.fetchone(), (self.user,))
        return self._wrong("failed transaction", "no error")


def _require_open(connection: psycopg.AsyncConnection[Any]) -> None:
    """psycopg leaves the block of a transaction without a word where the connection has gone: nothing was committed."""
    if connection.closed:
        raise psycopg.OperationalError("the connection is closed")


def _code_of(problem: BaseException) -> str:
    """The code of an error, or of the one that it came of: psycopg fails to tidy up after a lost connection."""
    if isinstance(problem, psycopg.Error) and any(words in str(problem) for words in TWO_RESULTS):
        return SECOND_RESULT
    if isinstance(problem, psycopg.Error) and any(words in str(problem) for words in UNREAD):
        return UNREAD_WORD
    found = [_code_of(one) for one in (problem.__cause__, problem.__context__) if one is not None]
    if isinstance(problem, psycopg.Error):
        found.insert(0, _code(problem.diag.source_function, problem.sqlstate))
    return next((one for one in found if one in LOST), found[0] if found else NO_CODE)


def _code(routine: str | None, sqlstate: str | None) -> str:
    if routine is not None and routine.startswith("rowgate:"):
        return routine.removeprefix("rowgate:")
    return sqlstate or NO_CODE
