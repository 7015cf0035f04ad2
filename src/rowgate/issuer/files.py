"""The local issuer's files in the data folder: written whole or not at all, readable by their owner alone.

This module never knows what the files mean.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from rowgate.errors import DataFolderUnusable, IssuerInputInvalid

OWNER_ONLY = 0o600
LOCK_FILE = ".lock"

Record = TypeVar("Record")


class RecordFile(Generic[Record]):
    """A list of records in one JSON file that other processes (a command, an editor) may change meanwhile.

    ``read`` makes a record of a JSON object or raises IssuerInputInvalid, ``write`` makes the object again. The file is
    read anew whenever it has changed. Every method raises DataFolderUnusable where it is damaged or out of reach.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        read: Callable[[dict[str, Any]], Record],
        write: Callable[[Record], Mapping[str, Any]],
    ) -> None:
        self._path = path
        self._name = name
        self._read = read
        self._write = write
        self._known: tuple[tuple[int, ...], tuple[Record, ...]] | None = None

    def exists(self) -> bool:
        """Whether the file was ever written."""
        return self._path.exists()

    def list(self) -> tuple[Record, ...]:
        """All records, in the order in which they came."""
        version = _version(self._path)
        if self._known is None or self._known[0] != version:
            try:
                records = tuple(map(self._read, read_records(self._path, self._name) or []))
            except IssuerInputInvalid as error:
                raise unusable(self._path, f"{error.message} {error.detail}") from error
            self._known = (version, records)
        return self._known[1]

    def change(self, change: Callable[[tuple[Record, ...]], Iterable[Record]]) -> None:
        """Write what ``change`` makes of the records; nobody else changes them meanwhile."""
        with locked(self._path.parent):
            write_records(self._path, self._name, [self._write(record) for record in change(self.list())])


def _version(path: Path) -> tuple[int, ...]:
    """Differs whenever the file was replaced (another inode) or edited in place."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_mtime_ns, status.st_size)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other process from changing the files of ``folder``. Not to be entered twice at once.

    Raises DataFolderUnusable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
    except OSError as error:
        raise unusable(folder / LOCK_FILE, f"it cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes | None:
    """The content of ``path``, None where there is none yet. Raises DataFolderUnusable where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, f"it cannot be read: {error.strerror}") from error


def write_file(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, so that no reader and no power cut ever meets half of it.

    Raises DataFolderUnusable where the folder cannot be written.
    """
    try:
        _write_beside(path, content, os.replace)
    except OSError as error:
        raise unusable(path, f"it cannot be written: {error.strerror}") from error


def create_file(path: Path, content: bytes) -> bool:
    """Make ``path`` with ``content``, whole from the first moment; False where another process was faster.

    Raises DataFolderUnusable where the folder cannot be written.
    """
    try:
        _write_beside(path, content, os.link)
    except FileExistsError:
        return False
    except OSError as error:
        raise unusable(path, f"it cannot be written: {error.strerror}") from error
    return True


def read_records(path: Path, name: str) -> list[dict[str, Any]] | None:
    """The list of objects under ``name`` in a JSON file, None where there is no file yet.

    Raises DataFolderUnusable where the file holds something else.
    """
    content = read_file(path)
    if content is None:
        return None
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise unusable(path, "it is not JSON") from error
    records = document.get(name) if isinstance(document, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise unusable(path, f'it has no list "{name}" of objects')
    return records


def write_records(path: Path, name: str, records: list[Mapping[str, Any]]) -> None:
    """Write ``records`` as JSON that people can edit. Raises DataFolderUnusable."""
    text = json.dumps({name: records}, indent=2, ensure_ascii=False)
    write_file(path, text.encode("utf-8", "surrogatepass") + b"\n")


def unusable(path: Path, reason: str) -> DataFolderUnusable:
    """The error for a file that is damaged or out of reach; ``reason`` is a clause."""
    return DataFolderUnusable(
        "A file of the local issuer cannot be used.",
        detail=f"{path}: {reason}",
        hint=f"Mend {path.name}, or delete it and a new one is made at the next start.",
    )


def _write_beside(path: Path, content: bytes, settle: Any) -> None:
    """``settle`` puts the finished file in its place: os.replace overwrites, os.link refuses to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file with mode 0600 from the start, so that the key is never readable for a moment.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        settle(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
