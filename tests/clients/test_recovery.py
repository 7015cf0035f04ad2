"""Postgres dies under the gateway: requests in flight get a clear error, the next ones work, nothing hangs."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from tests.clients.served import Served, serve, set_up
from tests.servers import Embedded18

CLEAR = {"08006", "08001", "57P01", "57P02", "57P03"}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Served, Embedded18]]:
    """``rowgate serve`` in front of a Postgres that the test may kill."""
    server = Embedded18()
    server.start()
    try:
        with serve(set_up(server), ROWGATE_SUBJECT_CONNECTIONS="off") as running:
            yield running, server
    finally:
        server.remove()


def answers_again(running: Served, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if running.sql("select 1 as ok").status_code == 200:
            return True
        time.sleep(0.05)
    return False


def backends(server: Embedded18, user: str) -> list[int]:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        rows = connection.execute("select pid from pg_stat_activity where usename = %s", (user,)).fetchall()
    return [row[0] for row in rows]


def while_asking(running: Served, act: Callable[[], object]) -> list[httpx.Response]:
    """Runs four slow statements, and ``act`` while they run."""
    with ThreadPoolExecutor(4) as workers:
        asked = [workers.submit(running.sql, "select slowly()") for _ in range(4)]
        deadline = time.monotonic() + 10
        while running.busy() < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        act()
        return [one.result(30) for one in asked]


def test_kill_9_of_a_backend(served: tuple[Served, Embedded18]) -> None:
    running, server = served
    assert running.sql("select 1").status_code == 200
    victim = backends(server, "rowgate_authenticated")[0]
    answers = while_asking(running, lambda: psutil.Process(victim).send_signal(signal.SIGKILL))
    for answer in answers:
        assert answer.status_code in (400, 503), answer.text
        assert answer.json()["code"] in CLEAR, answer.text
    assert answers_again(running)


def test_kill_9_of_the_server_and_its_restart(served: tuple[Served, Embedded18]) -> None:
    running, server = served
    assert running.sql("select 1").status_code == 200
    answers = while_asking(running, server.kill)
    for answer in answers:
        assert answer.status_code in (400, 503), answer.text
        assert answer.json()["code"] in CLEAR, answer.text
    down = running.sql("select 1")
    assert (down.status_code, down.json()["code"]) == (503, "08001")
    assert down.headers["Retry-After"] == "1"
    server.start()
    assert answers_again(running)
    # The registry's connection is back too: a provider that is removed now is noticed.
    running.cli("provider", "remove", "test")
    deadline = time.monotonic() + 10
    while running.sql("select 1").status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_restart_costs_waiting_requests_nothing(served: tuple[Served, Embedded18]) -> None:
    running, server = served
    assert running.sql("select 1").status_code == 200
    server.restart()
    assert running.sql("select 1 as ok").json()["rows"] == [{"ok": 1}]
