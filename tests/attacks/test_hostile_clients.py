"""Clients of the Postgres wire that mean harm: each gets a clear refusal or silence, and the next one is served."""

import socket
import struct
import time
from collections.abc import Iterator

import psycopg
import pytest

from rowgate.pgwire import messages
from tests.clients.session_stack import Sessions, Wire, running_sessions

SSL_REQUEST = struct.pack(">ii", 8, 80877103)
DEADLINE = 10


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(tmp_path_factory.mktemp("sessions")) as running:
        yield running


def serves(sessions: Sessions) -> None:
    with psycopg.connect(sessions.url("bob")) as bob:
        assert bob.execute("select auth.user_id()").fetchone() == ("user_bob",)


FIRST_BYTES = [
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x08\0\0\0\0", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100,
    struct.pack(">ii", 8, 2 << 16), struct.pack(">ii", 8, 3 << 16), b"\0\0\x27\x11" + bytes(100),
    messages.startup({"user": "x"})[:-1] + b"y", SSL_REQUEST + SSL_REQUEST,
    SSL_REQUEST + messages.startup({"user": "authenticated", "database": "neondb"}),
    messages.query(b"select 1"), messages.raw(b"p", b"x\0"),
    messages.startup({"user": "authenticated", "database": "neondb"}) + b"p\0\x02\0\0",
    messages.startup({"user": "authenticated", "database": "neondb"}) + messages.query(b"select 1") * 40000,
]  # fmt: skip


@pytest.mark.parametrize("data", FIRST_BYTES, ids=range(len(FIRST_BYTES)))
def test_first_bytes(sessions: Sessions, data: bytes) -> None:
    with Wire(sessions) as wire:
        wire.send(data)
        wire.socket.shutdown(socket.SHUT_WR)
        kinds = [kind for kind, _ in wire.messages() if kind in b"ZTDC"] if data[:8] != SSL_REQUEST else []
        assert kinds == []
    serves(sessions)


PARAMETERS = [
    ({"replication": "database"}, "0A000"),
    ({"replication": "true"}, "0A000"),
    ({"options": "-c role=postgres"}, "42501"),
    ({"options": "-c session_authorization=postgres"}, "42501"),
    ({"options": "-c rowgate.identity=x"}, "42"),
    ({"role": "postgres"}, "42"),
    ({"row_security": "off"}, "22023"),
    ({"client_encoding": "LATIN1"}, "22023"),
    ({"search_path": "pg_temp"}, ""),
    ({"standard_conforming_strings": "off"}, "22023"),
    ({"database": "template1"}, ""),
    ({"database": "nowhere"}, ""),
    ({"user": "postgres"}, "28P01"),
    ({"user": "rowgate_control"}, "28P01"),
    ({"user": "rowgate_owner"}, "28P01"),
    ({"user": "neondb_owner"}, "28P01"),
]


@pytest.mark.parametrize(("parameters", "sqlstate"), PARAMETERS, ids=[str(row[0]) for row in PARAMETERS])
def test_startup_parameters(sessions: Sessions, parameters: dict[str, str], sqlstate: str) -> None:
    with Wire(sessions) as wire:
        startup = messages.startup({"user": "authenticated", "database": "neondb", **parameters})
        wire.send(startup + messages.raw(b"p", sessions.stack.tokens["alice"].encode() + b"\0"))
        refusal = wire.refusal()
        assert refusal.get("S") == "FATAL"
        assert refusal["C"].startswith(sqlstate)
        assert sessions.stack.tokens["alice"] not in str(refusal)
    serves(sessions)


IN_SESSION = [
    messages.raw(b"?", b""), messages.raw(b"p", b"again\0"), b"Q\0\0\0\0", b"Q\xff\xff\xff\xff", b"Q\x7f\xff\xff\xff",
    messages.raw(b"Q", b"no end"), messages.raw(b"B", b"\0\0\xff\xff"), messages.raw(b"D", b"Xx\0"),
    messages.raw(b"P", b"\0select 1\0\0\x05"), messages.startup({"user": "postgres"}), SSL_REQUEST,
]  # fmt: skip


@pytest.mark.parametrize("data", IN_SESSION, ids=range(len(IN_SESSION)))
def test_bytes_in_a_session(sessions: Sessions, data: bytes) -> None:
    with Wire(sessions) as wire:
        wire.log_in(sessions)
        wire.send(data)
        wire.socket.shutdown(socket.SHUT_WR)
        fields = wire.refusal()
        assert fields.get("S", "FATAL") == "FATAL"
    serves(sessions)


def test_the_legacy_function_call_runs_nothing(sessions: Sessions) -> None:
    set_config = struct.pack(">IhH", 2078, 0, 0) + b"\0\0"
    with Wire(sessions) as wire:
        wire.log_in(sessions)
        wire.send(messages.raw(b"F", set_config))
        assert wire.refusal()["C"] == "0A000"
        wire.send(messages.query(b"select auth.user_id()"))
        assert (b"D", b"\0\x01\0\0\0\x0auser_alice") in wire.messages()
    serves(sessions)


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


def test_copy_data_without_copy_is_ignored(sessions: Sessions) -> None:
    with Wire(sessions) as wire:
        wire.log_in(sessions)
        wire.send(messages.raw(b"d", b"data") + messages.raw(b"c", b"") + messages.copy_fail(b"no"))
        wire.send(messages.query(b"select 1"))
        assert [kind for kind, _ in wire.messages()] == [b"T", b"D", b"C", b"Z"]
    serves(sessions)
