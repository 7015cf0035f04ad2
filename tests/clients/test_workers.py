"""``rowgate serve`` in several processes: one address, one budget, and nobody notices when one of them dies."""

import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest

from rowgate.gateway.audit.chain import verify
from rowgate.gateway.workers.channel import worker_of
from tests.clients.gateways import environment, running_gateway
from tests.clients.stack import ROWGATE, until
from tests.clients.two_gateways import Gateways, eventually, gateways_of
from tests.plain_http import HTTP
from tests.ports import reserve
from tests.servers import Embedded18

WORKERS = 2
POOL = 5
SLOWLY = """
create function slowly(seconds float8) returns int language sql security definer as 'select pg_sleep(seconds); select 1'
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def service(postgres18: Embedded18, folder: Path) -> Iterator[Gateways]:
    """One service of two workers."""
    with gateways_of(
        1, postgres18, folder,
        ROWGATE_WORKERS=str(WORKERS), ROWGATE_POOL_SIZE=str(POOL), ROWGATE_RLS_GATE="off", ROWGATE_ADMIN_PORT="0",
        ROWGATE_SUBJECT_CONNECTIONS="off",
        ROWGATE_AUDIT_LOG=str(folder / "audit.log"), ROWGATE_AUDIT_CHAIN="true",
    ) as running:  # fmt: skip
        with running.prepared.admin() as admin:
            admin.execute(SLOWLY.encode())
        yield running


def connections_of(process: psutil.Process) -> list[Any]:
    """The process's sockets; none where it is gone."""
    try:
        return process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return []


def parent_of(service: Gateways) -> psutil.Process:
    """The process that watches the workers: the one that this process started and that listens."""
    port = urlsplit(service.ready[0]["sql_url"]).port
    for process in psutil.Process().children():
        if any(one.laddr.port == port and one.status == "LISTEN" for one in connections_of(process)):
            return process
    raise AssertionError("nobody listens")


def workers_of(service: Gateways) -> list[psutil.Process]:
    return parent_of(service).children()


def worker_of_client(service: Gateways, client: socket.socket) -> psutil.Process:
    """The process that has the other end of a client's connection."""
    own = client.getsockname()[:2]
    for process in workers_of(service):
        if any(one.raddr and tuple(one.raddr) == own for one in connections_of(process)):
            return process
    raise AssertionError("no worker has this client")


class Client:
    """An HTTP client with a connection of its own, which stays open."""

    def __init__(self, service: Gateways, token: str) -> None:
        self._service, self._token = service, token
        self._client = httpx.Client(timeout=30)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *problem: object) -> None:
        self._client.close()

    def ask(self, query: str = "select auth.user_id() as me") -> httpx.Response:
        headers = {
            "Neon-Connection-String": f"postgresql://authenticated@any/{self._service.prepared.name}",
            "Authorization": f"Bearer {self._token}",
        }
        return self._client.post(self._service.ready[0]["sql_url"], json={"query": query}, headers=headers)

    @property
    def socket(self) -> socket.socket:
        """The connection's socket, as this side has it."""
        pool = self._client._transport._pool  # type: ignore[attr-defined]
        found: socket.socket = pool.connections[0]._connection._network_stream.get_extra_info("socket")
        return found


def clients_of(service: Gateways, number: int, stack: ExitStack, subject: str | None = None) -> list[Client]:
    """So many clients that have asked something, each another user unless they are all ``subject``."""
    clients = []
    for each in range(number):
        user = subject or f"user_{each}"
        clients.append(stack.enter_context(Client(service, service.token(user))))
        assert clients[-1].ask().json()["rows"] == [{"me": user}]
    return clients


def test_clients_and_connections_to_postgres_are_spread_over_the_workers(service: Gateways) -> None:
    """Each worker has its half of the clients, and all together open no more connections than the pool may have."""
    with ExitStack() as stack, ThreadPoolExecutor(16) as threads, service.prepared.admin() as admin:
        clients = clients_of(service, 16, stack)
        spread = [worker_of_client(service, one.socket).pid for one in clients]
        assert {spread.count(one.pid) for one in workers_of(service)} <= set(range(6, 11))
        running = [threads.submit(one.ask, "select slowly(0.4)") for one in clients]
        admin.autocommit = True
        held = []
        while not all(one.done() for one in running):
            row = admin.execute(
                "select count(*) from pg_stat_activity where usename in (select login_name from rowgate.exposed_role)"
            ).fetchone()
            held.append(row[0] if row else 0)
        assert max(held) == POOL
        assert [one.result().status_code for one in running] == [200] * 16


