"""The data folder of the embedded Postgres: its lock, its credentials, and what an earlier run may have left in it.

The folder belongs to Rowgate alone::

    lock                held (flock) by the one process that uses the folder; holds its process id
    credentials.json    passwords of the roles that this server was made with, readable by its owner only
    pgdata/             the cluster
    extension/          control files and scripts of extensions, copied at every start
    postgres.log        the server's log

A folder with anything else in it is never touched. This module starts no process and ends none.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rowgate.errors import DataFolderInUse, DataFolderUnusable

MAJOR_VERSION: Final = 18
LARGEST_LOG: Final = 16 * 1024 * 1024
LONGEST_SOCKET_PATH: Final = 103
"""sockaddr_un.sun_path has 108 bytes on Linux and 104 on macOS, the final NUL included."""


class DataFolder:
    """One data folder. ``path`` need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.cluster = self.path / "pgdata"
        self.log = self.path / "postgres.log"
        self.extensions = self.path / "extension"
        self._credentials = self.path / "credentials.json"
        self._lock: int | None = None

    def acquire(self) -> None:
        """Makes the folder where it is missing, and takes it for this process.

        Raises DataFolderInUse where another process has it, DataFolderUnusable where it is not Rowgate's, holds a
        cluster of another major version, or cannot be written.
        """
        if ":" in str(self.path):
            # extension_control_path separates folders by colons and knows no escape for one.
            raise DataFolderUnusable("The data folder's path has a colon in it.", detail=str(self.path))
        try:
            self._refuse_foreign()
            self.path.mkdir(parents=True, exist_ok=True)
            # Where the server runs as another user (embedded_process), it must get through to pgdata and extension.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self._take_lock()
        except OSError as problem:
            raise DataFolderUnusable(
                f"The data folder {self.path} cannot be used.", detail=problem.strerror or str(problem)
            ) from problem
        try:
            self._refuse_other_version()
        except DataFolderUnusable:
            self.release()
            raise

    def release(self) -> None:
        """Gives the folder back. Calling it twice does no harm."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def is_initialised(self) -> bool:
        """Whether there is a cluster. It is renamed into place when complete, so half of one is never seen here."""
        return (self.cluster / "PG_VERSION").exists()

    def password(self, role: str) -> str:
        """The password of ``role``, made (256 random bits) when it is asked for the first time.

        Raises DataFolderUnusable when the file with the credentials is damaged.
        """
        known = self._read_credentials()
        if role not in known:
            known[role] = secrets.token_urlsafe(32)
            partial = self._credentials.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(known, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._credentials)
        return known[role]

    def postmaster(self) -> int | None:
        """The process id in ``postmaster.pid``, or None. It says who wrote the file, not whether he still lives."""
        try:
            return int((self.cluster / "postmaster.pid").read_text("ascii").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def install_extensions(self, files: Iterable[Path]) -> None:
        """Copies control files and scripts to where the server looks for them, in place of earlier ones."""
        shutil.rmtree(self.extensions, ignore_errors=True)
        self.extensions.mkdir(mode=0o755)
        self.extensions.chmod(0o755)
        for file in files:
            copy = self.extensions / file.name
            shutil.copyfile(file, copy)
            copy.chmod(0o644)

    def open_log(self) -> int:
        """A descriptor that appends to the log. A log over 16 MiB is put aside first, one earlier log is kept."""
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def log_tail(self, start: int) -> str:
        """The log's text from byte ``start`` on, at most its last 2000 characters."""
        with self.log.open("rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace")[-2000:].strip()

    def socket_folder(self, owner: tuple[int, int] | None) -> Path:
        """A folder for the server's Unix socket, short enough for one; made under the temporary folder if need be.

        ``owner`` is the server's user and group id where they are not this process's own.
        """
        inside = self.path / "socket"
        if len(os.fsencode(inside / ".s.PGSQL.65535")) <= LONGEST_SOCKET_PATH:
            inside.mkdir(mode=0o700, exist_ok=True)
            folder = inside
        else:
            folder = Path(tempfile.mkdtemp(prefix="rowgate-"))
        if owner is not None:
            os.chown(folder, *owner)
        return folder

    def _take_lock(self) -> None:
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise DataFolderInUse(
                f"The data folder {self.path} is in use.", detail=f"process {holder or 'unknown'} holds it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        self._lock = descriptor

    def _refuse_foreign(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise DataFolderUnusable(f"{self.path} is not a folder.")
        entries = {entry.name for entry in self.path.iterdir()}
        if entries - {"lock"} and self._credentials.name not in entries:
            raise DataFolderUnusable(
                f"The folder {self.path} has files in it that are not Rowgate's.",
                detail=f"expected an empty folder or one of Rowgate's, found {', '.join(sorted(entries)[:5])}",
            )

    def _refuse_other_version(self) -> None:
        if not self.is_initialised:
            return
        version = (self.cluster / "PG_VERSION").read_text("ascii").strip()
        if version != str(MAJOR_VERSION):
            raise DataFolderUnusable(
                f"The data folder {self.path} was made by another version of Postgres.",
                detail=f"expected version {MAJOR_VERSION}, got {version}",
                hint="Dump it with the Rowgate that made it (pg_dumpall), and restore the dump into a new folder.",
            )

    def _read_credentials(self) -> dict[str, str]:
        try:
            found = json.loads(self._credentials.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as problem:
            raise DataFolderUnusable(f"{self._credentials} cannot be read.", detail=type(problem).__name__) from problem
        if not isinstance(found, dict) or not all(isinstance(password, str) for password in found.values()):
            raise DataFolderUnusable(f"{self._credentials} does not hold credentials.")
        return found


def make_traversable(folder: Path) -> list[Path]:
    """Lets every user pass through the parents of ``folder`` (without listing them); returns those it changed.

    Only a process of root needs it, because then the server runs as another user.
    """
    changed = []
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            changed.append(parent)
    return changed
