"""What a request got wrong before anything reached Postgres: its form, its credentials, its statement."""

from __future__ import annotations

from rowgate.errors.root import RowgateError


class RequestRefused(RowgateError):
    """The request itself cannot be served; nothing was sent to Postgres."""

    code = "request_refused"
    sqlstate = "08P01"
    status = 400


class MalformedBody(RequestRefused):
    """The body is not the JSON that ``POST /sql`` takes."""

    code = "malformed_body"
    default_hint = 'Send {"query": "select 1", "params": []} or {"queries": [{"query": "..."}]} as UTF-8 JSON.'


class MalformedHeader(RequestRefused):
    """A header (most often the connection string) is missing or cannot be read."""

    code = "malformed_header"
    default_hint = "Check the request's headers, Neon-Connection-String: postgresql://role@host/database above all."


class MalformedParameter(RequestRefused):
    """A bind parameter cannot be sent to Postgres (a NUL character, a lone surrogate)."""

    code = "malformed_parameter"
    sqlstate = "22021"
    default_hint = "Postgres text is UTF-8 without U+0000; send binary data as bytea ('\\\\x...')."


class UnsupportedStatement(RequestRefused):
    """The statement's answer has no form over HTTP (COPY)."""

    code = "unsupported_statement"
    sqlstate = "0A000"


class AuthenticationFailed(RequestRefused):
    """User, password or endpoint are wrong; which of them is not told."""

    code = "authentication_failed"
    sqlstate = "28P01"
    default_hint = "Check user, password and host of the connection string."


class CredentialsMissing(RequestRefused):
    """The role asks for a token (or a password) and none came."""

    code = "credentials_missing"
    sqlstate = "28000"
    default_hint = "Send Authorization: Bearer <token>, or use the role anonymous."


class RoleUnknown(RequestRefused):
    """A token came for a role that is not exposed on this endpoint."""

    code = "role_unknown"
    sqlstate = "28000"
    default_hint = "Use an exposed role (authenticated, anonymous), or expose it with `rowgate setup --role NAME`."


class DatabaseUnknown(RequestRefused):
    """The database of the connection string does not exist on this endpoint."""

    code = "database_unknown"
    sqlstate = "3D000"
    default_hint = "Check the last part of the connection string: postgresql://role@host/database."


class NoticeRefused(RequestRefused):
    """A logout token or a webhook call is not genuine, too old, came before, or cannot be read."""

    code = "notice_refused"
    sqlstate = "28000"
    default_hint = "Compare secret, client id and address with what the identity provider's settings say."


class AdminTokenRefused(RequestRefused):
    """The management API was called without an admin token, or with one that is not good here."""

    code = "admin_token_refused"
    sqlstate = "28000"
    status = 401
    default_hint = "Send Authorization: Bearer <token>; `rowgate admin-token create NAME` makes one."


class AddressRefused(RequestRefused):
    """The management API was called by a name, or from a page, that it does not answer to."""

    code = "address_refused"
    sqlstate = "28000"
    status = 403
    default_hint = "Call it as localhost or 127.0.0.1, or list the name in admin_hosts."


class RowSecurityMissing(RowgateError):
    """The statement names something that row-level security does not protect; nothing was sent to Postgres."""

    code = "row_security_missing"
    sqlstate = "42501"
    status = 400


class StatementRefused(RowgateError):
    """The guard did not let a statement through. ``detail`` names the node, function or relation."""

    code = "statement_refused"
    sqlstate = "42501"
    status = 400
    default_hint = "Exposed roles may use SELECT, VALUES, INSERT, UPDATE, DELETE and MERGE on the schemas of the user."

    def __init__(
        self,
        message: str,
        *,
        detail: str | None = None,
        hint: str | None = None,
        position: int | None = None,
        sqlstate: str | None = None,
    ) -> None:
        """``position`` counts characters from 1; ``sqlstate`` is 42601 where the text is not SQL at all."""
        super().__init__(message, detail=detail, hint=hint)
        self.position = position
        self.refused_sqlstate = sqlstate or self.sqlstate


class StatementNotListed(StatementRefused):
    """The role may run the statements of the allow-list alone, and this one is not on it."""

    code = "statement_not_listed"
    default_hint = "Record it in development, then `rowgate allowlist diff` and `rowgate allowlist approve`."
