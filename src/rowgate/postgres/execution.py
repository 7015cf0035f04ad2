"""Running the statements of one request on a pool: one round trip, one transaction, and a clean connection after.

This is where nothing outlives a request: whatever happens (error, timeout, a client that leaves), the connection goes
back idle and outside any transaction, or it is dropped. Never decides what may run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import msgspec

from rowgate.errors import (
    ConnectionLost,
    DatabaseError,
    ResultTooLarge,
    SetupIncomplete,
    StatementTimeout,
    UnsupportedStatement,
)
from rowgate.postgres.connection import Connection
from rowgate.postgres.exchange import Flow, Outcome, Result, Statement
from rowgate.postgres.opening import Login, Opener
from rowgate.postgres.pool import Pool
from rowgate.postgres.session_context import SessionIdentity
from rowgate.postgres.turns import Overtaken

QUERY_CANCELED: Final = "57014"
# The plan no longer fits (cached plan must not change result type), or the statement is not there any more.
STALE_STATEMENT_SQLSTATES: Final = frozenset({"0A000", "26000"})
# Connections, resources, an operator, the system, an internal error (PostgreSQL 18, appendix A): whatever runs then
# fails, and that it was the identity says nothing of it.
FAULT_CLASSES: Final = frozenset({"08", "53", "57", "58", "XX"})


class Order(msgspec.Struct, frozen=True):
    """What to run for one request.

    ``identity`` is whom they run for (None: nobody); ``begin`` is the SQL that opens
    an explicit transaction (None: the statements share the implicit one); ``discard_after`` asks for DISCARD ALL
    before the connection serves anyone else, because a function of the user may have left something in the session;
    ``only_reads`` says that running them twice does no harm; ``party`` is whose turn in the pool they take; ``flow``
    takes the rows of large results, where they are not to be kept; ``check_again`` raises where they may not run any
    more, now that they have waited for a connection.
    """

    statements: Sequence[Statement]
    identity: SessionIdentity | None = None
    begin: bytes | None = None
    discard_after: bool = False
    only_reads: bool = False
    party: Hashable = None
    flow: Flow | None = None
    check_again: Callable[[], None] | None = None

    @property
    def may_run_again(self) -> bool:
        """Whether nobody has been told anything of a first run."""
        return self.flow is None or not self.flow.begun


async def execute(pool: Pool, order: Order) -> list[Result]:
    """The results of all statements, in order.

    Raises DatabaseError for what Postgres refused, StatementTimeout, ResultTooLarge, ConnectionLost, the pool's
    errors, what ``check_again`` raises, and SetupIncomplete when the database does not take the gateway's signed
    identity.
    """
    party = order.party
    if order.only_reads and pool.texts.are_quick(order.statements):
        try:
            connection = pool.take(True, party) or await _wait_for_connection(pool, order, True)
            return await _execute_on(pool, connection, order)
        except Overtaken as problem:  # it stood behind something slow, or on one that failed under somebody else
            if not order.may_run_again:
                raise ConnectionLost("the connection to Postgres was lost while the result was on its way") from problem
            return await _execute_on(pool, await pool.acquire(admitted=True, party=party), order)
    return await _execute_on(pool, pool.take(False, party) or await _wait_for_connection(pool, order, False), order)


async def _wait_for_connection(pool: Pool, order: Order, shares: bool) -> Connection:
    connection = await pool.acquire(shares, party=order.party)
    if order.check_again is not None:
        try:
            order.check_again()
        except BaseException:
            pool.release(connection)
            raise
    return connection


async def _execute_on(pool: Pool, connection: Connection, order: Order) -> list[Result]:
    try:
        outcome = await _run(connection, order, pool.texts.is_repeated)
        if _is_stale(outcome) and order.may_run_again:
            outcome = await _run_again(connection, order, outcome)
        if connection.in_transaction and not connection.broken:
            await connection.run_simple(b"ROLLBACK")
    except (asyncio.CancelledError, ResultTooLarge):
        pool.abandon(connection, discard=order.discard_after)
        raise
    except Overtaken:
        pool.release(connection)
        raise
    except BaseException:
        pool.discard(connection)
        raise
    expired = connection.expired
    if expired:
        pool.discard(connection)  # a cancel request is on its way to it
    elif order.discard_after and connection.is_idle:
        pool.cleanse(connection)
    else:
        is_waited_for = pool.is_waited_for
        pool.release(connection)
        if is_waited_for:
            # Whoever has it now sends its request before this answer is written, so that the backend works meanwhile.
            await asyncio.sleep(0)
    if outcome.error is not None:
        raise _explain(outcome, outcome.error, expired)
    pool.texts.remember(order.statements, outcome.seconds)
    return _rows_only(outcome)


def _run(connection: Connection, order: Order, keep: Callable[[Statement], bool]) -> asyncio.Future[Outcome]:
    return connection.run(order.statements, identity=order.identity, begin=order.begin, keep=keep, flow=order.flow)


def _never(statement: Statement) -> bool:
    """No statement is kept."""
    return False


def _is_stale(outcome: Outcome) -> bool:
    step = outcome.failed
    return (
        outcome.error is not None
        and step is not None
        and step.prepared is not None
        and not step.parsed_here
        and outcome.error.database_sqlstate in STALE_STATEMENT_SQLSTATES
    )


async def _run_again(connection: Connection, order: Order, outcome: Outcome) -> Outcome:
    """The first try changed nothing: its error ended the transaction. Prepared anew, it may work."""
    if connection.in_transaction:
        await connection.run_simple(b"ROLLBACK")
    if connection.broken:
        raise ConnectionLost("the connection to Postgres was lost while the statement ran")
    connection.prepared.doubt()
    return await _run(connection, order, _never)


def _explain(outcome: Outcome, error: DatabaseError, expired: bool) -> Exception:
    is_of_context = outcome.failed is not None and outcome.failed.kind == "context"
    if is_of_context and error.database_sqlstate[:2] not in FAULT_CLASSES:
        return SetupIncomplete(
            "the database did not take the gateway's signed identity",
            detail=f"SQLSTATE {error.database_sqlstate}: {error.message}",
        )
    if expired and error.database_sqlstate == QUERY_CANCELED:
        return StatementTimeout("canceling statement due to statement timeout")
    return error


async def execute_alone(opener: Opener, login: Login, order: Order, limit_seconds: float) -> list[Result]:
    """The results of all statements, on a connection that is made for them and closed after them.

    For roles that bring their own password: Postgres verifies it each time, so that a changed one counts at once.
    ``limit_seconds`` bounds the run. Raises as ``execute`` does, and what Postgres says of the login.
    """
    connection = await opener.open(login, _forget_lost)
    try:
        async with asyncio.timeout(limit_seconds):
            outcome = await _run(connection, order, _never)
    except TimeoutError as problem:
        raise StatementTimeout("canceling statement due to statement timeout") from problem
    finally:
        connection.terminate()
        if connection.cut_short:
            await opener.cancel(connection)
    if outcome.error is not None:
        raise outcome.error
    return _rows_only(outcome)


def _rows_only(outcome: Outcome) -> list[Result]:
    if outcome.copied_out:
        raise UnsupportedStatement("COPY TO STDOUT gives no rows over HTTP", hint="Use SELECT, or COPY through psql.")
    return outcome.results


def _forget_lost(connection: Connection) -> None:
    """A connection that belongs to no pool has nobody to tell."""
