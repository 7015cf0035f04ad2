"""Unmodified clients over sessions: those of Node over TCP and WebSocket, SQLAlchemy, Django, pandas, pgbench."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pandas
import pytest
from sqlalchemy import MetaData, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.clients.session_stack import Sessions, running_sessions
from tests.clients.stack import SERVERLESS_DRIVERS


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(tmp_path_factory.mktemp("sessions")) as running:
        yield running


def like_pg(seen: dict[str, Any]) -> None:
    assert (seen["me"], seen["error"], seen["refused"]) == ("user_alice", "22012", "42501")
    assert seen["typed"] == {"n": 42, "t": True, "a": [1, 2]}
    assert seen["named"] == ["1", "2", "3"]
    assert (seen["count"], seen["after"], seen["pool"]) == (1, 0, 20)
    assert seen["several"] == [{"a": 1}, {"b": 2}]


def test_node_postgres(sessions: Sessions) -> None:
    like_pg(sessions.node("node-postgres"))


@pytest.mark.parametrize(
    ("version", "pipeline_connect", "coalesce"),
    [
        *((version, "password", True) for version in SERVERLESS_DRIVERS),
        *((version, *way) for version in ("neon-0", "neon-1") for way in (("password", False), (False, True))),
    ],
)
def test_the_serverless_driver_over_websocket(
    sessions: Sessions, version: str, pipeline_connect: str | bool, coalesce: bool
) -> None:
    like_pg(sessions.node(version, pipelineConnect=pipeline_connect, coalesceWrites=coalesce))


def test_postgres_js(sessions: Sessions) -> None:
    seen = sessions.node("postgres.js")
    assert (seen["me"], seen["error"], seen["count"], seen["after"]) == ("user_alice", "22012", 1, 0)
    assert (seen["many"], seen["cursor"]) == (list(range(20)), 100)


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(sessions: Sessions, mode: str, tmp_path: Any) -> None:
    script = tmp_path / "script.sql"
    script.write_text("\\set n random(1, 100)\nbegin;\nselect auth.user_id(), :n::int;\ncommit;\n")
    done = subprocess.run(
        ["pgbench", "-n", "-M", mode, "-c", "8", "-t", "50", "-f", str(script), sessions.url()],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "number of transactions actually processed: 400/400" in done.stdout


def test_sqlalchemy(sessions: Sessions) -> None:
    engine = create_engine(sessions.url().replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        assert connection.execute(text("select auth.user_id()")).scalar() == "user_alice"
    metadata = MetaData()
    metadata.reflect(engine)
    assert "todos" in metadata.tables
    assert [column["name"] for column in inspect(engine).get_columns("todos")] == ["id", "user_id", "task"]
    assert inspect(engine).get_pk_constraint("todos")["constrained_columns"] == ["id"]
    frame = pandas.read_sql("select g as n from generate_series(1, 3) g", engine)
    assert list(frame["n"]) == [1, 2, 3]
    engine.dispose()


async def test_sqlalchemy_with_asyncpg(sessions: Sessions) -> None:
    engine = create_async_engine(sessions.url().replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        assert (await connection.execute(text("select auth.user_id()"))).scalar() == "user_alice"
        await connection.execute(text("insert into todos (task) values (:task)"), {"task": "rolled back"})
        await connection.rollback()
    await engine.dispose()


DJANGO = """
import django
from django.conf import settings
settings.configure(
    DATABASES={{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "neondb", "USER": "authenticated",
        "PASSWORD": {password!r}, "HOST": {host!r}, "PORT": {port}}}}},
    INSTALLED_APPS=[], USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
from django.db import connection, models, transaction

class Todo(models.Model):
    user_id = models.TextField()
    task = models.TextField()

    class Meta:
        app_label = "todos"
        db_table = "todos"
        managed = False

with transaction.atomic():
    todo = Todo.objects.create(user_id="user_alice", task="django")
    Todo.objects.filter(pk=todo.pk).update(task="djangoed")
    assert Todo.objects.get(pk=todo.pk).task == "djangoed"
    todo.delete()
assert "todos" in connection.introspection.table_names()
with connection.cursor() as cursor:
    names = [column.name for column in connection.introspection.get_table_description(cursor, "todos")]
print(names, list(Todo.objects.all()))
"""


def test_django(sessions: Sessions) -> None:
    script = DJANGO.format(password=sessions.stack.tokens["alice"], host=sessions.host, port=sessions.port)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['id', 'user_id', 'task'] []\n", "")