def active(service: Gateways, text: str) -> int:
    """How many backends of this database's exposed roles run a statement with this in it."""
    query = "select count(*) from pg_stat_activity where state = 'active' and strpos(query, %s) > 0"
    mine = " and usename in (select login_name from rowgate.exposed_role)"
    with service.prepared.admin() as admin:
        row = admin.execute((query + mine).encode(), [text]).fetchone()
    return row[0] if row else 0


def test_a_killed_worker_takes_its_own_requests_alone(service: Gateways) -> None:
    before = {one.pid for one in workers_of(service)}
    with ExitStack() as stack, ThreadPoolExecutor(8) as threads:
        clients = clients_of(service, 4, stack)
        owners = [worker_of_client(service, one.socket).pid for one in clients]
        victim = owners[0]
        running = [threads.submit(one.ask, "select slowly(0.8)") for one in clients]
        until(lambda: active(service, "slowly(0.8)") == 4, 10)
        os.kill(victim, signal.SIGKILL)
        later = [threads.submit(clients_of, service, 1, stack) for _ in range(4)]  # nobody is refused meanwhile
        for owner, one in zip(owners, running, strict=True):
            if owner == victim:
                with pytest.raises(httpx.TransportError):
                    one.result(30)
            else:
                assert one.result(30).status_code == 200
        for one in later:
            one.result(30)
    until(lambda: len(workers_of(service)) == WORKERS and victim not in {one.pid for one in workers_of(service)}, 10)
    assert len(before & {one.pid for one in workers_of(service)}) == WORKERS - 1
    with ExitStack() as stack:
        until(lambda: {worker_of_client(service, one.socket).pid for one in clients_of(service, 4, stack)}
              == {one.pid for one in workers_of(service)}, 10)  # fmt: skip


def test_the_management_port_is_there_once_and_stays(service: Gateways) -> None:
    """The first worker has it; whoever follows it has it at the same address."""
    url = service.ready[0]["admin_url"]

    def answers() -> bool:
        try:
            return HTTP.get(f"{url}/api/v1/providers", timeout=10).status_code == 401
        except httpx.TransportError:
            return False

    def holders() -> list[psutil.Process]:
        parent, port = parent_of(service), urlsplit(url).port
        return [one for one in parent.children() if any(each.laddr.port == port for each in connections_of(one))]

    assert answers()
    (holder,) = holders()
    holder.send_signal(signal.SIGTERM)  # one that leaves in peace is replaced too
    until(lambda: holder not in holders() and len(holders()) == 1, 10)
    until(answers, 10)


def cancel_request(service: Gateways, process_id: int, key: bytes) -> None:
    """As any client sends it: on a connection of its own, which is closed when it was acted on."""
    port = urlsplit(service.ready[0]["tcp_url"]).port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(struct.pack(">iii", 12 + len(key), 80877102, process_id) + key)
        assert client.recv(1) == b""


def test_a_cancel_request_finds_the_session_at_another_worker(service: Gateways) -> None:
    with service.connect(0, service.token("alice")) as session:
        process_id = session.info.backend_pid
        assert 1 <= worker_of(process_id, WORKERS) <= WORKERS
        for _ in range(2 * WORKERS):  # clients are dealt in turn, so some of these reach the other worker
            with ThreadPoolExecutor(1) as threads:
                running = threads.submit(session.execute, "select slowly(20)")
                until(lambda: active(service, "slowly(20)") == 1, 10)
                session.cancel_safe(timeout=10)
                with pytest.raises(psycopg.errors.QueryCanceled):
                    running.result(10)
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(session.execute, "select slowly(0.5)")
            for guess in (process_id, process_id + 1, 1 << 30):
                for _ in range(WORKERS):
                    cancel_request(service, guess, b"\0\0\0\0")
            assert running.result(10).fetchone() == (1,)


