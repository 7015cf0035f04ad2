"""The local issuer over HTTP: key set, discovery, tokens, users, templates, and a page that explains them.

For development: it asks for no password. It therefore refuses what a page of a stranger, open in the developer's
browser, could do: other hosts' names (DNS rebinding) and other sites' origins. This module never chooses an address to
listen on, and never keeps state.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from rowgate.errors import (
    BodyTooLarge,
    IssuerInputInvalid,
    MalformedBody,
    RequestRefused,
    RowgateError,
)
from rowgate.identity.addresses import is_loopback
from rowgate.identity.recognition import DISCOVERY_PATH
from rowgate.identity.strict_json import UnsoundJson, parse_object
from rowgate.issuer.issuer import JWKS_PATH, TOKEN_PATH, LocalIssuer
from rowgate.issuer.page import page
from rowgate.issuer.templates import record_of, template_from
from rowgate.issuer.users import user_from

LARGEST_BODY: Final = 64 * 1024
_MOST_FIELDS: Final = 16
_PUBLIC: Final = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=60"}

Handler = Callable[[Request], Awaitable[Response]]


def create_app(issuer: LocalIssuer, *, origins: Sequence[str] = ()) -> Starlette:
    """The application. Browsers may ask for tokens from pages on loopback addresses, on the issuer's own host, and from
    ``origins`` (such as ``https://dev.example``; ``*`` is everyone). Key set and discovery are open to all."""
    handlers = _Handlers(issuer, frozenset(origins))
    return Starlette(
        routes=[
            Route("/", handlers.index, methods=["GET"]),
            Route(JWKS_PATH, handlers.key_set, methods=["GET"]),
            Route(DISCOVERY_PATH, handlers.discovery, methods=["GET"]),
            Route(TOKEN_PATH, handlers.guarded(handlers.token), methods=["POST"]),
            Route(TOKEN_PATH, handlers.guarded(handlers.preflight), methods=["OPTIONS"]),
            Route("/users", handlers.guarded(handlers.users), methods=["GET"]),
            Route("/users", handlers.guarded(handlers.add_user), methods=["POST"]),
            Route("/templates", handlers.guarded(handlers.templates), methods=["GET"]),
            Route("/templates", handlers.guarded(handlers.put_template), methods=["POST"]),
            Route("/templates/{name}", handlers.guarded(handlers.remove_template), methods=["DELETE"]),
        ],
        exception_handlers={RowgateError: handlers.refusal, HTTPException: handlers.no_route},
    )


class _Handlers:
    """One method for each route."""

    def __init__(self, issuer: LocalIssuer, origins: frozenset[str]) -> None:
        self._issuer = issuer
        self._origins = origins

    def guarded(self, handler: Handler) -> Handler:
        """``handler`` for requests that do not come from another site's page."""

        async def guarded(request: Request) -> Response:
            self._require_own_host(request)
            self._require_known_origin(request)
            return await handler(request)

        return guarded

    async def index(self, request: Request) -> Response:
        return HTMLResponse(
            page(self._issuer),
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )

    async def key_set(self, request: Request) -> Response:
        return Response(self._issuer.key_set(), media_type="application/json", headers=_PUBLIC)

    async def discovery(self, request: Request) -> Response:
        return Response(self._issuer.discovery(), media_type="application/json", headers=_PUBLIC)

    async def token(self, request: Request) -> Response:
        """As an OAuth token response (RFC 6749 section 5.1), with the token under ``token`` as well."""
        fields = await _fields(request)
        user, template = fields.get("user"), fields.get("template") or None
        if not isinstance(user, str) or not (template is None or isinstance(template, str)):
            raise IssuerInputInvalid(
                "The request names no user.",
                detail="expected user (an id, a name or an e-mail address) and, if you like, template and lifetime",
                hint=f"curl -d user=alice {self._issuer.url}{TOKEN_PATH}",
            )
        lifetime = _lifetime(fields.get("lifetime"))
        token = self._issuer.mint(user, template, lifetime=lifetime, authorized_party=request.headers.get("origin"))
        answer = {
            "token": token,
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self._issuer.lifetime_of(template, lifetime),
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store", **self._sharing(request)})

    async def preflight(self, request: Request) -> Response:
        allowed = {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "content-type, authorization",
        }
        return Response(status_code=204, headers={**allowed, **self._sharing(request)})

    async def users(self, request: Request) -> Response:
        return JSONResponse({"users": [asdict(user) for user in self._issuer.users.list()]})

    async def add_user(self, request: Request) -> Response:
        user = self._issuer.users.add(user_from(await _object(request)))
        return JSONResponse(asdict(user), status_code=201)

    async def templates(self, request: Request) -> Response:
        return JSONResponse({"templates": [record_of(template) for template in self._issuer.templates.list()]})

    async def put_template(self, request: Request) -> Response:
        template = self._issuer.templates.put(template_from(await _object(request)))
        return JSONResponse(record_of(template), status_code=201)

    async def remove_template(self, request: Request) -> Response:
        self._issuer.templates.remove(request.path_params["name"])
        return Response(status_code=204)

    async def refusal(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, RowgateError):
            raise error
        return _told(error, error.status, self._sharing(request))

    async def no_route(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        told = RequestRefused(
            "The local issuer serves no such page.",
            detail=f"HTTP {error.status_code}",
            hint=f"See {self._issuer.url}/ for what it serves.",
        )
        return _told(told, error.status_code, dict(error.headers or {}))

    def _require_own_host(self, request: Request) -> None:
        """A name of a stranger's that resolves to this machine would make his page same-origin with us."""
        host = _host_of(f"//{request.headers.get('host', '')}")
        if not self._is_near(host):
            raise RequestRefused(
                "The request was sent to a host that is not this one.",
                detail=f"expected the Host header to name {self._issuer.host} or a loopback address",
                hint=f"Use {self._issuer.url}.",
            )

    def _require_known_origin(self, request: Request) -> None:
        origin = request.headers.get("origin")
        if origin is not None and not self._knows(origin):
            raise RequestRefused(
                "Pages of this origin may not use the local issuer.",
                detail=f"expected an origin on {self._issuer.host} or a loopback address, got {origin[:200]!a}",
                hint="Call it from your own machine, or allow the origin.",
            )

    def _sharing(self, request: Request) -> dict[str, str]:
        """The CORS headers by which a page may read the answer."""
        origin = request.headers.get("origin")
        if origin is None or not self._knows(origin):
            return {}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def _knows(self, origin: str) -> bool:
        return "*" in self._origins or origin in self._origins or self._is_near(_host_of(origin))

    def _is_near(self, host: str) -> bool:
        return host == self._issuer.host or is_loopback(host)


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise BodyTooLarge(
                "The body is too large.", detail=f"expected at most {LARGEST_BODY} bytes", hint="Send less."
            )
    return bytes(body)


async def _object(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Its media type is asked for, because forms of other sites cannot send it."""
    if _media_type(request) != "application/json":
        raise MalformedBody(
            "The body is not JSON.", detail="expected Content-Type: application/json", hint="Send a JSON object."
        )
    try:
        return parse_object(await _body(request))
    except UnsoundJson as error:
        raise MalformedBody(
            "The body is not a sound JSON object.", detail=f"expected JSON, but {error}", hint="Send a JSON object."
        ) from None


async def _fields(request: Request) -> dict[str, Any]:
    """The fields of a form or of a JSON object."""
    if _media_type(request) != "application/x-www-form-urlencoded":
        return await _object(request)
    try:
        pairs = parse_qsl(
            (await _body(request)).decode("ascii"),
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


def _media_type(request: Request) -> str:
    return str(request.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _lifetime(value: object) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return int(value)
    if isinstance(value, int):
        return value
    raise IssuerInputInvalid("The lifetime cannot be used.", detail="expected a whole number of seconds")


def _told(error: RowgateError, status: int, headers: dict[str, str]) -> Response:
    content = json.dumps({"code": error.code, "message": error.message, "detail": error.detail, "hint": error.hint})
    return Response(content, status_code=status, media_type="application/json", headers=headers)
