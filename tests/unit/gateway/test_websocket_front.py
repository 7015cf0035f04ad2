"""The WebSocket front over real sockets: handshakes, frames cut anywhere, pings, back-pressure, TLS, and every way to
end. Frames are made by hand here, so that broken ones can be sent too."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.frames import CONT, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from rowgate.gateway.byte_stream import is_loopback
from rowgate.gateway.sessions.stream import READ_AHEAD_BYTES
from rowgate.gateway.websocket_frames import MOST_FRAME_BYTES, FrameCutter
from tests.unit.gateway.fronts import (
    DEADLINE,
    Fronts,
    connected,
    exactly,
    rest,
    running,
    tls_settings,
    trusting,
    until,
)

KEY = base64.b64encode(b"0123456789abcdef").decode()
ACCEPT = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
MASK = b"\x01\x02\x03\x04"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, length: int | None = None) -> bytes:
    """A client's frame; ``length`` is what the header claims."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + struct.pack(">H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack(">Q", size)
    return head + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


def request(path: str = "/v2", **headers: str) -> bytes:
    given = {
        "Host": "ep-x.example.test:4444", "Connection": "keep-alive, Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


@dataclass
class Client:
    """A WebSocket client after its handshake."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fronts: Fronts
    head: str = ""
    others: list[tuple[int, bytes]] = field(default_factory=list)

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        first, second = await exactly(self.reader, 2)
        assert not second & 0x80, "a server masks nothing"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await exactly(self.reader, 2 if size == 126 else 8), "big")
        return first & 0x0F, await exactly(self.reader, size)

    async def data(self, size: int) -> bytes:
        """So many bytes, however they are framed."""
        got = b""
        while len(got) < size:
            opcode, payload = await self.frame()
            if opcode == BINARY:
                got += payload
            else:
                self.others.append((opcode, payload))
        assert len(got) == size
        return got

    async def closed(self) -> int:
        """The code of the Close frame, after which the connection ends."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                break
        assert await rest(self.reader) == b""
        return int.from_bytes(payload[:2], "big")


@contextlib.asynccontextmanager
async def opened(
    fronts: Fronts, *, context: ssl.SSLContext | None = None, first: bytes = b"", **headers: str
) -> AsyncIterator[Client]:
    """A client whose handshake went well; ``first`` is sent along with it."""
    async with connected(fronts.http_port, context) as (reader, writer):
        writer.write(request(**headers) + first)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)).decode()
        assert head.startswith("HTTP/1.1 101 "), head
        yield Client(reader, writer, fronts, head)


@pytest.fixture
async def fronts() -> AsyncIterator[Fronts]:
    async with running() as started:
        yield started


@pytest.fixture
async def client(fronts: Fronts) -> AsyncIterator[Client]:
    async with opened(fronts) as made:
        yield made


# --- opening --------------------------------------------------------------------------------------------------


async def test_the_handshake(client: Client) -> None:
    assert f"Sec-WebSocket-Accept: {ACCEPT}\r\n" in client.head
    assert "Sec-WebSocket-Extensions" not in client.head
    stream = client.fronts.sessions.stream
    assert (stream.server_name, stream.is_private, stream.has_tls, stream.can_start_tls) == (
        "ep-x.example.test", True, False, False,
    )  # fmt: skip
    assert stream.peer.startswith("127.0.0.1:")


async def test_compression_is_offered_in_vain(fronts: Fronts) -> None:
    async with opened(fronts, Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits") as client:
        assert "permessage-deflate" not in client.head


@pytest.mark.parametrize("path", ["/v2", "/v2?address=other.example:5432", "/sql", "/"])
async def test_any_path_and_query(fronts: Fronts, path: str) -> None:
    async with opened(fronts, path=path) as client:
        client.send(frame(BINARY, b"hello"))
        assert await client.data(5) == b"hello"


async def test_what_comes_with_the_handshake_is_served(fronts: Fronts) -> None:
    async with opened(fronts, first=frame(BINARY, b"early")) as client:
        assert await client.data(5) == b"early"


@pytest.mark.parametrize(
    "wrong",
    [
        {"Sec_WebSocket_Key": ""},
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Version": "8"},
        {"Upgrade": "h2c"},
        {"Host": "x", "Authorization": "a\r\nAuthorization: b"},
    ],
    ids=str,
)
async def test_requests_that_open_nothing(fronts: Fronts, wrong: dict[str, str]) -> None:
    async with connected(fronts.http_port) as (reader, writer):
        writer.write(request(**wrong))
        answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["message"]
    assert fronts.sessions.streams == []


@pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/1.0", b"HTTP/0.1", b"HTTP/2.0"])
async def test_other_versions_of_http_do_not_upgrade(fronts: Fronts, version: bytes) -> None:
    async with connected(fronts.http_port) as (reader, writer):
        writer.write(request().replace(b"HTTP/1.1", version))
        assert (await rest(reader)).startswith(b"HTTP/1.1 400 ")


async def test_posts_do_not_upgrade(fronts: Fronts) -> None:
    async with connected(fronts.http_port) as (reader, writer):
        writer.write(request().replace(b"GET", b"POST"))
        assert (await rest(reader)).startswith(b"HTTP/1.1 400 ")


async def test_other_requests_come_before_it(fronts: Fronts) -> None:
    async with connected(fronts.http_port) as (reader, writer):
        writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        assert (await asyncio.wait_for(reader.readuntil(b"[hi]"), DEADLINE)).startswith(b"HTTP/1.1 200")
        writer.write(request())
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)).startswith(b"HTTP/1.1 101")
        writer.write(frame(BINARY, b"hello"))
        assert await Client(reader, writer, fronts).data(5) == b"hello"


