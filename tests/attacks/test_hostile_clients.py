"""Clients of the Postgres wire that mean harm, where one connection and its answer do not tell the story.

What one connection tells is a row of ``tests/attacks/wire``.
"""

import time
from collections.abc import Iterator

import psycopg
import pytest

from rowgate.pgwire import messages
from tests.clients.session_stack import Sessions, Wire, running_sessions

DEADLINE = 10


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(tmp_path_factory.mktemp("sessions")) as running:
        yield running


def serves(sessions: Sessions) -> None:
    with psycopg.connect(sessions.url("bob")) as bob:
        assert bob.execute("select auth.user_id()").fetchone() == ("user_bob",)


def test_forged_cancel_keys_do_nothing(sessions: Sessions) -> None:
    with psycopg.connect(sessions.url()) as alice:
        alice.pgconn.send_query(b"select slowly(1)")
        for process_id, key in ((alice.pgconn.backend_pid, bytes(4)), (1, b"abcd"), (-1, bytes(256))):
            with Wire(sessions) as wire:
                wire.send(messages.cancel_request(process_id, key))
                assert wire.messages() == []
        result = alice.pgconn.get_result()
        assert result is not None
        assert result.status == psycopg.pq.ExecStatus.TUPLES_OK
        assert alice.pgconn.get_result() is None
    serves(sessions)


def test_many_who_never_log_in_keep_nobody_waiting(sessions: Sessions) -> None:
    crowd = [Wire(sessions) for _ in range(200)]
    began = time.monotonic()
    serves(sessions)
    assert time.monotonic() - began < DEADLINE
    for wire in crowd:
        wire.socket.close()


def test_names_that_look_like_the_gateways_own(sessions: Sessions) -> None:
    with Wire(sessions) as wire:
        wire.log_in(sessions)
        for name in (b"rowgate_refused", b"rowgate_", b"x" * 100):
            wire.send(messages.parse(name, b"select 1") + messages.bind(b"", name, ()) + messages.execute(b""))
            wire.send(messages.SYNC)
            assert [kind for kind, _ in wire.messages()] == [b"1", b"2", b"D", b"C", b"Z"]
            wire.send(messages.bind(b"", name + b"?", ()) + messages.SYNC)
            assert wire.refusal()["C"] == "26000"
    serves(sessions)
