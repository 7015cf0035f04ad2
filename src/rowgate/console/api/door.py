"""What every request to the management port passes first: the name it was called by, the site it comes from, its size.

A page in somebody's browser may point a name of its own at this machine (DNS rebinding), so the Host header must be a
name of ours. There is no CORS: no other site may read an answer. Knows nothing of what is behind it.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rowgate.console.api.answers import error_answer
from rowgate.errors import AddressRefused, BodyTooLarge, RowgateError

LARGEST_BODY: Final = 1024 * 1024
SECURITY_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Door:
    """ASGI middleware. ``hosts`` are further names, without a port, that count beside loopback ones."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in SECURITY_HEADERS if header[0] not in known),
                ]
            await send(message)

        try:
            self._check(Headers(scope=scope))
            receive = await _whole_body(receive)
        except RowgateError as problem:
            await error_answer(problem)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _check(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise AddressRefused("The management API does not answer to this name.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            raise AddressRefused("The management API answers no other site.")

    def _is_ours(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        if "@" in host or "/" in host:
            return False
        return name == "localhost" or name in self._hosts or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


async def _whole_body(receive: Receive) -> Receive:
    """Reads the body, up to the bound, before anything is done; gives a ``receive`` that has it."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        part = message.get("body", b"")
        size += len(part)
        if size > LARGEST_BODY:
            raise BodyTooLarge("the request body is too large", hint=f"At most {LARGEST_BODY} bytes are read.")
        parts.append(part)
        if not message.get("more_body"):
            break
    body: Message | None = {"type": "http.request", "body": b"".join(parts), "more_body": False}

    async def replay() -> Message:
        nonlocal body
        if body is not None:
            whole, body = body, None
            return whole
        return await receive()

    return replay
