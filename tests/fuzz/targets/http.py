"""The HTTP front: bytes of one connection to requests, requests to statements, refusals to answers.

Promised: whatever comes, no answer says 5xx; the same requests are read however the bytes were cut; the connection
comes to rest; and where another parser (h11) reads the same bytes as whole requests too, it reads the same methods,
targets and bodies, so that no proxy and this server see different requests.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import h11
import msgspec

from rowgate.gateway.http.connection import HttpConnection
from rowgate.gateway.http.message import HttpRequest
from rowgate.gateway.http.server import HttpServer
from rowgate.gateway.notices import Notices
from rowgate.gateway.request import decode
from rowgate.gateway.response import Response
from rowgate.gateway.session_host import SessionHost
from rowgate.gateway.sessions.stream import ClientStream
from rowgate.settings import Settings
from tests.attacks.http_cases import CASES
from tests.fuzz.target import Target, cut_anywhere, hold

STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")
MOST_ROUNDS = 200
LARGEST_BODY = 2000


class Wire(asyncio.Transport):
    """A socket that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += bytes(data)

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        """Everything has come already."""

    resume_reading = pause_reading

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return 0


@dataclass
class Served:
    """What came of one connection."""

    statuses: list[int] = field(default_factory=list)
    requests: list[HttpRequest] = field(default_factory=list)
    closed: bool = False
    is_websocket: bool = False
    websocket_bytes: bytes = b""


async def _healthy(request: HttpRequest) -> Response:
    return Response(200, b"{}")


