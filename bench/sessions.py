"""Sessions over TCP: pgbench through Rowgate and through pgbouncer, and what idle sessions cost.

Both poolers run in transaction mode with ten connections to the same Postgres, each on a core of its own while Postgres
and pgbench have the others, and pgbench sends both the same statement, which reads one row of a table for everybody.
Rowgate parses and judges every statement and puts the user's identity into every transaction; pgbouncer does neither.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg

from bench.measurement import Measurement
from bench.pgbench import measure_pgbench
from bench.processes import accounted, postmaster
from bench.stack import AUTHENTICATED, ServedGateway, Stack

CLIENTS = 16
PGBOUNCER = "/usr/sbin/pgbouncer"
PLAIN = 100_000
IDLE = (0, 10, 100, 1000, 5000)
SCHEMA = """
create table if not exists plain (id bigint primary key, task text);
insert into plain select i, 'task number ' || i from generate_series(1, {rows}) i on conflict do nothing;
alter table plain enable row level security;
drop policy if exists everybody on plain;
create policy everybody on plain using (true);
grant select on plain to authenticated, {login};
"""
SCRIPT = f"\\set id random(1, {PLAIN})\nselect id, task from plain where id = :id;\n"


def prepare(stack: Stack) -> None:
    """The table that both sides read."""
    with psycopg.connect(stack.ready["superuser_url"], autocommit=True) as connection:
        for statement in SCHEMA.format(login=stack.logins[AUTHENTICATED][0], rows=PLAIN).strip().split(";\n"):
            connection.execute(statement.rstrip(";").encode())


@contextmanager
def pgbouncer(stack: Stack) -> Iterator[tuple[str, psutil.Process]]:
    """The peer, listening; gives its connection string and its process."""
    host, database_port = stack.postgres
    login, password = stack.logins[AUTHENTICATED]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="rowgate-pgbouncer-"))
    folder.chmod(0o777)
    settings = folder / "pgbouncer.ini"
    users = folder / "users.txt"
    users.write_text(f'"{login}" "{password}"\n')
    settings.write_text(
        f"[databases]\nneondb = host={host} port={database_port} dbname=neondb\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = transaction\n"
        f"auth_type = plain\nauth_file = {users}\ndefault_pool_size = 10\nmax_client_conn = 10000\n"
        f"logfile = {folder / 'log'}\n"
    )
    arguments = [PGBOUNCER, "-q", str(settings)]
    if os.geteuid() == 0:
        arguments[1:1] = ["-u", Path(host).owner()]  # who may use the server's socket
    process = subprocess.Popen(arguments)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"postgresql://{login}:{password}@127.0.0.1:{port}/neondb", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)


def rowgate_url(stack: Stack, gateway: ServedGateway | None = None, user: int = 0) -> str:
    """The TCP front of ``gateway``, else of the stack's own, without TLS, as pgbouncer is used."""
    port = urlsplit((stack.ready if gateway is None else gateway.urls)["tcp_url"]).port
    return f"postgresql://authenticated:{stack.tokens[user]}@127.0.0.1:{port}/neondb?sslmode=disable"


def run_pgbench(url: str, mode: str, seconds: float) -> Measurement:
    """pgbench through ``url``."""
    return measure_pgbench(SCRIPT, seconds, clients=CLIENTS, mode=mode, url=[url])


@contextmanager
def a_core_for(*poolers: psutil.Process, others: set[int]) -> Iterator[None]:
    """The last core is for ``poolers`` alone, whichever of them works; this process, what it starts and the processes
    ``others`` have the rest. Does nothing where there is one core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        yield
        return
    pinned = {thread.id: {cores[-1]} for pooler in poolers for thread in pooler.threads()}
    pinned |= {number: set(cores[:-1]) for number in others | {0}}
    try:
        for number, chosen in pinned.items():
            os.sched_setaffinity(number, chosen)
        yield
    finally:
        for number in pinned:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(number, cores)


def measure_sessions(
    stack: Stack, gateway: ServedGateway, seconds: float, rounds: int
) -> dict[str, dict[str, list[Measurement]]]:
    """Both modes, both sides, all rounds."""
    prepare(stack)
    samples: dict[str, dict[str, list[Measurement]]] = {}
    server = postmaster(stack)
    with (
        pgbouncer(stack) as (peer, process),
        # Backends that the server forks later inherit its cores.
        a_core_for(psutil.Process(gateway.process_id), process, others={server}),
    ):
        poolers = {"pgbouncer": (peer, process.pid), "rowgate": (rowgate_url(stack, gateway), gateway.process_id)}
        for mode in ("simple", "extended"):
            sides = samples[f"session, {mode}"] = {name: [] for name in poolers}
            for _ in range(rounds):
                for name, (url, process_id) in poolers.items():
                    sides[name].append(
                        accounted(process_id, server, lambda: run_pgbench(url, mode, seconds))  # noqa: B023
                    )
    return samples


def log_in(url: str) -> socket.socket:
    """A session that does nothing, with as little of a client as there can be."""
    parts = urlsplit(url)
    client = socket.create_connection((parts.hostname, parts.port), timeout=30)
    body = struct.pack(">HH", 3, 0) + b"user\0authenticated\0database\0neondb\0\0"
    password = (parts.password or "").encode() + b"\0"
    client.sendall(struct.pack(">i", len(body) + 4) + body + b"p" + struct.pack(">i", len(password) + 4) + password)
    received = b""
    while not received.endswith(b"Z\0\0\0\x05I"):
        data = client.recv(65536)
        if not data:
            raise SystemExit(f"no login: {received!r}")
        received += data
    return client


def measure_idle(
    stack: Stack, gateway: ServedGateway, seconds: float, numbers: Sequence[int] = IDLE
) -> list[tuple[int, float, Measurement]]:
    """For each number of idle sessions: what one of them takes in kB, and how the busy ones fare."""
    prepare(stack)
    process = psutil.Process(gateway.process_id)
    found: list[tuple[int, float, Measurement]] = []
    idle: list[socket.socket] = []
    start = process.memory_info().rss
    try:
        for wanted in numbers:
            idle += [
                log_in(rowgate_url(stack, gateway, number % len(stack.tokens))) for number in range(wanted - len(idle))
            ]
            each = (process.memory_info().rss - start) / 1000 / max(wanted, 1) if wanted else 0.0
            found.append((wanted, each, run_pgbench(rowgate_url(stack, gateway), "simple", seconds)))
    finally:
        for client in idle:
            client.close()
    return found


def idle_table(found: list[tuple[int, float, Measurement]]) -> str:
    """A table for people."""
    lines = ["| idle sessions | kB each | busy: requests/s | p50 ms | p99 ms |", "|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {count:,} | {each:.1f} | {busy.rate:,.0f} | {busy.median:.2f} | {busy.percentile_99:.2f} |"
        for count, each, busy in found
    ]
    return "\n".join(lines) + "\n"
