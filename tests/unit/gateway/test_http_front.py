"""The HTTP front over real sockets: bounds, order, keep-alive, CORS, and what happens when clients go away."""

import asyncio
import contextlib
import json
import re
import sys
import weakref
from collections.abc import AsyncIterator

import pytest

from rowgate.errors import QueueFull
from rowgate.gateway.http.connection import MOST_PIPELINED
from rowgate.gateway.http.message import HttpRequest, RequestIds
from rowgate.gateway.http.server import HttpServer
from rowgate.gateway.listener import listen
from rowgate.gateway.response import Response
from rowgate.settings import Settings
from tests.unit.gateway.fronts import until

DEADLINE = 5


class Headers(list[tuple[bytes, bytes]]):
    """A list that can be watched."""


class Echo:
    """Answers with what came; the path of the body says how."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.made: list[weakref.ref[Headers]] = []
        self.received: list[dict[bytes, bytes]] = []

    async def sql(self, request: HttpRequest) -> Response:
        self.received.append(request.headers)
        if request.body == b"pieces":
            headers = Headers([(b"X", b"y")])
            self.made.append(weakref.ref(headers))
            return Response(200, b"[", headers, rest=(b"1", b"2", b"]"))
        if request.body == b"wait":
            self.started.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.body == b"refuse":
            raise QueueFull("too many")
        if request.body == b"break":
            raise ZeroDivisionError("secret detail")
        return Response(200, b"[" + request.body[:100] + b"]")

    async def health(self, request: HttpRequest) -> Response:
        return Response(200, b"{}")


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(echo: Echo, request: pytest.FixtureRequest) -> AsyncIterator[HttpServer]:
    settings = Settings(port=0, max_body_bytes=100_000, shutdown_seconds=1, **getattr(request, "param", {}))
    running = HttpServer(settings, answer_sql=echo.sql, answer_health=echo.health)
    running.port = await running.start()  # type: ignore[attr-defined]
    yield running
    await running.stop()


class Client:
    """A socket that sends bytes and reads whole answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(DEADLINE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.splitlines()
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(lines[0].split()[1]), headers, body

    async def post(self, body: bytes, *headers: str) -> tuple[int, dict[str, str], bytes]:
        self.send(body, *headers)
        return await self.answer()

    def send(self, body: bytes, *headers: str) -> None:
        more = "".join(header + "\r\n" for header in headers)
        self.writer.write(f"POST /sql HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def ended(self) -> bool:
        async with asyncio.timeout(DEADLINE):
            return await self.reader.read() == b""


@pytest.fixture
async def client(server: HttpServer) -> AsyncIterator[Client]:
    connected = Client(*await asyncio.open_connection("127.0.0.1", server.port))  # type: ignore[attr-defined]
    yield connected
    connected.writer.close()
    with contextlib.suppress(ConnectionError):
        await connected.writer.wait_closed()


async def test_many_requests_on_one_connection(client: Client) -> None:
    for number in range(20):
        status, headers, body = await client.post(b"%d" % number)
        assert (status, body) == (200, b"[%d]" % number)
        assert headers["content-type"] == "application/json"
        assert re.fullmatch(
            r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}", headers["neon-request-id"]
        )


async def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    for number in range(10):
        client.send(b"%d" % number)
    assert [(await client.answer())[2] for _ in range(10)] == [b"[%d]" % number for number in range(10)]


@pytest.mark.parametrize("answered_before", [0, 1, 3])
async def test_so_many_may_wait_and_no_more(client: Client, answered_before: int) -> None:
    """Also on a connection that has waited for its next request."""
    for _ in range(answered_before):
        assert (await client.post(b"0"))[0] == 200
    client.writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n7" * 200)
    statuses = []
    while not statuses or statuses[-1] == 200:
        status, headers, _ = await client.answer()
        statuses.append(status)
    assert (statuses[-1], headers["connection"]) == (400, "close")
    assert len(statuses) <= MOST_PIPELINED + 2
    assert await client.ended()


async def test_nothing_of_an_answer_is_kept_while_a_client_is_idle(echo: Echo, client: Client) -> None:
    for _ in range(2):
        assert (await client.post(b"pieces"))[2] == b"[12]"
    await until(lambda: len(echo.made) == 2 and all(one() is None for one in echo.made))


async def test_no_token_is_kept_while_a_client_is_idle(echo: Echo, client: Client) -> None:
    await client.post(b"1", "Authorization: Bearer x")
    ours = 2  # echo's own list, and the argument of getrefcount
    await until(lambda: sys.getrefcount(echo.received[0]) == ours)


GARBAGE = b"{ } \0\r\n\r\n"


async def test_what_cannot_be_read_is_refused_after_the_answers_before_it(client: Client) -> None:
    client.send(b"1")
    client.send(b"2")
    client.writer.write(GARBAGE)
    assert [(await client.answer())[::2] for _ in range(2)] == [(200, b"[1]"), (200, b"[2]")]
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert await client.ended()


BEHIND = pytest.mark.parametrize(
    "behind",
    [
        GARBAGE,
        b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n2" + GARBAGE,
        b"POST /sql HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000,
    ],
    ids=["garbage", "a request and garbage", "a request that waits", "an upgrade", "large headers"],
)


@BEHIND
async def test_what_follows_the_last_request_costs_it_nothing(client: Client, behind: bytes) -> None:
    client.writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1" + behind)
    status, headers, body = await client.answer()
    assert (status, body, headers["connection"]) == (200, b"[1]", "close")
    assert await client.ended()


@BEHIND
async def test_what_follows_a_refused_request_is_nobodys(client: Client, behind: bytes) -> None:
    client.writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 1\r\n\r\n1" + behind)
    status, headers, body = await client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert b"the header host came twice" in body
    assert await client.ended()


async def test_bytes_one_at_a_time(client: Client) -> None:
    for byte in b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok":
        client.writer.write(bytes([byte]))
        await client.writer.drain()
    assert (await client.answer())[2] == b"[ok]"


async def test_a_chunked_body(client: Client) -> None:
    client.writer.write(
        b"POST /sql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    assert (await client.answer())[2] == b"[abc]"


async def test_a_client_that_waits_for_continue(client: Client) -> None:
    client.writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    async with asyncio.timeout(DEADLINE):
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.writer.write(b"ok")
    assert (await client.answer())[2] == b"[ok]"


async def test_a_body_over_the_limit_is_answered_after_it_was_read(client: Client) -> None:
    status, _, body = await client.post(b"x" * 20_000_000)
    assert status == 413
    assert b"request is too large (max is 100000 bytes)" in body
    assert await client.ended()


async def test_a_chunked_body_over_the_limit(client: Client) -> None:
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    client.writer.write(
        b"POST /sql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 8 + b"0\r\n\r\n"
    )
    assert (await client.answer())[0] == 413


async def test_headers_over_the_limit(client: Client) -> None:
    client.writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000)
    assert (await client.answer())[0] == 431
    assert await client.ended()


@pytest.mark.parametrize("size", [31_000, 34_000])
async def test_the_header_limit_does_not_depend_on_how_the_bytes_arrive(client: Client, size: int) -> None:
    client.send(b"z" * 50_000, "X: " + "y" * size)
    status, _, body = await client.answer()
    assert (status, body[:3]) == ((200, b"[zz") if size < 32_000 else (431, b'"re'))


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /sql HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ],
)
async def test_what_is_not_http(client: Client, junk: bytes) -> None:
    client.writer.write(junk)
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert await client.ended()


