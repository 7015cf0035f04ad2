"""Fetching: what is asked for, what is taken, and how failures are told. Against real sockets where sockets matter."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import httpx
import pytest

from rowgate.errors import KeySetUnavailable, SettingInvalid
from rowgate.identity import fetcher as fetching
from rowgate.identity.addresses import is_loopback, read_network, why_unfetchable, why_unreachable
from rowgate.identity.fetcher import LARGEST_DOCUMENT, HttpFetcher

URL = "https://issuer.example/jwks"
Answer = Callable[[httpx.Request], httpx.Response]


def fetcher(answer: Answer) -> HttpFetcher:
    return HttpFetcher(transport=httpx.MockTransport(answer))


def always(status: int, body: Any = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: httpx.Response(status, content=body, headers=named)


async def failure(answer: Answer, url: str = URL) -> KeySetUnavailable:
    async with fetcher(answer) as tried:
        with pytest.raises(KeySetUnavailable) as caught:
            await tried.fetch(url)
    assert "secret" not in f"{caught.value} {caught.value.detail} {caught.value.hint}"
    return caught.value


async def test_a_document() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"{}")

    async with fetcher(answer) as tried:
        document = await tried.fetch(URL + "?p=1")
    assert (document.body, document.max_age) == (b"{}", None)
    assert str(seen[0].url) == URL + "?p=1"
    assert seen[0].headers["accept-encoding"] == "identity"
    assert "cookie" not in seen[0].headers


@pytest.mark.parametrize(
    ("cache_control", "age", "expected"),
    [
        ("max-age=600", "0", 600),
        ("public, Max-Age=600, must-revalidate", "0", 600),
        ('max-age="600"', "0", 600),
        ("max-age=600", "100", 500),
        ("max-age=600", "1000", 0),
        ("max-age=600", "soon", 600),
        ("max-age=600, max-age=60", "0", 60),
        ("no-store", "0", 0),
        ("max-age=600, no-cache", "0", 0),
        ("s-maxage=5", "0", None),
        ("max-age=-1", "0", None),
        ("max-age=99999999999", "0", None),
        ("max-age=\u0661", "0", None),
        ("", "0", None),
    ],
)
async def test_freshness(cache_control: str, age: str, expected: int | None) -> None:
    answer = lambda request: httpx.Response(  # noqa: E731
        200, content=b"{}", headers=[(b"cache-control", cache_control.encode()), (b"age", age.encode())]
    )
    async with fetcher(answer) as tried:
        assert (await tried.fetch(URL)).max_age == expected


@pytest.mark.parametrize("status", [201, 204, 206, 400, 401, 404, 429, 500, 503])
async def test_statuses(status: int) -> None:
    error = await failure(always(status, b"secret"))
    assert error.http_status == status
    assert f"HTTP {status}" in str(error.detail)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_redirects_are_not_followed(status: int) -> None:
    error = await failure(always(status, location="https://evil.example/secret"))
    assert "redirect" in str(error.detail)


async def test_the_size_has_a_limit_while_it_streams() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65536
            yield b"x" * 65536

    error = await failure(lambda request: httpx.Response(200, content=endless()))
    assert "256 KiB" in str(error.detail)
    assert sent <= LARGEST_DOCUMENT + 2 * 65536


async def test_compressed_bodies_are_not_unpacked() -> None:
    error = await failure(
        lambda request: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"secret"))
    )
    assert "compressed" in str(error.detail)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectTimeout("secret"), "no connection within 2 s"),
        (httpx.ReadTimeout("secret"), "no answer within 5 s"),
        (httpx.ReadError("secret"), "ReadError"),
        (httpx.RemoteProtocolError("secret"), "RemoteProtocolError"),
        (httpx.InvalidURL("secret"), "InvalidURL"),
        (OSError("secret"), "OSError"),
    ],
)
async def test_failures_of_the_network(error: Exception, said: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    assert said in str((await failure(answer)).detail)


async def test_the_query_is_not_told() -> None:
    assert "issuer.example/jwks," in str((await failure(always(404), URL + "?key=secret")).detail)


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example/jwks", "http://127.0.0.1/jwks", "ftp://issuer.example", "file:///etc/passwd", "", "https://",
     "https://user:pass@issuer.example/", "https://issuer.example/#a", "https://issuer.example:x/", "//issuer.example",
     "https://issuer.example/a b", "https://issuer.example/\r\nx", "https://ex\u00e4mple.org/",
     "https:\\\\issuer.example", "https://[::1/", "https://a/" + "x" * 3000],
    ids=str.__len__,
)  # fmt: skip
async def test_urls_that_are_never_asked(url: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError("asked")

    error = await failure(answer, url)
    assert "not asked" in str(error.detail)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example", "10.0.0.1", "0.0.0.0", "127.0.0.1.example", "128.0.0.1", "::"]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_plain_http_is_for_loopback_and_for_those_who_asked() -> None:
    assert why_unfetchable("http://localhost:4445/jwks", allow_insecure_loopback=True) is None
    assert "plain http" in str(why_unfetchable("http://localhost:4445/jwks", allow_insecure_loopback=False))
    assert "plain http" in str(why_unfetchable("http://issuer.example/jwks", allow_insecure_loopback=True))


# --- over real sockets ---------------------------------------------------------------------------------------------


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    under_way: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):  # the client may have gone first
                await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if under_way:
            await asyncio.wait(under_way, timeout=5)


async def test_over_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=77\r\n\r\n{}")
        await writer.drain()

    # A proxy of the environment would be asked for every key set of every provider.
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(handler) as port, HttpFetcher(allow_insecure_loopback=True) as tried:
        document = await tried.fetch(f"http://127.0.0.1:{port}/jwks")
    assert (document.body, document.max_age) == (b"{}", 77)


async def told(url: str, **options: Any) -> str:
    async with HttpFetcher(allow_insecure_loopback=True, **options) as tried:
        with pytest.raises(KeySetUnavailable) as caught:
            await tried.fetch(url)
    return str(caught.value.detail)


async def test_nothing_listens() -> None:
    async with serving(lambda reader, writer: asyncio.sleep(0)) as port:
        pass
    assert "refused" in await told(f"http://127.0.0.1:{port}/")


async def test_a_name_that_does_not_exist() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        wrapped = OSError("secret")
        wrapped.__cause__ = socket.gaierror(-2, "secret")
        raise httpx.ConnectError("secret") from wrapped

    assert "cannot be resolved" in str((await failure(answer)).detail)


async def test_a_certificate_that_is_not_trusted() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("secret") from ssl.SSLCertVerificationError(1, "secret")

    assert "not trusted" in str((await failure(answer)).detail)


async def test_no_tls_behind_https() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(handler) as port:
        assert "TLS" in await told(f"https://127.0.0.1:{port}/")


async def test_an_answer_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the whole never: the limit is on the total."""
    monkeypatch.setattr(fetching, "TOTAL_TIMEOUT", 0.2)
    over = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not over.is_set() and not reader.at_eof():
            writer.write(b" ")
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.01)

    async with serving(handler) as port:
        assert "no answer within 0.2 s" in await told(f"http://127.0.0.1:{port}/")
        over.set()


