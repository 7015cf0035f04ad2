"""What the operator can mend: settings, folders, ports, set-up, and the local identity provider's input."""

from __future__ import annotations

from rowgate.errors.root import RowgateError


class ConfigurationError(RowgateError):
    """Something that the operator can mend; commands print it and exit with status 2."""

    code = "configuration_error"
    sqlstate = "F0000"


class SettingInvalid(ConfigurationError):
    """A setting is missing, unknown or has a value of the wrong kind."""

    code = "setting_invalid"
    status = 400


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


class WorkersFailed(ConfigurationError):
    """The processes of `rowgate serve` end as soon as they start."""

    code = "workers_failed"
    default_hint = "Start with workers = 1 to see why: the log above tells how they ended."


class SetupIncomplete(ConfigurationError):
    """The database lacks what `rowgate setup` creates."""

    code = "setup_incomplete"
    default_hint = "Run `rowgate setup` against this database."


class ProviderUnrecognised(ConfigurationError):
    """The URL does not lead to a key set that Rowgate can use."""

    code = "provider_unrecognised"
    status = 400
    default_hint = "Give the JWKS URL or the issuer URL of your identity provider."


class ProviderConflict(ConfigurationError):
    """A provider with this name or issuer is registered already, differently."""

    code = "provider_conflict"
    status = 409
    default_hint = "Remove the other one first with `rowgate provider remove NAME`."


class ProviderUnknown(ConfigurationError):
    """No provider has this name."""

    code = "provider_unknown"
    status = 404
    default_hint = "See `rowgate provider list`."


class RevocationUnknown(ConfigurationError):
    """No revocation in force has this id."""

    code = "revocation_unknown"
    status = 404
    default_hint = "See `rowgate revocation list`."


class WebhookUnknown(ConfigurationError):
    """No webhook has this name."""

    code = "webhook_unknown"
    status = 404
    default_hint = "See `rowgate webhook list`."


class WebhookConflict(ConfigurationError):
    """A webhook with this name is registered already."""

    code = "webhook_conflict"
    status = 409
    default_hint = "Remove the other one first with `rowgate webhook remove NAME`."


class AdminTokenUnknown(ConfigurationError):
    """No admin token has this name."""

    code = "admin_token_unknown"
    status = 404
    default_hint = "See `rowgate admin-token list`."


class AdminTokenConflict(ConfigurationError):
    """An admin token with this name exists already."""

    code = "admin_token_conflict"
    status = 409
    default_hint = "Take the other one back first with `rowgate admin-token revoke NAME`."


class GateObjectUnknown(ConfigurationError):
    """What the gate of row-level security is told about is not there, or not exempt."""

    code = "gate_object_unknown"
    status = 404
    default_hint = "See `rowgate gate list`; write the name as SCHEMA.NAME."


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


class IssuerRecordUnknown(ConfigurationError):
    """The local issuer has no such organization, membership or session."""

    code = "issuer_record_unknown"
    status = 404
    default_hint = "The pages and the Backend API of the local issuer list what there is."


class IssuerSecretRefused(ConfigurationError):
    """A call of the local issuer's Backend API came without its secret key."""

    code = "issuer_secret_refused"
    status = 401
    default_hint = "Send the key that `rowgate issuer secret-key` prints as Authorization: Bearer sk_test_..."


class AuthorizationRefused(ConfigurationError):
    """The local issuer refused an OpenID Connect request. ``oauth_error`` is the code of RFC 6749."""

    code = "authorization_refused"
    status = 400

    def __init__(
        self, message: str, *, detail: str | None = None, hint: str | None = None, oauth_error: str = "invalid_request"
    ) -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.oauth_error = oauth_error


class LocalIssuerRefused(ConfigurationError):
    """`rowgate serve` was asked to trust the local identity provider, whose tokens anybody can make."""

    code = "local_issuer_refused"
    default_hint = "Remove the provider, or set trust_local_issuer if strangers cannot reach this gateway."
