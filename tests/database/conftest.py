"""Databases that set-up has prepared, and session tokens for them."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from hmac import digest
from typing import Any

import psycopg
import pytest
import uvloop
from psycopg import sql

from rowgate.postgres.session_context import ContextSigner, SessionIdentity
from rowgate.rls.plan import SetupOptions
from rowgate.rls.setup import apply
from tests.database.pools import Exposed, Run, exposed_on
from tests.servers import TestServer, database_of

CONTROL_PASSWORD = "control password of the tests"
ROLES = ("rowgate_owner", "rowgate_control", "authenticated", "anonymous")


@dataclass(frozen=True)
class Prepared:
    """A database after set-up, with a table ``todos`` as in the guide and rows of alice and bob."""

    server: TestServer
    name: str

    def admin(self) -> psycopg.Connection[Any]:
        """A connection as superuser."""
        return psycopg.connect(self.server.conninfo(self.name))

    def client(self, role: str = "authenticated", **options: Any) -> psycopg.Connection[Any]:
        """A connection as the gateway makes them for an exposed role."""
        with self.admin() as connection:
            login, password = connection.execute(
                "SELECT login_name, login_password FROM rowgate.exposed_role WHERE role_name = %s", [role]
            ).fetchone() or ("", "")
        return psycopg.connect(
            self.server.conninfo(self.name, user=login, password=password), options=f"-c role={role}", **options
        )

    def control_conninfo(self) -> str:
        return self.server.conninfo(self.name, user="rowgate_control", password=CONTROL_PASSWORD)

    def key(self, admin: psycopg.Connection[Any] | None = None) -> tuple[str, bytes]:
        """The active session key: id and secret, asked over ``admin`` where there is one."""
        with nullcontext(admin) if admin is not None else self.admin() as connection:
            row = connection.execute("SELECT key_id, secret FROM auth.session_key WHERE active").fetchone()
        assert row is not None
        return row[0], row[1]

    def token(self, connection: psycopg.Connection[Any], claims: dict[str, Any], role: str = "authenticated") -> str:
        """A session token for the backend of ``connection``, signed as the gateway does it."""
        signer = ContextSigner(*self.key(), clock=time.time)
        claims_json = json.dumps(claims).encode()
        return signer.token(connection.info.backend_pid, role.encode(), claims_json, time.time() + 3600).decode()

    def sealed(
        self,
        connection: psycopg.Connection[Any],
        subject: str,
        role: str = "authenticated",
        *,
        lifetime: float = 40,
        claims: bytes | None = None,
        membership: bytes = b"",
        admin: psycopg.Connection[Any] | None = None,
    ) -> list[str]:
        """The settings ``NAMES`` as the gateway makes them for the backend of ``connection``."""
        signer = ContextSigner(*self.key(admin), clock=time.time)
        claims = claims or json.dumps({"sub": subject}).encode()
        identity = SessionIdentity(signer, role.encode(), subject.encode(), claims, time.time() + lifetime, membership)
        return [value.decode() for value in identity.sealed(connection.info.backend_pid)]


def compact_jws(header: object, payload: object, secret: bytes) -> str:
    """A compact JWS with any header and payload (bytes as they are, else as JSON), HS256 under ``secret``."""

    def part(value: object) -> bytes:
        data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        return urlsafe_b64encode(data).rstrip(b"=")

    signed = part(header) + b"." + part(payload)
    return (signed + b"." + urlsafe_b64encode(digest(secret, signed, sha256)).rstrip(b"=")).decode()


@contextmanager
def prepared_on(server: TestServer) -> Iterator[Prepared]:
    with database_of(server) as name:
        with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE todos (id serial PRIMARY KEY, user_id text NOT NULL DEFAULT 'nobody', task text)"
            )
            outcome = apply(connection, SetupOptions(control_password=CONTROL_PASSWORD))
            assert outcome.plan.is_complete, outcome.plan
            connection.execute("ALTER TABLE todos ENABLE ROW LEVEL SECURITY")
            connection.execute("CREATE POLICY own ON todos USING (auth.user_id() = user_id)")
            connection.execute(
                "INSERT INTO todos (user_id, task) VALUES ('alice', 'a1'), ('alice', 'a2'), ('bob', 'b1')"
            )
        yield Prepared(server, name)


@pytest.fixture(scope="module", params=["postgres18", "postgres15"])
def prepared(request: pytest.FixtureRequest) -> Iterator[Prepared]:
    """One database per module and server, for tests that leave nothing behind."""
    with prepared_on(request.getfixturevalue(request.param)) as database:
        yield database


@pytest.fixture
def own_prepared(postgres: TestServer) -> Iterator[Prepared]:
    """A database of the test's own."""
    with prepared_on(postgres) as database:
        yield database


@pytest.fixture
def bare(postgres: TestServer) -> Iterator[TestServer]:
    """A server without any role of Rowgate's, before and after. No prepared database may be open; those that earlier
    tests have left behind go."""
    _drop_databases(postgres)
    _drop_roles(postgres)
    yield postgres
    _drop_roles(postgres)


def _drop_databases(server: TestServer) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        left = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
        for (name,) in connection.execute(left.encode()).fetchall():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _drop_roles(server: TestServer) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        names = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s) OR rolname LIKE 'rowgate\\_%%' "
            "ORDER BY rolcanlogin DESC",
            [list(ROLES)],
        ).fetchall()
        for (name,) in names:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture(scope="module", params=["postgres18", "postgres15"])
def exposed(request: pytest.FixtureRequest) -> Iterator[Exposed]:
    """A database with an exposed role of its own, on each of the two servers."""
    with exposed_on(request.getfixturevalue(request.param)) as database:
        yield database


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on one of the two event loops: what is called before what differs between them."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run
