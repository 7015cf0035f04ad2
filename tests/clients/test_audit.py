"""What stands in the audit file after real clients have asked: who, what, what came of it, and never a secret."""

import html
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
    settings = {"ROWGATE_AUDIT_LOG": str(audit_file), "ROWGATE_AUDIT_SQL": "true", "ROWGATE_AUDIT_CHAIN": "true"}
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


def test_no_token_and_no_parameter_is_in_it_and_the_chain_holds(sessions: Sessions, audit_file: Path) -> None:
    with psycopg.connect(sessions.url("bob"), autocommit=True) as bob:
        bob.execute("select auth.jwt_session_init(%s)", (sessions.stack.tokens["bob"],))
        bob.execute("select %s::text || 'with-parameter'", ("a-secret-value",))
    deadline = time.monotonic() + DEADLINE
    while b"with-parameter" not in audit_file.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    written = audit_file.read_bytes()
    assert b"a-secret-value" not in written
    for token in sessions.stack.tokens.values():
        assert token.rsplit(".", 1)[1].encode() not in written
        assert token.encode()[:60] not in written


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
