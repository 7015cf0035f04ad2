"""Clients that hold a connection to Postgres and do nothing: each is ended in time, and others have it after that.

There is one connection for everybody here, so a client that keeps it is noticed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from rowgate.pgwire import messages
from rowgate.pgwire.fields import error_fields
from tests.clients.session_stack import Sessions, Wire, running_sessions
from tests.clients.websocket_bridge import bridge

STALL_SECONDS = 1
MUCH = b"select repeat('x', 1000) from generate_series(1, 50000)"


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(
        tmp_path_factory.mktemp("stalling"), "grant select, insert on plain to authenticated",
        ROWGATE_POOL_SIZE="1", ROWGATE_CLIENT_STALL_SECONDS=str(STALL_SECONDS),
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(params=["TCP", "WebSocket"])
def wire(request: pytest.FixtureRequest, sessions: Sessions) -> Iterator[Wire]:
    """A logged-in client of either front."""
    if request.param == "TCP":
        with Wire(sessions) as connected:
            connected.log_in(sessions)
            yield connected
    else:
        with bridge(sessions.stack.ws_url) as port, Wire(sessions, port=port) as connected:
            connected.log_in(sessions)
            yield connected


def seconds_until_bob_has_an_answer(sessions: Sessions) -> float:
    began = time.monotonic()
    with psycopg.connect(sessions.url("bob"), autocommit=True) as bob:
        assert bob.execute("select auth.user_id()").fetchone() == ("user_bob",)
    return time.monotonic() - began


def last_word(wire: Wire) -> dict[str, str]:
    """The fields of the error with which the connection ends."""
    kind, body = wire.messages(until=b"nothing else")[-1]
    assert kind == b"E"
    return error_fields(body)


def test_a_client_that_does_not_read(sessions: Sessions, wire: Wire) -> None:
    wire.send(messages.query(MUCH))
    assert seconds_until_bob_has_an_answer(sessions) < STALL_SECONDS + 5
    # What had been written before comes first, whole; then why it ends.
    error = last_word(wire)
    assert (error["S"], error["C"], error["R"]) == ("FATAL", "57P05", "rowgate:client_stalled")


STALLING = {
    "a statement without its end": messages.parse(b"", b"select 1"),
    "no Sync": messages.parse(b"", b"select 1") + messages.bind(b"", b"", ()) + messages.execute(b"") + messages.FLUSH,
    "COPY without data": messages.query(b"copy plain from stdin"),
    "an open transaction": messages.query(b"begin; select 1"),
}


@pytest.mark.parametrize("sent", STALLING.values(), ids=STALLING.keys())
def test_a_client_that_does_not_go_on(sessions: Sessions, sent: bytes) -> None:
    with Wire(sessions) as wire:
        wire.log_in(sessions)
        wire.send(sent)
        assert seconds_until_bob_has_an_answer(sessions) < STALL_SECONDS + 5
        assert last_word(wire)["C"] == "57P05"


def test_a_client_that_waits_for_postgres_is_not_silent(sessions: Sessions) -> None:
    with Wire(sessions) as wire:
        wire.log_in(sessions)
        wire.send(messages.parse(b"", f"select slowly({STALL_SECONDS * 2.5})".encode()) + messages.bind(b"", b"", ())
                  + messages.execute(b"") + messages.FLUSH)  # fmt: skip
        assert [kind for kind, _ in wire.messages(until=b"C")] == [b"1", b"2", b"D", b"C"]
        wire.send(messages.SYNC)
        assert wire.messages()[-1][0] == b"Z"


def test_a_client_that_reads_slowly_and_steadily_has_all_of_it(sessions: Sessions) -> None:
    with Wire(sessions) as wire:
        wire.log_in(sessions)
        wire.send(messages.query(MUCH))
        began, rows = time.monotonic(), 0
        while not any(kind == b"Z" for kind, _ in wire.unread):
            rows += sum(kind == b"D" for kind, _ in wire.unread)
            wire.unread.clear()
            assert wire.receive()
            time.sleep(0.002)  # the slowness under test
        rows += sum(kind == b"D" for kind, _ in wire.unread)
        assert rows == 50_000
        assert time.monotonic() - began > STALL_SECONDS


@pytest.mark.parametrize("options", [{}, {"options": "-c%20pool_mode%3Dsession"}])
def test_a_client_that_holds_nothing_may_be_idle(sessions: Sessions, options: dict[str, str]) -> None:
    with psycopg.connect(sessions.url(**options), autocommit=True) as alice:
        for _ in range(2):
            assert alice.execute("select auth.user_id()").fetchone() == ("user_alice",)
            time.sleep(STALL_SECONDS * 1.5)  # the idleness under test
        assert alice.execute("select auth.user_id()").fetchone() == ("user_alice",)
