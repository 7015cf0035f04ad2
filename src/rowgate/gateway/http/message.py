"""One HTTP request as a value, and the bytes of one HTTP answer. Pure: no socket, no asyncio."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from itertools import count
from typing import Final, Protocol

import msgspec

from rowgate.gateway.response import JSON, Response

STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
JSON_STATUS_LINES: Final = {
    status: line + b"Content-Type: application/json\r\nNeon-Request-Id: " for status, line in STATUS_LINES.items()
}
ALLOWED_HEADERS: Final = (
    b"Authorization, Content-Type, Neon-Connection-String, Neon-Raw-Text-Output, Neon-Array-Mode, Neon-Pool-Opt-In, "
    b"Neon-Batch-Read-Only, Neon-Batch-Isolation-Level, Neon-Batch-Deferrable"
)
EXPOSED_HEADERS: Final = b"Neon-Request-Id, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate"


class Channel(Protocol):
    """The way to the client of one request, for an answer that is written in pieces."""

    on_writable: Callable[[], None] | None
    """Called when the client has caught up."""

    def begin_body(self, head: Response) -> None:
        """Writes status and headers of ``head``; its body is not used."""

    def write_body(self, data: bytes) -> bool:
        """Writes a piece; False: no more for now, ``on_writable`` says when."""


class HttpRequest(msgspec.Struct, frozen=True):
    """A request that has arrived whole. Header names are in small letters."""

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes
    channel: Channel | None = None
    """The way to its client, for an answer in pieces."""

    def __repr__(self) -> str:
        """What its repr shows: neither headers nor body."""
        return f"HttpRequest(method={self.method!r}, path={self.path!r})"


class RequestIds:
    """Ids for ``Neon-Request-Id``: UUIDs of version 8 (RFC 9562 section 5.8), a random prefix and a counter.

    A counter costs a fraction of reading random bytes for each request, and tells no more than the order of requests.
    """

    def __init__(self) -> None:
        prefix = secrets.token_hex(8)
        self._prefix = f"{prefix[:8]}-{prefix[8:12]}-8{prefix[12:15]}-a{prefix[13:16]}-".encode()
        self._counter = count(secrets.randbelow(1 << 40))

    def next(self) -> bytes:
        """The next id, 36 characters."""
        return b"%b%012x" % (self._prefix, next(self._counter))


class AnswerWriter:
    """Makes the bytes of answers: status line, common headers, CORS, body."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any_origin = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self._ids = RequestIds()
        self._date = self._after_id = b""
        self.tick(0.0)

    def tick(self, now: float) -> None:
        """Renews the Date header; called once a second. ``now`` is in unix seconds."""
        date = b"\r\nDate: " + formatdate(now, usegmt=True).encode() + b"\r\n"
        self._after_id = date + self._cors(None) + b"Content-Length: "
        self._date = date

    def write(self, response: Response, *, origin: bytes | None, keep_alive: bool) -> bytes:
        """The whole answer but for the ``rest`` of its body. ``origin`` is the request's Origin header."""
        body = response.body
        if (
            keep_alive
            and not response.headers
            and (origin is None or self._any_origin)
            and response.content_type is JSON
        ):
            start = JSON_STATUS_LINES[response.status]
            size = response.size if response.rest else len(body)
            return b"%b%b%b%d\r\n\r\n%b" % (start, self._ids.next(), self._after_id, size, body)
        parts = self._head(response, origin, keep_alive)
        parts.append(b"Content-Length: %d\r\n\r\n" % response.size)
        parts.append(body)
        return b"".join(parts)

    def begin(self, response: Response, *, origin: bytes | None, keep_alive: bool, chunked: bool) -> bytes:
        """The head of an answer whose body comes in pieces: chunks (RFC 9112, section 7.1), or up to the end of the
        connection, for which ``keep_alive`` must be false."""
        parts = self._head(response, origin, keep_alive)
        parts.append(b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n")
        return b"".join(parts)

    def _head(self, response: Response, origin: bytes | None, keep_alive: bool) -> list[bytes]:
        parts = [
            STATUS_LINES[response.status],
            b"Content-Type: %b\r\nNeon-Request-Id: %b" % (response.content_type, self._ids.next()),
            self._date,
            self._cors(origin),
        ]
        parts += [b"%b: %b\r\n" % header for header in response.headers]
        if not keep_alive:
            parts.append(b"Connection: close\r\n")
        return parts

    def preflight(self) -> Response:
        """The answer to OPTIONS /sql (Fetch standard, section 3.2.2)."""
        return Response(
            200,
            b"",
            (
                (b"Allow", b"OPTIONS, POST"),
                (b"Access-Control-Allow-Methods", b"OPTIONS, POST"),
                (b"Access-Control-Allow-Headers", ALLOWED_HEADERS),
                (b"Access-Control-Max-Age", b"86400"),
            ),
        )

    def _cors(self, origin: bytes | None) -> bytes:
        exposed = b"Access-Control-Expose-Headers: " + EXPOSED_HEADERS + b"\r\n"
        if self._any_origin:
            return b"Access-Control-Allow-Origin: *\r\n" + exposed
        if origin is not None and origin in self._origins:
            return b"Access-Control-Allow-Origin: " + origin + b"\r\nVary: Origin\r\n" + exposed
        return b"Vary: Origin\r\n" if self._origins else b""
