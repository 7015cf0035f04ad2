"""Every setting of the gateway in one table: name, type, default, whether it is secret, and what it means.

The table is the dataclass ``Settings``: a field is a setting. From it come the environment variables
(``ROWGATE_`` and the name in capitals), the keys of ``rowgate.toml``, the options of ``--help`` and the reference
in the documents. A value is taken from the command line first, then the environment, then the file, then the
default. This module reads files and the environment when asked to, and never connects to anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from rowgate.errors import SettingInvalid

ENVIRONMENT_PREFIX: Final = "ROWGATE_"
TRUE_WORDS: Final = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS: Final = frozenset({"0", "false", "no", "off", ""})
OFF_WORDS: Final = frozenset({"off", "none", "no", "false"})
PAIRS: Final = tuple[tuple[str, str], ...]
NUMBER_OR_OFF: Final = int | None


def _setting(
    default: Any, meaning: str, *, secret: bool = False, low: int | None = None, words: tuple[str, ...] = ()
) -> Any:
    """A row of the table; ``low`` is the smallest allowed number, ``words`` are the only allowed texts."""
    metadata = {"meaning": meaning, "secret": secret, "low": low, "words": words}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one gateway. Times are in the unit that the name ends with."""

    database_url: str = _setting(
        "",
        "Connection string of the control connection (the role rowgate_control, or the owner that ran set-up). "
        "Host, port, database and TLS mode of the endpoint are taken from it.",
        secret=True,
    )
    endpoints: tuple[tuple[str, str], ...] = _setting(
        (),
        "Several endpoints instead of database_url: name=connection-string, separated by blanks (a table in the file). "
        "The name is the first label of the host in clients' connection strings.",
        secret=True,
    )
    host: str = _setting("127.0.0.1", "Address that the fronts listen on.")
    port: int = _setting(4444, "Port of the HTTP and WebSocket front; 0 takes any free one.", low=0)
    tcp_port: int | None = _setting(
        5433,
        "Port of the front for clients of the Postgres protocol; 0 takes any free one, off has none.",
        low=0,
    )
    workers: int = _setting(
        1,
        "Processes that `rowgate serve` spreads clients over, each with its part of the pool and of the limits.",
        low=1,
    )
    admin_port: int | None = _setting(
        None,
        "Port of the management API and the console, for `rowgate serve`; 0 takes any free one, off has none.",
        low=0,
    )
    admin_host: str = _setting("127.0.0.1", "Address that the management API and the console listen on.")
    admin_hosts: tuple[str, ...] = _setting(
        (), "Names, beside localhost and loopback addresses, by which the management API and the console may be called."
    )
    tls_cert: str = _setting(
        "", "File with the certificate chain (PEM) that the fronts show. Together with tls_key it turns TLS on."
    )
    tls_key: str = _setting("", "File with the certificate's private key (PEM, without a passphrase).")
    cors_origins: tuple[str, ...] = _setting(
        (), "Origins that browsers may call from, for example https://app.example.com; * allows all."
    )
    public_notices: bool = _setting(
        False,
        "Whether the HTTP port takes logout tokens (/oidc/backchannel-logout) and webhooks (/webhooks/NAME) of "
        "identity providers.",
    )
    password_roles: bool = _setting(
        False, "Whether connection strings with a password are passed through to Postgres (the owner's way in)."
    )
    allow_explain: bool = _setting(
        False, "Whether exposed roles may use plain EXPLAIN. It tells about other people's rows: development only."
    )
    rls_gate: str = _setting(
        "enforce",
        "What happens to a statement that names something which row-level security does not protect: enforce refuses "
        "it, warn logs it, off lets it pass.",
        words=("enforce", "warn", "off"),
    )
    insecure_issuers: bool = _setting(
        False, "Whether key sets may be fetched over plain http from loopback addresses. Development only."
    )
    issuer_networks: tuple[str, ...] = _setting(
        (),
        "Private networks in which identity providers may be, such as 10.0.0.0/8. Without it key sets are fetched from "
        "public addresses only. Link-local and metadata addresses are never asked.",
    )
    trust_local_issuer: bool = _setting(
        False,
        "Whether tokens of the local identity provider are trusted, of which anybody who reaches it can have any. "
        "Development only; without it the gateway does not start while such a provider is registered.",
    )
    statements: tuple[tuple[str, str], ...] = _setting(
        (),
        "What the allow-list does for a role: role=record, role=lock or role=off, separated by blanks (a table in the "
        "file).",
    )
    allowlist_file: str = _setting(
        "rowgate.allowlist.json", "File of the allow-list; what is recorded goes beside it, to FILE.recorded."
    )
    search_path: str = _setting("public", "search_path of exposed roles, pinned in the startup packet.")
    pool_size: int = _setting(10, "Connections to Postgres per database and exposed role.", low=1)
    queue_length: int = _setting(1000, "Requests that may wait for a connection of one role.", low=0)
    queue_timeout_ms: int = _setting(10_000, "How long a request waits for a connection.", low=1)
    connect_timeout_ms: int = _setting(5_000, "How long one attempt to connect to Postgres may take.", low=1)
    statement_timeout_ms: int = _setting(
        30_000, "How long a request may run in Postgres before it is cancelled.", low=1
    )
    max_body_bytes: int = _setting(10 * 1024 * 1024, "Largest request body.", low=1024)
    max_result_bytes: int = _setting(10 * 1024 * 1024, "Largest result of one request, as Postgres sends it.", low=1024)
    stream_above_bytes: int | None = _setting(
        None,
        "Results of reads over HTTP that are larger than this flow to the client as they come, whatever their size; "
        "off holds every result, and max_result_bytes refuses what is larger.",
        low=1024,
    )
    max_batch_statements: int = _setting(100, "Most statements in one batch.", low=1)
    max_statement_bytes: int = _setting(
        64 * 1024, "Longest SQL text from an exposed role; parsing needs stack in proportion.", low=1024
    )
    max_result_rows: int | None = _setting(
        None, "Most rows in the result of one HTTP request that only reads; off has no bound.", low=1
    )
    subject_concurrency: int = _setting(250, "Requests that one subject may have under way at once.", low=1)
    organization_concurrency: int | None = _setting(
        None, "Requests that all members of one organization may have under way at once; off has no bound.", low=1
    )
    endpoint_concurrency: int | None = _setting(
        None, "Requests that one endpoint may have under way at once; off has no bound.", low=1
    )
    subject_pool_percent: int = _setting(
        80,
        "How much of a pool one subject may hold: another connection only within this share of those that no other "
        "subject holds. 100 has no bound.",
        low=1,
    )
    subject_connections: int | None = _setting(
        4,
        "Connections to Postgres that one subject may hold at once for one role while its statements or transactions "
        "take long; where all are quick it gains more with each. off has no bound but subject_pool_percent.",
        low=1,
    )
    subject_queue_length: int = _setting(
        250, "Requests of one subject that may wait for a connection of one role.", low=0
    )
    subject_rate: int | None = _setting(
        None,
        "Statements a second for each subject, and for each 16 KiB of a result as for one more; off has no bound.",
        low=1,
    )
    organization_rate: int | None = _setting(
        None, "Statements a second for each organization, counted as for subject_rate; off has no bound.", low=1
    )
    endpoint_rate: int | None = _setting(
        None, "Statements a second for each endpoint, counted as for subject_rate; off has no bound.", low=1
    )
    rate_burst_seconds: int = _setting(
        10, "How long somebody may have paused and catch up at once: a rate's bucket holds so many seconds.", low=1
    )
    max_sessions: int = _setting(10_000, "Clients that may be connected over WebSocket and TCP at once.", low=1)
    statement_cache_size: int = _setting(
        400, "Prepared statements kept for each connection of a pool; a busy one has those that others leave.", low=0
    )
    token_cache_size: int = _setting(100_000, "Verified tokens kept until they expire.", low=0)
    token_leeway_seconds: int = _setting(30, "Clock difference tolerated in exp, nbf and iat.", low=0)
    login_timeout_seconds: int = _setting(15, "How long a client of the Postgres protocol may take to log in.", low=1)
    client_stall_seconds: int = _setting(
        60,
        "How long a session that holds a connection to Postgres waits for its client: to read its results, to end what "
        "it began, to send COPY data.",
        low=1,
    )
    expired_sessions_finish_transaction: bool = _setting(
        True,
        "Whether a session whose token has expired may finish the transaction that is open then; off ends it at once.",
    )
    keep_alive_seconds: int = _setting(75, "How long an idle HTTP connection is kept open.", low=1)
    request_timeout_seconds: int = _setting(30, "How long a client may take to send one request.", low=1)
    shutdown_seconds: int = _setting(10, "How long requests under way may take to end when the gateway stops.", low=0)
    audit_log: str = _setting(
        "",
        "File that gets one line of JSON for each request and each statement of a session, or stderr. SIGHUP opens it "
        "anew.",
    )
    audit_chain: bool = _setting(
        False, "Whether each line of the audit file has a hash over itself and the line before (rowgate audit verify)."
    )
    audit_sql: bool = _setting(
        False, "Whether audit records hold the SQL text, with the values that a client wrote into it."
    )
    audit_parameters: bool = _setting(
        False,
        "Whether audit records hold the parameters of statements as text, each cut to 256 characters; tokens are left "
        "out.",
    )
    activity_records: int = _setting(
        1000, "Records kept in memory, where the console runs or there is an audit file.", low=0
    )
    opentelemetry: bool = _setting(
        False, "Whether a span and metrics of each request and each statement of a session go to OpenTelemetry."
    )
    metrics_public: bool = _setting(False, "Whether /metrics on the management port answers without an admin token.")
    log_requests: bool = _setting(False, "Whether each request is logged as one line of JSON on standard error.")


