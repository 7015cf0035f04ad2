"""The local issuer over HTTP: key set, discovery, tokens, pages, and what one configures it with.

This module never chooses an address to listen on, and never keeps state.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rowgate.errors import IssuerInputInvalid, RequestRefused, RowgateError
from rowgate.identity.recognition import DISCOVERY_PATH
from rowgate.issuer.clerk_api import BackendApi
from rowgate.issuer.issuer import JWKS_PATH, TOKEN_PATH, LocalIssuer
from rowgate.issuer.organizations import role_from
from rowgate.issuer.requests import Doorkeeper, form_fields, json_object, media_type
from rowgate.issuer.sign_in import SignIn
from rowgate.issuer.templates import record_of, template_from
from rowgate.issuer.users import user_from

_PUBLIC: Final = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=60"}


def create_app(issuer: LocalIssuer, *, origins: Sequence[str] = ()) -> Starlette:
    """The application. Browsers may ask for tokens from pages on loopback addresses, on the issuer's own host, and from
    ``origins`` (such as ``https://dev.example``; ``*`` is everyone). Key set and discovery are open to all."""
    doorkeeper = Doorkeeper(issuer, frozenset(origins))
    sign_in = SignIn(issuer, doorkeeper)
    handlers = _Handlers(issuer, doorkeeper, sign_in)
    guarded = doorkeeper.guarded
    return Starlette(
        routes=[
            Route(JWKS_PATH, handlers.key_set, methods=["GET"]),
            Route(DISCOVERY_PATH, handlers.discovery, methods=["GET"]),
            Route(TOKEN_PATH, guarded(handlers.token), methods=["POST"]),
            Route(TOKEN_PATH, guarded(doorkeeper.preflight), methods=["OPTIONS"]),
            Route("/users", guarded(handlers.users), methods=["GET"]),
            Route("/users", guarded(handlers.add_user), methods=["POST"]),
            Route("/organizations", guarded(handlers.organizations), methods=["GET"]),
            Route("/organizations", guarded(handlers.add_organization), methods=["POST"]),
            Route("/roles", guarded(handlers.roles), methods=["GET"]),
            Route("/roles", guarded(handlers.put_role), methods=["POST"]),
            Route("/templates", guarded(handlers.templates), methods=["GET"]),
            Route("/templates", guarded(handlers.put_template), methods=["POST"]),
            Route("/templates/{name}", guarded(handlers.remove_template), methods=["DELETE"]),
            *sign_in.routes(),
            *BackendApi(issuer, guarded).routes(),
        ],
        exception_handlers={RowgateError: handlers.refusal, HTTPException: handlers.no_route},
    )


class _Handlers:
    """One method for each route."""

    def __init__(self, issuer: LocalIssuer, doorkeeper: Doorkeeper, sign_in: SignIn) -> None:
        self._issuer = issuer
        self._doorkeeper = doorkeeper
        self._sign_in = sign_in

    async def key_set(self, request: Request) -> Response:
        return Response(self._issuer.key_set(), media_type="application/json", headers=_PUBLIC)

    async def discovery(self, request: Request) -> Response:
        return Response(self._issuer.discovery(), media_type="application/json", headers=_PUBLIC)

    async def token(self, request: Request) -> Response:
        """As an OAuth token response (RFC 6749 section 5.1), with the token under ``token`` as well.

        With a ``grant_type`` it is OpenID Connect's token endpoint; without one whoever asks names a user.
        """
        is_form = media_type(request) == "application/x-www-form-urlencoded"
        fields: dict[str, Any] = dict(await form_fields(request)) if is_form else await json_object(request)
        if is_form and "grant_type" in fields:
            return self._sign_in.exchange(request, fields)
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
        return JSONResponse(answer, headers={"Cache-Control": "no-store", **self._doorkeeper.sharing(request)})

    async def users(self, request: Request) -> Response:
        return JSONResponse({"users": [asdict(user) for user in self._issuer.users.list()]})

    async def add_user(self, request: Request) -> Response:
        now = self._issuer.milliseconds()
        user = user_from({"created_at": now, "updated_at": now, **await json_object(request)})
        return JSONResponse(asdict(self._issuer.users.add(user)), status_code=201)

    async def organizations(self, request: Request) -> Response:
        return JSONResponse({
            "organizations": [asdict(one) for one in self._issuer.organizations.list()],
            "memberships": [asdict(one) for one in self._issuer.organizations.memberships()],
        })  # fmt: skip

    async def add_organization(self, request: Request) -> Response:
        """An organization and its members, whose tokens name it as the active one from now on."""
        sent = await json_object(request)
        members = sent.pop("members", [])
        if set(sent) - {"name", "slug", "public_metadata"} or not isinstance(members, list):
            raise IssuerInputInvalid(
                "The organization cannot be used.",
                detail='expected name, slug, public_metadata and members, a list of {"user": ..., "role": ...}',
            )
        joining = [self._member(member) for member in members]
        made = self._issuer.add_organization(sent.pop("name", None), **sent)
        for user_id, role in joining:
            self._issuer.add_member(made.id, user_id, role)
            self._issuer.users.update(user_id, {"active_organization": made.id})
        return JSONResponse(asdict(made), status_code=201)

    def _member(self, member: object) -> tuple[str, str]:
        if not isinstance(member, dict) or not isinstance(member.get("user"), str):
            raise IssuerInputInvalid(
                "A member cannot be used.", detail='expected {"user": "alice", "role": "org:admin"}'
            )
        return self._issuer.users.find(member["user"]).id, member.get("role", "org:member")

    async def roles(self, request: Request) -> Response:
        return JSONResponse({"roles": [asdict(role) for role in self._issuer.organizations.roles()]})

    async def put_role(self, request: Request) -> Response:
        role = self._issuer.organizations.put_role(role_from(await json_object(request)))
        return JSONResponse(asdict(role), status_code=201)

    async def templates(self, request: Request) -> Response:
        return JSONResponse({"templates": [record_of(template) for template in self._issuer.templates.list()]})

    async def put_template(self, request: Request) -> Response:
        template = self._issuer.templates.put(template_from(await json_object(request)))
        return JSONResponse(record_of(template), status_code=201)

    async def remove_template(self, request: Request) -> Response:
        self._issuer.templates.remove(request.path_params["name"])
        return Response(status_code=204)

    async def refusal(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, RowgateError):
            raise error
        return self._told(request, error, error.status, self._doorkeeper.sharing(request))

    async def no_route(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        told: RowgateError = RequestRefused(
            "The local issuer serves no such page.",
            detail=f"HTTP {error.status_code}",
            hint=f"See {self._issuer.url}/ for what it serves.",
        )
        return self._told(request, told, error.status_code, dict(error.headers or {}))

    def _told(self, request: Request, error: RowgateError, status: int, headers: dict[str, str]) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return self._sign_in.refusal_page(error, status)
        content = {"code": error.code, "message": error.message, "detail": error.detail, "hint": error.hint}
        return Response(json.dumps(content), status_code=status, media_type="application/json", headers=headers)


def _lifetime(value: object) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return int(value)
    if isinstance(value, int):
        return value
    raise IssuerInputInvalid("The lifetime cannot be used.", detail="expected a whole number of seconds")
