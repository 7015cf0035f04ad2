"""The embedded server's life: first start, second start, crashes, and everything that can be in its way."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from rowgate.errors import DataFolderInUse, DataFolderUnusable, PortTaken, ServerStartFailed
from rowgate.postgres.embedded import EmbeddedPostgres
from rowgate.postgres.embedded_folder import DataFolder, make_traversable
from tests.ports import reserve
from tests.servers import temporary_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    path = temporary_folder()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(folder / "data", port=0, fsync=False)
    yield made
    made.stop()


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Every process that works in the cluster: the server and its backends."""
    cluster = str(data_dir / "pgdata")
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == cluster]


def wait_for_end(data_dir: Path) -> None:
    """Waits until no process works in the cluster."""
    _, alive = psutil.wait_procs(processes_of(data_dir), timeout=20)
    assert alive == []


def row(conninfo: str, query: str) -> tuple[object, ...]:
    with psycopg.connect(conninfo) as connection:
        found = connection.execute(query.encode()).fetchone()
    assert found is not None
    return found


def test_first_start_second_start_and_stop(server: EmbeddedPostgres) -> None:
    started = time.monotonic()
    server.start()
    first = time.monotonic() - started
    port = server.port
    conninfo = server.ensure_database()
    assert row(conninfo, "SELECT current_user::text, current_database()::text") == ("neondb_owner", "neondb")
    row(conninfo, "SELECT count(*) FROM pg_class")
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    server.stop()
    assert server.process_id is None
    assert processes_of(server.data_dir) == []
    started = time.monotonic()
    server.start()
    second = time.monotonic() - started
    assert server.port == port
    assert server.ensure_database() == conninfo
    assert row(conninfo, "SELECT one FROM kept") == (1,)
    assert server.notices == []
    # Bounds that leave room for a busy machine; in the quiet both are under a second.
    assert first < 20
    assert second < 10


def test_what_the_server_is_like(server: EmbeddedPostgres) -> None:
    server.start()
    found = row(
        server.conninfo(),
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding'), "
        "current_setting('password_encryption'), current_setting('max_connections'), "
        "current_setting('log_parameter_max_length'), current_setting('listen_addresses'), datlocprovider::text, "
        "(SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules) "
        "FROM pg_database WHERE datname = 'postgres'",
    )
    assert found == (18, "UTF8", "scram-sha-256", "100", "0", "127.0.0.1", "b", "scram-sha-256")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.conninfo(password="wrong"))


def test_the_owner_is_no_superuser(server: EmbeddedPostgres) -> None:
    server.start()
    conninfo = server.ensure_database("app", owner="app_owner")
    found = row(
        conninfo,
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication "
        "FROM pg_roles WHERE rolname = current_user",
    )
    assert found == (False, True, True, False, False)


def test_credentials_are_the_users_alone(server: EmbeddedPostgres) -> None:
    server.start()
    file = server.data_dir / "credentials.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_uid == os.geteuid()
    assert json.loads(file.read_text())["postgres"] in server.conninfo()
    assert server.password("app") == EmbeddedPostgres(server.data_dir, port=0).password("app")
    assert server.password("app") not in repr(server)
    assert not (server.data_dir / "initial-password").exists()
    assert server.log_file.stat().st_mode & 0o077 == 0


def test_restart_keeps_port_and_folder(server: EmbeddedPostgres) -> None:
    server.start()
    port, process = server.port, server.process_id
    server.restart()
    assert server.port == port
    assert server.process_id != process
    assert row(server.conninfo(), "SELECT 1") == (1,)


def test_recovery_after_a_crash_of_the_server(server: EmbeddedPostgres) -> None:
    server.start()
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        server.kill()
    assert (server.data_dir / "pgdata" / "postmaster.pid").exists()
    server.start()
    assert row(server.conninfo(), "SELECT one FROM kept") == (1,)


HOLDER = """
import sys
from pathlib import Path
from rowgate.postgres.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), port=0, fsync=False)
server.start()
print(server.port, server.process_id, flush=True)
sys.stdin.read()
"""


