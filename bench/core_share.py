"""A part of a core for each of some processes (the kernel's cgroups, cpu controller): then what a machine has of cores
is no limit, and two of them do twice as much as one unless they stand in each other's way. Needs root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

FIRST_VERSION = Path("/sys/fs/cgroup/cpu")
SECOND_VERSION = Path("/sys/fs/cgroup")
PERIOD_MICROSECONDS = 10_000


@contextmanager
def limited(processes: Sequence[psutil.Process], share: float) -> Iterator[bool]:
    """Each of the processes has ``share`` of a core within; False where this machine does not allow that."""
    with ExitStack() as stack:
        try:
            for process in processes:
                stack.enter_context(_group(process.pid, int(share * PERIOD_MICROSECONDS)))
        except OSError:
            yield False
            return
        yield True


@contextmanager
def _group(process_id: int, quota: int) -> Iterator[None]:
    root = FIRST_VERSION if FIRST_VERSION.is_dir() else SECOND_VERSION
    folder = root / f"rowgate-bench-{os.getpid()}-{process_id}"
    folder.mkdir()
    try:
        if root is FIRST_VERSION:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (folder / "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}")
        (folder / "cgroup.procs").write_text(str(process_id))
        yield
    finally:
        with suppress(OSError):  # the process may have gone
            (root / "cgroup.procs").write_text(str(process_id))
        folder.rmdir()
