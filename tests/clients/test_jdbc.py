"""The driver of JDBC in a session: prepared by the server, in batches, by cursor, and as connection pools use it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.session_stack import Sessions, running_sessions
from tests.clients.stack import HERE

DRIVER = Path("/usr/share/java/postgresql.jar")

VALUES = "9223372036854775807 1.50 2026-01-02T03:04:05 a|b c|null 2 true null"
EXPECTED = {
    "first": "user_alice:n0:0:true", "last": "user_alice:n11:22:true", "server prepared": "true",
    **{f"{'text' if turn < 5 else 'binary'} {turn}": VALUES for turn in range(7)},
    "in the savepoint": "22012", "then": "25P02", "kept": "kept", "rolled back": "1",
    "batch": "500", "keys": "500", "inserted": "500", "forged batch": "42501", "cursor": "551775",
    "product": "PostgreSQL", "tables": "plain,todos", "columns": "id,user_id,task", "key": "id",
    "indexes": "todos_pkey", "schemas": "true", "types": "true",
    "division": "22012", "no table": "42P01", "refused": "42501", "forged": "42501", "time-out": "57014",
    "after errors": "user_alice",
    "read only": "25006", "isolation": "serializable", "application": "a pool", "valid": "true",
    "isolation again": "read committed", "writes again": "none", "after the pool": "user_alice authenticated",
    "after discard all": "user_alice", "after reset all": "user_alice", "after deallocate all": "user_alice",
    **dict.fromkeys(("simple", "extended", "extendedForPrepared", "extendedCacheEverything"), "user_alicex"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(tmp_path_factory.mktemp("jdbc")) as running:
        yield running


def test_jdbc(sessions: Sessions) -> None:
    if not DRIVER.exists():
        raise RuntimeError(f"{DRIVER} is not there: this test needs the package libpostgresql-jdbc-java")
    url = f"jdbc:postgresql://{sessions.host}:{sessions.port}/neondb?sslmode=require"
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", DRIVER, HERE / "JdbcClient.java",
         url, "authenticated", sessions.stack.tokens["alice"]],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == EXPECTED
