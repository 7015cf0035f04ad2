"""Reading an audit file from its end: the newest records first, those that are asked for, a bounded part at a time.

Looks at as few lines as it can: what is asked for is searched for as bytes before any line is decoded. Never writes,
and never reads more than it is told to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from rowgate.gateway.audit.record import RequestRecord

CHUNK_BYTES: Final = 1 << 20
MOST_BYTES: Final = 64 << 20
"""How much is read for one page at most."""
LONGEST_LINE: Final = 32 << 20
SLOWEST_SECONDS: Final = 600.0
"""Lines are in the order of their ends and say when they began: this much earlier, one may still be out of order."""

_DECODER: Final = msgspec.json.Decoder(RequestRecord)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are asked for. ``subject`` is a part of it; ``outcome``, ``front`` and ``endpoint`` are to the
    letter, empty (``endpoint``: None) asks for all; ``since`` is Unix seconds."""

    subject: str = ""
    outcome: str = ""
    front: str = ""
    since: float = 0.0
    endpoint: str | None = None

    def takes(self, record: RequestRecord) -> bool:
        """Whether a record is asked for."""
        return (
            (not self.subject or self.subject in (record.subject or ""))
            and (not self.outcome or record.outcome == self.outcome)
            and (not self.front or record.front == self.front)
            and record.time >= self.since
            and (self.endpoint is None or record.endpoint == self.endpoint)
        )

    def marks(self) -> list[bytes]:
        """What stands in every line that holds such a record, the longest first."""
        marks = [
            b'"%b":%b' % (name.encode(), msgspec.json.encode(text))
            for name, text in (("outcome", self.outcome), ("front", self.front), ("endpoint", self.endpoint))
            if text
        ]
        if self.subject:
            marks.append(msgspec.json.encode(self.subject)[1:-1])
        return sorted(marks, key=len, reverse=True)


@dataclass(frozen=True, slots=True)
class FilePage:
    """Records with their places in the file (bytes from its beginning), the newest first. ``before`` is where to go on
    for older ones; None at the beginning of the file."""

    records: tuple[tuple[int, RequestRecord], ...]
    before: int | None


def read_back(path: Path, wanted: Wanted, *, before: int | None, most: int, most_bytes: int = MOST_BYTES) -> FilePage:
    """At most ``most`` records that end before the byte ``before`` (None: the file's end). Raises OSError."""
    found: list[tuple[int, RequestRecord]] = []
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        end = end if before is None else min(before, end)
        lowest = _line_start(file, max(0, end - most_bytes), end)
        for place, line in _lines_back(file, end, lowest, wanted.marks()):
            record = _record(line)
            if record is None:
                continue
            if record.time < wanted.since - SLOWEST_SECONDS:
                return FilePage(tuple(found), None)
            if wanted.takes(record):
                found.append((place, record))
                if len(found) == most:
                    return FilePage(tuple(found), place or None)
    return FilePage(tuple(found), lowest or None)


def read_at(path: Path, place: int) -> RequestRecord | None:
    """The record whose line begins at the byte ``place``; None where none does. Raises OSError."""
    with path.open("rb") as file:
        if place > 0:
            file.seek(place - 1)
            if file.read(1) != b"\n":
                return None
        return _record(file.readline(LONGEST_LINE))


def _line_start(file: BinaryIO, place: int, end: int) -> int:
    """The first beginning of a line from the byte ``place`` on, ``place`` where there is none before ``end``."""
    if place == 0:
        return 0
    file.seek(place)
    file.readline(end - place)
    return file.tell() if file.tell() < end else place


def _record(line: bytes) -> RequestRecord | None:
    """None for a line that is no record: an event, a torn one, or one of another program."""
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _lines_back(file: BinaryIO, end: int, lowest: int, marks: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Whole lines that hold all ``marks``, from the last one on, with their places."""
    rest = b""
    while end > lowest:
        start = max(lowest, end - CHUNK_BYTES)
        file.seek(start)
        data = file.read(end - start) + rest
        # The first line may begin in the chunk before; ``lowest`` is the beginning of a line.
        first = 0 if start == lowest else data.find(b"\n") + 1
        if start > lowest and first == 0:
            rest = data if len(data) < LONGEST_LINE else b""
            end = start
            continue
        for at, line in _lines_with(data, first, marks):
            yield start + at, line
        rest = data[:first]
        end = start


def _lines_with(data: bytes, first: int, marks: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines from ``first`` on, the last one first. The rarest mark is searched for, and the lines between are never
    looked at."""
    rare, others = (marks[0], marks[1:]) if marks else (b"", [])
    end = len(data)
    while end > first:
        if rare:
            found = data.rfind(rare, first, end)
            if found < 0:
                return
            stop = data.find(b"\n", found, end)
            stop = end if stop < 0 else stop
        else:
            stop = end - 1 if data[end - 1 : end] == b"\n" else end
            found = stop
        begin = data.rfind(b"\n", first, found) + 1 or first
        line = data[begin:stop]
        if line and all(mark in line for mark in others):
            yield begin, line
        end = begin
