"""The error tree: every way in which Rowgate says no, and nothing else.

Each concrete error has a stable ``code`` (which clients and documents may rely on), the SQLSTATE that a
Postgres client sees, the HTTP status that an HTTP client sees, and a ``hint`` with the next step. The text of an
error never holds a token, a password, a parameter value or the name of another tenant.

    RowgateError
    ├── RequestRefused          what the request itself got wrong                       400
    │   ├── MalformedBody, MalformedHeader, MalformedParameter, UnsupportedStatement
    │   └── AuthenticationFailed, CredentialsMissing, RoleUnknown, DatabaseUnknown,
    │       NoticeRefused, AdminTokenRefused 401, AddressRefused 403
    ├── TokenRefused            a token that did not pass a check                       400, WWW-Authenticate
    │   ├── TokenMalformed, TokenAlgorithmRefused, TokenKeyUnknown, TokenSignatureInvalid
    │   ├── TokenExpired, TokenNotYetValid, TokenIssuerUnknown, TokenAudienceRefused
    │   └── TokenPartyRefused, TokenSubjectMissing, TokenClaimInvalid, TokenRoleRefused, TokenRevoked
    ├── KeySetUnavailable       the provider's keys could not be fetched                503
    ├── StatementRefused        the guard did not let a statement through               400
    │   └── StatementNotListed  it is not on the role's allow-list
    ├── RowSecurityMissing      the gate did not: no policy protects what it names      400
    ├── ResultUnrepresentable   a value that the format asked for cannot hold           400
    ├── LimitExceeded           BodyTooLarge 413, ResultTooLarge 507, QueueFull 503, QueueTimeout 503,
    │                           ConcurrencyExceeded 429, TooManySessions 503, ClientStalled 503,
    │                           StatementTimeout 400, RevocationLimit 503, RateExceeded 429
    ├── DatabaseError           Postgres's own error, all its fields passed through     400
    ├── DatabaseUnavailable     ConnectFailed 503, ConnectionLost 503, ServerStarting 503
    ├── ProtocolViolation       bytes that are not the Postgres protocol                503
    ├── InternalFault           a defect of Rowgate itself                              500
    ├── GatewayError            what a client meets on its way to the gateway           -
    │   └── GatewayUnreachable, AnswerMissing, AnswerUnreadable, RefusalUnknown
    └── ConfigurationError      settings, folders, ports, set-up: for the operator
        ├── SettingInvalid, PortTaken, DataFolderInUse, DataFolderUnusable, ServerStartFailed, WorkersFailed
        ├── SetupIncomplete, ProviderUnrecognised, ProviderConflict, ProviderUnknown, LocalIssuerRefused,
        │   RevocationUnknown 404, WebhookUnknown 404, WebhookConflict 409,
        │   AdminTokenUnknown 404, AdminTokenConflict 409, GateObjectUnknown 404
        └── of the local issuer: UserUnknown 404, TemplateUnknown 404, IssuerRecordUnknown 404, IssuerInputInvalid 400,
            IssuerSecretRefused 401, AuthorizationRefused 400

The classes live by who can do something about them: ``request``, ``token``, ``service``, ``client``, ``operator``. This
package never imports another room of Rowgate, does no I/O and never formats an HTTP response.
"""

from __future__ import annotations

from collections.abc import Iterator

