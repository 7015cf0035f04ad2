"""The error tree: every way in which Rowgate says no, and nothing else.

Each concrete error has a stable ``code`` (which clients and documents may rely on), the SQLSTATE that a
Postgres client sees, the HTTP status that an HTTP client sees, and a ``hint`` with the next step. The text of an
error never holds a token, a password, a parameter value or the name of another tenant.

    RowgateError
    ├── RequestRefused          what the request itself got wrong                       400
    │   ├── MalformedBody, MalformedHeader, MalformedParameter, UnsupportedStatement
    │   └── AuthenticationFailed, CredentialsMissing, RoleUnknown, DatabaseUnknown
    ├── TokenRefused            a token that did not pass a check                       400, WWW-Authenticate
    │   ├── TokenMalformed, TokenAlgorithmRefused, TokenKeyUnknown, TokenSignatureInvalid
    │   ├── TokenExpired, TokenNotYetValid, TokenIssuerUnknown, TokenAudienceRefused
    │   └── TokenPartyRefused, TokenSubjectMissing, TokenClaimInvalid, TokenRoleRefused
    ├── KeySetUnavailable       the provider's keys could not be fetched                503
    ├── StatementRefused        the guard did not let a statement through               400
    ├── LimitExceeded           BodyTooLarge 413, ResultTooLarge 507, QueueFull 503, QueueTimeout 503,
    │                           ConcurrencyExceeded 429, StatementTimeout 400
    ├── DatabaseError           Postgres's own error, all its fields passed through     400
    ├── DatabaseUnavailable     ConnectFailed 503, ConnectionLost 503, ServerStarting 503
    ├── ProtocolViolation       bytes that are not the Postgres protocol                503
    ├── InternalFault           a defect of Rowgate itself                              500
    └── ConfigurationError      settings, folders, ports, set-up: for the operator
        ├── SettingInvalid, PortTaken, DataFolderInUse, DataFolderUnusable, ServerStartFailed
        ├── SetupIncomplete, ProviderUnrecognised, ProviderConflict, ProviderUnknown
        └── UserUnknown 404, TemplateUnknown 404, IssuerInputInvalid 400    of the local issuer

This module never imports another module of Rowgate, does no I/O and never formats an HTTP response.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar


class RowgateError(Exception):
    """The root of the tree.

    ``message`` is one sentence for a person; ``detail`` says what came and what was expected; ``hint`` says what to
    do next (the class's own where None is given). All three are str.
    """

    code: ClassVar[str] = "rowgate_error"
    sqlstate: ClassVar[str] = "XX000"
    status: ClassVar[int] = 500
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint if hint is not None else self.default_hint


# --- the request ----------------------------------------------------------------------------------------------


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


# --- the token ------------------------------------------------------------------------------------------------


class TokenRefused(RowgateError):
    """A token did not pass a check. The subclass names the check."""

    code = "token_refused"
    sqlstate = "28000"
    status = 400
    default_hint = "Get a fresh token from your identity provider."


class TokenMalformed(TokenRefused):
    """The token is not a signed compact JWT (RFC 7519, RFC 7515 section 7.1), or its JSON is not sound."""

    code = "token_malformed"
    default_hint = "Send the JWT alone: three base64url parts separated by dots."


class TokenAlgorithmRefused(TokenRefused):
    """The ``alg`` of the header is not one that this provider signs with, or does not suit the key."""

    code = "token_algorithm_refused"
    default_hint = "Rowgate accepts RS, PS and ES 256/384/512 and EdDSA, as far as the provider lists them."


class TokenKeyUnknown(TokenRefused):
    """The ``kid`` of the header is missing, or names no key of the provider's key set."""

    code = "token_key_unknown"
    default_hint = "Check that the token comes from this provider and that its key set holds this kid."


class TokenSignatureInvalid(TokenRefused):
    """The signature does not belong to the token under the key that ``kid`` names."""

    code = "token_signature_invalid"


class TokenExpired(TokenRefused):
    """``exp`` has passed, or is missing."""

    code = "token_expired"


class TokenNotYetValid(TokenRefused):
    """``nbf`` or ``iat`` lies in the future."""

    code = "token_not_yet_valid"
    default_hint = "Compare the clocks of the identity provider and of this machine."


class TokenIssuerUnknown(TokenRefused):
    """``iss`` is not the issuer of a provider registered here."""

    code = "token_issuer_unknown"
    default_hint = "Register the provider with `rowgate provider add <JWKS URL>`, or compare iss with its issuer."


class TokenAudienceRefused(TokenRefused):
    """``aud`` does not hold the audience that the provider was registered with."""

    code = "token_audience_refused"


class TokenPartyRefused(TokenRefused):
    """``azp`` is not among the provider's authorized parties."""

    code = "token_party_refused"


class TokenSubjectMissing(TokenRefused):
    """``sub`` is missing, empty or not a string."""

    code = "token_subject_missing"


class TokenClaimInvalid(TokenRefused):
    """A claim has the wrong type or a forbidden value."""

    code = "token_claim_invalid"


class TokenRoleRefused(TokenRefused):
    """The provider's tokens may not be used for the role of the connection string."""

    code = "token_role_refused"
    default_hint = "Allow the role with `rowgate provider add ... --role NAME`."


class KeySetUnavailable(RowgateError):
    """The provider's key set could not be fetched and no earlier copy is at hand."""

    code = "key_set_unavailable"
    sqlstate = "08006"
    status = 503
    default_hint = "Run `rowgate provider check` on the gateway's machine."

    def __init__(
        self, message: str, *, detail: str | None = None, hint: str | None = None, http_status: int | None = None
    ) -> None:
        """``http_status`` is the status of the provider's answer where it answered at all."""
        super().__init__(message, detail=detail, hint=hint)
        self.http_status = http_status


# --- the statement --------------------------------------------------------------------------------------------


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


# --- limits ---------------------------------------------------------------------------------------------------


class LimitExceeded(RowgateError):
    """A limit of the gateway was reached. ``retry_after`` is in seconds where trying again helps."""

    code = "limit_exceeded"
    sqlstate = "54000"
    status = 503
    retry_after: ClassVar[int | None] = None


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


class StatementTimeout(LimitExceeded):
    """The request took longer than ``statement_timeout_ms``; it was cancelled in Postgres and changed nothing."""

    code = "statement_timeout"
    sqlstate = "57014"
    status = 400
    default_hint = "Make the statement faster (an index, a LIMIT), or raise statement_timeout_ms."


# --- the database ---------------------------------------------------------------------------------------------


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


class DatabaseUnavailable(RowgateError):
    """Postgres cannot be reached, or went away."""

    code = "database_unavailable"
    sqlstate = "08006"
    status = 503
    retry_after: ClassVar[int | None] = 1


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


# --- the operator ---------------------------------------------------------------------------------------------


class ConfigurationError(RowgateError):
    """Something that the operator can mend; commands print it and exit with status 2."""

    code = "configuration_error"
    sqlstate = "F0000"


class SettingInvalid(ConfigurationError):
    """A setting is missing, unknown or has a value of the wrong kind."""

    code = "setting_invalid"


class PortTaken(ConfigurationError):
    """Another program listens on the port."""

    code = "port_taken"
    default_hint = "Stop the other program, or choose a port with --port (0 takes any free one)."


class DataFolderInUse(ConfigurationError):
    """Another Rowgate is using the data folder."""

    code = "data_folder_in_use"
    default_hint = "Stop the other one, or choose a folder with --data-dir."


class DataFolderUnusable(ConfigurationError):
    """The data folder is of another Postgres version, not Rowgate's, or cannot be written."""

    code = "data_folder_unusable"
    default_hint = "Choose another folder with --data-dir, or move this one away."


class ServerStartFailed(ConfigurationError):
    """The embedded Postgres did not start."""

    code = "server_start_failed"
    default_hint = "Read the server's log in the data folder."


class SetupIncomplete(ConfigurationError):
    """The database lacks what `rowgate setup` creates."""

    code = "setup_incomplete"
    default_hint = "Run `rowgate setup` against this database."


class ProviderUnrecognised(ConfigurationError):
    """The URL does not lead to a key set that Rowgate can use."""

    code = "provider_unrecognised"
    default_hint = "Give the JWKS URL or the issuer URL of your identity provider."


class ProviderConflict(ConfigurationError):
    """A provider with this name or issuer is registered already, differently."""

    code = "provider_conflict"
    default_hint = "Remove the other one first with `rowgate provider remove NAME`."


class ProviderUnknown(ConfigurationError):
    """No provider has this name."""

    code = "provider_unknown"
    default_hint = "See `rowgate provider list`."


class UserUnknown(ConfigurationError):
    """The local issuer has no user of this name."""

    code = "user_unknown"
    status = 404
    default_hint = "The users are listed at GET /users of the local issuer; POST /users adds one."


class TemplateUnknown(ConfigurationError):
    """The local issuer has no JWT template of this name."""

    code = "template_unknown"
    status = 404
    default_hint = "The templates are listed at GET /templates of the local issuer; POST /templates adds one."


class IssuerInputInvalid(ConfigurationError):
    """A user, a JWT template or a lifetime given to the local issuer cannot be used."""

    code = "issuer_input_invalid"
    status = 400


def catalogue() -> Iterator[type[RowgateError]]:
    """Every class of the tree below the root, parents first; the documents and their test are made from it."""
    pending: list[type[RowgateError]] = list(RowgateError.__subclasses__())
    while pending:
        error = pending.pop(0)
        yield error
        pending[:0] = error.__subclasses__()