@dataclass(frozen=True, slots=True)
class SettingDescription:
    """One row of the table, for ``--help`` and the documents."""

    name: str
    kind: str
    default: str
    meaning: str
    secret: bool

    @property
    def environment_variable(self) -> str:
        """The variable that sets it."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def describe() -> Iterator[SettingDescription]:
    """The table's rows in order."""
    kinds = get_type_hints(Settings)
    words = {int: "whole number", NUMBER_OR_OFF: "whole number or off", bool: "true or false", str: "text"}
    for row in fields(Settings):
        default = "" if row.default is MISSING else row.default
        text = ", ".join(default) if isinstance(default, tuple) else "off" if default is None else str(default)
        if isinstance(default, bool):
            text = text.lower()
        kind = words.get(kinds[row.name], "list, separated by commas")
        if row.metadata["words"]:
            kind = " or ".join(row.metadata["words"])
        if kinds[row.name] == PAIRS:
            kind = "pairs name=text, separated by blanks"
        yield SettingDescription(row.name, kind, text, row.metadata["meaning"], row.metadata["secret"])


def load(
    environment: Mapping[str, str],
    *,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from overrides (None values are skipped), environment, file and defaults, in this order.

    Raises SettingInvalid for a key that is no setting, a value of the wrong kind, or a file that is not TOML.
    """
    known = {row.name: row for row in fields(Settings)}
    values: dict[str, Any] = {}
    sources = [
        ("the file " + str(file), _read_file(file) if file is not None else {}),
        ("the environment", _from_environment(environment, known)),
        ("the command line", {name: value for name, value in (overrides or {}).items() if value is not None}),
    ]
    kinds = get_type_hints(Settings)
    for source, given in sources:
        for name, value in given.items():
            if name not in known:
                raise SettingInvalid(f"{source} sets {name!r}, which is no setting", hint="See `rowgate serve --help`.")
            values[name] = _convert(name, kinds[name], value, source, known[name].metadata["low"])
            _require_word(name, values[name], source, known[name].metadata["words"])
    if values.get("port") == 0:
        values.setdefault("tcp_port", 0)  # whoever wants no fixed port wants none at all
    return Settings(**values)


def _from_environment(environment: Mapping[str, str], known: Mapping[str, object]) -> dict[str, str]:
    """The environment's settings. Variables that are no setting are left alone: shells set many things."""
    return {
        name: environment[ENVIRONMENT_PREFIX + name.upper()]
        for name in known
        if ENVIRONMENT_PREFIX + name.upper() in environment
    }


def _read_file(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise SettingInvalid(f"cannot read the settings file {file}", detail=str(problem)) from problem


def _convert(name: str, kind: Any, value: Any, source: str, low: int | None) -> Any:
    if kind == NUMBER_OR_OFF and (value is False or (isinstance(value, str) and value.strip().lower() in OFF_WORDS)):
        return None
    if kind is bool:
        converted: Any = _boolean(value)
    elif kind is int or kind == NUMBER_OR_OFF:
        converted = _whole_number(value)
        if converted is not None and low is not None and converted < low:
            raise SettingInvalid(f"{source} sets {name} to {converted}", detail=f"the smallest value is {low}")
    elif kind is str:
        converted = value if isinstance(value, str) else None
    elif kind == PAIRS:
        converted = _pairs(value)
    else:
        converted = _words(value)
    if converted is None:
        words: dict[Any, str] = {bool: "true or false", int: "a whole number", str: "text", PAIRS: "name=text pairs"}
        words[NUMBER_OR_OFF] = "a whole number or off"
        expected = words.get(kind, "a list of texts")
        raise SettingInvalid(f"{source} sets {name} to a value of the wrong kind", detail=f"expected {expected}")
    return converted


def _require_word(name: str, value: Any, source: str, words: tuple[str, ...]) -> None:
    if words and value not in words:
        raise SettingInvalid(
            f"{source} sets {name} to a text that it cannot be", detail=f"expected one of {', '.join(words)}"
        )


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in TRUE_WORDS | FALSE_WORDS:
        return value.strip().lower() in TRUE_WORDS
    return None


def _whole_number(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    return None


def _words(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    return None


def _pairs(value: Any) -> tuple[tuple[str, str], ...] | None:
    if isinstance(value, str):
        value = {name: text for name, _, text in (word.partition("=") for word in value.split())}
    if value == ():
        return ()
    if isinstance(value, Mapping) and all(name and text and isinstance(text, str) for name, text in value.items()):
        return tuple(value.items())
    return None