@pytest.mark.parametrize(
    ("allowed", "origin", "status"),
    [
        ((), None, 101),
        ((), "https://a.example", 403),
        (("https://a.example",), "https://a.example", 101),
        (("https://a.example",), "https://b.example", 403),
        (("https://a.example",), "null", 403),
        (("*",), "https://b.example", 101),
    ],
)
async def test_pages_of_other_origins_may_not_connect(allowed: tuple[str, ...], origin: str, status: int) -> None:
    async with running(cors_origins=allowed) as fronts, connected(fronts.http_port) as (reader, writer):
        writer.write(request(Origin=origin))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
        assert int(head.split()[1]) == status


async def test_there_are_only_so_many_places() -> None:
    async with running(max_sessions=1) as fronts, opened(fronts):
        async with connected(fronts.http_port) as (reader, writer):
            writer.write(request())
            answer = await rest(reader)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        assert b"rowgate:too_many_sessions" in answer
        async with connected(fronts.http_port) as (reader, writer):
            writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
            assert (await asyncio.wait_for(reader.readuntil(b"[hi]"), DEADLINE)).startswith(b"HTTP/1.1 200")


# --- frames ---------------------------------------------------------------------------------------------------


async def test_bytes_one_at_a_time(client: Client) -> None:
    for byte in frame(BINARY, b"slowly") + frame(PING, b"ping") + frame(BINARY, b"x" * 200):
        client.send(bytes([byte]))
        await client.writer.drain()
    assert await client.data(206) == b"slowly" + b"x" * 200
    assert client.others == [(PONG, b"ping")]


async def test_many_frames_at_once(client: Client) -> None:
    client.send(*(frame(BINARY, bytes([number])) for number in range(256)))
    assert await client.data(256) == bytes(range(256))


async def test_fragmented_messages_with_pings_in_between(client: Client) -> None:
    client.send(
        frame(BINARY, b"one ", fin=False), frame(PING, b"a"), frame(CONTINUATION, b"two ", fin=False),
        frame(CONTINUATION, b"", fin=False), frame(PING, b"b"), frame(CONTINUATION, b"three"),
    )  # fmt: skip
    assert await client.data(13) == b"one two three"
    assert client.others == [(PONG, b"a"), (PONG, b"b")]


async def test_pings_before_and_while_the_session_waits(client: Client) -> None:
    client.send(frame(PING, b"before"))
    assert await client.frame() == (PONG, b"before")
    client.send(frame(BINARY, b"wait"))
    await asyncio.wait_for(client.fronts.sessions.waiting.wait(), DEADLINE)
    client.send(frame(PING, b"while"), frame(PONG, b"unasked"))
    assert await client.frame() == (PONG, b"while")


async def test_a_frame_of_many_megabytes(client: Client) -> None:
    big = os.urandom(8_000_000)
    sending = asyncio.create_task(send_all(client, Frame(Opcode.BINARY, big).serialize(mask=True)))
    assert await client.data(len(big)) == big
    await sending


async def send_all(client: Client, data: bytes) -> None:
    client.writer.write(data)
    await client.writer.drain()


