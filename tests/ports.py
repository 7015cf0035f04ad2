"""TCP ports that nobody else takes while a test holds them.

They lie below the range from which the system gives ports to outgoing connections, and a locked file for each keeps
the suite's other processes away for as long as this process lives.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

FIRST: Final = 15_000
LAST: Final = 30_000

_locks: list[int] = []
_candidates = count(FIRST + os.getpid() * 17 % (LAST - FIRST))


def reserve(how_many: int = 1) -> int:
    """The first of ``how_many`` ports in a row that are free, and stay this process's own."""
    folder = Path(tempfile.gettempdir()) / f"rowgate-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for first in _starts(how_many):
        taken = [lock for lock in (_lock(folder, first + step) for step in range(how_many)) if lock is not None]
        if len(taken) == how_many and all(_is_free(first + step) for step in range(how_many)):
            _locks.extend(taken)
            return first
        for lock in taken:
            os.close(lock)
    raise AssertionError(f"no {how_many} free ports in a row between {FIRST} and {LAST}")


def _starts(how_many: int) -> Iterator[int]:
    for _ in range(LAST - FIRST):
        first = FIRST + next(_candidates) % (LAST - FIRST)
        if first + how_many <= LAST:
            yield first


def _lock(folder: Path, port: int) -> int | None:
    descriptor = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
