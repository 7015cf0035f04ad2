"""The audit file: lines of JSON, written by a thread of its own.

Whoever has a record only puts it into a queue. The thread wakes a few times a second, writes all there is in one go,
and opens the file anew when asked to (after a rotation). A disk that is full or slow never makes a request wait: what
the queue cannot take is counted, and a line says how many are missing as soon as lines can be written again.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from rowgate.errors import SettingInvalid
from rowgate.gateway.audit.chain import START, last_hash, link
from rowgate.gateway.audit.record import RequestRecord

STANDARD_ERROR: Final = "stderr"
MOST_WAITING: Final = 20_000
MOST_IN_ONE_WRITE: Final = 2_000
WAKE_SECONDS: Final = 0.2
LAST_WRITE_SECONDS: Final = 5.0
LONGEST_LAST_LINE: Final = 1 << 20

log = logging.getLogger("rowgate.audit")


class AuditWriter:
    """Writes records to ``target``, a path or ``stderr``. ``chained``: with a hash chain.

    Raises SettingInvalid where the file cannot be opened.
    """

    def __init__(self, target: str, *, chained: bool = False, most_waiting: int = MOST_WAITING) -> None:
        self._target = target
        self._chained = chained
        self._most_waiting = most_waiting
        self._waiting: deque[RequestRecord] = deque()
        self._unwritten = b""
        self._hash = START
        self._reopen = False
        self._said_dropped = 0
        self._is_failing = False
        self._stopping = threading.Event()
        self.dropped = 0
        """How many records found no place in the queue."""
        try:
            self._file = self._open()
        except OSError as problem:
            raise SettingInvalid(
                f"the audit file {target} cannot be written", detail=problem.strerror, hint="Correct audit_log."
            ) from problem
        self._thread = threading.Thread(target=self._run, name="rowgate-audit", daemon=True)
        self._thread.start()

    def put(self, record: RequestRecord) -> None:
        """Takes one record; it is in the file a moment later. Never waits."""
        if len(self._waiting) >= self._most_waiting:
            self.dropped += 1
        else:
            self._waiting.append(record)

    def reopen(self) -> None:
        """The file has been moved away: from the next line on a new one of the same name is written."""
        self._reopen = True

    def close(self) -> None:
        """Writes what waits, within a few seconds, and closes the file."""
        self._stopping.set()
        self._thread.join(LAST_WRITE_SECONDS)

    # --- the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.wait(WAKE_SECONDS):
            self._write_waiting()
        self._write_waiting()
        if self._waiting or self._unwritten:
            log.error("the audit file ends before its time: %d records are not in it", len(self._waiting))
        os.close(self._file)

    def _write_waiting(self) -> None:
        try:
            if self._reopen:
                self._reopen = False
                self._open_anew()
            while self._write_some():
                pass
        except OSError as problem:
            if not self._is_failing:
                log.error("the audit file cannot be written: %s; requests go on", problem.strerror)
            self._is_failing = True
            return
        if self._is_failing:
            log.warning("the audit file can be written again")
        self._is_failing = False

    def _write_some(self) -> bool:
        """Writes a part; False where nothing is left. Raises OSError; what was not written stays."""
        self._flush()
        lines = []
        dropped = self.dropped
        if dropped != self._said_dropped:
            lines.append(self._line({"time": time.time(), "event": "dropped", "records": dropped - self._said_dropped}))
            self._said_dropped = dropped
        while self._waiting and len(lines) < MOST_IN_ONE_WRITE:
            lines.append(self._line(self._waiting.popleft()))
        self._unwritten = b"".join(lines)
        self._flush()
        return bool(self._waiting)

    def _flush(self) -> None:
        written = 0
        try:
            while written < len(self._unwritten):
                written += os.write(self._file, memoryview(self._unwritten)[written : self._end_of_piece(written)])
        finally:
            self._unwritten = self._unwritten[written:]

    def _end_of_piece(self, start: int) -> int:
        """How far one write may go. Standard error may be a pipe that several processes write to: lines that go into it
        together are no longer than what stays in one piece there (write(2), PIPE_BUF)."""
        if self._target != STANDARD_ERROR:
            return len(self._unwritten)
        end = self._unwritten.rfind(b"\n", start, start + select.PIPE_BUF) + 1
        return end or (self._unwritten.find(b"\n", start) + 1) or len(self._unwritten)

    def _line(self, value: object) -> bytes:
        line = msgspec.json.encode(value)
        if self._chained:
            line, self._hash = link(self._hash, line)
        return line + b"\n"

    def _open_anew(self) -> None:
        self._flush()
        fresh = self._open()
        os.close(self._file)
        self._file = fresh

    def _open(self) -> int:
        if self._target == STANDARD_ERROR:
            file = os.dup(2)
        else:
            path = Path(self._target)
            ends_within_a_line = self._go_on_from(path)
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if ends_within_a_line:
                self._unwritten += b"\n"
        if self._chained:
            self._unwritten += self._line({"time": time.time(), "event": "opened", "previous": self._hash.decode()})
        return file

    def _go_on_from(self, path: Path) -> bool:
        """Takes over the last hash of a file that is there; whether its last line is torn."""
        with suppress(FileNotFoundError), path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - LONGEST_LAST_LINE, 0))
            *whole, rest = file.read().split(b"\n")
            known = last_hash(whole[-1]) if whole else None
            self._hash = known or self._hash
            return bool(rest)
        return False