async def test_a_frame_is_served_before_it_is_whole(client: Client) -> None:
    client.send(frame(BINARY, b"x" * 1000, length=1_000_000_000))
    assert await client.data(1000) == b"x" * 1000


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"select 1"), 1003),
        (frame(TEXT, b"sel", fin=False), 1003),
        (frame(TEXT, b"x", length=1_000_000), 1003),
        (frame(BINARY, b"", length=MOST_FRAME_BYTES + 1), 1009),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", length=1_000_000), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CONTINUATION, b"of nothing"), 1002),
        (frame(BINARY, b"a", fin=False) + frame(BINARY, b"b"), 1002),
        (frame(3, b"reserved"), 1002),
        (frame(BINARY | 0x40, b"compressed"), 1002),
        (b"\x82\x05plain", 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, struct.pack(">H", 1005)), 1002),
        (frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007),
    ],
)
async def test_frames_that_end_it(client: Client, sent: bytes, code: int) -> None:
    client.send(sent)
    assert await client.closed() == code
    client.writer.close()
    await until(lambda: client.fronts.sessions.ended == 1)
    await until(lambda: client.fronts.host.clients == 0)


async def test_what_came_before_the_closing_handshake_is_served(client: Client) -> None:
    client.send(frame(BINARY, b"at last"), frame(CLOSE, struct.pack(">H", 1000)))
    assert await client.closed() == 1000
    await until(lambda: client.fronts.sessions.ended == 1)
    assert client.fronts.sessions.seen == b"at last"


async def test_a_session_that_ends_closes_with_a_handshake(client: Client) -> None:
    client.send(frame(BINARY, b"goodbye"))
    assert await client.frame() == (BINARY, b"last word")
    assert await client.frame() == (CLOSE, struct.pack(">H", 1000))
    client.send(frame(BINARY, b"too late"), frame(CLOSE, struct.pack(">H", 1000)))
    assert await rest(client.reader) == b""


async def test_a_client_that_does_not_finish_the_handshake(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowgate.gateway.byte_stream.LINGER_SECONDS", 0.5)
    client.send(frame(BINARY, b"goodbye"))
    await client.data(9)
    await until(lambda: client.fronts.host.clients == 0)


async def test_an_unmodified_client(fronts: Fronts) -> None:
    async with connect(f"ws://127.0.0.1:{fronts.http_port}/v2") as client, asyncio.timeout(DEADLINE):
        await client.send([b"frag", b"men", b"ted"])
        got = b""
        while len(got) < 10:
            got += await client.recv()  # type: ignore[operator]
        assert got == b"fragmented"
        await (await client.ping())
    assert client.close_code == 1000


# --- clients that vanish, and back-pressure -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "abort", "frame"])
async def test_a_waiting_session_learns_that_its_client_has_gone(client: Client, how: str) -> None:
    client.send(frame(BINARY, b"wait"))
    await asyncio.wait_for(client.fronts.sessions.waiting.wait(), DEADLINE)
    if how == "frame":
        client.send(frame(CLOSE))
    else:
        getattr(client.writer.transport, how)()
    await until(lambda: client.fronts.sessions.ended == 1, 1.0)
    client.writer.close()
    await until(lambda: client.fronts.host.clients == 0)


async def test_little_is_read_ahead_of_a_session_that_waits(client: Client) -> None:
    client.send(frame(BINARY, b"wait"))
    await asyncio.wait_for(client.fronts.sessions.waiting.wait(), DEADLINE)
    client.send(frame(BINARY, b"x" * 1000, length=900_000_000), b"x" * 20_000_000)
    stream = client.fronts.sessions.stream
    await until(lambda: bool(stream._paused))  # type: ignore[attr-defined]
    assert 0 < len(stream._ahead) <= READ_AHEAD_BYTES  # type: ignore[attr-defined]
    assert len(stream._protocol.reader.buffer) <= READ_AHEAD_BYTES  # type: ignore[attr-defined]
    assert client.writer.transport.get_write_buffer_size() > 1_000_000
    client.writer.transport.abort()


async def test_a_client_that_does_not_read_holds_its_session(client: Client) -> None:
    client.writer.transport.pause_reading()
    client.send(frame(BINARY, b"flood"))
    stream_of = client.fronts.sessions
    await until(lambda: bool(stream_of.streams) and stream_of.stream._writable is not None)  # type: ignore[attr-defined]
    assert stream_of.stream._transport.get_write_buffer_size() < 1_000_000  # type: ignore[attr-defined]
    client.writer.transport.resume_reading()
    await client.data(65536 * 100)
    client.writer.transport.abort()
    await until(lambda: stream_of.ended == 1)


# --- TLS ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


async def test_https_and_wss_on_the_same_port(folder: Path) -> None:
    async with running(**tls_settings(folder)) as fronts:
        async with connected(fronts.http_port, trusting(folder, "h2", "http/1.1")) as (reader, writer):
            for body in (b"hi", b"x" * 300_000):
                writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
                assert answer.startswith(b"HTTP/1.1 200")
                assert await exactly(reader, len(body) + 2) == b"[" + body + b"]"
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        async with opened(fronts, context=trusting(folder), first=frame(BINARY, b"early")) as client:
            assert await client.data(5) == b"early"
            client.send(frame(BINARY, b"x" * 300_000))
            assert await client.data(300_000) == b"x" * 300_000
            stream = fronts.sessions.stream
            assert (stream.has_tls, stream.is_private, stream.server_name) == (True, True, "ep-x.example.test")
            client.send(frame(BINARY, b"goodbye"))
            assert await client.data(9) == b"last word"
            assert await client.frame() == (CLOSE, struct.pack(">H", 1000))
            client.send(frame(CLOSE, struct.pack(">H", 1000)))
            assert await rest(client.reader) == b""


async def test_plain_http_is_for_this_machine_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(**tls_settings(folder)) as fronts:
        for nearby, status in ((True, b"200"), (False, b"400")):
            monkeypatch.setattr("rowgate.gateway.http.connection.is_loopback", lambda address, near=nearby: near)
            async with connected(fronts.http_port) as (reader, writer):
                writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
                answer = await rest(reader)
                assert answer.startswith(b"HTTP/1.1 " + status)
                assert (b"this port speaks TLS" in answer) is not nearby
        async with connected(fronts.http_port) as (reader, writer):
            writer.write(request())
            assert b"this port speaks TLS" in await rest(reader)


async def test_a_password_crosses_plain_websockets_on_this_machine_alone(
    fronts: Fronts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(fronts):
        assert fronts.sessions.stream.is_private
        monkeypatch.setattr("rowgate.gateway.byte_stream.is_loopback", lambda address: False)
        assert not fronts.sessions.stream.is_private


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("127.0.0.1", 1), True), (("127.9.9.9", 1), True), (("::1", 1, 0, 0), True),
        (("::ffff:127.0.0.1", 1, 0, 0), True), (("10.0.0.1", 1), False), (("fe80::1%eth0", 1, 0, 2), False),
        (("::ffff:10.0.0.1", 1, 0, 0), False), ("/a/unix/socket", False), (None, False),
    ],
)  # fmt: skip
def test_which_addresses_are_of_this_machine(address: object, expected: bool) -> None:
    assert is_loopback(address) is expected