async def test_doubled_credentials_are_refused(client: Client) -> None:
    status, _, body = await client.post(b"x", "Authorization: Bearer a", "Authorization: Bearer b")
    assert status == 400
    assert b"came twice" in body


async def test_compressed_bodies_are_refused(client: Client) -> None:
    assert (await client.post(b"x", "Content-Encoding: gzip"))[0] == 400


async def test_other_paths_and_methods(client: Client) -> None:
    for line in (b"GET /sql", b"POST /", b"POST /sql/", b"DELETE /sql"):
        client.writer.write(line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, body = await client.answer()
        assert (status, body) == (400, b'"query is not supported"')
    client.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.answer())[0] == 200
    client.writer.write(b"POST /sql?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
    assert (await client.answer())[0] == 200


async def test_errors_become_answers(client: Client) -> None:
    status, headers, _ = await client.post(b"refuse")
    assert (status, headers["retry-after"]) == (503, "1")
    status, _, body = await client.post(b"break")
    assert status == 500
    assert b"secret" not in body
    assert (await client.post(b"fine"))[0] == 200


@pytest.mark.parametrize("server", [{"log_requests": True}], indirect=True)
async def test_requests_are_logged_where_asked(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    await client.post(b"secret", "Authorization: Bearer hidden")
    logged = capsys.readouterr().err
    record = json.loads(logged)
    assert (record["method"], record["path"], record["status"]) == ("POST", "/sql", 200)
    assert "secret" not in logged
    assert "hidden" not in logged


async def test_a_client_that_leaves_takes_its_request_along(client: Client, echo: Echo) -> None:
    client.send(b"wait")
    async with asyncio.timeout(DEADLINE):
        await echo.started.wait()
        client.writer.transport.abort()
        await echo.cancelled.wait()


async def test_stopping_lets_a_request_end(server: HttpServer, client: Client, echo: Echo) -> None:
    client.send(b"wait")
    async with asyncio.timeout(DEADLINE):
        await echo.started.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        echo.release.set()
        status, headers, _ = await client.answer()
        await stopping
    assert (status, headers["connection"]) == (200, "close")


@pytest.mark.parametrize("server", [{"request_timeout_seconds": 1}], indirect=True)
async def test_a_client_that_is_too_slow(client: Client) -> None:
    client.writer.write(b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab")
    assert (await client.answer())[0] == 408
    assert await client.ended()


@pytest.mark.parametrize("server", [{"keep_alive_seconds": 1}], indirect=True)
async def test_an_idle_connection_is_closed(client: Client) -> None:
    await client.post(b"x")
    assert await client.ended()


async def test_without_origins_no_browser_may_read(client: Client) -> None:
    _, headers, _ = await client.post(b"x", "Origin: https://a.example")
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("server", [{"cors_origins": ("https://a.example",)}], indirect=True)
async def test_only_listed_origins_may_read(client: Client) -> None:
    _, headers, _ = await client.post(b"x", "Origin: https://a.example")
    assert headers["access-control-allow-origin"] == "https://a.example"
    assert headers["vary"] == "origin"
    _, headers, _ = await client.post(b"x", "Origin: https://b.example")
    assert "access-control-allow-origin" not in headers
    assert headers["vary"] == "origin"


@pytest.mark.parametrize("server", [{"cors_origins": ("*",)}], indirect=True)
async def test_preflight(client: Client) -> None:
    client.writer.write(b"OPTIONS /sql HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\r\n")
    status, headers, _ = await client.answer()
    assert (status, headers["access-control-allow-origin"], headers["allow"]) == (200, "*", "options, post")
    for name in ("authorization", "neon-connection-string", "neon-batch-deferrable"):
        assert name in headers["access-control-allow-headers"]
    assert headers["access-control-max-age"] == "86400"
    _, headers, _ = await client.post(b"break", "Origin: https://a.example")
    assert headers["access-control-allow-origin"] == "*"


def test_request_ids_differ() -> None:
    ids = RequestIds()
    assert len({ids.next() for _ in range(1000)}) == 1000


def test_a_taken_port_is_named() -> None:
    from rowgate.errors import PortTaken

    first = listen("127.0.0.1", 0)
    with first, pytest.raises(PortTaken, match=str(first.getsockname()[1])):
        listen("127.0.0.1", first.getsockname()[1])
