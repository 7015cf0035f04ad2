"""One connection to Postgres that is past its start: runs exchanges one after the other, in one write each.

Never decides what may run, and never reuses itself after a doubt: a changed session parameter, a notification, an
exhausted server or an unclean end mark it ``broken``, and its pool drops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from math import inf
from typing import Final, Protocol

from rowgate.errors import ConnectionLost, ProtocolViolation, ResultTooLarge, RowgateError
from rowgate.pgwire import messages
from rowgate.pgwire.stream import MessageStream
from rowgate.postgres.exchange import Exchange, Flow, Outcome, Prepared, Statement, Step
from rowgate.postgres.identity_messages import EXECUTE
from rowgate.postgres.inflow import Inflow
from rowgate.postgres.prepared_statements import PreparedStatements
from rowgate.postgres.session_context import SessionIdentity
from rowgate.postgres.statement_cache import StatementRoom
from rowgate.postgres.turns import Answered, Turns

IDLE: Final = 0x49
SENT_TOGETHER: Final = 4
"""As many exchanges go out in one write, while the backend has others to do. Of 1 to 16 this gave the most point reads
on two cores, and a fifth more than one write for all of a round."""
COPY_FAIL: Final = messages.copy_fail(b"data for COPY cannot be sent here")

# Refused by a policy, or the identity itself was: the next request has the backend say whether it takes identities.
IDENTITY_SQLSTATES: Final = frozenset({"42501", "28000"})

# After these the backend, or the whole server, is not to be trusted with another request: out of memory or lock
# space, an internal error, and the three shutdown states (PostgreSQL 18, appendix A).
FATAL_SQLSTATES: Final = frozenset({"53200", "XX000", "57P01", "57P02", "57P03"})


class Listener(Protocol):
    """What holds a connection for longer than one exchange, and takes its messages one by one: a session."""

    def receive(self, kind: int, body: bytes) -> bool:
        """Takes one message; True when it was a ReadyForQuery. Raises ProtocolViolation."""

    def delivered(self) -> None:
        """All messages of one read have been received."""

    def lost(self, problem: RowgateError) -> None:
        """The connection has gone, or is of no use any more."""


class Connection(asyncio.Protocol):
    """A backend of one database and role.

    ``max_result_bytes`` bounds the answer of one exchange, ``room`` the prepared statements, ``on_lost`` is
    called once when the connection has gone.
    """

    def __init__(
        self,
        *,
        process_id: int,
        secret_key: bytes,
        parameters: Mapping[str, str],
        max_result_bytes: int,
        room: StatementRoom,
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.process_id = process_id
        self.secret_key = secret_key
        self.parameters = parameters
        self.broken = False
        self.in_transaction = False
        self.expired = False
        self.cut_short = False
        """Whether this side broke it off while the backend had work to do: a cancel is needed to end that."""
        self.busy_since: float | None = None
        self.last_seconds = inf
        """How long the last exchange of a session took."""
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._max_result_bytes = max_result_bytes
        self.inflow = Inflow(self._loop)
        self._stream = MessageStream(max_result_bytes + 1024, group_rows=True)
        self._transport: asyncio.Transport | None = None
        self._turns = Turns()
        self._unsent: list[bytes] = []
        self.holders = 0
        """For its pool: how many requests use it. More than one only while all of them do nothing but read."""
        self.party: Hashable = None
        """For its pool: who holds it."""
        self.longest: float | None = None
        """For its pool: how many seconds the longest exchange took since somebody has it; None before the first."""
        self.on_free: Callable[[Connection], None] | None = None
        """Called when it has answered the last exchange, and nobody had waited for that."""
        self.on_rest: Callable[[], None] | None = None
        """Called when it has answered whoever holds it, and waits for more."""
        self._listener: Listener | None = None
        self.prepared = PreparedStatements(process_id, self._loop.time, room)
        self.identities = self.prepared.identities
        self.statements = self.prepared.of_sessions

    # --- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes over the transport after the start."""
        if isinstance(transport, asyncio.Transport) or hasattr(transport, "write"):
            self._transport = transport  # type: ignore[assignment]
            self.inflow.read_from(self._transport)

    def data_received(self, data: bytes) -> None:
        """Feeds the exchange under way; anything that comes without one breaks the connection."""
        if self._listener is not None:
            self._deliver(self._listener, data)
            return
        received = self.inflow.count(len(data))
        try:
            turns = self._turns
            exchange = turns.head
            if received > self._max_result_bytes and exchange is not None and not exchange.flows:
                self._give_up(exchange)
            position = 0
            while exchange is not None and not self._stream.pending:
                end = exchange.receive_whole(data, position)
                if not end:
                    break
                position = end
                self._finish(exchange)
                exchange = turns.head
            if position == len(data):
                return
            for kind, body in self._stream.feed(data[position:] if position else data):
                if exchange is None:
                    self._receive_unasked(kind)
                elif exchange.receive(kind, body):
                    self._finish(exchange)
                    exchange = turns.head
                elif exchange.copy_refused:
                    exchange.copy_refused = False
                    self._write(COPY_FAIL + messages.SYNC)
        except RowgateError as problem:
            self.cut_short = self._turns.head is not None
            self._fail(self._too_large() if self._stream.too_long and self.cut_short else problem)
            self.abort()

    def connection_lost(self, problem: Exception | None) -> None:
        """The backend has gone: the exchange under way ends with a clear error."""
        self.broken = True
        self.inflow.read_from(None)
        exchange = self._turns.head
        if exchange is not None and exchange.error is not None:
            self._finish(exchange)  # the server said why before it closed
        self._fail(ConnectionLost("the connection to Postgres was lost while the statement ran"))
        self.prepared.forget()
        self._on_lost(self)

    def _deliver(self, listener: Listener, data: bytes) -> None:
        try:
            self.inflow.count(len(data))
            for kind, body in self._stream.feed(data):
                if listener.receive(kind, body):
                    self.inflow.begin()
                    self.last_seconds = inf if self.busy_since is None else self._loop.time() - self.busy_since
                    self.longest = max(self.longest or 0.0, self.last_seconds)
                    self.busy_since = None
            listener.delivered()
            if self.busy_since is None and self.on_rest is not None:
                self.on_rest()
        except RowgateError as problem:
            self.cut_short = True
            self._fail(problem)
            self.abort()

    # --- running ----------------------------------------------------------------------------------------------

    def run(
        self,
        statements: Sequence[Statement],
        *,
        identity: SessionIdentity | None = None,
        begin: bytes | None = None,
        keep: Callable[[Statement], bool],
        flow: Flow | None = None,
    ) -> asyncio.Future[Outcome]:
        """Sends one exchange and gives a future of its outcome.

        ``identity`` is whom the statements run for (None: nobody), ``begin`` the SQL that opens an explicit
        transaction around the statements (COMMIT is added), ``keep`` says of a statement whether to keep it prepared,
        ``flow`` takes the rows of large results.
        The future raises ConnectionLost, ResultTooLarge, ProtocolViolation or Overtaken; errors of Postgres are part of
        the outcome. While another exchange is under way, this one is answered after it; both must only read then.
        """
        transport = self._require_usable()
        parts = self.prepared.closes()
        steps: list[Step] = []
        if begin is not None:
            self._add_own(begin, "begin", parts, steps)
        if identity is not None:
            self.identities.add(identity, parts, steps)
        named: dict[bytes, Prepared] = {}
        for statement in statements:
            self.prepared.add(statement, keep, named, parts, steps)
        if begin is not None:
            self._add_own(b"COMMIT", "commit", parts, steps)
        parts.append(messages.SYNC)
        if flow is None:
            return self._start(transport, Exchange(steps), b"".join(parts))
        flow.run_from(self)
        return self._start(transport, Exchange(steps, flow, self), b"".join(parts))

    def run_exchange(self, exchange: Answered, data: bytes) -> asyncio.Future[Outcome]:
        """Sends ``data``, which ends with a Sync, and gives a future of its outcome; see ``run`` for what it raises."""
        return self._start(self._require_usable(), exchange, data)

    def run_simple(self, sql: bytes) -> asyncio.Future[Outcome]:
        """Sends one statement of Rowgate's own by the simple protocol (ROLLBACK, DISCARD ALL)."""
        transport = self._require_usable()
        if sql == b"DISCARD ALL":
            self.prepared.forget()
        return self._start(transport, Exchange([Step("own")]), messages.query(sql))

    def run_closes(self) -> asyncio.Future[Outcome]:
        """Closes what the backend has prepared and nobody needs, and nothing else."""
        transport = self._require_usable()
        return self._start(transport, Exchange([]), b"".join([*self.prepared.closes(), messages.SYNC]))

    def attach(self, listener: Listener) -> None:
        """From now on a session holds the connection: messages go to ``listener``, ``send`` is for it alone."""
        self._require_usable()
        if self._turns.head is not None:
            raise ConnectionLost("the connection to Postgres cannot take a session")
        self._listener = listener

    def detach(self, *, in_transaction: bool, cut_short: bool = False) -> None:
        """The session lets go of the connection; ``cut_short``: in the middle of something, so it is of no use."""
        self._listener = None
        self.in_transaction = in_transaction
        self.cut_short = cut_short

    def send(self, data: bytes) -> None:
        """Sends messages of the session that holds the connection."""
        if self.busy_since is None:
            self.busy_since = self._loop.time()
            self.expired = False
        self._write(data)

    def pause(self) -> None:
        """Reads nothing more for a while: the client is slower than the backend."""
        if not self.broken:
            self.inflow.pause()

    def resume(self) -> None:
        """Reads again."""
        if not self.broken:
            self.inflow.resume()

    def drained(self) -> asyncio.Future[Outcome]:
        """Sends everyone who waits elsewhere; gives a future of the last exchange under way."""
        waiter: asyncio.Future[Outcome] = self._loop.create_future()
        self._turns.drained(waiter)
        return waiter

    def overtake(self, *, head: bool = False) -> None:
        """Sends those who wait behind the exchange under way elsewhere; with ``head`` everyone who waits."""
        self._turns.overtake(head=head)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, and an exchange may start."""
        return self._turns.head is None and self._listener is None and not self.broken

    @property
    def is_running(self) -> bool:
        """Whether an exchange is under way."""
        return self._turns.head is not None

    @property
    def turns(self) -> Turns:
        """The exchanges under way."""
        return self._turns

    def terminate(self) -> None:
        """Says goodbye and closes (PostgreSQL 18, section 54.2.10)."""
        self.broken = True
        self.inflow.read_from(None)
        self.cut_short = self.cut_short or self._turns.head is not None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(messages.TERMINATE)
            self._transport.close()

    def abort(self) -> None:
        """Closes at once, without a word."""
        self.broken = True
        self.inflow.read_from(None)
        if self._transport is not None:
            self._transport.abort()

    # --- inside -----------------------------------------------------------------------------------------------

    def _require_usable(self) -> asyncio.Transport:
        transport = self._transport
        if self._listener is not None or self.broken or transport is None or transport.is_closing():
            raise ConnectionLost("the connection to Postgres cannot take another exchange")
        return transport

    def _give_up(self, exchange: Answered) -> None:
        """Its result is too large. The backend is fine: its pool ends the statement and uses it again."""
        if not exchange.discards:
            exchange.discard_rows()
            self._turns.give_up(self._too_large())

    def _too_large(self) -> ResultTooLarge:
        return ResultTooLarge(f"response is too large (max is {self._max_result_bytes} bytes)")

    def _start(self, transport: asyncio.Transport, exchange: Answered, data: bytes) -> asyncio.Future[Outcome]:
        waiter: asyncio.Future[Outcome] = self._loop.create_future()
        if self._turns.head is None:
            self.statements.unnamed = None  # the exchange may parse its own
            self.expired = False
            self.busy_since = self._loop.time()
            transport.write(data)
        else:
            # The backend has something to do already, so what is sent behind it goes out a few at a time: all of a
            # round at once would keep it waiting for the gateway, and the gateway for it afterwards.
            if not self._unsent:
                self._loop.call_soon(self._send_unsent)
            self._unsent.append(data)
            if len(self._unsent) == SENT_TOGETHER:
                self._send_unsent()
        self._turns.add(exchange, waiter)
        return waiter

    def _send_unsent(self) -> None:
        if self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _add_own(self, sql: bytes, name: str, parts: list[bytes], steps: list[Step]) -> None:
        parts += (messages.parse(b"", sql), messages.bind(b"", b"", ()), EXECUTE)
        steps.append(Step(name))

    def _receive_unasked(self, kind: int) -> None:
        """A notice is harmless; anything else says that the session is no longer what it was."""
        if kind != 0x4E:
            raise ProtocolViolation(f"message {chr(kind)!r} came without a request")

    def _finish(self, exchange: Answered) -> None:
        now = self._loop.time()
        seconds = now - (self.busy_since or now)
        if self.longest is None or seconds > self.longest:
            self.longest = seconds
        outcome = exchange.outcome(seconds)
        parsed = exchange.parsed_steps
        if parsed:
            self.prepared.learn(parsed)
        if exchange.state_changed or exchange.status == 0:
            self.broken = True
        if outcome.error is not None:
            if outcome.error.database_sqlstate in FATAL_SQLSTATES:
                self.broken = True
            if outcome.error.database_sqlstate in IDENTITY_SQLSTATES:
                self.identities.doubt()
        self.in_transaction = exchange.status != IDLE
        self.inflow.begin()
        turns = self._turns
        if self.broken or self.in_transaction:
            turns.overtake()  # nobody may run in a session that is in doubt
        was_awaited = turns.advance(outcome)
        if turns.head is not None:
            self.busy_since = now
            return
        self.busy_since = None
        if not was_awaited and self.on_free is not None:
            self.on_free(self)

    def _fail(self, problem: RowgateError) -> None:
        self.busy_since = None
        listener, self._listener = self._listener, None
        if listener is not None:
            self.broken = True
            listener.lost(problem)
        self._turns.fail(problem)
