"""A Postgres of one's own for development: a real server, started as a child process, with its data in one folder.

It listens on TCP with SCRAM passwords like any other server, so what works here works elsewhere. Not for production:
its programs come from a Python package. This module never daemonises and never touches another server.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from rowgate.errors import PortTaken, ServerStartFailed
from rowgate.postgres import embedded_process as process
from rowgate.postgres.embedded_folder import DataFolder

SUPERUSER: Final = "postgres"
PORT_ATTEMPTS: Final = 5

_log = logging.getLogger(__name__)

_SETTINGS: Final[Mapping[str, str]] = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    # Session tokens travel as bind parameters: they must not reach the log with a slow or failed statement.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "jit": "off",
}


class EmbeddedPostgres:
    """One server on one data folder.

    ``data_dir`` is the folder (made when missing, Rowgate's alone); ``port`` is the TCP port, 0 for any free one;
    ``listen`` is the address to listen on; ``extension_files`` are control files and scripts that CREATE EXTENSION is
    to find; ``settings`` go on top of the defaults; ``fsync=False`` is for tests only.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int,
        listen: str = "127.0.0.1",
        extension_files: Iterable[Path] = (),
        settings: Mapping[str, str] | None = None,
        fsync: bool = True,
    ) -> None:
        self._folder = DataFolder(data_dir)
        self._asked_port = port
        self._listen = listen
        self._extension_files = tuple(extension_files)
        self._settings = {**_SETTINGS, **(settings or {}), "fsync": "on" if fsync else "off"}
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._socket_folder: Path | None = None
        self.port = port
        self.notices: list[str] = []
        """What the last start had to put right, as sentences for the operator."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def data_dir(self) -> Path:
        """The data folder as an absolute path."""
        return self._folder.path

    @property
    def host(self) -> str:
        """The address to connect to."""
        return "127.0.0.1" if self._listen in ("*", "0.0.0.0", "") else self._listen.split(",")[0].strip()  # noqa: S104

    @property
    def socket_folder(self) -> Path | None:
        """The folder of the server's Unix socket while it runs; on one machine it is faster than TCP."""
        return self._socket_folder

    @property
    def process_id(self) -> int | None:
        """The server's process id while it runs."""
        return self._server.pid if self._server is not None and self._server.poll() is None else None

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self._folder.log

    def start(self, timeout: float = 60.0) -> None:
        """Starts the server, after making the cluster on first use; returns when it answers, at most ``timeout``
        seconds later.

        Raises PortTaken, DataFolderInUse, DataFolderUnusable or ServerStartFailed, and then nothing is left running.
        """
        if self.process_id is not None:
            raise ServerStartFailed("The embedded Postgres was started already.")
        self.notices = []
        self._folder.acquire()
        try:
            self._prepare(timeout)
            self._launch(timeout)
        except BaseException:
            self.stop()
            raise
        for notice in self.notices:
            _log.warning("%s", notice)

    def stop(self, timeout: float = 10.0) -> None:
        """Stops the server: fast shutdown, after ``timeout`` seconds immediate shutdown. Nothing happens where none
        runs."""
        self._end(timeout)
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None
        self._folder.release()

    def restart(self, timeout: float = 60.0) -> None:
        """Stops and starts the server on the same port, while keeping the folder."""
        self._end(timeout)
        self._launch(timeout)

    def kill(self) -> None:
        """Ends the server as a crash would (SIGKILL), for tests of recovery; ``start`` recovers."""
        if self._server is not None:
            self._server.kill()
        self.stop()

    def conninfo(self, database: str = "postgres", *, user: str = SUPERUSER, password: str | None = None) -> str:
        """A connection string with the password in it: the given one, or the one of ``password(user)``."""
        return make_conninfo(
            host=self.host,
            port=self.port,
            dbname=database,
            user=user,
            # The server has no certificate, and a PGSSLMODE in the environment is meant for others.
            sslmode="disable",
            password=self.password(user) if password is None else password,
        )

    def password(self, role: str) -> str:
        """The password that this data folder keeps for ``role``, random, made when first asked for. The role itself
        is made by whoever needs it. Raises DataFolderUnusable."""
        return self._folder.password(role)

    def ensure_database(self, database: str = "neondb", *, owner: str = "neondb_owner") -> str:
        """Makes the database and its owner where they are missing; returns the owner's connection string.

        The owner may log in and make roles and databases, and is no superuser, like owners on managed services.
        """
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", (owner,)).fetchone()
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}").format(
                    sql.SQL("CREATE" if known is None else "ALTER"), sql.Identifier(owner), self.password(owner)
                )
            )
            exists = connection.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", (database,))
            if exists.fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(owner))
                )
        return self.conninfo(database, user=owner)

    def _prepare(self, timeout: float) -> None:
        """Everything before the server's start: the user it runs as, leftovers, the cluster, the extensions."""
        account = process.server_account()
        if account is not None:
            changed = process.grant_access(account, [self._folder.cluster])
            self.notices += [
                f"Let every user pass through {folder}: Postgres cannot run as root." for folder in changed
            ]
        postmaster = self._folder.postmaster()
        if postmaster is not None:
            leftover = process.clear_leftovers(self._folder.cluster, postmaster, min(timeout, 10.0))
            if leftover is not None:
                self.notices.append(leftover)
        if not self._folder.is_initialised:
            process.initialise(self._folder.cluster, self.password(SUPERUSER), account)
        self._folder.install_extensions(self._extension_files)
        owner = (account.user_id, account.group_id) if account is not None else None
        self._socket_folder = self._folder.socket_folder(owner)

    def _launch(self, timeout: float) -> None:
        attempts = PORT_ATTEMPTS if self._asked_port == 0 and self.port == 0 else 1
        for attempt in range(1, attempts + 1):
            port = self.port or _free_port(self.host)
            try:
                self._launch_on(port, timeout)
            except PortTaken:
                # Between finding a free port and listening on it, another program may take it.
                if attempt == attempts:
                    raise
                continue
            self.port = port
            return

    def _launch_on(self, port: int, timeout: float) -> None:
        _require_free(self.host, port)
        account = process.server_account()
        settings = {
            **self._settings,
            "listen_addresses": self._listen,
            "port": str(port),
            "unix_socket_directories": str(self._socket_folder),
            "extension_control_path": f"$system:{self._folder.path}",
        }
        log = self._folder.open_log()
        try:
            log_start = os.fstat(log).st_size
            self._server = process.spawn(self._folder.cluster, settings, log, account)
        finally:
            os.close(log)
        self._watcher = process.watch(self._server, self._folder.cluster, account)
        try:
            self._wait_until_ready(self._server, port, time.monotonic() + timeout, log_start)
        except BaseException:
            self._end(10.0)
            raise

    def _wait_until_ready(self, server: subprocess.Popen[bytes], port: int, deadline: float, log_start: int) -> None:
        """Returns when a connection as superuser succeeds."""
        conninfo = make_conninfo(self.conninfo(), port=port, connect_timeout=5)
        answer = "no answer"
        while process.wait_until(deadline):
            if server.poll() is not None:
                tail = self._folder.log_tail(log_start)
                if "Address already in use" in tail or "could not bind" in tail:
                    raise _port_taken(self.host, port)
                raise ServerStartFailed("The embedded Postgres ended while it started.", detail=tail)
            try:
                psycopg.connect(conninfo).close()
            except psycopg.OperationalError as problem:
                answer = str(problem)
                if "password authentication failed" in answer:
                    break
                continue
            return
        raise ServerStartFailed("The embedded Postgres does not let its superuser in.", detail=answer)

    def _end(self, timeout: float) -> None:
        if self._server is not None:
            process.shut_down(self._server, timeout)
            self._server = None
        if self._watcher is not None:
            process.dismiss(self._watcher)
            self._watcher = None


def _free_port(host: str) -> int:
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _require_free(host: str, port: int) -> None:
    """Asks before the server does, because its own refusal is one line in a log."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                raise _port_taken(host, port) from problem
            raise ServerStartFailed(f"Postgres cannot listen on {host}:{port}.", detail=problem.strerror) from problem


def _port_taken(host: str, port: int) -> PortTaken:
    return PortTaken(f"Port {port} on {host} is taken by another program.")
