"""A locked role through every front: what is listed works for real drivers, everything else is refused by its code."""

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from rowgate.gateway.allowlist_file import ListedStatement, digest, plain, write_lists
from rowgate.guard.catalog import FunctionCatalog
from rowgate.guard.guard import Guard
from rowgate.guard.statements import CLIENT
from tests.clients.session_stack import Sessions, running_sessions
from tests.plain_http import HTTP

LISTED = ("select auth.user_id() as me", "select $1::int + 1 as next", "select task from todos where id = $1")


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    folder = tmp_path_factory.mktemp("locked")
    path: Path = folder / "list.json"
    guard = Guard(CLIENT, FunctionCatalog.default())
    statements = [
        ListedStatement(plain(text), digest(plain(text)), guard.check(text).fingerprint, (), "2026-01-01")
        for text in LISTED
    ]
    write_lists(path, {"authenticated": {one.sha256: one for one in statements}})
    settings = {"ROWGATE_STATEMENTS": "authenticated=lock", "ROWGATE_ALLOWLIST_FILE": str(path)}
    with running_sessions(folder, **settings) as running:
        yield running


def test_over_http(sessions: Sessions) -> None:
    token = sessions.stack.tokens["alice"]
    assert sessions.stack.sql(LISTED[0], token=token).json()["rows"] == [{"me": "user_alice"}]
    refused = sessions.stack.sql("select task from todos", token=token)
    assert (refused.status_code, refused.json()["routine"]) == (400, "rowgate:statement_not_listed")
    assert refused.json()["code"] == "42501"
    batch = {"queries": [{"query": LISTED[0]}, {"query": "select task from todos"}]}
    headers = {
        "Neon-Connection-String": sessions.stack.authenticated_url,
        "Authorization": f"Bearer {token}",
    }
    answer = HTTP.post(sessions.stack.sql_url, json=batch, headers=headers)
    assert answer.json()["routine"] == "rowgate:statement_not_listed"


def test_in_sessions(sessions: Sessions) -> None:
    with psycopg.connect(sessions.url("alice")) as alice:  # BEGIN ahead of the first statement
        assert alice.execute(LISTED[0]).fetchone() == ("user_alice",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="allow-list"):
            alice.execute("select task from todos")
        alice.rollback()
        assert alice.execute(LISTED[0]).fetchone() == ("user_alice",)
        for _ in range(5):  # as a text, and prepared
            alice.rollback()
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="allow-list"):
                alice.execute("select task from todos where id > %s", (1,))


async def test_a_driver_that_asks_for_types_and_pipelines(sessions: Sessions) -> None:
    connection = await asyncpg.connect(sessions.url("alice"))
    try:
        assert await connection.fetchval(LISTED[1], 41) == 42
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("select task from todos")
        assert await connection.fetchval(LISTED[1], 1) == 2
    finally:
        await connection.close()
