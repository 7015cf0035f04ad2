"""The application on the management port: its addresses, and what becomes of errors.

Everything but the notices of identity providers, which have signatures of their own, needs an admin token, or for the
console's pages a session.
"""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from rowgate.console.api.access import Access
from rowgate.console.api.answers import error_answer, json_answer
from rowgate.console.api.door import Door
from rowgate.console.api.metrics import Metrics
from rowgate.console.api.project_jwks import ProjectJwks
from rowgate.console.api.providers import Providers
from rowgate.console.api.revocations import Revocations
from rowgate.console.pages.app import page_routes
from rowgate.console.pages.development import Development
from rowgate.console.pages.sign_in import ConsoleSessions
from rowgate.errors import InternalFault, RequestRefused, RowgateError
from rowgate.gateway.gateway import Gateway
from rowgate.gateway.http.message import HttpRequest
from rowgate.gateway.notices import LOGOUT_PATH, WEBHOOK_PATH
from rowgate.identity.fetcher import Fetcher
from rowgate.identity.recognition import Given, Recognition, recognise
from rowgate.settings import Settings

log = logging.getLogger("rowgate.console")


def create_app(
    gateway: Gateway,
    settings: Settings,
    fetcher: Fetcher,
    sessions: ConsoleSessions,
    development: Development | None = None,
) -> ASGIApp:
    """The application for ``gateway``, which must have been started."""
    access = Access(gateway)

    async def find(url: str, given: Given) -> Recognition:
        return await recognise(url, fetcher, given=given, allow_insecure_loopback=settings.insecure_issuers)

    async def notice(request: Request) -> Response:
        headers = dict(request.headers.raw)
        path = request.url.path.encode("latin-1", "replace")
        answer = await gateway.notices.answer(HttpRequest(request.method.encode(), path, headers, await request.body()))
        shown = {name.decode(): value.decode() for name, value in answer.headers}
        return Response(answer.body, answer.status, shown, media_type="application/json")

    routes = [
        *ProjectJwks(access, find).routes(),
        *Providers(access, find).routes(),
        *Revocations(access).routes(),
        *Metrics(access, gateway, is_public=settings.metrics_public).routes(),
        Route(LOGOUT_PATH.decode(), notice, methods=["POST"]),
        Route(WEBHOOK_PATH.decode() + "{name}", notice, methods=["POST"]),
        *page_routes(gateway, settings, sessions, access, find, fetcher, development),
    ]
    handlers = {RowgateError: _refused, HTTPException: _unknown, Exception: _defect}
    return Door(Starlette(routes=routes, exception_handlers=handlers), settings.admin_hosts)


async def _refused(request: Request, problem: Exception) -> Response:
    if isinstance(problem, RowgateError):
        return error_answer(problem)
    return await _defect(request, problem)


async def _unknown(request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 404
    refusal = RequestRefused(
        "There is nothing at this address." if status == 404 else "This method is not served here."
    )
    body = {"code": refusal.code, "message": refusal.message, "detail": None, "hint": None}
    return json_answer(body, status)


async def _defect(request: Request, problem: Exception) -> Response:
    log.error("a defect in Rowgate: please report it", exc_info=problem)
    return error_answer(InternalFault("an internal error occurred"))
