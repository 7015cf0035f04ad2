"""What the client of a session asks, turned into what goes to a backend.

Client frames are never forwarded as they are: a simple query is taken apart, judged, and each statement sent on its own
by the extended protocol; prepared statements get the backend's names; what would outlive a transaction is kept by the
session and put into each transaction anew. Never reads or writes a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rowgate.errors import DatabaseError, RowgateError, StatementRefused
from rowgate.gateway.sessions.composer import EXECUTE, NO_TYPES, Composer, first_column, parse_message
from rowgate.gateway.sessions.relay import BIND, CLOSE, DESCRIBE, HIDDEN_BIND, HIDDEN_PARSE, Slot
from rowgate.gateway.sessions.state import REPORTED, Definition, SessionState
from rowgate.gateway.sessions.statement_records import StatementRecords
from rowgate.guard.sessions.settings import bound, session_setting
from rowgate.guard.sessions.statement import SessionKind, SessionSetting, SessionStatement
from rowgate.pgwire import messages
from rowgate.pgwire.server import answers
from rowgate.pgwire.server.requests import Bind, Close, Describe, Execute, Parse
from rowgate.postgres.session_context import SessionIdentity
from rowgate.postgres.shared_statements import StatementKey

# A statement that does nothing and gives no row: stands in where the gateway itself does what was asked. Nobody ever
# listens on a shared backend.
NOTHING: bytes = b"UNLISTEN *"
# What a client gets that has presented a fresh token: what the function would give. The token goes nowhere.
PRESENTED: bytes = b"select ''::pg_catalog.text as jwt_session_init"
PRESENTED_BY_PARAMETER: bytes = b"select pg_catalog.concat($1::pg_catalog.text) as jwt_session_init"
# Bind to a statement that no backend has: makes the backend fail where the gateway has refused, so that the
# transaction ends as it does after any other error.
POISON_NAME: bytes = b"rowgate_refused"
OPENINGS = frozenset({SessionKind.BEGIN, SessionKind.SET_TRANSACTION})
"""Ahead of these only settings go: SET TRANSACTION must come before anything that takes a snapshot."""
ENDINGS = frozenset({SessionKind.COMMIT, SessionKind.ROLLBACK, SessionKind.RELEASE, SessionKind.ROLLBACK_TO})
"""Statements that see nothing and need nothing."""
SETTINGS_ONLY = frozenset(
    {
        SessionKind.SET_LOCAL,
        SessionKind.SET_SESSION,
        SessionKind.RESET,
        SessionKind.RESET_ALL,
        SessionKind.SHOW,
        SessionKind.DISCARD_ALL,
        SessionKind.DEALLOCATE,
        SessionKind.DEALLOCATE_ALL,
        SessionKind.UNLISTEN_ALL,
    }
)
SETTING_KINDS = frozenset(
    {SessionKind.SET_SESSION, SessionKind.SET_LOCAL, SessionKind.RESET, SessionKind.SET_TRANSACTION}
)
TAGS = {
    SessionKind.SET_SESSION: b"SET",
    SessionKind.RESET: b"RESET",
    SessionKind.RESET_ALL: b"RESET",
    SessionKind.DISCARD_ALL: b"DISCARD ALL",
    SessionKind.DEALLOCATE: b"DEALLOCATE",
    SessionKind.DEALLOCATE_ALL: b"DEALLOCATE ALL",
    SessionKind.UNLISTEN_ALL: b"UNLISTEN",
}

PLAIN_EXECUTION = Slot("execute")
DESCRIBE_SIMPLE = Slot("describe", simple=True)
DESCRIBE_PORTAL = messages.describe_portal(b"")
BIND_NOTHING = messages.bind(b"", b"", ())


class Conversation:
    """Turns requests into messages for ``backend``, for the session of ``state``.

    ``identity`` gives whom the session works for, ``emit`` sends bytes to the client, ``records`` (if any) follow each
    execution.
    """

    __slots__ = ("_emit", "_identity", "_records", "_state", "_statement_timeout_ms")

    def __init__(
        self,
        state: SessionState,
        statement_timeout_ms: int,
        identity: Callable[[], SessionIdentity | None],
        emit: Callable[[bytes], None],
        records: StatementRecords | None = None,
    ) -> None:
        self._state = state
        self._records = records
        self._statement_timeout_ms = statement_timeout_ms
        self._identity = identity
        self._emit = emit

    # --- the simple protocol ----------------------------------------------------------------------------------

    def run_simple(self, backend: Composer, statement: SessionStatement, *, status: int) -> None:
        """Appends one statement of a simple query. ``status`` is the transaction's, as ReadyForQuery tells it."""
        self._refuse_in_transaction(statement, status)
        self._prepare_context(backend, statement)
        key = (self._sql(statement), NO_TYPES)
        backend.connection.statements.unnamed = None
        offset = statement.offset
        backend.add(parse_message(b"", key), Slot("parse", visible=False, offset=offset) if offset else HIDDEN_PARSE)
        backend.add(BIND_NOTHING, Slot("bind", visible=False, offset=offset) if offset else HIDDEN_BIND)
        backend.add(DESCRIBE_PORTAL, DESCRIBE_SIMPLE)
        backend.add(EXECUTE, self._execution(backend, statement, offset=offset))
        self._after(backend, statement)

    # --- the extended protocol --------------------------------------------------------------------------------

    def define(self, backend: Composer, request: Parse, statement: SessionStatement | None) -> None:
        """Parse: the session knows the statement from now on, and the backend too."""
        if request.name and request.name in self._state.statements:
            raise _postgres("42P05", f'prepared statement "{_shown(request.name)}" already exists')
        definition = Definition(statement, (b"" if statement is None else self._sql(statement), request.types))
        self._state.statements[request.name] = definition
        undo = partial(self._undefine, request.name, definition)
        if not request.name:
            backend.connection.statements.unnamed = definition
            backend.add(parse_message(b"", definition.key), Slot("parse", skipped=undo))
            return
        statements = backend.connection.statements
        if statements.find(definition.key) is not None:
            # The answer must come in its turn; the backend answers a Close of nothing with as many bytes.
            backend.add(messages.close_statement(POISON_NAME), Slot("close", answer=answers.PARSE_COMPLETE))
            return
        name = statements.name(definition.key)

        def skipped() -> None:
            statements.forget(definition.key)
            undo()

        backend.add(parse_message(name, definition.key), Slot("parse", skipped=skipped))

    def bind(self, backend: Composer, request: Bind, *, status: int) -> None:
        """Bind: the statement gets the backend's name, after the transaction has the session's context."""
        definition = self.definition(request.statement)
        statement = definition.statement
        if statement is not None:
            self._refuse_in_transaction(statement, status)
            if statement.parameters:  # settings that are named or made by parameters are judged here
                statement = bound(statement, lambda number: _text(request.parameter(number)))
            self._prepare_context(backend, statement)
        name = self._backend_name(backend, request.statement, definition)
        if statement is not None and statement.token_parameter is not None:
            message = messages.bind(request.portal, name, (None,))  # the token stays here
        else:
            message = request.renamed(name)
        backend.add(message, BIND)
        shown = None if self._records is None else self._records.shown(statement, request)
        self._state.portals[request.portal] = Definition(statement, definition.key, shown)

    def describe(self, backend: Composer, request: Describe) -> None:
        """Describe of a statement or a portal."""
        if request.kind == b"P":
            backend.add(messages.describe_portal(request.name), DESCRIBE)
            return
        definition = self.definition(request.name)
        name = self._backend_name(backend, request.name, definition)
        backend.add(messages.describe_statement(name), DESCRIBE)

    def execute(self, backend: Composer, request: Execute) -> None:
        """Execute of a portal."""
        definition = self._state.portals.get(request.portal)
        if definition is None:
            raise _postgres("34000", f'portal "{_shown(request.portal)}" does not exist')
        statement = definition.statement
        message = messages.execute(request.portal, request.max_rows)
        if statement is None:
            backend.add(message, Slot("execute"))
            return
        backend.add(message, self._execution(backend, statement, parameters=definition.parameters))
        self._after(backend, statement)
        if statement.kind is SessionKind.COPY_FROM:
            backend.flush()  # the server asks for the data without waiting for a Sync

    def close(self, backend: Composer, request: Close) -> None:
        """Close of a statement (the session's own) or a portal."""
        if request.kind == b"P":
            self._state.portals.pop(request.name, None)
            backend.add(messages.raw(b"C", b"P" + request.name + b"\0"), CLOSE)
            return
        self._state.statements.pop(request.name, None)
        backend.add(messages.close_statement(POISON_NAME), CLOSE)

    def refuse(self, backend: Composer, error: bytes) -> None:
        """The gateway has refused: the backend fails too, and the client reads ``error`` in place of its error."""
        backend.add(messages.bind(b"", POISON_NAME, ()), Slot("bind", refusal=error))

    def definition(self, name: bytes) -> Definition:
        """The statement that the client has prepared. Raises DatabaseError 26000 as Postgres does."""
        definition = self._state.statements.get(name)
        if definition is None:
            shown = f'prepared statement "{_shown(name)}"' if name else "unnamed prepared statement"
            raise _postgres("26000", f"{shown} does not exist")
        return definition

    # --- inside -----------------------------------------------------------------------------------------------

    def _undefine(self, name: bytes, definition: Definition) -> None:
        if self._state.statements.get(name) is definition:
            del self._state.statements[name]

    def _backend_name(self, backend: Composer, client_name: bytes, definition: Definition) -> bytes:
        if client_name:
            return backend.parse_shared(definition.key)
        statements = backend.connection.statements
        if statements.unnamed is not definition:
            statements.unnamed = definition
            backend.add(parse_message(b"", definition.key), HIDDEN_PARSE)
        return b""

    def _refuse_in_transaction(self, statement: SessionStatement, status: int) -> None:
        if statement.kind == SessionKind.DISCARD_ALL and status == answers.IN_TRANSACTION:
            raise _postgres("25001", "DISCARD ALL cannot run inside a transaction block")
        if statement.kind == SessionKind.DEALLOCATE and (statement.name or "").encode() not in self._state.statements:
            raise _postgres("26000", f'prepared statement "{statement.name}" does not exist')

    def _prepare_context(self, backend: Composer, statement: SessionStatement) -> None:
        kind = statement.kind
        if kind is not SessionKind.QUERY and kind in ENDINGS:
            return
        no_identity = kind is not SessionKind.QUERY and (kind in OPENINGS or kind in SETTINGS_ONLY)
        backend.set_up(self._state.settings, None if no_identity else self._identity())

    def _sql(self, statement: SessionStatement) -> bytes:
        """What the backend is to run for it."""
        kind = statement.kind
        if kind is SessionKind.QUERY:
            return statement.text.encode()
        if kind in (SessionKind.SET_SESSION, SessionKind.SET_LOCAL, SessionKind.RESET) and not statement.answers:
            assignments = [self._bounded(setting).assignment for setting in statement.settings]
            return ("SET LOCAL " + assignments[0]).encode()
        if kind == SessionKind.PRESENT_TOKEN:
            return PRESENTED if statement.token_parameter is None else PRESENTED_BY_PARAMETER
        if kind in TAGS and not statement.answers:
            return NOTHING
        return statement.text.encode()

    def _bounded(self, setting: SessionSetting) -> SessionSetting:
        """Time-outs can be made shorter than the gateway's, never longer; none means the gateway's."""
        limit = self._statement_timeout_ms
        if setting.milliseconds is None or not limit:
            return setting
        wanted = setting.milliseconds or limit
        return SessionSetting(setting.name, (str(min(wanted, limit)),), min(wanted, limit))

    def _execution(
        self,
        backend: Composer,
        statement: SessionStatement,
        *,
        offset: int = 0,
        parameters: Sequence[str | None] | None = None,
    ) -> Slot:
        slot = self._execution_slot(backend, statement, offset)
        return slot if self._records is None else self._records.follow(backend.relay, statement, slot, parameters)

    def _execution_slot(self, backend: Composer, statement: SessionStatement, offset: int) -> Slot:
        kind = statement.kind
        if statement.verdict is not None and statement.verdict.calls_user_functions:
            backend.discard_after = True
        if kind is SessionKind.QUERY and not offset:
            return PLAIN_EXECUTION
        done: Callable[[], None] | None = None
        if kind in (SessionKind.COMMIT, SessionKind.ROLLBACK):
            done = partial(self._transaction_ended, backend)
        elif kind == SessionKind.RESET_ALL:
            done = self._state.settings.reset_all
        elif kind == SessionKind.DISCARD_ALL:
            done = self._state.discard
        elif kind == SessionKind.DEALLOCATE_ALL:
            done = self._state.statements.clear
        elif kind == SessionKind.DEALLOCATE:
            name = (statement.name or "").encode()
            done = partial(self._deallocate, name)
        elif kind in (SessionKind.SET_SESSION, SessionKind.RESET):
            done = partial(self._make, statement)
        elif kind is SessionKind.SAVEPOINT:
            done = partial(self._state.settings.savepoint, statement.name or "")
        elif kind is SessionKind.RELEASE:
            done = partial(self._state.settings.release, statement.name or "")
        elif kind is SessionKind.ROLLBACK_TO:
            done = partial(self._rolled_back_to, statement.name or "")
        quiet = kind in (SessionKind.SET_SESSION, SessionKind.RESET)
        tag = None if statement.answers else TAGS.get(kind)
        return Slot("execute", done=done, tag=tag, offset=offset, quiet=quiet)

    def _deallocate(self, name: bytes) -> None:
        self._state.statements.pop(name, None)

    def _transaction_ended(self, backend: Composer) -> None:
        self._state.portals.clear()
        if backend.last_tag == b"COMMIT\0":
            self._state.settings.committed()
        else:
            self.take_back()

    def take_back(self) -> None:
        """The transaction was rolled back, and with it what it set."""
        for name, value in self._state.settings.rolled_back().items():
            self._emit(answers.parameter_status(name, value))

    def _rolled_back_to(self, name: str) -> None:
        for setting, value in self._state.settings.rolled_back_to(name).items():
            self._emit(answers.parameter_status(setting, value))

    def _make(self, statement: SessionStatement) -> None:
        for setting in statement.settings:
            self._state.settings.make(self._bounded(setting))

    def _after(self, backend: Composer, statement: SessionStatement) -> None:
        """What the end of a transaction inside a pipeline means, and what the client is told of a new setting."""
        kind = statement.kind
        if kind is SessionKind.QUERY:
            return
        if kind in (SessionKind.COMMIT, SessionKind.ROLLBACK):
            backend.forget_context()
        elif kind is SessionKind.ROLLBACK_TO:
            backend.has_identity = False  # a fresh token may have come after the savepoint
        elif kind in (SessionKind.RESET_ALL, SessionKind.DISCARD_ALL):
            for setting in self._state.settings:
                backend.set_local(f"{setting.name} TO DEFAULT")
                self._report(backend, setting)
        elif kind in SETTING_KINDS:
            self._set_the_rest(backend, statement)

    def _set_the_rest(self, backend: Composer, statement: SessionStatement) -> None:
        """What the statement's own SQL does not set: the second of two settings, and all of a SELECT set_config()."""
        if statement.answers or statement.kind is not SessionKind.SET_TRANSACTION:  # which sets all of them itself
            for setting in statement.settings[0 if statement.answers else 1 :]:
                backend.set_local(self._bounded(setting).assignment)
        if statement.kind in (SessionKind.SET_SESSION, SessionKind.RESET):
            for setting in statement.settings:
                self._report(backend, setting)

    def _report(self, backend: Composer, setting: SessionSetting) -> None:
        """The value in Postgres's own spelling, as ParameterStatus, for the settings that Postgres reports."""
        name = REPORTED.get(setting.name)
        if name is not None:
            show: StatementKey = (f"SHOW {setting.name}".encode(), NO_TYPES)
            backend.run_hidden(show, rows=lambda region: self._tell(name, first_column(region)))

    def _tell(self, name: str, value: str) -> None:
        settings = self._state.settings
        settings.told_now[name] = value
        if name == "DateStyle" and settings.made.get("datestyle") is not None:
            settings.make(session_setting("datestyle", value.split(", ")))  # SET names style or order, or both
        self._emit(answers.parameter_status(name, value))


def several_statements() -> RowgateError:
    """Parse takes one statement (PostgreSQL 18, section 54.2.3)."""
    return StatementRefused("cannot insert multiple commands into a prepared statement", sqlstate="42601")


def _postgres(sqlstate: str, message: str) -> DatabaseError:
    """An error in Postgres's own words, for what the session keeps in Postgres's place."""
    return DatabaseError({"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": message})


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")
