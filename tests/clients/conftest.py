"""Fixtures of the client tests: one running stack for each test process, and the drivers."""

from collections.abc import Iterator

import pytest

from tests.clients.stack import SERVERLESS_DRIVERS, Driver, Stack, start
from tests.clients.two_gateways import Gateways, two_gateways
from tests.servers import Embedded18


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = start(tmp_path_factory.mktemp("stack") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    """On a server of their own, because other tests take the roles of the shared ones away."""
    server = Embedded18()
    try:
        server.start()
        folder = tmp_path_factory.mktemp("gateways")
        with two_gateways(
            server, folder, ROWGATE_PUBLIC_NOTICES="true", ROWGATE_ADMIN_PORT="0", ROWGATE_RLS_GATE="warn"
        ) as running:
            yield running
    finally:
        server.remove()


@pytest.fixture(params=SERVERLESS_DRIVERS)
def driver(request: pytest.FixtureRequest, stack: Stack) -> Driver:
    return Driver(request.param, stack.sql_url)