def test_certificates_are_checked() -> None:
    context = fetching._certificate_roots()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


# --- the address guard ----------------------------------------------------------------------------------------

PRIVATE = [
    "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1", "0.1.2.3", "192.0.0.8", "198.18.0.1", "240.0.0.1",
    "fc00::1", "fd12:3456::1", "fec0::1", "2001:db8::1",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "169.254.1.1", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fe80::1",
    "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "x", "", "1.2.3.4.5",
]  # fmt: skip
TUNNELLED = ["::ffff:{}", "64:ff9b::{}", "64:ff9b:1::{}", "::{}"]


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"])
def test_public_addresses(address: str) -> None:
    assert why_unreachable(address, allow_loopback=False) is None


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_want_to_be_named(address: str) -> None:
    assert why_unreachable(address, allow_loopback=True)
    everything = [read_network("0.0.0.0/0"), read_network("::/0")]
    networks = [network for network in everything if network is not None]
    assert why_unreachable(address, allow_loopback=False, networks=networks) is None


@pytest.mark.parametrize("address", NEVER)
def test_addresses_that_are_never_asked(address: str) -> None:
    everything = [network for text in ("0.0.0.0/0", "::/0") if (network := read_network(text)) is not None]
    assert why_unreachable(address, allow_loopback=True, networks=everything)