def test_a_revocation_reaches_all_within_a_second(service: Gateways) -> None:
    with ExitStack() as stack:
        clients = clients_of(service, 6, stack, "carol")
        sessions = [stack.enter_context(service.connect(0, service.token("carol"))) for _ in range(4)]
        assert {worker_of(one.info.backend_pid, WORKERS) for one in sessions} == {1, 2}
        service.cli("revoke", "--subject", "carol")
        refused = [eventually(lambda one=one: one.ask().status_code == 400) for one in clients]  # type: ignore[misc]
        assert None not in refused
        for session in sessions:
            with pytest.raises(psycopg.OperationalError):
                session.execute("select 1")


def test_each_worker_has_an_audit_file_and_a_chain_and_sighup_reaches_all(service: Gateways, folder: Path) -> None:
    files = [folder / f"audit.worker-{number}.log" for number in (1, 2)]
    assert not (folder / "audit.log").exists()
    with ExitStack() as stack:
        clients_of(service, 4, stack, "dave")
        until(lambda: all(b'"dave"' in one.read_bytes() for one in files), 10)
        for one in files:
            one.rename(one.with_suffix(".old"))
        parent_of(service).send_signal(signal.SIGHUP)
        until(lambda: all(one.exists() for one in files), 10)
        clients_of(service, 4, stack, "erin")
        until(lambda: all(b'"erin"' in one.read_bytes() for one in files), 10)
    for one in files:
        old = one.with_suffix(".old").read_bytes().splitlines()
        assert verify([*old, *one.read_bytes().splitlines()]).problem is None


def test_sigterm_lets_requests_end(service: Gateways) -> None:
    variables = {**service.variables, "ROWGATE_WORKERS": "3", "ROWGATE_AUDIT_LOG": "", "ROWGATE_ADMIN_PORT": "off"}
    with running_gateway(variables) as (process, ready), ThreadPoolExecutor(6) as threads, ExitStack() as stack:
        other = Gateways(service.prepared, [ready], variables, service.key_file)
        clients = clients_of(other, 6, stack)
        assert len({worker_of_client(other, one.socket) for one in clients}) == 3
        workers = psutil.Process(process.pid).children()
        running = [threads.submit(one.ask, "select slowly(0.8)") for one in clients]
        until(lambda: active(service, "slowly(0.8)") == POOL, 10)
        process.send_signal(signal.SIGTERM)
        address = ("127.0.0.1", urlsplit(ready["sql_url"]).port or 0)

        def is_refused() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(address) != 0

        until(is_refused, 5)
        assert [one.result(30).status_code for one in running] == [200] * 6
        assert process.wait(20) == 0
        assert not any(one.is_running() for one in workers)


def test_workers_end_when_their_parent_is_killed(service: Gateways) -> None:
    variables = {**service.variables, "ROWGATE_AUDIT_LOG": "", "ROWGATE_ADMIN_PORT": "off"}
    process = subprocess.Popen(
        [*ROWGATE, "serve", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=variables
    )
    with process:
        assert json.loads(process.stdout.readline() if process.stdout else "")
        workers = psutil.Process(process.pid).children()
        assert len(workers) == WORKERS
        process.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def refused_start(variables: dict[str, str], **more: str) -> tuple[int, str]:
    variables = {**variables, "ROWGATE_WORKERS": "2", **more}
    done = subprocess.run([*ROWGATE, "serve"], capture_output=True, text=True, timeout=60, env=variables)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_what_keeps_workers_from_starting_is_said_once(service: Gateways) -> None:
    variables: Any = environment(service.prepared.control_conninfo())
    status, said = refused_start(variables, ROWGATE_DATABASE_URL=f"postgresql://u:p@127.0.0.1:{reserve()}/d")
    assert status == 1
    assert said.count("connect_failed") == 1
    port = urlsplit(service.ready[0]["sql_url"]).port
    status, said = refused_start(variables, ROWGATE_PORT=str(port), ROWGATE_TCP_PORT="off")
    assert (status, said.count("port_taken")) == (2, 1)
