"""A small HTTP client: one connection that is kept, and answers read to their last byte.

It never hides an end of the connection: an answer that does not come is an error with a name.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Any

BARE_END = "bare_end"
"""The connection ended without an answer."""


class BareEnd(Exception):
    """The connection ended before an answer was whole."""


@dataclass(frozen=True)
class Answer:
    """Status, and the body as a value."""

    status: int
    body: Any

    @property
    def code(self) -> str:
        """The stable code of an error of the gateway, or the SQLSTATE of one of Postgres."""
        routine = self.body.get("routine") if isinstance(self.body, dict) else None
        if isinstance(routine, str) and routine.startswith("rowgate:"):
            return routine.removeprefix("rowgate:")
        code = self.body.get("code") if isinstance(self.body, dict) else None
        return code if isinstance(code, str) else f"status_{self.status}"


def head(connection: str, token: str | None, length: int, more: str = "") -> bytes:
    """A request's head."""
    bearer = "" if token is None else f"Authorization: Bearer {token}\r\n"
    return (
        f"POST /sql HTTP/1.1\r\nHost: localhost\r\nNeon-Connection-String: {connection}\r\n{bearer}{more}"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


class HttpClient:
    """Requests to one port, one after the other, with TLS where there is a ``context``."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection, made where there is none."""
        if self._streams is None:
            host = "127.0.0.1" if self._context is None else "localhost"
            self._streams = await asyncio.open_connection(host, self._port, ssl=self._context)
        return self._streams

    async def post(self, connection: str, token: str | None, body: Any, more: str = "") -> Answer:
        """The answer to one request. Raises BareEnd."""
        data = json.dumps(body).encode()
        try:
            reader, writer = await self.connect()
            writer.write(head(connection, token, len(data), more) + data)
            status, headers = _parse(await reader.readuntil(b"\r\n\r\n"))
            content = await reader.readexactly(int(headers["content-length"]))
        except BaseException as problem:
            self.abort()
            if isinstance(problem, OSError | asyncio.IncompleteReadError):
                raise BareEnd(repr(problem)) from problem
            raise
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, json.loads(content))

    def close(self) -> None:
        """Closes the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def abort(self) -> None:
        """Drops the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _parse(data: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = data.decode("latin-1").rstrip().split("\r\n")
    fields = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in fields}
