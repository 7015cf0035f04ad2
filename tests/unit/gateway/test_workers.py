"""Workers, as far as no process is needed: what each may take, how clients are dealt, whose a cancel request is."""

import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import SettingInvalid
from rowgate.gateway.listener import listen
from rowgate.gateway.sessions.cancel import CancelKeys
from rowgate.gateway.workers.budget import DIVIDED, audit_file_of, part, settings_of
from rowgate.gateway.workers.channel import (
    Accepted,
    Cancel,
    Cancelled,
    Failed,
    Front,
    Leaving,
    Message,
    Ready,
    channel_pair,
    receive,
    send,
    worker_of,
)
from rowgate.gateway.workers.distribution import MOST_UNREAD_BYTES, Distributor
from rowgate.settings import Settings

# Numbers that are sizes, times or ports, or that cost one process memory: each worker has them as they are.
KEPT = {
    "port", "tcp_port", "workers", "admin_port", "connect_timeout_ms", "statement_timeout_ms", "queue_timeout_ms",
    "max_body_bytes", "max_result_bytes", "max_batch_statements", "max_statement_bytes", "max_result_rows",
    "stream_above_bytes",
    "subject_pool_percent", "rate_burst_seconds", "statement_cache_size", "token_cache_size", "token_leeway_seconds",
    "login_timeout_seconds", "client_stall_seconds", "keep_alive_seconds", "request_timeout_seconds",
    "shutdown_seconds", "activity_records",
}  # fmt: skip


def test_every_number_of_the_settings_is_divided_or_kept() -> None:
    numbers = {one.name for one in fields(Settings) if one.type in ("int", "int | None")}
    assert numbers == KEPT | set(DIVIDED)


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_parts_are_the_whole(whole: int, workers: int) -> None:
    parts = [part(whole, number, workers) for number in range(1, workers + 1)]
    assert sum(one or 0 for one in parts) == (max(whole, workers) if whole else 0)
    assert max(one or 0 for one in parts) - min(one or 0 for one in parts) <= 1
    assert part(None, 1, workers) is None


def test_a_worker_has_its_part() -> None:
    whole = Settings(
        workers=3, pool_size=10, subject_rate=2, admin_port=0, audit_log="/var/log/rowgate/audit.log", queue_length=0
    )
    parts = [settings_of(whole, number) for number in (1, 2, 3)]
    assert [one.pool_size for one in parts] == [4, 3, 3]
    assert [one.subject_rate for one in parts] == [1, 1, 1]
    assert [one.admin_port for one in parts] == [0, None, None]
    assert [one.queue_length for one in parts] == [0, 0, 0]
    assert parts[1].audit_log == "/var/log/rowgate/audit.worker-2.log"
    alone = Settings(audit_log="audit.log")
    assert settings_of(alone, 1) is alone


def test_standard_error_has_no_chain_of_several() -> None:
    assert audit_file_of(Settings(workers=2, audit_log="stderr"), 2) == "stderr"
    with pytest.raises(SettingInvalid):
        settings_of(Settings(workers=2, audit_log="stderr", audit_chain=True), 1)


MESSAGES: list[Message] = [
    Accepted(Front.TCP), Ready({"admin_url": "http://x"}), Failed("port_taken", "m", None, "h"), Leaving(),
    Cancel(1, 2, 3, b"\x00\xff"), Cancelled(1, 2),
]  # fmt: skip


def test_messages_arrive_whole_and_in_order() -> None:
    near, far = channel_pair()
    with near, far:
        with pytest.raises(BlockingIOError):
            receive(far)
        for message in MESSAGES:
            assert send(near, message)
        assert [(receive(far) or (None,))[0] for _ in MESSAGES] == MESSAGES
        assert "255" not in repr(MESSAGES[4])
        assert "xff" not in repr(MESSAGES[4])
        near.send(b"no message")
        with pytest.raises(msgspec.MsgspecError):
            receive(far)
        near.close()
        assert receive(far) is None
        assert not send(far, Leaving())


@pytest.fixture
def channels() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    with ExitStack() as stack:
        pairs = [channel_pair() for _ in range(3)]
        for end in (end for pair in pairs for end in pair):
            stack.enter_context(end)
        yield pairs


def taken(end: socket.socket) -> list[socket.socket]:
    """The clients in a channel."""
    found = []
    while True:
        try:
            message, client = receive(end) or (None, None)
        except BlockingIOError:
            return found
        assert message == Accepted(Front.HTTP)
        assert client is not None
        found.append(client)