class Front:
    """A server without a socket. It answers statements with what it has read."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.seen: list[HttpRequest] = []
        self.streamed = b""
        self.server = self.loop.run_until_complete(self._make())

    async def _make(self) -> HttpServer:
        settings = Settings(max_body_bytes=LARGEST_BODY, cors_origins=("https://app.example",))
        return HttpServer(
            settings,
            answer_sql=self._answer,
            answer_health=_healthy,
            notices=Notices(list, leeway=30.0),
            sessions=SessionHost(settings, self._serve),
        )

    async def _answer(self, request: HttpRequest) -> Response:
        self.seen.append(request)
        asked = decode(request.headers, request.body, max_batch_statements=10)
        hold(len(asked.texts) == len(asked.statements) == len(asked.array_modes), "as many modes as statements")
        return Response(200, b"{}")

    async def _serve(self, stream: ClientStream) -> None:
        while data := await stream.read():
            self.streamed += data

    def serve(self, pieces: Iterable[bytes]) -> Served:
        """One connection from its first byte to rest."""
        return self.loop.run_until_complete(self._connection(pieces))

    async def _connection(self, pieces: Iterable[bytes]) -> Served:
        self.seen, self.streamed = [], b""
        connection, wire = HttpConnection(self.server), Wire()
        connection.connection_made(wire)
        for piece in pieces:
            receiver = wire.protocol or connection
            receiver.data_received(piece)  # type: ignore[attr-defined]
        for _ in range(MOST_ROUNDS):
            await asyncio.sleep(0)
            if not connection.is_busy:
                break
        hold(not connection.is_busy, "the connection comes to rest")
        if wire.protocol is not None:
            for _ in range(3):
                await asyncio.sleep(0)
        found = Served(
            [int(status) for status in STATUS.findall(wire.written)],
            [msgspec.structs.replace(request, channel=None) for request in self.seen],
            wire.closed,
            wire.protocol is not None,
            self.streamed,
        )
        (wire.protocol or connection).connection_lost(None)  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return found


_fronts: list[Front] = []


def front() -> Front:
    """One for the process."""
    if not _fronts:
        _fronts.append(Front())
    return _fronts[0]


def by_another_parser(data: bytes) -> list[tuple[bytes, bytes, bytes]] | None:
    """Method, target and body of each request, where h11 reads ``data`` as whole requests and nothing else."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    found: list[tuple[bytes, bytes, bytes]] = []
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                return found if connection.their_state is h11.IDLE and not connection.trailing_data[0] else None
            if event is h11.PAUSED:
                return None
            if isinstance(event, h11.Request):
                method, target, body = bytes(event.method), bytes(event.target), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, target, body))
                connection.send(h11.Response(status_code=200, headers=[(b"Content-Length", b"0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return None
                connection.start_next_cycle()
            else:
                return None
    except h11.ProtocolError:
        return None


def try_out(data: bytes) -> None:
    """See above."""
    whole = front().serve([data])
    for status in whole.statuses:
        hold(status < 500, f"no answer says {status}")
    pieces = front().serve(cut_anywhere(data))
    hold(pieces.requests == whole.requests, "the same requests however the bytes were cut")
    hold(pieces.statuses == whole.statuses, f"the same answers: {whole.statuses} whole, {pieces.statuses} in pieces")
    hold(pieces.is_websocket == whole.is_websocket, "a WebSocket however the bytes were cut")
    hold(pieces.websocket_bytes.startswith(whole.websocket_bytes) or whole.websocket_bytes.startswith(
        pieces.websocket_bytes), "the same bytes for the session")  # fmt: skip
    other = by_another_parser(data)
    if other is not None and whole.requests:
        mine = [(one.method, one.body) for one in whole.requests]
        theirs = [(method, body) for method, target, body in other
                  if method == b"POST" and target.partition(b"?")[0] == b"/sql"]  # fmt: skip
        hold(mine == theirs[: len(mine)], f"another parser reads other requests: {theirs}, here {mine}")


STRING = b"Neon-Connection-String: postgresql://authenticated@ep.example/neondb\r\n"
HANDSHAKE = (
    b"GET /v2 HTTP/1.1\r\nHost: ep.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def post(body: bytes, headers: bytes = b"", path: bytes = b"/sql") -> bytes:
    """A request as the driver sends it."""
    return b"POST %b HTTP/1.1\r\nHost: ep.example\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
        path, STRING, headers, len(body), body,
    )  # fmt: skip


def seeds() -> Iterable[bytes]:
    """What the driver sends, what browsers ask, what providers tell, and the attacks of the tests."""
    query = b'{"query":"select $1::int","params":["1",null,true,1.5,[1,"a"],{"a":1}],"arrayMode":true}'
    yield post(query, b"Authorization: Bearer abc.def.ghi\r\nNeon-Raw-Text-Output: true\r\nNeon-Array-Mode: true\r\n")
    yield post(b'{"queries":[{"query":"select 1"},{"query":"select 2","params":[]}]}',
               b"Neon-Batch-Isolation-Level: Serializable\r\nNeon-Batch-Read-Only: true\r\n")  # fmt: skip
    yield post(query) + post(query) + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    yield (
        b"POST /sql HTTP/1.1\r\nHost: x\r\n"
        + STRING
        + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"que\r\n3\r\nry"\r\n0\r\n\r\n'
    )
    yield b"OPTIONS /sql HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\n\r\n"
    yield post(b"logout_token=a.b.c", path=b"/oidc/backchannel-logout")
    yield post(b'{"type":"session.revoked"}', path=b"/webhooks/events")
    yield HANDSHAKE + b"\x82\x85\1\2\3\4iglhn"
    yield HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: h2c")
    for attack in CASES:
        if len(attack.data) <= TARGET.longest:
            yield attack.data


TARGET = Target(
    "http",
    try_out,
    seeds,
    (
        b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n",
        b"Authorization: Bearer ", STRING, b"Connection: close\r\n", b"Upgrade: websocket\r\n", b"HTTP/1.0",
        b"Content-Encoding: gzip\r\n", b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b"Origin: null\r\n", b"\0",
        b'"params":', b'"queries":', b'"query":', b"\\ud800", b"\\u0000", b"1e400", b"[[[[[[[[", b"/sql", b"/webhooks/",
        b"Neon-Batch-Deferrable: true\r\n", b"Neon-Raw-Text-Output: true\r\n", b"identity", b"%00", b"%ff",
    ),
)  # fmt: skip
