"""The backend that a session holds from the first message of a transaction to its end.

Sends the session's context (its settings, then the verified identity) ahead of the first statement that could see or
use it, in the same transaction, and nothing of the client's before that. Gives the backend back idle, cleansed where
a function of the user may have left something, or drops it. Never decides what may run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from rowgate.errors import RowgateError
from rowgate.gateway.sessions.outflow import Outflow
from rowgate.gateway.sessions.relay import HIDDEN_BIND, IDENTITY_BIND, IDENTITY_EXECUTE, SYNC, Relay, Slot
from rowgate.guard.sessions.statement import SessionSetting
from rowgate.pgwire import messages
from rowgate.pgwire.fields import data_row
from rowgate.pgwire.server import answers
from rowgate.postgres.connection import Connection
from rowgate.postgres.exchange import Step
from rowgate.postgres.pool import Pool
from rowgate.postgres.session_context import SessionIdentity
from rowgate.postgres.shared_statements import StatementKey

NO_TYPES = b"\0\0"
EXECUTE = messages.execute(b"")
TRANSACTION_DEFAULTS = frozenset(
    {"default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"}
)


class Backend:
    """One connection of ``pool``, held. ``relay`` turns its answers into the client's, which ``outflow`` takes."""

    def __init__(self, pool: Pool, connection: Connection, relay: Relay, outflow: Outflow) -> None:
        self._pool = pool
        self._relay = relay
        self._outflow = outflow
        self._unsent: list[bytes] = []
        self._settled: asyncio.Future[None] | None = None
        self._problem: RowgateError | None = None
        self._syncs = 0
        self.connection = connection
        self.has_settings = False
        self.has_identity = False
        self.discard_after = False
        self.was_cancelled = False
        connection.attach(self)
        # First of all: after an error the server skips what is left before Sync.
        for name in connection.statements.overflow():
            self.add(messages.close_statement(name), Slot("close", visible=False))

    @property
    def last_tag(self) -> bytes:
        """The body of the last CommandComplete."""
        return self._relay.last_tag

    # --- what the connection tells ----------------------------------------------------------------------------

    def receive(self, kind: int, body: bytes) -> bool:
        """Takes one message of the backend."""
        if not self._relay.receive(kind, body):
            return False
        self._syncs -= 1
        return True

    def delivered(self) -> None:
        """One read has been taken in."""
        self._outflow.relieve(self.connection)
        if self._settled is not None and not self._settled.done() and not self._syncs:
            self._settled.set_result(None)

    def lost(self, problem: RowgateError) -> None:
        """The connection has gone."""
        self._problem = problem
        if self._settled is not None and not self._settled.done():
            self._settled.set_exception(problem)

    def wake(self, problem: BaseException) -> None:
        """Ends the wait of whoever waits for the backend, because the session is to end."""
        if self._settled is not None and not self._settled.done():
            self._settled.set_exception(problem)

    # --- sending ----------------------------------------------------------------------------------------------

    def add(self, message: bytes, slot: Slot) -> None:
        """Appends a message and what becomes of its answer."""
        self._unsent.append(message)
        self._relay.expect(slot)

    def add_raw(self, data: bytes) -> None:
        """Appends bytes that have no answer of their own (COPY data, Flush)."""
        self._unsent.append(data)

    def flush(self) -> None:
        """Sends what was appended."""
        if self._problem is not None:
            raise self._problem
        if self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            self.connection.send(data)

    def sync(self) -> None:
        """Appends Sync and sends everything."""
        self._syncs += 1
        self.add(messages.SYNC, SYNC)
        self.flush()

    def copy_began(self, swallowed: int) -> None:
        """The backend waits for COPY data, and ignores so many Syncs that were sent ahead of it."""
        self._syncs -= swallowed

    async def settle(self) -> None:
        """Waits until the backend has answered every Sync. Raises ConnectionLost, or what ``wake`` was given."""
        if self._problem is not None:
            raise self._problem
        if self._syncs:
            await self._wait()

    async def settle_one(self, is_settled: Callable[[], bool]) -> None:
        """Waits until ``is_settled``, which is asked after each read from the backend."""
        while not is_settled():
            if self._problem is not None:
                raise self._problem
            await self._wait()

    async def _wait(self) -> None:
        self._settled = asyncio.get_running_loop().create_future()
        try:
            await self._settled
        finally:
            self._settled = None

    # --- the context ------------------------------------------------------------------------------------------

    def parse_shared(self, key: StatementKey) -> bytes:
        """The backend's name of a statement; Parse goes ahead where the backend does not know it yet."""
        statements = self.connection.statements
        name = statements.find(key)
        if name is None:
            name = statements.add(key)
            self.add(parse_message(name, key), Slot("parse", visible=False, skipped=lambda: statements.forget(key)))
        return name

    def run_hidden(self, key: StatementKey, *, quiet: bool = False, row: Callable[[bytes], None] | None = None) -> None:
        """Runs a statement of the gateway's own, unseen by the client."""
        name = self.parse_shared(key)
        self.add(messages.bind(b"", name, ()), HIDDEN_BIND)
        self.add(EXECUTE, Slot("execute", visible=False, quiet=quiet, row=row))

    def set_local(self, assignment: str) -> None:
        """Sets what ``assignment`` says for the transaction, unseen by the client."""
        self.run_hidden((f"SET LOCAL {assignment}".encode(), NO_TYPES), quiet=True)

    def set_up(self, settings: Iterable[SessionSetting], identity: SessionIdentity | None) -> None:
        """Puts the session's settings and identity into the transaction, each once; an identity takes a snapshot."""
        if not self.has_settings:
            self.has_settings = True
            for setting in settings:
                self.set_local(setting.assignment)
                if setting.name in TRANSACTION_DEFAULTS:
                    # The transaction has begun, so its default is too late for it.
                    own = setting.name.removeprefix("default_")
                    self.set_local(setting.assignment.replace(setting.name, own, 1))
        if identity is not None and not self.has_identity:
            self.has_identity = True
            parts: list[bytes] = []
            steps: list[Step] = []
            self.connection.identities.add(identity, parts, steps)
            for step in steps:
                self._expect_identity(step)
            self._unsent += parts

    def forget_context(self) -> None:
        """The transaction has ended inside a pipeline: what follows is another one."""
        self.has_settings = self.has_identity = False

    def _expect_identity(self, step: Step) -> None:
        connection = self.connection
        if step.parsed_here:
            self._relay.expect(
                Slot("parse", visible=False, done=lambda: connection.learn_identity(step), is_context=True)
            )
        self._relay.expect(IDENTITY_BIND)
        self._relay.expect(IDENTITY_EXECUTE)

    # --- the end ----------------------------------------------------------------------------------------------

    @property
    def is_free(self) -> bool:
        """Whether the backend owes nothing and stands outside any transaction."""
        return self._relay.is_settled and self._relay.status == answers.IDLE and not self._unsent

    @property
    def is_working(self) -> bool:
        """Whether the backend owes an answer to something that has gone out."""
        return not self._relay.is_settled and not self._unsent

    def give_back(self) -> None:
        """Gives the connection back to the pool, in whatever state it is."""
        connection, relay = self.connection, self._relay
        if self._problem is not None:
            self._pool.discard(connection)
            return
        if not relay.is_settled or self._unsent or relay.tainted or self.was_cancelled:
            connection.detach(in_transaction=True, cut_short=True)
            self._pool.discard(connection)
            return
        connection.detach(in_transaction=relay.status != answers.IDLE)
        if connection.in_transaction:
            self._pool.abandon(connection, discard=self.discard_after)
        elif self.discard_after:
            self._pool.cleanse(connection)
        else:
            self._pool.release(connection)


def parse_message(name: bytes, key: StatementKey) -> bytes:
    """Parse for a statement under the backend's ``name``."""
    sql, types = key
    return messages.raw(b"P", name + b"\0" + sql + b"\0" + types)


def first_column(body: bytes) -> str:
    """The first value of a DataRow body, as text."""
    values = data_row(body)
    return "" if not values or values[0] is None else values[0].decode("utf-8", "replace")
