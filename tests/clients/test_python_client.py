"""``rowgate.client`` against a running gateway, blocking and with asyncio."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from rowgate.client import AsyncClient, Client, Json, Result
from rowgate.errors import (
    AnswerMissing,
    AnswerUnreadable,
    CredentialsMissing,
    DatabaseError,
    GatewayUnreachable,
    MalformedHeader,
    SettingInvalid,
    StatementRefused,
    TokenSignatureInvalid,
)
from tests.clients.stack import Stack

Ask = Callable[..., Any]


class Waiting:
    """An AsyncClient with the face of the blocking one, so that one test holds for both."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def query(self, *arguments: Any) -> Result:
        return self._await(self._client.query, *arguments)

    def transaction(self, *arguments: Any, **options: Any) -> list[Result]:
        return self._await(self._client.transaction, *arguments, **options)

    def _await(self, call: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
        async def run() -> Any:
            return await call(*arguments, **options)

        return self._runner.run(run())

    def close(self) -> None:
        self._await(self._client.close)


Make = Callable[..., Client | Waiting]


@pytest.fixture(params=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Make]:
    """Makes clients of one kind: of Alice on the stack where nothing else is said."""
    made: list[Client | Waiting] = []
    with asyncio.Runner() as runner:

        def one(sql_url: str = stack.sql_url, url: str = stack.authenticated_url, **options: Any) -> Client | Waiting:
            options.setdefault("auth_token", lambda: stack.tokens["alice"])
            if request.param == "blocking":
                made.append(Client(sql_url, url, **options))
            else:
                made.append(Waiting(AsyncClient(sql_url, url, **options), runner))
            return made[-1]

        yield one
        for client in made:
            client.close()


@pytest.fixture(scope="module")
def notes(stack: Stack) -> None:
    for statement in (
        "create table python_notes (id int primary key, user_id text not null default auth.user_id(), body text)",
        "alter table python_notes enable row level security",
        "create policy own on python_notes to authenticated using ((select auth.user_id()) = user_id)",
    ):
        assert stack.owner(statement).status_code == 200


def test_types_there_and_back(make: Make) -> None:
    values = {
        "int8": 2**62, "numeric": Decimal("12345678901234567890.10"), "bool": True, "text": 'a "b" \\ é 🙂',
        "float8": float("-inf"), "bytea": b"\x00\xff", "date": date(2026, 11, 28), "uuid": UUID(int=7),
        "timestamptz": datetime(2026, 11, 28, 6, 5, 4, 3210, UTC), "jsonb": {"a": [1, None, "x"]},
        "int8[]": [1, None, 2**62], "text[]": ['a,"b"', None, "{}"], "numeric[]": [[Decimal("1.5")], [Decimal("2.5")]],
        "timestamptz[]": [datetime(2026, 1, 1, tzinfo=UTC)], "uuid[]": [], "int4": None,
    }  # fmt: skip
    columns = ", ".join(f"${number}::{kind} as v{number}" for number, kind in enumerate(values, 1))
    row = make().query(f"select {columns}", *values.values()).values[0]
    assert dict(zip(values, row, strict=True)) == values
    assert make().query("select $1::jsonb as document", Json([1, [2]])).rows == [{"document": [1, [2]]}]


@dataclass
class Note:
    id: int
    body: str | None


@pytest.mark.usefixtures("notes")
def test_rows_of_the_user_and_of_nobody_else(make: Make, stack: Stack) -> None:
    stack.owner("delete from python_notes")
    alice, bob = make(), make(auth_token=lambda: stack.tokens["bob"])
    made = alice.query("insert into python_notes (id, body) values ($1, $2), ($3, $4)", 1, "milk", 2, None)
    assert (made.command, made.row_count, made.rows) == ("INSERT", 2, [])
    assert alice.query("select id, body from python_notes order by id").into(Note) == [Note(1, "milk"), Note(2, None)]
    assert len(bob.query("select * from python_notes")) == 0
    assert bob.query("delete from python_notes where id = $1", 1).row_count == 0


@pytest.mark.usefixtures("notes")
def test_a_transaction_is_all_or_nothing(make: Make, stack: Stack) -> None:
    stack.owner("delete from python_notes")
    alice = make()
    added, counted = alice.transaction(
        ("insert into python_notes (id, body) values ($1, $2)", 1, "milk"),
        "select count(*) as n from python_notes",
        isolation="Serializable",
    )
    assert added.row_count == 1
    assert counted.rows == [{"n": 1}]
    with pytest.raises(DatabaseError) as twice:
        alice.transaction("insert into python_notes (id) values (2)", ("insert into python_notes (id) values ($1)", 1))
    assert twice.value.database_sqlstate == "23505"
    assert twice.value.fields["n"] == "python_notes_pkey"
    assert alice.query("select id from python_notes").values == [(1,)]
    with pytest.raises(DatabaseError) as read_only:
        alice.transaction("delete from python_notes", read_only=True)
    assert read_only.value.database_sqlstate == "25006"
    assert alice.transaction() == []
    with pytest.raises(MalformedHeader):
        alice.transaction("select 1", isolation="Chaos")
    owner = make(url=stack.database_url, auth_token=None)
    (shown,) = owner.transaction("show transaction_isolation", isolation="RepeatableRead")
    assert shown.values == [("repeatable read",)]


def test_refusals_are_the_errors_of_the_tree(make: Make, stack: Stack) -> None:
    with pytest.raises(StatementRefused) as refused:
        make().query("set role postgres")
    assert refused.value.hint
    assert any(note.startswith("request: ") for note in refused.value.__notes__)
    head, body, signature = stack.tokens["alice"].split(".")
    with pytest.raises(TokenSignatureInvalid):
        make(auth_token=lambda: f"{head}.{body}.{signature[1]}{signature[0]}{signature[2:]}").query("select 1")
    with pytest.raises(CredentialsMissing):
        make(auth_token=None).query("select 1")
    with pytest.raises(AnswerUnreadable):
        make(stack.sql_url.replace("/sql", "/elsewhere")).query("select 1")


def test_the_token_is_asked_for_with_each_request(make: Make, stack: Stack) -> None:
    given = iter(("alice", "bob"))
    client = make(auth_token=lambda: stack.tokens[next(given)])
    asked = [client.query("select auth.user_id() as me").rows[0]["me"] for _ in range(2)]
    assert asked == ["user_alice", "user_bob"]


def test_without_the_promised_token_nothing_is_sent(make: Make, stack: Stack) -> None:
    """The connection string's password must not take its place."""
    client = make(url=stack.database_url, auth_token=lambda: None)
    with pytest.raises(CredentialsMissing):
        client.query("select 1")
    assert make(url=stack.database_url, auth_token=None).query("select current_user as me").rows == [
        {"me": "neondb_owner"}
    ]


async def test_a_token_from_an_asynchronous_function(stack: Stack) -> None:
    async def token() -> str:
        await asyncio.sleep(0)
        return str(stack.tokens["alice"])

    async with AsyncClient(stack.sql_url, stack.authenticated_url, auth_token=token) as client:
        assert (await client.query("select auth.user_id() as me")).rows == [{"me": "user_alice"}]
    with (
        Client(stack.sql_url, stack.authenticated_url, auth_token=token) as blocking,  # type: ignore[arg-type]
        pytest.raises(SettingInvalid),
    ):
        blocking.query("select 1")


def test_an_http_client_of_ones_own_is_used_and_stays_open(stack: Stack) -> None:
    sent: list[httpx.Request] = []
    with httpx.Client(event_hooks={"request": [sent.append]}) as http:
        for _ in range(2):
            with Client(
                stack.sql_url, stack.authenticated_url, auth_token=lambda: stack.tokens["alice"], http=http
            ) as client:
                client.query("select 1")
        assert len(sent) == 2
        assert not http.is_closed


async def test_a_cancelled_task_cancels_its_statement(stack: Stack) -> None:
    """As the owner, who may sleep."""
    async with AsyncClient(stack.sql_url, stack.database_url) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.query("select pg_sleep(30), 'of the Python client'")
    running = "select count(*) from pg_stat_activity where state = 'active' and query like '%of the Python client%'"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        for _ in range(400):
            row = connection.execute(f"{running} and pid <> pg_backend_pid()".encode()).fetchone()
            if row == (0,):
                return
            await asyncio.sleep(0.025)
    raise AssertionError("it still runs")


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of something that reads one request, sends ``answer`` and hangs up; empty: it waits to be left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if answer:
                    connection.sendall(answer)
                else:
                    while connection.recv(65536):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/sql"
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", AnswerMissing),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", AnswerMissing),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", AnswerUnreadable),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", AnswerUnreadable),
    ],
)
def test_what_is_no_gateway(make: Make, answer: bytes, error: type[Exception]) -> None:
    with answering(answer) as url:
        client = make(url, timeout=1.0)
        with pytest.raises(error) as met:
            client.query("select 1")
        client.close()
    assert "eyJ" not in repr(vars(met.value))


def test_nothing_listens(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(GatewayUnreachable, match="cannot be reached"):
            make(f"http://127.0.0.1:{taken.getsockname()[1]}/sql").query("select 1")


def test_importing_it_imports_nothing_of_the_server() -> None:
    asked = "import sys, rowgate.client; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert "httpx" in told.split()
    assert not set(told.split()) & {
        "cryptography", "httptools", "joserfc", "msgspec", "postgast", "psycopg", "scramp", "typer", "uvloop",
        "websockets",
    }  # fmt: skip
