"""Cuts WebSocket frames into fragments as their bytes arrive, so that no frame has to be held whole.

A frame may be as long as the client likes, and frame boundaries mean nothing here: a frame of which only a part has
come goes on as a fragment (RFC 6455, section 5.4), with the mask turned to where the part begins. Bytes in, bytes out;
judging frames is the library's, so what breaks the rules goes on as it is, or as something that breaks them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

MOST_FRAME_BYTES: Final = 1 << 30
"""As long as the longest message of Postgres. It costs nothing: a frame's bytes go on as they come."""
LONGEST_CONTROL: Final = 125
FINAL: Final = 0x80
MASKED: Final = 0x80
OPCODE: Final = 0x0F
FIRST_CONTROL: Final = 0x8


class FrameCutter:
    """The frames of one client, one after the other."""

    __slots__ = ("_first", "_head", "_left", "_mask", "_raw")

    def __init__(self) -> None:
        self._head = b""
        self._first = 0
        self._left = 0
        self._mask = b""
        self._raw = False

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Whole frames for ``data`` and what was kept of earlier bytes: at most a frame's header stays here."""
        if self._raw:
            yield data
            return
        at = 0
        if self._left:
            at = min(self._left, len(data))
            yield self._fragment(data[:at])
        if self._head:
            data, at = self._head + data[at:], 0
            self._head = b""
        start = at
        while at < len(data):
            size = _header_size(data, at)
            if size is None or at + size > len(data):
                break
            first, length = data[at], _payload_size(data, at)
            if not data[at + 1] & MASKED or length > MOST_FRAME_BYTES:
                self._raw = True  # the library refuses it by its header, and reads no further
                yield data[start:]
                return
            come = len(data) - at - size
            if come >= length:
                at += size + length
                continue
            if first & OPCODE >= FIRST_CONTROL and length <= LONGEST_CONTROL:
                break
            if not come:
                break
            if at > start:
                yield data[start:at]
            self._first, self._left = first, length
            self._mask = data[at + size - 4 : at + size]
            yield self._fragment(data[at + size :])
            return
        if at > start:
            yield data[start:at]
        self._head = data[at:]

    def _fragment(self, payload: bytes) -> bytes:
        """``payload`` of the frame under way as a frame of its own; the final one where nothing is left."""
        size = len(payload)
        self._left -= size
        first = self._first if not self._left else self._first & ~FINAL
        head = bytes((first, MASKED | 127)) + size.to_bytes(8, "big") + self._mask
        self._first &= FINAL  # what follows continues it
        turn = size % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
        return head + payload


def _header_size(data: bytes, at: int) -> int | None:
    """Bytes of the header that starts at ``at``, mask included; None where that cannot be told yet."""
    if at + 2 > len(data):
        return None
    length = data[at + 1] & 0x7F
    extended = 8 if length == 127 else 2 if length == 126 else 0
    return 2 + extended + (4 if data[at + 1] & MASKED else 0)


def _payload_size(data: bytes, at: int) -> int:
    length = data[at + 1] & 0x7F
    if length == 126:
        return int.from_bytes(data[at + 2 : at + 4], "big")
    if length == 127:
        return int.from_bytes(data[at + 2 : at + 10], "big")
    return length
