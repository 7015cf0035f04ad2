"""What stands in the audit file after real clients have asked: who, what, what came of it, and never a secret."""

import html
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.clients.session_stack import Sessions, running_sessions

DEADLINE = 10.0


@pytest.fixture(scope="module")
def audit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.log"


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory, audit_file: Path) -> Iterator[Sessions]:
    folder = tmp_path_factory.mktemp("sessions")
    settings = {"ROWGATE_AUDIT_LOG": str(audit_file), "ROWGATE_AUDIT_SQL": "true", "ROWGATE_AUDIT_CHAIN": "true",
                "ROWGATE_AUDIT_PARAMETERS": "true"}  # fmt: skip
    with running_sessions(folder, **settings) as running:
        yield running


@pytest.fixture
def records(audit_file: Path) -> Callable[[str], list[dict[str, Any]]]:
    """Waits until the file has records whose SQL begins with a mark, and gives them."""

    def find(mark: str, count: int = 1) -> list[dict[str, Any]]:
        deadline = time.monotonic() + DEADLINE
        while True:
            written = [json.loads(line) for line in audit_file.read_bytes().splitlines()]
            found = [one for one in written if any(mark in text for text in one.get("sql") or ())]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, written[-5:]
            time.sleep(0.05)

    return find


def test_a_request_over_http(sessions: Sessions, records: Any) -> None:
    answer = sessions.stack.sql(
        "insert into todos (task) values ('http-one'), ('http-two') returning id", token=sessions.stack.tokens["alice"]
    )
    assert answer.status_code == 200
    (found,) = records("http-one")
    assert found["front"] == "http"
    assert (found["subject"], found["role"], found["database"]) == ("user_alice", "authenticated", "neondb")
    assert found["provider"]
    assert (found["verdict"], found["outcome"], found["rows"], found["tables"]) == ("allowed", "ok", 2, ["todos"])
    assert found["bytes"] == len(answer.content)
    assert len(found["fingerprints"][0]) == 16
    assert found["milliseconds"] > 0


@pytest.mark.parametrize(
    ("text", "outcome", "sqlstate", "verdict"),
    [
        ("select 'refused-1' from pg_read_file('x')", "statement_refused", "42501", "refused"),
        ("select 'error-1', 1/0", "database_error", "22012", "allowed"),
        ("select 'missing-1' from nowhere", "database_error", "42P01", "allowed"),
    ],
)
def test_errors_over_http(
    sessions: Sessions, records: Any, text: str, outcome: str, sqlstate: str, verdict: str
) -> None:
    assert sessions.stack.sql(text, token=sessions.stack.tokens["alice"]).status_code == 400
    found = records(text)[0]
    assert (found["outcome"], found["sqlstate"], found["verdict"], found["subject"]) == (
        outcome, sqlstate, verdict, "user_alice",
    )  # fmt: skip


def test_statements_of_a_session(sessions: Sessions, records: Any) -> None:
    with psycopg.connect(sessions.url("alice"), autocommit=True) as alice:
        alice.execute("insert into todos (task) values ('session-one')")
        for _ in range(6):  # quick by now: it shares a connection
            alice.execute("select task from todos where task = 'session-one'").fetchall()
        with pytest.raises(psycopg.errors.DivisionByZero), alice.transaction():
            alice.execute("select 'session-three', 1/0")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alice.execute("select 'session-four' from pg_read_file('x')")
        (made,) = records("insert into todos (task) values ('session-one')")
        assert (made["front"], made["subject"], made["outcome"], made["rows"]) == ("session", "user_alice", "ok", 1)
        read = records("select task from todos where task = 'session-one'", 6)
        assert len(read) == 6
        assert {(one["outcome"], one["rows"], one["bytes"] > 0, one["database"]) for one in read} == {
            ("ok", 1, True, "neondb")
        }
        (failed,) = records("session-three")
        assert (failed["outcome"], failed["sqlstate"], failed["verdict"]) == ("database_error", "22012", "allowed")


