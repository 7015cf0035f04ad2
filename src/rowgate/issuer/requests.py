"""Reading requests to the local issuer: where they come from, and what their bodies hold.

The issuer asks for no password. It therefore refuses what a page of a stranger, open in the developer's browser, could
do: other hosts' names (DNS rebinding), other sites' origins, and forms that were not made here. This module never
looks at what is asked for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from rowgate.errors import BodyTooLarge, MalformedBody, RequestRefused
from rowgate.identity.addresses import is_loopback
from rowgate.identity.strict_json import UnsoundJson, parse_object
from rowgate.issuer.issuer import LocalIssuer

LARGEST_BODY: Final = 64 * 1024
FORM_FIELD: Final = "form"
_MOST_FIELDS: Final = 32

Handler = Callable[[Request], Awaitable[Response]]


class Doorkeeper:
    """Judges where requests come from. Pages of ``origins`` may use the issuer from elsewhere (``*``: all pages)."""

    def __init__(self, issuer: LocalIssuer, origins: frozenset[str]) -> None:
        self._issuer = issuer
        self._origins = origins
        self._form_key = hashlib.sha256(b"forms of " + issuer.secret_key.encode()).digest()

    def guarded(self, handler: Handler) -> Handler:
        """``handler`` for requests that do not come from another site's page."""

        async def guarded(request: Request) -> Response:
            self.require_own_host(request)
            self._require_known_origin(request)
            return await handler(request)

        return guarded

    def require_own_host(self, request: Request) -> None:
        """A name of a stranger's that resolves to this machine would make his page same-origin with us."""
        if not self._is_near(_host_of(f"//{request.headers.get('host', '')}")):
            raise RequestRefused(
                "The request was sent to a host that is not this one.",
                detail=f"expected the Host header to name {self._issuer.host} or a loopback address",
                hint=f"Use {self._issuer.url}.",
            )

    def _require_known_origin(self, request: Request) -> None:
        origin = request.headers.get("origin")
        if origin is not None and not self.knows(origin):
            raise RequestRefused(
                "Pages of this origin may not use the local issuer.",
                detail=f"expected an origin on {self._issuer.host} or a loopback address, got {origin[:200]!a}",
                hint="Call it from your own machine, or allow the origin.",
            )

    def knows(self, origin: str) -> bool:
        """Whether pages of ``origin`` may use the issuer."""
        return "*" in self._origins or origin in self._origins or self._is_near(_host_of(origin))

    def may_receive_codes(self, origin: str) -> bool:
        """Whether a sign-in may lead there; ``*`` opens the issuer to pages, and leads nobody away."""
        return origin in self._origins or self._is_near(_host_of(origin))

    def sharing(self, request: Request) -> dict[str, str]:
        """The CORS headers by which a page may read the answer."""
        origin = request.headers.get("origin")
        if origin is None or not self.knows(origin):
            return {}
        # The session's cookie comes along from this machine's own pages only: it is SameSite=Lax.
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }

    async def preflight(self, request: Request) -> Response:
        """The answer to a browser that asks whether a page may send its request."""
        allowed = {
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "content-type, authorization",
        }
        return Response(status_code=204, headers={**allowed, **self.sharing(request)})

    def form_token(self, cookie: str) -> str:
        """What a form of ours carries for the browser with this cookie."""
        return hmac.new(self._form_key, cookie.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    async def own_form(self, request: Request, cookie: str) -> dict[str, str]:
        """The fields of a form that a page of ours sent. Raises RequestRefused where another page did."""
        origin = request.headers.get("origin")
        fields = await form_fields(request)
        token = fields.pop(FORM_FIELD, "")
        expected = self.form_token(cookie)
        if (
            not cookie
            or (origin is not None and _host_and_port(origin) != request.headers.get("host"))
            or not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), expected.encode())
        ):
            raise RequestRefused(
                "The form was not sent by a page of the local issuer.",
                detail="expected the form's own token, the cookie that came with it, and no other origin",
                hint="Load the page again, and send the form from there.",
            )
        return fields

    def _is_near(self, host: str) -> bool:
        return host == self._issuer.host or is_loopback(host)


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _host_and_port(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def body(request: Request) -> bytes:
    """The body. Raises BodyTooLarge."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_BODY:
            raise BodyTooLarge(
                "The body is too large.", detail=f"expected at most {LARGEST_BODY} bytes", hint="Send less."
            )
    return bytes(content)


async def json_object(request: Request, *, may_be_empty: bool = False) -> dict[str, Any]:
    """The JSON object in the body. Its media type is asked for, because forms of other sites cannot send it.

    Raises MalformedBody.
    """
    content = await body(request)
    if not content and may_be_empty:
        return {}
    if media_type(request) != "application/json":
        raise MalformedBody(
            "The body is not JSON.", detail="expected Content-Type: application/json", hint="Send a JSON object."
        )
    try:
        return parse_object(content)
    except UnsoundJson as error:
        raise MalformedBody(
            "The body is not a sound JSON object.", detail=f"expected JSON, but {error}", hint="Send a JSON object."
        ) from None


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a form in the body. Raises MalformedBody."""
    if media_type(request) != "application/x-www-form-urlencoded":
        raise MalformedBody(
            "The body is not a form.",
            detail="expected Content-Type: application/x-www-form-urlencoded",
            hint="curl -d name=value sends one.",
        )
    return unique_fields(await body(request))


def unique_fields(encoded: bytes) -> dict[str, str]:
    """Fields in application/x-www-form-urlencoded and UTF-8, each once. Raises MalformedBody."""
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError as error:
        raise MalformedBody(
            "The body is not a form.",
            detail="expected fields in application/x-www-form-urlencoded and UTF-8",
            hint="curl -d user=alice sends one.",
        ) from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedBody(
            "The form has a field twice.", detail="expected each field once", hint="Send each field once."
        )
    return fields


def media_type(request: Request) -> str:
    """The media type of the body, without parameters."""
    return str(request.headers.get("content-type", "")).partition(";")[0].strip().lower()
