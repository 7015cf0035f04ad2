"""What the registry holds at one moment, as a value, and the one query that reads it.

One statement sees one snapshot of the database, so providers, logins and keys always belong together. This module does
no I/O.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rowgate.errors import SettingInvalid, SetupIncomplete
from rowgate.identity.claim_rules import read_rules
from rowgate.identity.provider import Provider
from rowgate.identity.revocation import NO_CHANGES, RevocationChanges
from rowgate.identity.webhooks import Webhook

SCHEMA_VERSION: Final = 3

_log = logging.getLogger(__name__)

SNAPSHOT_QUERY: Final = """
SELECT
    (SELECT version FROM rowgate.schema_version) AS version,
    pg_catalog.current_database()::text AS database,
    pg_catalog.current_setting('server_version_num')::int AS server_version,
    extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS clock,
    (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', name, 'kind', kind, 'issuer', issuer, 'jwks_url', jwks_url, 'audiences', audiences,
            'authorized_parties', authorized_parties, 'algorithms', algorithms, 'roles', roles,
            'other_issuers', other_issuers, 'client_ids', client_ids, 'key_set', key_set, 'rules', rules
        ) ORDER BY name)
        FROM rowgate.provider
    ) AS providers,
    (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'role', role_name, 'login', login_name, 'password', login_password
        ) ORDER BY role_name)
        FROM rowgate.exposed_role
    ) AS exposed_roles,
    (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'key_id', key_id, 'secret', pg_catalog.encode(secret, 'hex'), 'active', active
        ) ORDER BY slot)
        FROM auth.session_key
    ) AS session_keys,
    (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', name, 'provider', provider, 'kind', kind, 'secret', secret
        ) ORDER BY name)
        FROM rowgate.webhook
    ) AS webhooks,
    (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', name, 'digest', pg_catalog.encode(digest, 'hex'),
            'created_at', extract(epoch FROM created_at), 'expires_at', extract(epoch FROM expires_at)
        ) ORDER BY name)
        FROM rowgate.admin_token
    ) AS admin_tokens
"""
"""One row. The connection's search_path must be pg_catalog."""


@dataclass(frozen=True, slots=True)
class ExposedRole:
    """A role that clients may name, and the login with which the gateway becomes it."""

    role: str
    login: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A key for session tokens: 32 bytes. Sign with the active one; the other is still accepted."""

    key_id: str
    secret: bytes = field(repr=False)
    active: bool


@dataclass(frozen=True, slots=True)
class AdminToken:
    """A token for the management API, as far as it is kept: the SHA-256 of it. Times are Unix seconds; without
    ``expires_at`` it is good until it is removed."""

    name: str
    digest: bytes = field(repr=False)
    created_at: float
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class RegistrySnapshot:
    """Everything that the gateway needs to know about one database.

    ``server_version`` is as in ``server_version_num`` (180004). ``clock_offset`` is how many seconds the database's
    clock is ahead of this machine's, because session tokens expire by the database's clock. ``revocations`` is what
    changed since the snapshot before, for who follows the registry.
    """

    providers: tuple[Provider, ...]
    exposed_roles: tuple[ExposedRole, ...]
    session_keys: tuple[SessionKey, ...]
    database: str
    server_version: int
    clock_offset: float
    webhooks: tuple[Webhook, ...] = ()
    admin_tokens: tuple[AdminToken, ...] = ()
    revocations: RevocationChanges = NO_CHANGES


def read_snapshot(row: Mapping[str, Any], asked_at: float, answered_at: float) -> RegistrySnapshot:
    """The snapshot in a row of ``SNAPSHOT_QUERY``; the times are unix seconds of this machine.

    A provider that is not sound is left out, so its tokens are refused, and named in the log. Raises SetupIncomplete
    where the schema is of another version.
    """
    version = row["version"]
    if version != SCHEMA_VERSION:
        raise SetupIncomplete(
            "The schema rowgate of the database is of another version of Rowgate.",
            detail=f"expected version {SCHEMA_VERSION}, got {version}",
        )
    return RegistrySnapshot(
        providers=_providers(row["providers"] or ()),
        exposed_roles=tuple(ExposedRole(**role) for role in row["exposed_roles"] or ()),
        session_keys=tuple(
            SessionKey(key["key_id"], bytes.fromhex(key["secret"]), key["active"]) for key in row["session_keys"] or ()
        ),
        database=row["database"],
        server_version=row["server_version"],
        # The answer was written half-way between question and answer, as nearly as can be told.
        clock_offset=row["clock"] - (asked_at + answered_at) / 2,
        webhooks=tuple(Webhook(**one) for one in row["webhooks"] or ()),
        admin_tokens=tuple(
            AdminToken(**{**one, "digest": bytes.fromhex(one["digest"])}) for one in row["admin_tokens"] or ()
        ),
    )


def _providers(rows: Sequence[Mapping[str, Any]]) -> tuple[Provider, ...]:
    providers = []
    for row in rows:
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        try:
            if values.get("rules") is not None:
                values["rules"] = read_rules(values["rules"])
            providers.append(Provider(**values))
        except SettingInvalid as problem:
            _log.error("provider %r is left out: %s %s", row["name"], problem.message, problem.detail)
    return tuple(providers)
