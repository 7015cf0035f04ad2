"""Fetching a provider's documents over HTTPS: the only I/O of this package.

Names are resolved here and the addresses judged before anything connects to them, so that a name cannot lead to this
machine or a private network. Never follows a redirect, never uses a proxy of the environment, never reads more than the
limit, and never puts a byte of an answer into an error.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from rowgate.errors import KeySetUnavailable, SettingInvalid
from rowgate.identity.addresses import (
    Network,
    is_loopback,
    read_network,
    split_address,
    why_unfetchable,
    why_unreachable,
)

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT: Final = 2.0
TOTAL_TIMEOUT: Final = 5.0
LARGEST_DOCUMENT: Final = 256 * 1024

_MAX_AGE: Final = re.compile(r'max-age="?([0-9]{1,9})"?', re.ASCII)


@dataclass(frozen=True, slots=True)
class FetchedDocument:
    """The body of a successful answer, and for how many seconds it stays fresh (None where the answer says nothing)."""

    body: bytes = field(repr=False)
    max_age: int | None = None


class Fetcher(Protocol):
    """Whoever can fetch a document."""

    async def fetch(self, url: str) -> FetchedDocument:
        """The document at ``url``. Raises KeySetUnavailable, which says what went wrong, and nothing else."""
        ...


class HttpFetcher:
    """Fetches with httpx. ``allow_insecure_loopback`` lets requests to this machine through, and plain http for them.

    ``networks`` are private networks whose addresses hosts may have, such as ``10.0.0.0/8``. ``transport`` replaces
    the network (an ASGI application, a test). Without one, certificates are checked against certifi's roots and the
    system's. Use it as an async context manager, or call ``close``. Raises SettingInvalid.
    """

    def __init__(
        self,
        *,
        allow_insecure_loopback: bool = False,
        networks: Sequence[str] = (),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._networks = tuple(map(_network, networks))
        self._resolves = transport is None
        self._allow_insecure_loopback = allow_insecure_loopback
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def fetch(self, url: str) -> FetchedDocument:
        """The document at ``url``. Raises KeySetUnavailable."""
        import httpx

        reason = why_unfetchable(url, allow_insecure_loopback=self._allow_insecure_loopback)
        if reason:
            raise KeySetUnavailable(
                "The URL may not be fetched.",
                detail=f"{url[:200]!a} was not asked, because {reason}",
                hint="Give an https URL.",
            )
        self._client = client = self._client or _client(self._transport)
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT):
                return await _read_first(client, url, await self._addresses(url))
        except TimeoutError as error:
            raise _failed(url, f"no answer within {TOTAL_TIMEOUT:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _failed(url, _cause(error)) from error

    async def _addresses(self, url: str) -> list[str]:
        """The addresses of the URL's host that may be connected to. Raises KeySetUnavailable where none may."""
        parts = split_address(url)
        host = (parts.hostname if parts else None) or ""
        if not self._resolves or parts is None:
            return [host]
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        # Other names may lead to this machine as well, and only its own mean it.
        near = self._allow_insecure_loopback and is_loopback(host)
        reasons = {
            address: why_unreachable(address, allow_loopback=near, networks=self._networks) for address in addresses
        }
        open_ones = [address for address, reason in reasons.items() if reason is None]
        if not open_ones:
            told = "; ".join(f"{address}: {reason}" for address, reason in list(reasons.items())[:4])
            raise KeySetUnavailable(
                "The URL's host may not be connected to.",
                detail=f"expected a public address for {host[:200]}, got {told or 'none'}",
                hint="Where the provider is in your own network, name that in ROWGATE_ISSUER_NETWORKS.",
            )
        return open_ones

    async def close(self) -> None:
        """Close the connections. Fetching afterwards is an error of the caller."""
        if self._client is not None:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _network(text: str) -> Network:
    network = read_network(text)
    if network is None:
        raise SettingInvalid(
            "An issuer network cannot be used.", detail=f"expected a network such as 10.0.0.0/8, got {text[:100]!a}"
        )
    return network