async def test_a_tls_client_that_leaves_during_the_handshake(folder: Path) -> None:
    async with running(**tls_settings(folder)) as fronts:
        with socket.create_connection(("127.0.0.1", fronts.http_port)) as client:
            client.send(b"\x16\x03\x01")
            await until(lambda: len(fronts.http.connections) == 1)
        await until(lambda: not fronts.http.connections)


# --- stopping -------------------------------------------------------------------------------------------------


async def test_stopping_lets_sessions_end() -> None:
    async with running(shutdown_seconds=DEADLINE) as fronts, opened(fronts) as client:
        stopping = asyncio.create_task(fronts.stop())
        await until(lambda: fronts.host.stopping)
        client.send(frame(BINARY, b"still"))
        assert await client.data(5) == b"still"
        client.send(frame(BINARY, b"goodbye"))
        await client.data(9)
        client.send(frame(CLOSE))
        assert (await client.frame())[0] == CLOSE
        assert await rest(client.reader) == b""
        client.writer.close()
        await asyncio.wait_for(stopping, 5)


# --- the cutter by itself -------------------------------------------------------------------------------------

messages = st.lists(
    st.tuples(st.binary(max_size=300), st.integers(0, 3), st.booleans()), min_size=1, max_size=8
)  # payload, fragments beyond the first, a ping in between


@given(messages, st.lists(st.integers(1, 400), max_size=40))
def test_cut_frames_carry_the_same_bytes(sent: list[tuple[bytes, int, bool]], steps: list[int]) -> None:
    wire, expected, pings = b"", b"", 0
    for payload, fragments, ping in sent:
        expected += payload
        size = max(1, len(payload) // (fragments + 1))
        pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
        for at, piece in enumerate(pieces):
            wire += frame(BINARY if at == 0 else CONTINUATION, piece, fin=at == len(pieces) - 1)
            if ping:
                wire += frame(PING, b"p" * 20)
                pings += 1
    protocol, cutter = Protocol(Side.SERVER, state=OPEN), FrameCutter()
    got, at = [], 0
    for step in [*steps, len(wire)]:
        for piece in cutter.cut(wire[at : at + step]):
            protocol.receive_data(piece)
        assert len(protocol.reader.buffer) == 0
        assert len(cutter._head) <= 14 + 125
        at += step
        got += protocol.events_received()
    data = [one for one in got if isinstance(one, Frame) and one.opcode in (Opcode.BINARY, CONT)]
    assert b"".join(bytes(one.data) for one in data) == expected
    assert sum(isinstance(one, Frame) and one.opcode is Opcode.PING for one in got) == pings
    assert protocol.parser_exc is None
