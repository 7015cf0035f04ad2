"""Real Postgres servers for tests: the embedded 18, and a plain 15 from the distribution's packages.

Both have the same face (``TestServer``), so a test runs on either without knowing which. A server that cannot be
had fails its tests; nothing is skipped.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

import rowgate
from rowgate.postgres.embedded import EmbeddedPostgres
from tests.ports import reserve

PLAIN_PROGRAMS = Path(os.environ.get("ROWGATE_TEST_POSTGRES", "/usr/lib/postgresql/15/bin"))
"""The programs of the plain server. Another version's, where somebody wants to know about that one."""
EXTENSION_FILES = tuple(sorted((Path(rowgate.__file__).parent / "rls" / "sql").glob("pg_session_jwt*")))

_numbers = count(1)


class TestServer(Protocol):
    """What tests may ask of a server."""

    __test__ = False  # pytest takes a class of this name for tests

    major_version: int
    port: int

    def conninfo(self, database: str = "postgres", *, user: str = "postgres", password: str | None = None) -> str:
        """A connection string with the password in it; without a password, the superuser's."""

    def restart(self) -> None:
        """Stops and starts the server on the same port."""


class Embedded18(EmbeddedPostgres):
    """The embedded server in a folder of its own, without fsync; without ``extension_files`` it knows no extension."""

    major_version = 18

    def __init__(self, *, extension_files: tuple[Path, ...] = EXTENSION_FILES, **options: Any) -> None:
        self.folder = temporary_folder()
        super().__init__(self.folder / "data", port=reserve(), fsync=False, extension_files=extension_files, **options)

    def remove(self) -> None:
        """Stops the server and deletes its data."""
        self.stop()
        shutil.rmtree(self.folder)


class PlainPostgres:
    """A server of the distribution's Postgres, where nobody may write to the extension folder: as on managed services.

    TCP, SCRAM, superuser ``postgres``; when the tests run as root, the server runs as ``nobody``.
    """

    def __init__(self, programs: Path = PLAIN_PROGRAMS) -> None:
        if not (programs / "postgres").exists():
            raise RuntimeError(f"{programs} has no postgres: these tests need the package postgresql-15")
        self.programs = programs
        self.major_version = int(
            subprocess.run([programs / "postgres", "-V"], check=True, capture_output=True, text=True)
            .stdout.split()[2]
            .split(".")[0]
        )
        self.folder = temporary_folder()
        self.port = reserve()
        self._password = secrets.token_urlsafe(24)
        self._server: subprocess.Popen[bytes] | None = None
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._initialise()

    def conninfo(self, database: str = "postgres", *, user: str = "postgres", password: str | None = None) -> str:
        return make_conninfo(
            host="127.0.0.1",
            port=self.port,
            dbname=database,
            user=user,
            sslmode="disable",
            password=self._password if password is None else password,
        )

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._server = self._popen(
                [
                    *(str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"),
                    *("-c", "fsync=off"),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.conninfo(), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(20)
            self._server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stops the server and deletes its data."""
        self.stop()
        shutil.rmtree(self.folder)

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(self._password)
        if self._account is not None:
            for path in (self.folder, password):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        initdb = self._popen(
            [
                *(str(self.programs / "initdb"), "-D", str(self.folder / "data"), "-U", "postgres"),
                *("-E", "UTF8", "-N", "--locale=C", "-A", "scram-sha-256", f"--pwfile={password}"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = initdb.communicate()
        if initdb.returncode != 0:
            raise RuntimeError(output.decode())

    def _popen(self, arguments: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if self._account is not None:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        return subprocess.Popen(arguments, cwd="/", env=environment, start_new_session=True, **options)


def temporary_folder() -> Path:
    """A folder that the servers' users can reach: pytest's own are closed to everybody else."""
    folder = Path(tempfile.mkdtemp(prefix="rowgate-test-"))
    folder.chmod(0o755)
    return folder


def unique_name(prefix: str) -> str:
    """A name that no other test of this process used: roles are shared by all databases of a server."""
    return f"{prefix}_{next(_numbers)}"


@contextmanager
def plain_postgres() -> Iterator[PlainPostgres]:
    """A running server of the distribution's Postgres, on which nobody has set up anything; gone afterwards."""
    server = PlainPostgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def database_of(server: TestServer, *, owner: str | None = None) -> Iterator[str]:
    """A new database, dropped afterwards, on ``server``; gives its name."""
    name = unique_name("test_db")
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        if owner is not None:
            statement += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
        connection.execute(statement)
    try:
        yield name
    finally:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