def start_elsewhere(data_dir: Path) -> tuple[subprocess.Popen[str], int, int]:
    """A server started by another process: (that process, port, the server's process id)."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    port, process = holder.stdout.readline().split()
    return holder, int(port), int(process)


def close(holder: subprocess.Popen[str]) -> None:
    for stream in (holder.stdin, holder.stdout):
        assert stream is not None
        stream.close()
    holder.wait()


def test_the_server_ends_when_its_starter_is_killed(folder: Path) -> None:
    data_dir = folder / "data"
    holder, _, process = start_elsewhere(data_dir)
    assert psutil.pid_exists(process)
    holder.kill()
    close(holder)
    wait_for_end(data_dir)
    assert not (data_dir / "pgdata" / "postmaster.pid").exists()
    with EmbeddedPostgres(data_dir, port=0, fsync=False) as server:
        assert row(server.conninfo(), "SELECT 1") == (1,)


def test_a_live_server_of_an_earlier_run_is_stopped_first(folder: Path) -> None:
    """Starter and watcher are both killed at once, so the server lives on without them."""
    data_dir = folder / "data"
    holder, port, process = start_elsewhere(data_dir)
    for child in psutil.Process(holder.pid).children():
        if child.pid != process:
            child.suspend()
            child.kill()
    holder.kill()
    close(holder)
    assert psutil.pid_exists(process)
    with EmbeddedPostgres(data_dir, port=port, fsync=False) as server:
        assert len(server.notices) == 1
        assert str(process) in server.notices[0]
        assert not psutil.pid_exists(process)
        assert row(server.conninfo(), "SELECT 1") == (1,)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(server: EmbeddedPostgres) -> None:
    server.start()
    assert server.process_id is not None
    assert os.getsid(server.process_id) != os.getsid(0)
    assert os.getpgid(server.process_id) != os.getpgid(0)


def test_a_stranger_with_the_servers_old_process_id(server: EmbeddedPostgres) -> None:
    """After a reboot, or in a container, some other program may have the process id of the dead server."""
    server.start()
    server.kill()
    wait_for_end(server.data_dir)
    file = server.data_dir / "pgdata" / "postmaster.pid"
    file.write_text("\n".join([str(os.getpid()), *file.read_text().split("\n")[1:]]))
    server.start()
    assert row(server.conninfo(), "SELECT 1") == (1,)


def test_two_at_once(server: EmbeddedPostgres) -> None:
    server.start()
    second = EmbeddedPostgres(server.data_dir, port=0)
    with pytest.raises(DataFolderInUse) as refusal:
        second.start()
    assert str(os.getpid()) in str(refusal.value.detail)
    with pytest.raises(ServerStartFailed):
        server.start()
    assert row(server.conninfo(), "SELECT 1") == (1,)


def test_a_port_that_is_taken(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = EmbeddedPostgres(folder / "data", port=other.getsockname()[1], fsync=False)
        with pytest.raises(PortTaken):
            server.start()
    assert processes_of(folder / "data") == []
    server.start()
    server.stop()


def test_a_port_that_is_taken_between_question_and_start(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken, free = other.getsockname()[1], reserve()
        ports = iter([taken, free])
        monkeypatch.setattr("rowgate.postgres.embedded._require_free", lambda host, port: None)
        monkeypatch.setattr("rowgate.postgres.embedded._free_port", lambda host: next(ports))
        server.start()
    assert server.port == free


def test_a_folder_of_somebody_elses(folder: Path) -> None:
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(DataFolderUnusable) as refusal:
        EmbeddedPostgres(folder, port=0).start()
    assert "thesis.txt" in str(refusal.value.detail)
    assert [entry.name for entry in folder.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder(folder: Path) -> None:
    (folder / "data").write_text("")
    with pytest.raises(DataFolderUnusable):
        EmbeddedPostgres(folder / "data", port=0).start()


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(DataFolderUnusable):
        EmbeddedPostgres(Path("/proc/rowgate"), port=0).start()


def test_a_path_with_a_colon(folder: Path) -> None:
    with pytest.raises(DataFolderUnusable, match="colon"):
        EmbeddedPostgres(folder / "a:b", port=0).start()


def test_a_cluster_of_another_version(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.data_dir / "pgdata" / "PG_VERSION").write_text("16\n")
    with pytest.raises(DataFolderUnusable) as refusal:
        server.start()
    assert refusal.value.detail == "expected version 18, got 16"
    # The refusal let the folder go again.
    (server.data_dir / "pgdata" / "PG_VERSION").write_text("18\n")
    server.start()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"postgres": 7}'])
def test_damaged_credentials(server: EmbeddedPostgres, content: str) -> None:
    server.start()
    server.stop()
    (server.data_dir / "credentials.json").write_text(content)
    with pytest.raises(DataFolderUnusable):
        server.start()
    assert processes_of(server.data_dir) == []


def test_credentials_of_another_cluster(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.data_dir / "credentials.json").write_text('{"postgres": "another password"}')
    with pytest.raises(ServerStartFailed) as refusal:
        server.start()
    assert "another password" not in f"{refusal.value} {refusal.value.detail}"
    assert processes_of(server.data_dir) == []


def test_a_start_that_was_interrupted_is_made_good(server: EmbeddedPostgres) -> None:
    """initdb was killed: what it left is thrown away, and the passwords stay."""
    server.data_dir.mkdir()
    password = server.password("postgres")
    (server.data_dir / "initialising").mkdir()
    (server.data_dir / "initialising" / "PG_VERSION").write_text("18")
    server.start()
    assert server.password("postgres") == password
    assert not (server.data_dir / "initialising").exists()


def test_a_server_that_ends_at_once_is_explained(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "data", port=0, fsync=False, settings={"shared_buffers": "nonsense"})
    with pytest.raises(ServerStartFailed) as refusal:
        server.start()
    assert "shared_buffers" in str(refusal.value.detail)
    assert processes_of(folder / "data") == []


def test_a_long_path_gets_a_short_socket_folder(folder: Path) -> None:
    with EmbeddedPostgres(folder / ("x" * 120) / "data", port=0, fsync=False) as server:
        (sockets,) = row(server.conninfo(), "SELECT current_setting('unix_socket_directories')")
        assert len(str(sockets)) < 80
        assert Path(str(sockets)).is_dir()
    assert not Path(str(sockets)).exists()


def test_extension_files_are_found_and_replaced(folder: Path) -> None:
    control = folder / "greeting.control"
    script = folder / "greeting--1.sql"
    control.write_text("default_version = '1'\n")
    script.write_text("CREATE FUNCTION greeting() RETURNS text LANGUAGE sql RETURN 'hello';")
    script.chmod(0o600)
    with (
        EmbeddedPostgres(folder / "data", port=0, fsync=False, extension_files=(control, script)) as server,
        psycopg.connect(server.conninfo(), autocommit=True) as connection,
    ):
        connection.execute("CREATE EXTENSION greeting")
        assert connection.execute("SELECT greeting()").fetchone() == ("hello",)
    with EmbeddedPostgres(folder / "data", port=0, fsync=False) as server:
        query = "SELECT count(*) FROM pg_available_extensions WHERE name = 'greeting'"
        assert row(server.conninfo(), query) == (0,)


def test_a_large_log_is_put_aside(server: EmbeddedPostgres) -> None:
    server.data_dir.mkdir()
    server.password("postgres")
    with server.log_file.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    server.start()
    assert server.log_file.stat().st_size < 1024 * 1024
    assert server.log_file.with_suffix(".log.1").exists()


def test_stop_is_immediate_where_a_backend_does_not_end(server: EmbeddedPostgres) -> None:
    """A stopped backend cannot take part in a fast shutdown; after the time-out it is an immediate one."""
    server.start()
    with psycopg.connect(server.conninfo()) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        server.stop(timeout=0.3)
    assert server.process_id is None
    wait_for_end(server.data_dir)


def test_the_environment_of_the_user_does_not_matter(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("PGSSLMODE", "verify-full"),
        ("PGDATA", "/nowhere"),
        ("PGPORT", "1"),
        ("PGHOST", "nowhere.invalid"),
        ("LC_ALL", "xx_XX.nonsense"),
        ("TZ", "Nowhere/Nothing"),
    ):
        monkeypatch.setenv(name, value)
    server.start()
    assert row(server.conninfo(), "SELECT 1") == (1,)


def test_only_the_right_to_pass_is_given(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    assert make_traversable(closed / "data") == [closed]
    assert closed.stat().st_mode & 0o777 == 0o701
    assert make_traversable(closed / "data") == []


def test_releasing_twice_does_no_harm(folder: Path) -> None:
    data = DataFolder(folder / "data")
    data.acquire()
    data.release()
    data.release()
    data.acquire()
    data.release()