from rowgate.errors.client import (
    AnswerMissing,
    AnswerUnreadable,
    GatewayError,
    GatewayUnreachable,
    RefusalUnknown,
)
from rowgate.errors.operator import (
    AdminTokenConflict,
    AdminTokenUnknown,
    AuthorizationRefused,
    ConfigurationError,
    DataFolderInUse,
    DataFolderUnusable,
    GateObjectUnknown,
    IssuerInputInvalid,
    IssuerRecordUnknown,
    IssuerSecretRefused,
    LocalIssuerRefused,
    PortTaken,
    ProviderConflict,
    ProviderUnknown,
    ProviderUnrecognised,
    RevocationUnknown,
    ServerStartFailed,
    SettingInvalid,
    SetupIncomplete,
    TemplateUnknown,
    UserUnknown,
    WebhookConflict,
    WebhookUnknown,
    WorkersFailed,
)
from rowgate.errors.request import (
    AddressRefused,
    AdminTokenRefused,
    AuthenticationFailed,
    CredentialsMissing,
    DatabaseUnknown,
    MalformedBody,
    MalformedHeader,
    MalformedParameter,
    NoticeRefused,
    RequestRefused,
    RoleUnknown,
    RowSecurityMissing,
    StatementNotListed,
    StatementRefused,
    UnsupportedStatement,
)
from rowgate.errors.root import (
    RowgateError,
)
from rowgate.errors.service import (
    BodyTooLarge,
    ClientStalled,
    ConcurrencyExceeded,
    ConnectFailed,
    ConnectionLost,
    DatabaseError,
    DatabaseUnavailable,
    InternalFault,
    LimitExceeded,
    ProtocolViolation,
    QueueFull,
    QueueTimeout,
    RateExceeded,
    ResultTooLarge,
    ResultUnrepresentable,
    RevocationLimit,
    ServerStarting,
    StatementTimeout,
    TooManySessions,
)
from rowgate.errors.token import (
    KeySetUnavailable,
    TokenAlgorithmRefused,
    TokenAudienceRefused,
    TokenClaimInvalid,
    TokenExpired,
    TokenIssuerUnknown,
    TokenKeyUnknown,
    TokenMalformed,
    TokenNotYetValid,
    TokenPartyRefused,
    TokenRefused,
    TokenRevoked,
    TokenRoleRefused,
    TokenSignatureInvalid,
    TokenSubjectMissing,
)

__all__ = [
    "AddressRefused",
    "AdminTokenConflict",
    "AdminTokenRefused",
    "AdminTokenUnknown",
    "AnswerMissing",
    "AnswerUnreadable",
    "AuthenticationFailed",
    "AuthorizationRefused",
    "BodyTooLarge",
    "ClientStalled",
    "ConcurrencyExceeded",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "CredentialsMissing",
    "DataFolderInUse",
    "DataFolderUnusable",
    "DatabaseError",
    "DatabaseUnavailable",
    "DatabaseUnknown",
    "GateObjectUnknown",
    "GatewayError",
    "GatewayUnreachable",
    "InternalFault",
    "IssuerInputInvalid",
    "IssuerRecordUnknown",
    "IssuerSecretRefused",
    "KeySetUnavailable",
    "LimitExceeded",
    "LocalIssuerRefused",
    "MalformedBody",
    "MalformedHeader",
    "MalformedParameter",
    "NoticeRefused",
    "PortTaken",
    "ProtocolViolation",
    "ProviderConflict",
    "ProviderUnknown",
    "ProviderUnrecognised",
    "QueueFull",
    "QueueTimeout",
    "RateExceeded",
    "RefusalUnknown",
    "RequestRefused",
    "ResultTooLarge",
    "ResultUnrepresentable",
    "RevocationLimit",
    "RevocationUnknown",
    "RoleUnknown",
    "RowSecurityMissing",
    "RowgateError",
    "ServerStartFailed",
    "ServerStarting",
    "SettingInvalid",
    "SetupIncomplete",
    "StatementNotListed",
    "StatementRefused",
    "StatementTimeout",
    "TemplateUnknown",
    "TokenAlgorithmRefused",
    "TokenAudienceRefused",
    "TokenClaimInvalid",
    "TokenExpired",
    "TokenIssuerUnknown",
    "TokenKeyUnknown",
    "TokenMalformed",
    "TokenNotYetValid",
    "TokenPartyRefused",
    "TokenRefused",
    "TokenRevoked",
    "TokenRoleRefused",
    "TokenSignatureInvalid",
    "TokenSubjectMissing",
    "TooManySessions",
    "UnsupportedStatement",
    "UserUnknown",
    "WebhookConflict",
    "WebhookUnknown",
    "WorkersFailed",
    "catalogue",
]


def catalogue() -> Iterator[type[RowgateError]]:
    """Every class of the tree below the root, parents first; the documents and their test are made from it."""
    pending: list[type[RowgateError]] = list(RowgateError.__subclasses__())
    while pending:
        error = pending.pop(0)
        yield error
        pending[:0] = error.__subclasses__()
