"""Unmodified ORMs over every way to the gateway, with what their own generators write: drizzle, kysely, Prisma."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.clients.session_stack import Sessions, running_sessions
from tests.clients.stack import HERE, run_node

MODULES = HERE / "node_modules"
WAYS = ("HTTP", "WebSocket", "TCP")

DRIZZLE_SCHEMA = """
import { bigint, pgTable, text } from 'drizzle-orm/pg-core';
import { sql } from 'drizzle-orm';
import { anonymousRole, authenticatedRole, authUid, crudPolicy } from 'drizzle-orm/neon';

export const notes = pgTable('notes', {
  id: bigint({ mode: 'number' }).primaryKey().generatedByDefaultAsIdentity(),
  userId: text('user_id').notNull().default(sql`(auth.user_id())`),
  body: text(),
}, (table) => [
  crudPolicy({ role: authenticatedRole, read: authUid(table.userId), modify: authUid(table.userId) }),
  crudPolicy({ role: anonymousRole, read: sql`body = 'public'`, modify: false }),
]);
"""
PRISMA_SCHEMA = """
generator client {
  provider   = "prisma-client"
  output     = "./generated"
  engineType = "client"
  runtime    = "nodejs"
}

datasource db {
  provider = "postgresql"
  url      = "postgresql://the-adapter-has-its-own"
}

model Todo {
  id     BigInt  @id @default(autoincrement())
  userId String  @default(dbgenerated("auth.user_id()")) @map("user_id")
  task   String?

  @@map("todos")
}
"""


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(tmp_path_factory.mktemp("orms")) as running:
        yield running


def run(sessions: Sessions, client: str, user: str = "alice", **more: Any) -> dict[str, Any]:
    """What the ORM saw as ``user``."""
    gateway = urlsplit(sessions.stack.ws_url)
    job = {
        "client": client, "url": sessions.url(user), "token": sessions.stack.tokens[user],
        "tokenless": f"postgresql://authenticated@{gateway.hostname}/neondb",
        "sqlUrl": sessions.stack.sql_url, "wsProxy": f"{gateway.netloc}{gateway.path}", **more,
    }  # fmt: skip
    seen: dict[str, Any] = run_node("orms.mjs", job)
    return seen


def package(folder: Path, *command: str, **environment: str) -> None:
    """Runs a package's own command in a project of its own that has the tests' packages."""
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(MODULES)
    done = subprocess.run(
        [MODULES / ".bin" / command[0], *command[1:]], cwd=folder, capture_output=True, text=True, timeout=60,
        env={**os.environ, "CI": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_drizzle(sessions: Sessions, way: str) -> None:
    seen = run(sessions, f"drizzle over {way}")
    expected = {"inserted": "user_alice", "read": ["drizzled"], "deleted": 1, "error": "42501"}
    if way == "HTTP":
        expected |= {"withAuth": "user_alice", "batch": [["batch"], ["batch"]]}
    else:
        expected |= {"inside": ["outer"], "after": 0}
    assert seen == expected


@pytest.mark.parametrize("way", WAYS)
def test_kysely(sessions: Sessions, way: str) -> None:
    seen = run(sessions, f"kysely over {way}")
    expected = {"inserted": "user_alice", "updated": 1, "read": ["kyselied"]}
    assert seen == expected | ({} if way == "HTTP" else {"inside": 1, "after": 0})


def test_policies_that_drizzle_kit_writes(sessions: Sessions, tmp_path: Path) -> None:
    (tmp_path / "schema.mjs").write_text(DRIZZLE_SCHEMA)
    (tmp_path / "drizzle.config.ts").write_text(
        "export default { dialect: 'postgresql', schema: './schema.mjs', out: './migrations',"
        " dbCredentials: { url: process.env.OWNER_URL } };"
    )
    package(tmp_path, "drizzle-kit", "generate")
    (written,) = (tmp_path / "migrations").glob("*.sql")
    assert 'ON "notes" AS PERMISSIVE FOR SELECT TO "authenticated" USING ((select auth.user_id()' in written.read_text()
    # The owner's password, through the gateway as well.
    package(tmp_path, "drizzle-kit", "migrate", OWNER_URL=sessions.owner_url())

    def as_user(user: str, **more: Any) -> dict[str, Any]:
        return run(sessions, "the generated table", user, generated=str(tmp_path / "schema.mjs"), **more)

    alice = as_user("alice", writes={"body": "hers"})
    assert ([row["userId"] for row in alice["wrote"]], alice["read"], alice["updated"]) == (["user_alice"], ["hers"], 1)
    bob = as_user("bob", writes={"userId": "user_alice", "body": "forged"})
    assert bob == {"wrote": "42501", "read": [], "updated": 0}
    with psycopg.connect(sessions.url(None), autocommit=True) as anonymous:
        assert anonymous.execute("select body from notes").fetchall() == []
        with psycopg.connect(sessions.owner_url(), autocommit=True) as owner:
            owner.execute("update notes set body = 'public'")
        assert anonymous.execute("select body from notes").fetchall() == [("public",)]


@pytest.fixture(scope="module")
def prisma(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The client that ``prisma generate`` writes, bundled as a builder does."""
    folder = tmp_path_factory.mktemp("prisma")
    (folder / "schema.prisma").write_text(PRISMA_SCHEMA)
    (folder / "prisma.config.mjs").write_text("export default { schema: 'schema.prisma' };")
    # The client has no native engine. The command wants the one for migrations at hand, and does not run it here.
    package(
        folder, "prisma", "generate", PRISMA_SCHEMA_ENGINE_BINARY=shutil.which("true") or "", CHECKPOINT_DISABLE="1"
    )
    package(
        folder, "esbuild", "generated/client.ts", "--bundle", "--platform=node", "--format=esm",
        "--packages=external", "--outfile=client.mjs",
    )  # fmt: skip
    return str(folder / "client.mjs")


@pytest.mark.parametrize("way", WAYS)
def test_prisma(sessions: Sessions, prisma: str, way: str) -> None:
    seen = run(sessions, f"prisma over {way}", generated=prisma)
    expected: dict[str, Any] = {
        "inserted": "user_alice", "read": ["prismaed"], "raw": [{"me": "user_alice", "n": 7}], "deleted": 1,
        "error": True,
    }  # fmt: skip
    if way != "HTTP":
        expected |= {"inside": 1, "after": 0, "together": [1, {"count": 1}], "page": ["b"]}
    assert seen == expected
