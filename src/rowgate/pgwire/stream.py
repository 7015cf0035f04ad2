"""A byte stream from Postgres, cut into messages; and the type bytes of those messages.

Chunks may be cut anywhere. Nothing is allocated on the word of a length field: a length is checked as soon as its
four bytes are there, and only bytes that came are kept. Neighbouring rows may be taken together, as a region: whole
DataRow messages as they came, so that thousands of rows are no thousands of objects. This module never looks into a
message's body.

Source: the Postgres documentation, section "Message Formats" (a type byte, then an Int32 that counts itself).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.implementation import IS_COMPILED, compiled

AUTHENTICATION: Final = ord("R")
BACKEND_KEY_DATA: Final = ord("K")
BIND_COMPLETE: Final = ord("2")
CLOSE_COMPLETE: Final = ord("3")
COMMAND_COMPLETE: Final = ord("C")
COPY_BOTH_RESPONSE: Final = ord("W")
COPY_DATA: Final = ord("d")
COPY_DONE: Final = ord("c")
COPY_IN_RESPONSE: Final = ord("G")
COPY_OUT_RESPONSE: Final = ord("H")
DATA_ROW: Final = ord("D")
EMPTY_QUERY_RESPONSE: Final = ord("I")
ERROR_RESPONSE: Final = ord("E")
FUNCTION_CALL_RESPONSE: Final = ord("V")
NEGOTIATE_PROTOCOL_VERSION: Final = ord("v")
NO_DATA: Final = ord("n")
NOTICE_RESPONSE: Final = ord("N")
NOTIFICATION_RESPONSE: Final = ord("A")
PARAMETER_DESCRIPTION: Final = ord("t")
PARAMETER_STATUS: Final = ord("S")
PARSE_COMPLETE: Final = ord("1")
PORTAL_SUSPENDED: Final = ord("s")
READY_FOR_QUERY: Final = ord("Z")
ROW_DESCRIPTION: Final = ord("T")

HEADER_BYTES: Final = 5
"""A type byte and a length."""
_HEADER = Struct(">Bi").unpack_from


class MessageStream:
    """Cuts one connection's bytes into messages. After a ProtocolViolation it stays broken."""

    __slots__ = ("_broken", "_group_rows", "_limit", "_partial", "too_long")

    def __init__(self, max_message_bytes: int, *, group_rows: bool = False) -> None:
        """``max_message_bytes`` is the longest body that is accepted, without type byte and length.

        With ``group_rows`` DataRow messages come as regions: one entry for neighbours, with their headers.
        """
        self._limit = max_message_bytes + 4
        self._group_rows = group_rows
        self._partial = bytearray()
        self._broken = False
        self.too_long = False
        """Whether it broke at a message whose length is sound but above the limit."""

    @property
    def pending(self) -> int:
        """How many bytes of an incomplete message are held."""
        return len(self._partial)

    def remainder(self) -> bytes:
        """The bytes of the incomplete message at the end, for whoever reads this connection next."""
        return bytes(self._partial)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take the next bytes and return the messages that are now complete, as (type byte, body or region).

        Raises ProtocolViolation when a length is below 4 or above the limit; messages before it in the same chunk
        are lost with the connection.
        """
        if self._broken:
            raise ProtocolViolation("The stream broke earlier.", detail="Expected no more bytes after a violation.")
        messages: list[tuple[int, bytes]] = []
        position = self._complete_partial(data, messages) if self._partial else 0
        position = cut(data, position, self._limit, messages, self._group_rows)
        if position < len(data):
            if len(data) - position >= HEADER_BYTES:
                self._check(_HEADER(data, position)[1])
            # A bytearray grows by a share of its size, so a long message costs linear time in any chunking.
            self._partial += data[position:]
        return messages

    def _complete_partial(self, data: bytes, messages: list[tuple[int, bytes]]) -> int:
        """Move bytes from ``data`` to the partial message until it is complete; return how many were taken."""
        partial = self._partial
        taken = max(0, min(HEADER_BYTES - len(partial), len(data)))
        partial += data[:taken]
        if len(partial) < HEADER_BYTES:
            return taken
        kind, length = _HEADER(partial, 0)
        self._check(length)
        missing: int = length + 1 - len(partial)
        partial += data[taken : taken + missing]
        if len(data) - taken < missing:
            return len(data)
        is_region = self._group_rows and kind == DATA_ROW
        messages.append((kind, bytes(partial if is_region else partial[HEADER_BYTES:])))
        # A new one, because a cleared bytearray may keep the memory of the longest message ever seen.
        self._partial = bytearray()
        return taken + missing

    def _check(self, length: int) -> None:
        if 4 <= length <= self._limit:
            return
        self._broken = True
        self.too_long = length > self._limit
        self._partial = bytearray()
        raise ProtocolViolation(
            "A message's length is out of bounds.",
            detail=f"Expected a length from 4 to {self._limit}, got {length}.",
        )


def first_row(region: bytes) -> bytes:
    """The body of the first message of a region."""
    return region[HEADER_BYTES : _HEADER(region, 0)[1] + 1]


def cut_in_python(data: bytes, position: int, limit: int, messages: list[tuple[int, bytes]], group_rows: bool) -> int:
    """Appends the complete messages from ``position`` on; gives where it stopped, and never goes past a bad length.

    ``limit`` is the longest length field. With ``group_rows`` neighbouring DataRow messages are one region.
    """
    header, total, append = _HEADER, len(data), messages.append
    first = -1  # where a region began
    while total - position >= HEADER_BYTES:
        kind, length = header(data, position)
        end = position + length + 1
        if not 4 <= length <= limit or end > total:
            break
        if group_rows and kind == DATA_ROW:
            if first < 0:
                first = position
        else:
            if first >= 0:
                append((DATA_ROW, data[first:position]))
                first = -1
            append((kind, data[position + HEADER_BYTES : end]))
        position = end
    if first >= 0:
        append((DATA_ROW, data[first:position]))
    return position


def count_messages_in_python(region: bytes) -> int:
    """How many messages a region holds."""
    position = count = 0
    while len(region) - position >= HEADER_BYTES:
        length = _HEADER(region, position)[1]
        if length < 4:
            break
        position += length + 1
        count += 1
    return count


cut = compiled.cut if IS_COMPILED else cut_in_python
count_messages = compiled.count_messages if IS_COMPILED else count_messages_in_python
