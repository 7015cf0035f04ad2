"""What goes to a backend for a session, put together: the session's context, then what the client asked.

The context (the session's settings, then the verified identity) stands ahead of the first statement that could see or
use it, in the same transaction, and nothing of the client's before that. Never sends anything, and never decides what
may run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rowgate.gateway.sessions.relay import HIDDEN_BIND, IDENTITY_BIND, IDENTITY_EXECUTE, Relay, Slot
from rowgate.guard.sessions.statement import SessionSetting
from rowgate.pgwire import messages
from rowgate.pgwire.fields import data_row
from rowgate.pgwire.stream import first_row
from rowgate.postgres.connection import Connection
from rowgate.postgres.exchange import Step
from rowgate.postgres.session_context import SessionIdentity
from rowgate.postgres.shared_statements import StatementKey

NO_TYPES = b"\0\0"
EXECUTE = messages.execute(b"")
TRANSACTION_DEFAULTS = frozenset(
    {"default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"}
)


class Composer:
    """Messages for ``connection`` and what becomes of their answers, which ``relay`` reads."""

    def __init__(self, connection: Connection, relay: Relay) -> None:
        self.connection = connection
        self._relay = relay
        self._unsent: list[bytes] = []
        self.has_settings = False
        self.has_identity = False
        self.discard_after = False

    @property
    def relay(self) -> Relay:
        """What reads the answers."""
        return self._relay

    @property
    def last_tag(self) -> bytes:
        """The body of the last CommandComplete."""
        return self._relay.last_tag

    def add(self, message: bytes, slot: Slot) -> None:
        """Appends a message and what becomes of its answer."""
        self._unsent.append(message)
        self._relay.expect(slot)

    def flush(self) -> None:
        """Sends what was appended, where it is not all sent at once."""

    def parse_shared(self, key: StatementKey) -> bytes:
        """The backend's name of a statement; Parse goes ahead where the backend does not know it yet."""
        statements = self.connection.statements
        name = statements.find(key)
        if name is None:
            name = statements.name(key)
            self.add(parse_message(name, key), Slot("parse", visible=False, skipped=lambda: statements.forget(key)))
        return name

    def run_hidden(
        self, key: StatementKey, *, quiet: bool = False, rows: Callable[[bytes], None] | None = None
    ) -> None:
        """Runs a statement of the gateway's own, unseen by the client."""
        name = self.parse_shared(key)
        self.add(messages.bind(b"", name, ()), HIDDEN_BIND)
        self.add(EXECUTE, Slot("execute", visible=False, quiet=quiet, rows=rows))

    def set_local(self, assignment: str) -> None:
        """Sets what ``assignment`` says for the transaction, unseen by the client."""
        self.run_hidden(set_local_key(assignment), quiet=True)

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
                Slot("parse", visible=False, done=lambda: connection.prepared.learn_identity(step), is_context=True)
            )
        self._relay.expect(IDENTITY_BIND)
        self._relay.expect(IDENTITY_EXECUTE)


def set_local_key(assignment: str) -> StatementKey:
    """The statement that sets what ``assignment`` says for the transaction."""
    return f"SET LOCAL {assignment}".encode(), NO_TYPES


def parse_message(name: bytes, key: StatementKey) -> bytes:
    """Parse for a statement under the backend's ``name``."""
    sql, types = key
    return messages.raw(b"P", name + b"\0" + sql + b"\0" + types)


def first_column(region: bytes) -> str:
    """The first value of the first row of a region, as text."""
    values = data_row(first_row(region))
    return "" if not values or values[0] is None else values[0].decode("utf-8", "replace")
