"""The record of one request, and what is learned of a request while it runs. Pure: never writes anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, TypedDict

import msgspec

from rowgate.errors import DatabaseError, RowgateError, StatementRefused
from rowgate.gateway.audit.parameters import shown_parameters
from rowgate.gateway.connection_string import ConnectionString
from rowgate.guard.verdict import Verdict
from rowgate.identity.principal import Principal
from rowgate.pgwire.fields import command_tag
from rowgate.postgres.exchange import Result

OK = "ok"
CLIENT_GONE = "client_gone"
NOT_RUN = "not_run"
INTERNAL_FAULT = "internal_fault"
TAKES_A_TOKEN = "jwt_session_init"  # noqa: S105 (a function's name)


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request over HTTP, one statement that a session executed, or an end of a session with a password.

    ``time`` is when it began (Unix seconds), ``milliseconds`` how long it took. ``front`` is ``http`` or ``session``.
    ``subject``, ``organization``, ``provider``, ``token_id`` and ``actor`` are of the verified token, None where there
    was none. ``fingerprints`` and ``tables`` are of the statements that the guard let through. ``verdict`` is
    ``allowed`` or ``refused`` by the guard, or empty where it did not judge. ``outcome`` is ``ok``, the stable code of
    an error, ``client_gone``, or ``not_run`` for a statement behind one that failed; ``sqlstate`` belongs to an error.
    ``rows`` were returned or changed, ``size`` counts bytes of the answer. ``sql`` and ``parameters`` (of
    each statement) are there where settings ask for them. ``event`` is ``session_opened``,
    ``session_closed`` or ``session_refused`` for a session of a role with a password, whose statements nobody sees;
    ``client`` is its address then, and ``received`` counts bytes that came from it.
    """

    time: float
    front: str
    endpoint: str
    database: str
    role: str
    subject: str | None
    organization: str | None
    provider: str | None
    token_id: str | None
    actor: str | None
    fingerprints: Sequence[str]
    tables: Sequence[str]
    verdict: str
    outcome: str
    sqlstate: str | None
    rows: int
    size: int = msgspec.field(name="bytes")
    milliseconds: float
    sql: Sequence[str] | None = None
    parameters: Sequence[Sequence[str | None]] | None = None
    event: str | None = None
    client: str | None = None
    received: int | None = None

    def __repr__(self) -> str:
        """What its repr shows: nothing that a client wrote."""
        return f"RequestRecord(front={self.front!r}, outcome={self.outcome!r})"


class Trace:
    """What is known of one request so far; each step of its way adds its part."""

    __slots__ = ("_began", "_started", "connection", "endpoint", "front", "parameters", "principal", "problem",
                 "results", "texts", "verdicts")  # fmt: skip

    def __init__(self, front: str) -> None:
        self._started = time.time()
        self._began = time.monotonic()
        self.front = front
        self.connection: ConnectionString | None = None
        self.endpoint = ""
        self.principal: Principal | None = None
        self.texts: Sequence[str] = ()
        self.parameters: Sequence[Sequence[bytes | None]] = ()
        self.verdicts: Sequence[Verdict] = ()
        self.results: Sequence[Result] = ()
        self.problem: RowgateError | None = None

    def record(
        self, problem: RowgateError | str | None, *, size: int, with_sql: bool, with_parameters: bool = False
    ) -> RequestRecord:
        """The record. ``problem`` is the error or the outcome's word, None for success; ``size`` is in bytes."""
        connection, principal = self.connection, self.principal
        refused = isinstance(problem, StatementRefused)
        return RequestRecord(
            time=self._started,
            front=self.front,
            endpoint=self.endpoint,
            database="" if connection is None else connection.database,
            role="" if connection is None else connection.role,
            **who(principal),
            fingerprints=[verdict.fingerprint for verdict in self.verdicts],
            tables=sorted({table for verdict in self.verdicts for table in verdict.tables}),
            verdict="refused" if refused else "allowed" if self.verdicts else "",
            outcome=outcome_of(problem),
            sqlstate=sqlstate_of(problem),
            rows=sum(count_rows(result.tag, result.row_count) for result in self.results),
            size=size,
            milliseconds=round((time.monotonic() - self._began) * 1000, 3),
            sql=[shown_sql(text) for text in self.texts] if with_sql else None,
            parameters=[shown_parameters(values) for values in self.parameters] if with_parameters else None,
        )


class Who(TypedDict):
    """The members of a record that come from the token."""

    subject: str | None
    organization: str | None
    provider: str | None
    token_id: str | None
    actor: str | None


NOBODY: Final[Who] = {"subject": None, "organization": None, "provider": None, "token_id": None, "actor": None}


def who(principal: Principal | None) -> Who:
    """The members of a record that come from the token."""
    if principal is None:
        return NOBODY
    return {
        "subject": principal.subject,
        "organization": principal.membership.organization,
        "provider": principal.provider,
        "token_id": principal.token_id,
        "actor": principal.actor,
    }


def outcome_of(problem: RowgateError | str | None) -> str:
    """The outcome's word."""
    if problem is None:
        return OK
    return problem if isinstance(problem, str) else problem.code


def sqlstate_of(problem: RowgateError | str | None) -> str | None:
    """The SQLSTATE that the client was told."""
    if isinstance(problem, DatabaseError):
        return problem.database_sqlstate
    if isinstance(problem, StatementRefused):
        return problem.refused_sqlstate
    return problem.sqlstate if isinstance(problem, RowgateError) else None


def count_rows(tag: bytes, returned: int) -> int:
    """Rows that a statement returned or changed, whichever are more. ``tag`` is the body of its CommandComplete."""
    _, count = command_tag(tag) if tag else ("", None)
    return max(returned, count or 0)


def shown_sql(text: str) -> str:
    """The text, unless it may hold a token."""
    return "" if TAKES_A_TOKEN in text.lower() else text
