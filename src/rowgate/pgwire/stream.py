"""A byte stream from Postgres, cut into messages; and the type bytes of those messages.

Chunks may be cut anywhere. Nothing is allocated on the word of a length field: a length is checked as soon as its
four bytes are there, and only bytes that came are kept. This module never looks into a message's body.

Source: the Postgres documentation, section "Message Formats" (a type byte, then an Int32 that counts itself).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from rowgate.errors import ProtocolViolation

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

_HEADER_BYTES = 5
_HEADER = Struct(">Bi").unpack_from


class MessageStream:
    """Cuts one connection's bytes into messages. After a ProtocolViolation it stays broken."""

    __slots__ = ("_broken", "_limit", "_partial", "too_long")

    def __init__(self, max_message_bytes: int) -> None:
        """``max_message_bytes`` is the longest body that is accepted, without type byte and length."""
        self._limit = max_message_bytes + 4
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
        """Take the next bytes and return the messages that are now complete, as (type byte, body).

        Raises ProtocolViolation when a length is below 4 or above the limit; messages before it in the same chunk
        are lost with the connection.
        """
        if self._broken:
            raise ProtocolViolation("The stream broke earlier.", detail="Expected no more bytes after a violation.")
        messages: list[tuple[int, bytes]] = []
        position = self._complete_partial(data, messages) if self._partial else 0
        header, limit, total, append = _HEADER, self._limit, len(data), messages.append
        while total - position >= _HEADER_BYTES:
            kind, length = header(data, position)
            if not 4 <= length <= limit:
                self._refuse(length)
            end = position + length + 1
            if end > total:
                break
            append((kind, data[position + _HEADER_BYTES : end]))
            position = end
        if position < total:
            # A bytearray grows by a share of its size, so a long message costs linear time in any chunking.
            self._partial += data[position:]
        return messages

    def _complete_partial(self, data: bytes, messages: list[tuple[int, bytes]]) -> int:
        """Move bytes from ``data`` to the partial message until it is complete; return how many were taken."""
        partial = self._partial
        taken = max(0, min(_HEADER_BYTES - len(partial), len(data)))
        partial += data[:taken]
        if len(partial) < _HEADER_BYTES:
            return taken
        kind, length = _HEADER(partial, 0)
        if not 4 <= length <= self._limit:
            self._refuse(length)
        missing: int = length + 1 - len(partial)
        partial += data[taken : taken + missing]
        if len(data) - taken < missing:
            return len(data)
        messages.append((kind, bytes(partial[_HEADER_BYTES:])))
        # A new one, because a cleared bytearray may keep the memory of the longest message ever seen.
        self._partial = bytearray()
        return taken + missing

    def _refuse(self, length: int) -> None:
        self._broken = True
        self.too_long = length > self._limit
        self._partial = bytearray()
        raise ProtocolViolation(
            "A message's length is out of bounds.",
            detail=f"Expected a length from 4 to {self._limit}, got {length}.",
        )
