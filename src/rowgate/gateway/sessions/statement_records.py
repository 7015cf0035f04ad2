"""Records of the statements that one session executes, for the journal.

Each execution is followed by its slot: it is done, or an error kept it from running. What is still open when the
session ends, or runs elsewhere once more, is settled here too. Never changes what the client sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from rowgate.errors import DatabaseError, RowgateError, StatementRefused
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.audit.parameters import REDACTED, shown_bind
from rowgate.gateway.audit.record import (
    NOT_RUN,
    RequestRecord,
    count_rows,
    outcome_of,
    shown_sql,
    sqlstate_of,
    who,
)
from rowgate.gateway.sessions.relay import Relay, Slot
from rowgate.guard.sessions.statement import SessionKind, SessionStatement
from rowgate.identity.principal import Principal
from rowgate.pgwire.fields import error_fields
from rowgate.pgwire.server.requests import Bind
from rowgate.pgwire.stream import HEADER_BYTES, count_messages

DATA_ROW: Final = b"D"


class MeasuredRelay(Relay):
    """A relay that also counts rows and bytes, and remembers the error that has just come."""

    rows = 0
    size = 0
    failure: DatabaseError | None = None

    def _rows(self, region: bytes) -> None:
        if self._slots and self._slots[0].visible:
            self.rows += count_messages(region)
            self.size += len(region)
        super()._rows(region)

    def _copied_out(self, body: bytes) -> None:
        if self._slots and self._slots[0].visible:
            self.rows += 1
            self.size += len(body) + HEADER_BYTES
        super()._copied_out(body)

    def _answer(self, kind: int, body: bytes) -> None:
        if kind in (0x49, 0x73):  # EmptyQueryResponse, PortalSuspended: the tag is that of another statement
            self.last_tag = b""
        super()._answer(kind, body)

    def _error(self, body: bytes) -> None:
        self.failure = DatabaseError(error_fields(body))
        super()._error(body)
        self.failure = None

    def take_counts(self) -> tuple[int, int]:
        """Rows and bytes since the last time."""
        counts = self.rows, self.size
        self.rows = self.size = 0
        return counts


class _Execution:
    """One execution that is under way."""

    __slots__ = ("began", "parameters", "started", "statement")

    def __init__(self, statement: SessionStatement | None, parameters: Sequence[str | None] | None = None) -> None:
        self.statement = statement
        self.parameters = parameters
        self.started = time.time()
        self.began = time.monotonic()


class StatementRecords:
    """Those of one session. ``place`` is endpoint, database and role; ``principal`` gives whom it is for now."""

    def __init__(
        self, journal: Journal, place: tuple[str, str, str], principal: Callable[[], Principal | None]
    ) -> None:
        self._journal = journal
        self._place = place
        self._principal = principal
        self._open: dict[_Execution, None] = {}

    def shown(self, statement: SessionStatement | None, bind: Bind) -> Sequence[str | None] | None:
        """The parameters of ``bind`` as a record shows them; None where none does."""
        if not self._journal.with_parameters:
            return None
        if statement is None or statement.kind is SessionKind.PRESENT_TOKEN:
            return [REDACTED] * bind.parameter_count
        return shown_bind(bind)

    def follow(
        self, relay: Relay, statement: SessionStatement, slot: Slot, parameters: Sequence[str | None] | None = None
    ) -> Slot:
        """``slot``, the execution of ``statement`` on ``relay``, so that its end is recorded."""
        execution = self.begin(statement, parameters)
        done, skipped = slot.done, slot.skipped

        def finished() -> None:
            rows, size = relay.take_counts() if isinstance(relay, MeasuredRelay) else (0, 0)
            self._settle(execution, None, count_rows(relay.last_tag, rows), size)
            if done is not None:
                done()

        def failed() -> None:
            problem: RowgateError | str = NOT_RUN
            size = 0
            if isinstance(relay, MeasuredRelay):
                _, size = relay.take_counts()
                problem, relay.failure = relay.failure or NOT_RUN, None
            self._settle(execution, problem, 0, size)
            if skipped is not None:
                skipped()

        return replace(slot, done=finished, skipped=failed)

    def begin(self, statement: SessionStatement, parameters: Sequence[str | None] | None = None) -> _Execution:
        """A read that shares its connection begins; it ends with ``answered``, ``end`` or ``forget``."""
        execution = _Execution(statement, parameters)
        self._open[execution] = None
        return execution

    def answered(self, execution: _Execution, parts: Sequence[bytes], error: DatabaseError | None) -> None:
        """Its answer is there, as messages for the client."""
        regions = [part for part in parts if part[:1] == DATA_ROW]
        self._settle(execution, error, sum(map(count_messages, regions)), sum(map(len, regions)))

    def refused(self, problem: RowgateError) -> None:
        """The gateway itself has refused something."""
        self._add(_Execution(None), problem, 0, 0)

    def forget(self) -> None:
        """What is open runs once more, elsewhere."""
        self._open.clear()

    def end(self, problem: RowgateError | str) -> None:
        """What is open will have no answer any more."""
        for execution in list(self._open):
            self._settle(execution, problem, 0, 0)

    def _settle(self, execution: _Execution, problem: RowgateError | str | None, rows: int, size: int) -> None:
        if execution in self._open:
            del self._open[execution]
            self._add(execution, problem, rows, size)

    def _add(self, execution: _Execution, problem: RowgateError | str | None, rows: int, size: int) -> None:
        endpoint, database, role = self._place
        statement = execution.statement
        verdict = None if statement is None else statement.verdict
        refused = isinstance(problem, StatementRefused)
        record = RequestRecord(
            time=execution.started,
            front="session",
            endpoint=endpoint,
            database=database,
            role=role,
            **who(self._principal()),
            fingerprints=[] if verdict is None else [verdict.fingerprint],
            tables=[] if verdict is None else verdict.tables,
            verdict="refused" if refused else "" if statement is None else "allowed",
            outcome=outcome_of(problem),
            sqlstate=sqlstate_of(problem),
            rows=rows,
            size=size,
            milliseconds=round((time.monotonic() - execution.began) * 1000, 3),
            sql=[shown_sql(statement.text)] if self._journal.with_sql and statement is not None else None,
            parameters=None if execution.parameters is None else [execution.parameters],
        )
        self._journal.add(record, () if statement is None else (statement.text,))
