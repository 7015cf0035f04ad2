"""The hash chain of an audit file: each line ends with a hash over itself and the hash of the line before.

A line that was changed, removed or put in between breaks the chain. Whoever can write the file can also make a whole
new chain, cut off its end, or cut off its beginning up to a line that says it goes on from another file: compare the
first and the last hash with those that were kept elsewhere. Pure: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec

START: Final = b"0" * 64
"""The hash before the first line of all."""
_MEMBER: Final = b',"chain":"'
_SUFFIX_BYTES: Final = len(_MEMBER) + 64 + len(b'"}')


def link(previous: bytes, line: bytes) -> tuple[bytes, bytes]:
    """``line`` (a JSON object with members, no line end) with its hash at its end, and the hash (hexadecimal)."""
    digest = sha256(previous + line).hexdigest().encode()
    return line[:-1] + _MEMBER + digest + b'"}', digest


def last_hash(line: bytes) -> bytes | None:
    """The hash that a line (without its line end) says of itself; None where it has none."""
    return None if _parts(line) is None else line[-66:-2]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in audit files: how many ``lines``, the ``last`` hash, and the first thing that is wrong.

    ``line`` counts from 1 through all files; None where everything fits. ``before`` is the hash that the first line
    goes on from: of a line that is in none of the files, or START where there was none.
    """

    lines: int
    last: str
    line: int | None = None
    problem: str | None = None
    before: str = START.decode()


def verify(lines: Iterable[bytes]) -> Verification:
    """Goes through the lines (without line ends) of one file, or of several that follow each other.

    The first line may follow one that is not there any more: it says itself which hash it goes on from.
    """
    before: bytes | None = None
    previous = START
    count = 0
    for count, line in enumerate(lines, 1):
        parts = _parts(line)
        if parts is None:
            return _broken(count, before, previous, "the line has no hash, or was not written to its end")
        body, digest = parts
        if before is None:
            before = previous = _goes_on_from(body)
        if sha256(previous + body).hexdigest().encode() != digest:
            return _broken(count, before, previous, "the line or the one before it was changed, removed or put in")
        previous = digest
    return Verification(count, previous.decode(), before=(before or START).decode())


def _parts(line: bytes) -> tuple[bytes, bytes] | None:
    suffix = line[-_SUFFIX_BYTES:]
    if not suffix.startswith(_MEMBER) or not suffix.endswith(b'"}'):
        return None
    return line[:-_SUFFIX_BYTES] + b"}", line[-66:-2]


def _goes_on_from(body: bytes) -> bytes:
    try:
        previous = msgspec.json.decode(body).get("previous")
    except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError, RecursionError):
        return START
    return previous.encode() if isinstance(previous, str) and len(previous) == 64 else START


def _broken(line: int, before: bytes | None, previous: bytes, problem: str) -> Verification:
    return Verification(line, previous.decode(), line, problem, (before or START).decode())
