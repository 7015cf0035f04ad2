"""Servers shared by the suites: one of each version per test process (pytest-xdist gives each worker its own)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import Embedded18, PlainPostgres, TestServer, database_of, plain_postgres

# Property tests are judged by what they find, not by how busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def postgres18() -> Iterator[Embedded18]:
    """The embedded Postgres 18, running; CREATE EXTENSION finds pg_session_jwt."""
    server = Embedded18()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres15() -> Iterator[PlainPostgres]:
    """The distribution's Postgres 15, running; it knows no extension pg_session_jwt."""
    with plain_postgres() as server:
        yield server


@pytest.fixture(params=["postgres18", "postgres15"])
def postgres(request: pytest.FixtureRequest) -> TestServer:
    """Each of the two servers in turn."""
    server: TestServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def database(postgres: TestServer) -> Iterator[str]:
    """The name of a new, empty database on ``postgres``."""
    with database_of(postgres) as name:
        yield name