def test_no_token_is_in_it_and_no_password(sessions: Sessions, audit_file: Path) -> None:
    token = sessions.stack.tokens["bob"]
    with psycopg.connect(sessions.url("bob"), autocommit=True) as bob:
        bob.execute("select auth.jwt_session_init(%s)", (token,))
        bob.execute("select %s::text || 'with-parameter'", (f"Bearer {token}",))
        bob.execute("select %b::text || 'in-binary'", (token,))
    sessions.stack.sql("select $1::text || 'over-http'", [{"kept": f"https://x.example/?token={token}"}], token=token)
    deadline = time.monotonic() + DEADLINE
    while not all(mark in audit_file.read_bytes() for mark in (b"with-parameter", b"in-binary", b"over-http")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    written = audit_file.read_bytes()
    for one in sessions.stack.tokens.values():
        assert one.rsplit(".", 1)[1].encode() not in written
        assert one.encode()[:60] not in written
    assert (urlsplit(sessions.owner_url()).password or "").encode() not in written


def test_parameters_where_they_are_asked_for(sessions: Sessions, records: Any) -> None:
    sessions.stack.sql("select $1::text, $2::int, 'http-values'", ["a value", None], token=sessions.stack.tokens["bob"])
    assert records("http-values")[0]["parameters"] == [["a value", None]]
    with psycopg.connect(sessions.url("bob"), autocommit=True) as bob:
        for number in range(6):  # the later ones share a connection
            bob.execute("select %s::text, %b::int2, 'session-values'", (f"value {number}", number))
        bob.execute(b"select 'no-values'")
    found = records("session-values", 6)
    assert [one["parameters"] for one in found] == [[[f"value {n}", f"\\x{n:04x}"]] for n in range(6)]
    assert "parameters" not in records("no-values")[0]


def test_a_session_with_a_password_has_its_beginning_and_its_end(sessions: Sessions, audit_file: Path) -> None:
    def event(word: str, number: int = 1) -> dict[str, Any]:
        """The record of this kind with this number."""
        deadline = time.monotonic() + DEADLINE
        while True:
            written = [json.loads(line) for line in audit_file.read_bytes().splitlines()]
            found: list[dict[str, Any]] = [one for one in written if one.get("event") == word]
            if len(found) >= number:
                return found[number - 1]
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    with psycopg.connect(sessions.owner_url(), autocommit=True) as owner:
        owner.execute("select 'not-in-the-audit-file'")
        port = owner.pgconn.socket
        opened = event("session_opened")
        assert (opened["role"], opened["database"], opened["subject"]) == ("neondb_owner", "neondb", None)
        with socket.socket(fileno=os.dup(port)) as mine:
            host, number = mine.getsockname()[:2]
        assert opened["client"] == f"{host}:{number}"
    closed = event("session_closed")
    assert (closed["outcome"], closed["client"], closed["time"]) == ("ok", opened["client"], opened["time"])
    assert closed["received"] > len("select 'not-in-the-audit-file'")
    assert closed["bytes"] > 0
    assert closed["milliseconds"] > 0
    with psycopg.connect(sessions.owner_url(), autocommit=True) as owner, suppress(psycopg.OperationalError):
        owner.execute("select pg_terminate_backend(pg_backend_pid())")
    assert event("session_closed", 2)["outcome"] == "backend_gone"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(sessions.owner_url().replace(urlsplit(sessions.owner_url()).password or "", "wrong"))
    refused = event("session_refused")
    assert (refused["outcome"], refused["sqlstate"]) == ("database_error", "28P01")
    assert b"not-in-the-audit-file" not in audit_file.read_bytes()


def test_metrics(sessions: Sessions) -> None:
    def metrics() -> dict[str, float]:
        answer = httpx.get(f"{sessions.stack.admin_url}/metrics", headers=admin)
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    admin = {"Authorization": f"Bearer {sessions.stack.admin_token}"}
    assert httpx.get(f"{sessions.stack.admin_url}/metrics").status_code == 401
    before = metrics()
    sessions.stack.sql("select 1", token=sessions.stack.tokens["alice"])
    sessions.stack.sql("select pg_read_file('x')", token=sessions.stack.tokens["alice"])
    with psycopg.connect(sessions.url("alice"), autocommit=True) as alice:
        alice.prepare_threshold = None  # which would be an exchange more
        for _ in range(6):
            alice.execute("select auth.user_id()")
        with pytest.raises(psycopg.errors.DivisionByZero):
            alice.execute("select 1/0")
        now = metrics()
        assert now["rowgate_sessions"] == before["rowgate_sessions"] + 1
    grown = {name: value - before.get(name, 0.0) for name, value in now.items()}
    assert grown['rowgate_http_requests_total{status="200"}'] == 1
    assert grown['rowgate_http_requests_total{status="400"}'] == 1
    assert grown["rowgate_http_request_seconds_count"] == 2
    assert grown['rowgate_http_request_seconds_bucket{le="+Inf"}'] == 2
    assert grown["rowgate_http_request_seconds_sum"] > 0
    assert grown["rowgate_session_statements_total"] == 7
    assert grown["rowgate_session_exchange_seconds_count"] == 7
    assert grown['rowgate_errors_total{front="http",code="statement_refused"}'] == 1
    assert grown['rowgate_errors_total{front="session",code="database_error"}'] == 1
    place = 'endpoint="",database="neondb"'
    assert now[f"rowgate_registry_connected{{{place}}}"] == 1
    assert now[f'rowgate_pool_waiting{{{place},role="authenticated"}}'] == 0
    pool = [now[f'rowgate_pool_connections{{{place},role="authenticated",state="{one}"}}'] for one in ("busy", "idle")]
    assert sum(pool) >= 1
    assert now["rowgate_audit_dropped_total"] == 0


def test_the_console_reads_the_file_from_its_end(sessions: Sessions, records: Any, audit_file: Path) -> None:
    stack = sessions.stack
    for number in range(30):
        stack.sql(f"select 'from-the-file', {number}", token=stack.tokens["alice"])
    records("from-the-file", 30)
    with httpx.Client(base_url=stack.admin_url, timeout=30) as console:
        console.post("/sign-in", data={"token": stack.admin_token})
        asked = {"from": "file", "subject": "user_alice", "code": "ok", "front": "http"}
        page = console.get("/activity", params=asked).text
        newest, *others = re.findall(r'href="(/activity/file/\d+)"', page)
        assert len(others) == 24
        assert "from-the-file&#39;, 29" in console.get(newest).text
        older = re.search(r'id="older" href="(/activity\?[^"]+)"', page)
        assert older
        assert "from-the-file&#39;, 4<" in console.get(html.unescape(older[1])).text
        assert console.get(f"/activity/file/{audit_file.stat().st_size}").status_code == 400