@pytest.mark.parametrize("form", TUNNELLED)
def test_ipv4_addresses_in_ipv6_clothes(form: str) -> None:
    for address in ("10.0.0.1", "169.254.169.254", "127.0.0.1", "192.168.0.1"):
        assert why_unreachable(form.format(address), allow_loopback=False), address


def test_tunnels() -> None:
    assert why_unreachable("2002:a9fe:a9fe::1", allow_loopback=False)  # 6to4 to 169.254.169.254
    assert why_unreachable("2002:0a00:0001::1", allow_loopback=False)  # 6to4 to 10.0.0.1
    assert why_unreachable("2001:0:4136:e378:8000:63bf:f5ff:fffe", allow_loopback=False)  # Teredo to 10.0.0.1


def test_loopback_is_for_development() -> None:
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert why_unreachable(address, allow_loopback=True) is None
        assert why_unreachable(address, allow_loopback=False)


@pytest.mark.parametrize("text", ["", "x", "10.0.0.0/33", "10.0.0.1/8", "1.2.3"])
def test_networks_that_are_none(text: str) -> None:
    with pytest.raises(SettingInvalid):
        HttpFetcher(networks=(text,))


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and their addresses, in place of the system's."""
    names: dict[str, list[str]] = {}

    async def getaddrinfo(self: Any, host: str, port: int, **options: Any) -> list[Any]:
        if host not in names:
            raise socket.gaierror(-2, "unknown")
        return [(0, 0, 0, "", (address, port)) for address in names[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return names


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:169.254.169.254", "fd00:ec2::254", "fe80::1"]
)
@pytest.mark.parametrize("insecure", [True, False])
async def test_a_name_cannot_lead_inside(resolver: dict[str, list[str]], address: str, insecure: bool) -> None:
    resolver["rebound.example"] = [address]
    async with HttpFetcher(allow_insecure_loopback=insecure) as tried:
        with pytest.raises(KeySetUnavailable, match="may not be connected") as caught:
            await tried.fetch("https://rebound.example/jwks")
    assert caught.value.http_status is None


async def test_only_the_addresses_that_were_judged_are_connected_to(resolver: dict[str, list[str]]) -> None:
    """A second look at the name could give another answer, so there is none."""
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with serving(handler) as port:
        resolver["localhost"] = ["169.254.169.254", "127.0.0.1"]
        async with HttpFetcher(allow_insecure_loopback=True) as tried:
            assert (await tried.fetch(f"http://localhost:{port}/jwks?a=1")).body == b"{}"
    assert asked[0].startswith(b"GET /jwks?a=1 HTTP/1.1")
    assert f"host: localhost:{port}".encode() in asked[0].lower()


async def test_the_next_address_is_tried_where_nothing_listens(resolver: dict[str, list[str]]) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with serving(handler) as port:
        resolver["localhost"] = ["127.0.0.9", "127.0.0.1"]
        async with HttpFetcher(allow_insecure_loopback=True) as tried:
            assert (await tried.fetch(f"http://localhost:{port}/")).body == b"{}"


async def test_a_name_that_nobody_knows(resolver: dict[str, list[str]]) -> None:
    assert "cannot be resolved" in await told("https://unknown.example/")


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/", "https://169.254.169.254/", "https://[fd00:ec2::254]/", "https://127.0.0.1/"]
)
async def test_addresses_in_the_url_itself(url: str) -> None:
    async with HttpFetcher() as tried:
        with pytest.raises(KeySetUnavailable, match="may not be connected"):
            await tried.fetch(url)
