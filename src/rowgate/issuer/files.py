"""The local issuer's files in the data folder: written whole or not at all, readable by their owner alone.

This module never knows what the files mean.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rowgate.errors import DataFolderUnusable

OWNER_ONLY = 0o600


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
