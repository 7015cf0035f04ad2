"""Limits as clients meet them: rates with their headers, rows, and a flood of everything that is slow or large."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from tests.clients.session_stack import Sessions, running_sessions
from tests.plain_http import HTTP

FLOODERS = 12
READS = 40
DEADLINE = 60
BOMBS = [
    "select pg_sleep(20)",
    "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b",
    "select repeat('a', 30) || '!' ~ '^(((a+)+)+)+$' from generate_series(1, 100000)",
    "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r",
    "select repeat('x', 1000000) from generate_series(1, 1000)",
]
LIMITS = {
    "ROWGATE_STATEMENT_TIMEOUT_MS": "4000", "ROWGATE_POOL_SIZE": "4", "ROWGATE_SUBJECT_POOL_PERCENT": "50",
    "ROWGATE_SUBJECT_CONCURRENCY": str(FLOODERS), "ROWGATE_SUBJECT_RATE": "40", "ROWGATE_RATE_BURST_SECONDS": "5",
    "ROWGATE_MAX_RESULT_ROWS": "1000",
}  # fmt: skip


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(tmp_path_factory.mktemp("fairness"), **LIMITS) as running:
        yield running


def client(sessions: Sessions, user: str) -> httpx.Client:
    """One that keeps its connection."""
    headers = {
        "Neon-Connection-String": sessions.stack.authenticated_url,
        "Authorization": f"Bearer {sessions.stack.tokens[user]}",
    }
    return httpx.Client(base_url=sessions.stack.sql_url.removesuffix("/sql"), headers=headers, timeout=DEADLINE)


def test_a_flood_of_bombs_costs_the_flooder_and_nobody_else(sessions: Sessions) -> None:
    over = threading.Event()
    outcomes: list[tuple[int, str]] = []

    def flood(number: int) -> None:
        with client(sessions, "alice") as alice:
            while not over.wait(0.05):  # far above what the rate allows, and the test's own process must live too
                answer = alice.post("/sql", json={"query": BOMBS[number % len(BOMBS)]})
                outcomes.append((answer.status_code, answer.text[:200]))

    flooders = [threading.Thread(target=flood, args=(number,)) for number in range(FLOODERS)]
    for one in flooders:
        one.start()
    try:
        deadline = time.monotonic() + DEADLINE
        answers = []
        with client(sessions, "bob") as bob:
            while len(answers) < READS or not outcomes:
                answers.append(bob.post("/sql", json={"query": "select auth.user_id() as me"}))
                time.sleep(0.03)  # within bob's own rate
                assert time.monotonic() < deadline
        with psycopg.connect(sessions.url("bob"), autocommit=True) as session:
            assert session.execute("select auth.user_id()").fetchone() == ("user_bob",)
    finally:
        over.set()
        for one in flooders:
            one.join()
    assert {(one.status_code, one.json()["rows"][0]["me"]) for one in answers} == {(200, "user_bob")}
    # The flooder's own come to nothing, each with a clear answer.
    assert {status for status, _ in outcomes} <= {400, 429, 503, 507}, outcomes


def test_the_rate_is_told_and_kept(sessions: Sessions) -> None:
    answers = []
    with client(sessions, "alice") as alice:
        deadline = time.monotonic() + DEADLINE
        while not answers or answers[-1].status_code != 429:
            answers.append(alice.post("/sql", json={"query": "select 1"}))
            assert time.monotonic() < deadline
    refused = answers[-1]
    assert refused.json()["routine"] == "rowgate:rate_exceeded"
    assert int(refused.headers["retry-after"]) >= 1
    for one in answers[:-1]:
        assert one.headers["ratelimit-policy"] == '"subject";q=200;w=5'
        assert one.headers["ratelimit"].startswith('"subject";r=')
    with psycopg.connect(sessions.url("alice"), autocommit=True) as session:  # the same bucket

        def spend() -> None:
            for _ in range(400):
                session.execute("select 1")

        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="too many statements"):
            spend()
        deadline = time.monotonic() + DEADLINE
        while True:  # and the session goes on when there is something in it again
            try:
                assert session.execute("select 2").fetchone() == (2,)
                break
            except psycopg.errors.ConfigurationLimitExceeded:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    assert sessions.stack.sql("select 1", token=sessions.stack.tokens["bob"]).status_code == 200


def test_rows_are_bounded_where_nothing_was_changed(sessions: Sessions) -> None:
    bob = sessions.stack.tokens["bob"]
    most = sessions.stack.sql("select * from generate_series(1, 1000)", token=bob)
    assert most.status_code == 200
    refused = sessions.stack.sql("select * from generate_series(1, 1001)", token=bob)
    assert (refused.status_code, refused.json()["routine"]) == (507, "rowgate:result_too_large")
    made = sessions.stack.sql(
        "insert into todos (task) select 'many' from generate_series(1, 1001) returning id", token=bob
    )
    assert len(made.json()["rows"]) == 1001


def new_user(sessions: Sessions, name: str) -> str:
    """The token of a user whose bucket nobody else empties."""
    user = {"id": f"user_{name}", "first_name": name}
    HTTP.post(f"{sessions.stack.issuer_url}/users", json=user).raise_for_status()
    return sessions.token(name, lifetime=300)


def test_what_waits_while_large_results_empty_the_bucket_is_refused(sessions: Sessions) -> None:
    """Ten results at once, each of which costs half of what the bucket holds; two connections are its subject's."""
    large = "select repeat('x', 1000000) from generate_series(1, 6)"
    token = new_user(sessions, "carol")
    with ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(sessions.stack.sql, large, token=token) for _ in range(10)]
        answers = [one.result(DEADLINE) for one in asked]
    served = [one for one in answers if one.status_code == 200]
    refused = [one for one in answers if one.status_code == 429]
    assert len(served) + len(refused) == 10
    assert 1 <= len(served) <= 5
    assert {one.json()["routine"] for one in refused} == {"rowgate:rate_exceeded"}
    assert {int(one.headers["retry-after"]) >= 1 for one in refused} == {True}
    assert sessions.stack.sql("select 1", token=sessions.stack.tokens["bob"]).status_code == 200


def test_the_same_in_sessions_which_go_on_afterwards(sessions: Sessions) -> None:
    large = "select repeat('x', 1000000) from generate_series(1, 6)"
    sessions.stack.tokens["dave"] = new_user(sessions, "dave")
    waiting = [psycopg.connect(sessions.url("dave"), autocommit=True) for _ in range(6)]

    def ask(session: psycopg.Connection[Any]) -> str:
        try:
            return f"{len(session.execute(large).fetchall())} rows"
        except psycopg.errors.ConfigurationLimitExceeded as refusal:
            return str(refusal)

    try:
        with ThreadPoolExecutor(len(waiting)) as threads:
            outcomes = list(threads.map(ask, waiting, timeout=DEADLINE))
        served = outcomes.count("6 rows")
        assert 1 <= served <= 5
        assert all("too many statements of this subject" in one for one in outcomes if one != "6 rows")
        deadline = time.monotonic() + DEADLINE
        while ask(waiting[0]) != "6 rows":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        for one in waiting:
            one.close()
