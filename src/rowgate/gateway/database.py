"""One database as the gateway serves it: what its registry says, made ready for requests.

Holds the providers' verifier, the guard, the signer of session tokens and a pool for each exposed role, and keeps them
in step with the registry while requests run. No client statement ever runs on the registry's connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from rowgate.errors import CredentialsMissing, RoleUnknown, RowgateError, SetupIncomplete, TokenRevoked
from rowgate.gateway.row_security import RowSecurity
from rowgate.guard.guard import Guard
from rowgate.identity.compact import CompactToken
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.local_provider import local_providers, refuse_local
from rowgate.identity.logout_token import LogoutNotice, read_logout_token
from rowgate.identity.principal import Principal
from rowgate.identity.provider import Provider
from rowgate.identity.revocation import RevocationSet
from rowgate.identity.verify import SeenTokens, TokenVerifier, authorize
from rowgate.identity.webhooks import Webhook
from rowgate.pgwire.types import BUILTIN_ARRAYS, ArrayType
from rowgate.postgres.connection import Connection
from rowgate.postgres.exchange import Prepared, Result
from rowgate.postgres.opening import Login, Opener, exposed_role_settings
from rowgate.postgres.pool import Pool
from rowgate.postgres.session_context import ContextSigner, SessionIdentity
from rowgate.registry.registry import AdminToken, ExposedRole, Registry, RegistrySnapshot
from rowgate.settings import Settings

ANONYMOUS: Final = "anonymous"
FIRST_USER_OID: Final = 16384  # PostgreSQL 18, section 72.2.2: lower ones belong to the system
ARRAY_RELOAD_SECONDS: Final = 1.0
PRUNE_SECONDS: Final = 3600.0

log = logging.getLogger("rowgate.database")


class Guest(Protocol):
    """A session that is open on a database, as far as it must be cut when its principal is revoked."""

    @property
    def principal(self) -> Principal | None:
        """Whom it is for now."""

    def end(self, problem: RowgateError) -> None:
        """Ends it at once; the client reads ``problem``."""


class Database:
    """One database of one endpoint. Make it with ``open``; close it with ``close``."""

    def __init__(
        self, name: str, settings: Settings, opener: Opener, registry: Registry, key_sets: KeySetCache, guard: Guard
    ) -> None:
        self.name = name
        self.endpoint = ""
        """The name of the endpoint that it belongs to."""
        self.guard = guard
        self.row_security = RowSecurity(settings.rls_gate, registry.rows)
        self.key_sets = key_sets
        """The key sets of the providers, as tokens are verified with them."""
        self._settings = settings
        self._opener = opener
        self._registry = registry
        self._verifier = TokenVerifier(
            (), key_sets, time.time, leeway=settings.token_leeway_seconds, cache_size=settings.token_cache_size
        )
        self._roles: dict[str, ExposedRole] = {}
        self._pools: dict[str, Pool] = {}
        self._signer: ContextSigner | None = None
        self._array_types: Mapping[int, ArrayType] = BUILTIN_ARRAYS
        self._scalar_types: set[int] = set()
        self._arrays_read_at = 0.0
        self._watcher: asyncio.Task[None] | None = None
        self._guests: dict[Guest, None] = {}
        self.webhooks: Mapping[str, Webhook] = {}
        self.admin_tokens: tuple[AdminToken, ...] = ()

    async def start(self) -> None:
        """Reads the registry and follows its changes from now on. Raises SetupIncomplete, LocalIssuerRefused."""
        self._verifier.revocations.apply(await self._registry.revocation_changes())
        snapshot = await self._registry.snapshot()
        if not self._settings.trust_local_issuer:
            refuse_local(snapshot.providers)
        await self._apply(snapshot)
        await self.row_security.start()
        self._watcher = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Closes the pools and the registry's connection."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self.row_security.close()
        for pool in self._pools.values():
            await pool.close()
        await self._registry.close()

    @property
    def exposes(self) -> frozenset[str]:
        """The roles that clients may name."""
        return frozenset(self._roles)

    @property
    def is_in_step(self) -> bool:
        """Whether the registry's connection is up."""
        return self._registry.is_connected

    async def has_sibling(self, name: str) -> bool:
        """Whether the same server has a database ``name`` that takes connections."""
        return bool(
            await self._registry.rows("select 1 from pg_catalog.pg_database where datname = %s and datallowconn", name)
        )

    # --- who asks ---------------------------------------------------------------------------------------------

    def known_principal(self, role: str, token: str | None) -> Principal | None:
        """The principal of a token that was verified a short while ago and may use ``role``; None asks ``identify``."""
        if token is None or role not in self._roles:
            return None
        principal = self._verifier.cached(token)
        return principal if principal is not None and role in principal.roles else None

    async def identify(self, role: str, token: str | None) -> Principal | None:
        """The principal behind a token, allowed to use ``role``; None for anonymous requests.

        Raises CredentialsMissing, RoleUnknown, TokenRefused or KeySetUnavailable.
        """
        if role not in self._roles:
            raise RoleUnknown("the role of the connection string takes no token", detail="it is not exposed here")
        if token is None:
            if role != ANONYMOUS:
                raise CredentialsMissing(
                    "missing authentication credentials: required authorization bearer token in JWT format"
                )
            return None
        principal = await self._verifier.verify(token)
        authorize(principal, role)
        return principal

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The providers as they are now."""
        return self._verifier.providers

    @property
    def seen_tokens(self) -> Mapping[str, SeenTokens]:
        """By provider, the tokens that were verified since the start."""
        return self._verifier.seen

    @property
    def revocations(self) -> RevocationSet:
        """What is revoked, as this gateway knows it."""
        return self._verifier.revocations

    def enter(self, guest: Guest, providers: tuple[Provider, ...]) -> None:
        """A session has begun, and is cut from now on when it is revoked. ``providers`` are those that there were when
        its token was verified.

        Raises TokenRevoked for what has happened since then.
        """
        if guest.principal is not None:
            self._verifier.revocations.check(guest.principal)
            name = guest.principal.provider
            if _named(providers, name) != _named(self.providers, name):
                raise _provider_changed()
        self._guests[guest] = None

    def leave(self, guest: Guest) -> None:
        """The session has ended."""
        self._guests.pop(guest, None)

    async def read_logout(self, token: CompactToken, *, now: float, leeway: float) -> LogoutNotice:
        """What a logout token asks for, if one of the providers has signed it. Raises NoticeRefused, TokenRefused or
        KeySetUnavailable."""
        _, provider = await self._verifier.verify_signature(token)
        return read_logout_token(token, provider, now=now, leeway=leeway)

    @property
    def registry(self) -> Registry:
        """The registry, for changes."""
        return self._registry

    def session_identity(self, principal: Principal, role: str) -> SessionIdentity:
        """The principal as Postgres is to know it."""
        if self._signer is None:
            raise SetupIncomplete("the database has no session key")
        return SessionIdentity(
            self._signer,
            role.encode(),
            principal.subject.encode(),
            principal.claims_json,
            principal.expires_at,
            principal.membership_json,
        )

    # --- where it runs ----------------------------------------------------------------------------------------

    def pool(self, role: str) -> Pool:
        """The pool of an exposed role."""
        pool = self._pools.get(role)
        if pool is None:
            pool = self._pools[role] = self._make_pool(self._roles[role])
        return pool

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The pools that were needed until now, by role."""
        return self._pools

    async def cancel(self, connection: Connection) -> None:
        """Cancels what a connection of this database runs."""
        await self._opener.cancel(connection)

    async def session_parameters(self, role: str) -> dict[str, str]:
        """What a session of ``role`` is told at its start (PostgreSQL 18, section 54.2.7), learned from a backend."""
        pool = self.pool(role)
        if pool.parameters is None:
            pool.release(await pool.acquire())
        return {**(pool.parameters or {}), "session_authorization": role, "is_superuser": "off"}

    def known_array_types(self, statements: Iterable[Prepared]) -> Mapping[int, ArrayType] | None:
        """Array types by OID, as far as the columns of ``statements`` need them; None where some must be read first."""
        known = self._array_types
        for prepared in statements:
            for column in prepared.columns.fields:
                oid = column.type_oid
                if oid >= FIRST_USER_OID and oid not in known and oid not in self._scalar_types:
                    return None
        return known

    async def array_types(self, results: Sequence[Result]) -> Mapping[int, ArrayType]:
        """Array types by OID, those that users made included as far as the results need them."""
        statements = [result.prepared for result in results]
        known = self.known_array_types(statements)
        return await self.read_array_types(statements) if known is None else known

    async def read_array_types(self, statements: Iterable[Prepared]) -> Mapping[int, ArrayType]:
        """The same, read from the database. Raises like ``Registry.array_types``."""
        # Reloads are spaced, so that requests for made-up types cannot keep the control connection busy.
        now = time.monotonic()
        if now - self._arrays_read_at < ARRAY_RELOAD_SECONDS:
            return self._array_types
        self._arrays_read_at = now
        made = await self._registry.array_types()
        self._array_types = {
            **BUILTIN_ARRAYS,
            **{oid: ArrayType(one.element_oid, one.delimiter) for oid, one in made.items()},
        }
        for prepared in statements:
            for column in prepared.columns.fields:
                if column.type_oid not in self._array_types:
                    self._scalar_types.add(column.type_oid)
        return self._array_types

    # --- the registry -----------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        prune_at = time.monotonic() + PRUNE_SECONDS
        async for snapshot in self._registry.watch():
            self.row_security.notice()
            try:
                await self._apply(snapshot)
                if time.monotonic() > prune_at:
                    prune_at = time.monotonic() + PRUNE_SECONDS
                    await self._registry.prune_revocations()
            except RowgateError as problem:
                log.error("the registry of %s cannot be used: %s", self.name, problem.message)

    async def _apply(self, snapshot: RegistrySnapshot) -> None:
        # First of all: a registry that cannot be used otherwise must not keep anyone in.
        self._apply_identity(snapshot)
        self.webhooks = {one.name: one for one in snapshot.webhooks}
        self.admin_tokens = snapshot.admin_tokens
        key = next((one for one in snapshot.session_keys if one.active), None)
        if key is None:
            raise SetupIncomplete("the database has no session key")
        self._signer = ContextSigner(key.key_id, key.secret, clock=time.time, clock_offset=snapshot.clock_offset)
        roles = {one.role: one for one in snapshot.exposed_roles}
        stale = [role for role in self._pools if roles.get(role) != self._roles[role]]
        self._roles = roles
        for role in stale:
            await self._pools.pop(role).close()

    def _apply_identity(self, snapshot: RegistrySnapshot) -> None:
        """Tokens and open sessions of what is revoked, or whose provider is gone or another one, end here."""
        if self._verifier.revocations.apply(snapshot.revocations):
            for guest in list(self._guests):
                self._cut_if_revoked(guest)
        trusted = self._trusted(snapshot.providers)
        if trusted == self.providers:
            return
        before, now = self.providers, {one.name: one for one in trusted}
        self._verifier.replace_providers(trusted)
        gone = {one.name for one in before if one != now.get(one.name)}
        for guest in list(self._guests):
            if guest.principal is not None and guest.principal.provider in gone:
                guest.end(_provider_changed())

    def _trusted(self, providers: tuple[Provider, ...]) -> tuple[Provider, ...]:
        """Without local identity providers that were registered while the gateway runs, unless settings trust them."""
        if self._settings.trust_local_issuer:
            return providers
        local = local_providers(providers)
        for one in local:
            log.error("the provider %s of %s is the local identity provider and is left out", one.name, self.name)
        return tuple(one for one in providers if one not in local)

    def _cut_if_revoked(self, guest: Guest) -> None:
        if guest.principal is None:
            return
        try:
            self._verifier.revocations.check(guest.principal)
        except TokenRevoked as problem:
            guest.end(problem)

    def _make_pool(self, exposed: ExposedRole) -> Pool:
        settings = self._settings
        session = exposed_role_settings(
            exposed.role, search_path=settings.search_path, statement_timeout_ms=settings.statement_timeout_ms
        )
        return Pool(
            self._opener,
            Login(exposed.login, exposed.password, self.name, session),
            size=settings.pool_size,
            queue_length=settings.queue_length,
            queue_timeout=settings.queue_timeout_ms / 1000,
            statement_timeout=settings.statement_timeout_ms / 1000,
            statement_cache_size=settings.statement_cache_size,
            share=settings.subject_pool_percent,
            party_queue_length=settings.subject_queue_length,
            party_connections=settings.subject_connections,
        )


def _named(providers: tuple[Provider, ...], name: str) -> Provider | None:
    return next((one for one in providers if one.name == name), None)


def _provider_changed() -> TokenRevoked:
    return TokenRevoked(
        "The identity provider of this session was removed or registered anew.",
        hint="Connect again with a fresh token.",
    )