def test_clients_are_dealt_in_turn(channels: list[tuple[socket.socket, socket.socket]]) -> None:
    with listen("127.0.0.1", 0) as listener, ExitStack() as stack:
        distributor, clients, nears = Distributor(), [], [near for near, _ in channels]
        for number in range(9):
            clients.append(stack.enter_context(socket.create_connection(listener.getsockname())))
            if number > 3:  # several at once, then one after the other
                assert distributor.deal(listener, Front.HTTP, nears)
        served = [[stack.enter_context(one) for one in taken(far)] for _, far in channels]
        assert [len(one) for one in served] == [3, 3, 3]
        assert {one.getpeername() for part in served for one in part} == {one.getsockname() for one in clients}


def test_a_worker_that_takes_nothing_gets_few_and_nobody_is_lost(
    channels: list[tuple[socket.socket, socket.socket]],
) -> None:
    """One worker stands still: the others get what comes. When all do, clients wait at the listener."""
    distributor = Distributor()
    with listen("127.0.0.1", 0) as listener, ExitStack() as stack:

        def connect() -> None:
            stack.enter_context(socket.create_connection(listener.getsockname()))

        counts: Counter[int] = Counter()
        nears = [near for near, _ in channels]
        for _ in range(30):
            connect()
            assert distributor.deal(listener, Front.HTTP, nears)
            for number in (1, 2):
                arrived = [stack.enter_context(one) for one in taken(channels[number][1])]
                counts[number] += len(arrived)
        stuck = [stack.enter_context(one) for one in taken(channels[0][1])]
        assert len(stuck) <= 1
        assert sum(counts.values()) + len(stuck) == 30
        while distributor.deal(listener, Front.HTTP, nears[:1]):
            connect()
        connect()
        assert not distributor.deal(listener, Front.HTTP, nears[:1])
        waiting = [stack.enter_context(one) for one in taken(channels[0][1])]
        assert 10 < len(waiting) < MOST_UNREAD_BYTES / 100
        assert distributor.deal(listener, Front.HTTP, nears)
        assert sum(len([stack.enter_context(one) for one in taken(far)]) for _, far in channels) == 1


class Elsewhere:
    """Siblings of worker 2 of 3; remembers what is passed on to them."""

    def __init__(self) -> None:
        self.passed_on: list[tuple[int, bytes]] = []

    def is_own(self, process_id: int) -> bool:
        return worker_of(process_id, 3) == 2

    async def cancel(self, process_id: int, key: bytes) -> None:
        self.passed_on.append((process_id, key))


async def test_a_cancel_request_finds_its_worker() -> None:
    siblings, cancelled = Elsewhere(), []

    async def cancel() -> None:
        cancelled.append(True)

    keys = CancelKeys(siblings)
    for long_key in (False, True):
        process_id, key = keys.register(cancel, long_key=long_key)
        assert worker_of(process_id, 3) == 2
        assert 0 < process_id < 1 << 31
        await keys.cancel(process_id, key)
    assert len(cancelled) == 2
    await keys.cancel(process_id, b"wrong")
    assert not siblings.passed_on
    await keys.cancel(process_id + 1, key)
    assert siblings.passed_on == [(process_id + 1, key)]
    await keys.cancel_here(process_id + 1, key)
    assert len(cancelled) == 2


SCRIPT = """
import os, sys
from rowgate.cli.main import show_error
from rowgate.errors import RowgateError
from rowgate.gateway.listener import listen
from rowgate.gateway.workers import supervisor
from rowgate.gateway.workers.channel import Front
supervisor.FIRST_PAUSE_SECONDS = 0.001
def serve(seat):
    {body}
try:
    supervisor.Supervisor(
        2, {{Front.HTTP: listen("127.0.0.1", 0)}}, serve, print, shutdown_seconds=1, reopens=False
    ).run()
except RowgateError as problem:
    show_error(problem)
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 3", ["workers_failed", "ended with status 3"]),
        ("os.kill(os.getpid(), 9)", ["workers_failed", "ended with signal 9"]),
        ("raise ValueError('a defect')", ["workers_failed", "ended with status 70", "ValueError: a defect"]),
    ],
)
def test_workers_that_cannot_start_end_the_service(tmp_path: Path, body: str, said: list[str]) -> None:
    """In a process of its own, because it forks."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    for text in said:
        assert text in done.stderr