async def _read_first(client: httpx.AsyncClient, url: str, addresses: list[str]) -> FetchedDocument:
    """The document from the first of the addresses that can be connected to."""
    import httpx

    for address in addresses[:-1]:
        try:
            return await _ask(client, url, address)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await _ask(client, url, addresses[-1])


async def _ask(client: httpx.AsyncClient, url: str, address: str) -> FetchedDocument:
    """Ask the server at ``address`` for ``url``; its certificate must still be that of the URL's host."""
    import httpx

    asked = httpx.URL(url)
    request = client.build_request("GET", asked, headers={"Host": asked.netloc.decode("ascii")})
    if address != asked.host:
        request.url = asked.copy_with(host=address)
        request.extensions = {**request.extensions, "sni_hostname": asked.host}
    response = await client.send(request, stream=True)
    try:
        return await _read(url, response)
    finally:
        await response.aclose()


def _client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Made for the first document, as the import of httpx is: a gateway serves before it needs either."""
    import httpx

    return httpx.AsyncClient(
        transport=transport,
        verify=_certificate_roots() if transport is None else False,
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(TOTAL_TIMEOUT, connect=CONNECT_TIMEOUT),
        # A connection is to an address. Kept alive, it could serve another host of that address, whose certificate
        # nobody has looked at.
        limits=httpx.Limits(max_keepalive_connections=0),
        # Asked for unpacked: a small packed answer can unpack to gigabytes.
        headers={"Accept": "application/json, */*;q=0.1", "Accept-Encoding": "identity", "User-Agent": "rowgate"},
    )


def _certificate_roots() -> ssl.SSLContext:
    """certifi's roots for machines without any, and the system's for companies with an authority of their own."""
    import httpx

    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


async def _read(url: str, response: httpx.Response) -> FetchedDocument:
    status = response.status_code
    if response.is_redirect or 300 <= status < 400:
        raise _failed(
            url, f"HTTP {status}, a redirect, which Rowgate does not follow", http_status=status, hint=_REDIRECT_HINT
        )
    if status != 200:
        raise _failed(url, f"HTTP {status}", http_status=status)
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _failed(url, "a compressed body, which was not asked for", http_status=status)
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LARGEST_DOCUMENT:
            raise _failed(url, f"a body of more than {LARGEST_DOCUMENT // 1024} KiB", http_status=status)
    return FetchedDocument(bytes(body), _freshness(response.headers))


_REDIRECT_HINT: Final = "Give the URL that the redirect leads to, if you trust it."


def _freshness(headers: Mapping[str, str]) -> int | None:
    """Seconds for which the answer is fresh (RFC 9111 sections 4.2.1 and 5.2.2), less the Age it has already."""
    directives = [directive.strip().lower() for directive in headers.get("cache-control", "").split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0
    ages = [int(found[1]) for directive in directives if (found := _MAX_AGE.fullmatch(directive))]
    if not ages:
        return None
    age = headers.get("age", "0").strip()
    return max(0, min(ages) - (int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0))


def _cause(error: Exception) -> str:
    """What a person would want to know, found in the chain of causes, because httpx says it in many ways."""
    import httpx

    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT:g} s"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TOTAL_TIMEOUT:g} s"
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not trusted ({getattr(link, 'verify_message', 'unknown reason')})"
        if isinstance(link, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(link, socket.gaierror):
            return "its host name cannot be resolved"
        if isinstance(link, ConnectionRefusedError):
            return "the connection was refused; nothing listens there"
        link = link.__cause__ or link.__context__
    return f"the connection failed ({type(error).__name__})"


def _failed(url: str, got: str, *, http_status: int | None = None, hint: str | None = None) -> KeySetUnavailable:
    parts = split_address(url)
    # The query may hold an identifier that somebody takes for a secret.
    place = f"{parts.scheme}://{parts.netloc}{parts.path}" if parts else "the URL"
    return KeySetUnavailable(
        "The provider's document could not be fetched.",
        detail=f"expected a JSON document at {place}, got {got}",
        hint=hint,
        http_status=http_status,
    )
