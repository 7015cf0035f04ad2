"""Fixtures of the client tests: one running stack for each test process, and the drivers."""

from collections.abc import Iterator

import pytest

from tests.clients.stack import SERVERLESS_DRIVERS, Driver, Stack, start


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = start(tmp_path_factory.mktemp("stack") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture(params=SERVERLESS_DRIVERS)
def driver(request: pytest.FixtureRequest, stack: Stack) -> Driver:
    return Driver(request.param, stack.sql_url)
