"""Fetching a provider's documents over HTTPS: the only I/O of this package.

Never follows a redirect, never uses a proxy of the environment, never reads more than the limit, and never puts a
byte of an answer into an error.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

import httpx

from rowgate.errors import KeySetUnavailable
from rowgate.identity.addresses import split_address, why_unfetchable

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
    """Fetches with httpx. ``allow_insecure_loopback`` lets plain http through for loopback addresses.

    ``transport`` replaces the network (an ASGI application, a test). Without one, certificates are checked against
    certifi's roots and the system's. Use it as an async context manager, or call ``close``.
    """

    def __init__(
        self, *, allow_insecure_loopback: bool = False, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._allow_insecure_loopback = allow_insecure_loopback
        self._client = httpx.AsyncClient(
            transport=transport,
            verify=_certificate_roots() if transport is None else False,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(TOTAL_TIMEOUT, connect=CONNECT_TIMEOUT),
            # Asked for unpacked: a small packed answer can unpack to gigabytes.
            headers={"Accept": "application/json, */*;q=0.1", "Accept-Encoding": "identity", "User-Agent": "rowgate"},
        )

    async def fetch(self, url: str) -> FetchedDocument:
        """The document at ``url``. Raises KeySetUnavailable."""
        reason = why_unfetchable(url, allow_insecure_loopback=self._allow_insecure_loopback)
        if reason:
            raise KeySetUnavailable(
                "The URL may not be fetched.",
                detail=f"{url[:200]!a} was not asked, because {reason}",
                hint="Give an https URL.",
            )
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT), self._client.stream("GET", url) as response:
                return await _read(url, response)
        except TimeoutError as error:
            raise _failed(url, f"no answer within {TOTAL_TIMEOUT:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _failed(url, _cause(error)) from error

    async def close(self) -> None:
        """Close the connections. Fetching afterwards is an error of the caller."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _certificate_roots() -> ssl.SSLContext:
    """certifi's roots for machines without any, and the system's for companies with an authority of their own."""
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
