"""What the service could not do: its limits, the database behind it, and its own defects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rowgate.errors.root import RowgateError

FATAL_SEVERITIES: Final = frozenset({"FATAL", "PANIC"})


class LimitExceeded(RowgateError):
    """A limit of the gateway was reached. ``retry_after`` is in seconds where trying again helps."""

    code = "limit_exceeded"
    sqlstate = "54000"
    status = 503
    retry_after: int | None = None


class BodyTooLarge(LimitExceeded):
    """The request body is larger than ``max_body_bytes``."""

    code = "body_too_large"
    status = 413
    default_hint = "Send less at once, or raise max_body_bytes."


class ResultTooLarge(LimitExceeded):
    """The result is larger than ``max_result_bytes``; the statement was cancelled."""

    code = "result_too_large"
    status = 507
    default_hint = "Add LIMIT, select fewer columns, or raise max_result_bytes."


class ResultUnrepresentable(RowgateError):
    """The result holds a value that the format asked for cannot hold."""

    code = "result_unrepresentable"
    sqlstate = "22000"
    status = 400
    default_hint = "Cast the column to text, or ask for another format."


class QueueFull(LimitExceeded):
    """Too many requests already wait for a connection of this role."""

    code = "queue_full"
    sqlstate = "53300"
    retry_after = 1
    default_hint = "Try again shortly; raise pool_size or queue_length if this stays."


class QueueTimeout(LimitExceeded):
    """No connection of this role came free in time."""

    code = "queue_timeout"
    sqlstate = "53300"
    retry_after = 1
    default_hint = "Try again shortly; raise pool_size if this stays."


class ConcurrencyExceeded(LimitExceeded):
    """One subject has too many requests under way at once."""

    code = "concurrency_exceeded"
    sqlstate = "53400"
    status = 429
    retry_after = 1
    default_hint = "Wait for earlier requests to end, or raise subject_concurrency."


class RateExceeded(LimitExceeded):
    """More calls came than are served in a moment."""

    code = "rate_exceeded"
    sqlstate = "53400"
    status = 429
    retry_after = 5
    default_hint = "Try again in a few seconds."

    def __init__(
        self, message: str, *, detail: str | None = None, hint: str | None = None, retry_after: int | None = None
    ) -> None:
        """``retry_after``: in how many seconds, where that is known."""
        super().__init__(message, detail=detail, hint=hint)
        if retry_after is not None:
            self.retry_after = retry_after


class TooManySessions(LimitExceeded):
    """As many clients as ``max_sessions`` are connected over WebSocket and TCP already."""

    code = "too_many_sessions"
    sqlstate = "53300"
    retry_after = 1
    default_hint = "Try again shortly; close connections that nobody uses, or raise max_sessions."


class ClientStalled(LimitExceeded):
    """A session's client let a connection to Postgres wait for longer than ``client_stall_seconds``."""

    code = "client_stalled"
    sqlstate = "57P05"
    default_hint = "Read results as they come, and end each transaction soon; or raise client_stall_seconds."


class StatementTimeout(LimitExceeded):
    """The request took longer than ``statement_timeout_ms``; it was cancelled in Postgres and changed nothing."""

    code = "statement_timeout"
    sqlstate = "57014"
    status = 400
    default_hint = "Make the statement faster (an index, a LIMIT), or raise statement_timeout_ms."


class RevocationLimit(LimitExceeded):
    """The registry holds as many revocations as it can."""

    code = "revocation_limit"
    default_hint = "Delete expired ones with `rowgate revocation prune`, or revoke with --issued-before for a provider."


class DatabaseError(RowgateError):
    """Postgres's own error. ``fields`` maps the one-letter field codes of ErrorResponse to their text."""

    code = "database_error"
    status = 400

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(fields.get("M", "unknown database error"), detail=fields.get("D"), hint=fields.get("H"))
        self.fields = dict(fields)

    @property
    def database_sqlstate(self) -> str:
        """The SQLSTATE that Postgres reported (five characters)."""
        return self.fields.get("C", "XX000")

    @property
    def is_fatal(self) -> bool:
        """Whether it is the server's last word in its session (PostgreSQL 18, section 54.8)."""
        return self.fields.get("V", self.fields.get("S")) in FATAL_SEVERITIES


class DatabaseUnavailable(RowgateError):
    """Postgres cannot be reached, or went away."""

    code = "database_unavailable"
    sqlstate = "08006"
    status = 503
    retry_after: int | None = 1


class ConnectFailed(DatabaseUnavailable):
    """No connection to Postgres could be made."""

    code = "connect_failed"
    sqlstate = "08001"
    default_hint = "Check that Postgres is running and that the gateway's database_url names it."


class ConnectionLost(DatabaseUnavailable):
    """The connection broke while a statement was under way; whether it committed is unknown."""

    code = "connection_lost"
    default_hint = "Read the data before you repeat a statement that writes."


class ServerStarting(DatabaseUnavailable):
    """Postgres is starting up, shutting down or recovering."""

    code = "server_starting"
    sqlstate = "57P03"
    default_hint = "Try again in a moment."


class ProtocolViolation(RowgateError):
    """The peer sent bytes that are not the Postgres protocol; the connection is closed."""

    code = "protocol_violation"
    sqlstate = "08P01"
    status = 503


class InternalFault(RowgateError):
    """A defect of Rowgate itself. The log has the details under the request id; the answer has none."""

    code = "internal_fault"
    sqlstate = "XX000"
    status = 500
    default_hint = "Report it with the request id."
