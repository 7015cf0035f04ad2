"""What a fuzzing target is: a function that takes bytes, makes the product read them, and fails where a promise breaks.

Pure: neither atheris nor a process is known here, so the tests run every target over its seeds and over what was found
before. What is promised stands in each target's docstring.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from zlib import crc32


@dataclass(frozen=True)
class Target:
    """``try_out`` raises where an input breaks a promise. ``seeds`` are sound and hostile inputs of the tests;
    ``words`` is what mutations put in. ``longest`` is in bytes."""

    name: str
    try_out: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    longest: int = 4096


class BrokenPromise(AssertionError):
    """A target's promise does not hold for an input."""


def hold(condition: object, promise: str) -> None:
    """Fails where ``condition`` is not true; unlike ``assert``, whatever the interpreter's options are."""
    if not condition:
        raise BrokenPromise(promise)


def cut_anywhere(data: bytes) -> list[bytes]:
    """``data`` in pieces, most of them short; always the same ones for the same bytes, so that findings repeat."""
    chance = random.Random(crc32(data))
    pieces = []
    at = 0
    longest = chance.choice((1, 3, 20, 400))
    while at < len(data):
        end = at + chance.randint(1, longest)
        pieces.append(data[at:end])
        at = end
    return pieces
