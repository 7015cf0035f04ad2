"""What every page passes first: a session, the database that it may open, and for whatever changes something a secret
that only the session's own pages have.

Never lets a request through because something is missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.api.access import Access
from rowgate.console.pages.frame import MENU, Frame, fields_of, go_to
from rowgate.console.pages.sign_in import SESSION_SECONDS, ConsoleSession, ConsoleSessions
from rowgate.errors import AdminTokenRefused, RequestRefused, RowgateError
from rowgate.gateway.database import Database
from rowgate.gateway.endpoint import Endpoint
from rowgate.gateway.gateway import Gateway

SECRET_FIELD: Final = "form_secret"  # noqa: S105 - a name
SECRET_HEADER: Final = "x-form-secret"  # noqa: S105 - a name
SIGN_IN: Final = "/sign-in"
FIRST_PAGE: Final = "/get-started"


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in; ``fields`` are those of a form, without its secret."""

    request: Request
    session: ConsoleSession
    endpoint: Endpoint
    database: Database
    fields: dict[str, str]


Show = Callable[[Visit], Awaitable[Response]]


class Doorway:
    """Signs people in and out, and guards pages."""

    def __init__(self, gateway: Gateway, frame: Frame, access: Access, sessions: ConsoleSessions) -> None:
        self._gateway = gateway
        self._frame = frame
        self._access = access
        self._sessions = sessions

    def routes(self) -> list[Route]:
        """What needs no session."""
        return [
            Route("/", self.first, methods=["GET"]),
            Route(SIGN_IN, self.show_sign_in, methods=["GET"]),
            Route(SIGN_IN, self.sign_in, methods=["POST"]),
            Route("/sign-out", self.guarded(self.sign_out), methods=["POST"]),
            Route("/endpoint", self.guarded(self.choose_endpoint), methods=["POST"]),
        ]

    def guarded(self, show: Show) -> Callable[[Request], Awaitable[Response]]:
        """``show`` for whoever is signed in; everybody else is led to the sign-in page."""

        async def answer(request: Request) -> Response:
            session = self._session(request)
            if session is None:
                if "hx-request" in request.headers:
                    return Response(status_code=204, headers={"HX-Redirect": SIGN_IN})
                return go_to(SIGN_IN)
            try:
                return await show(await self._visit(request, session))
            except RowgateError as problem:
                return self._frame.refusal(request, session, problem)

        return answer

    async def first(self, request: Request) -> Response:
        """To the first page."""
        return go_to(FIRST_PAGE if self._session(request) else SIGN_IN)

    async def show_sign_in(self, request: Request) -> Response:
        """The form; with a good one-time link, a session at once."""
        link = request.query_params.get("link")
        if link is None:
            return self._frame.page(request, None, "sign_in.html", refusal="")
        if not self._sessions.use_link(link):
            return self._frame.page(request, None, "sign_in.html", 403, refusal="This link was used, or is too old.")
        return self._welcome(request, None, None)

    async def sign_in(self, request: Request) -> Response:
        """A session for whoever has an admin token of the endpoint."""
        try:
            fields = await fields_of(request)
            endpoint = fields.get("endpoint") or None
            holder = self._access.holder_of(endpoint, fields.get("token", ""))
        except AdminTokenRefused:
            return self._frame.page(
                request, None, "sign_in.html", 403, refusal="This is no admin token of the endpoint."
            )
        except RowgateError as problem:
            return self._frame.refusal(request, None, problem)
        return self._welcome(request, endpoint, holder)

    async def choose_endpoint(self, visit: Visit) -> Response:
        """The pages show another endpoint from now on, to whoever may open it."""
        name = visit.fields.get("endpoint", "")
        if name not in visit.session.choices:
            raise RequestRefused("This session cannot open that endpoint.", hint="Sign in with its admin token.")
        visit.session.change_endpoint(name)
        page = visit.fields.get("page", "")
        return go_to(page if page in {address for address, _ in MENU} else FIRST_PAGE)

    async def sign_out(self, visit: Visit) -> Response:
        """Ends the session."""
        self._sessions.end(visit.request.cookies.get(self._cookie(visit.request), ""))
        answer = go_to(SIGN_IN)
        answer.delete_cookie(self._cookie(visit.request), path="/", httponly=True, samesite="strict")
        return answer

    def _welcome(self, request: Request, endpoint: str | None, holder: str | None) -> Response:
        # A new session whatever the browser had before: nobody can be led into one that somebody else knows.
        self._sessions.end(request.cookies.get(self._cookie(request), ""))
        secret = self._sessions.open(endpoint, holder)
        answer = go_to(FIRST_PAGE)
        answer.set_cookie(
            self._cookie(request), secret, max_age=int(SESSION_SECONDS), path="/", httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    def _session(self, request: Request) -> ConsoleSession | None:
        return self._sessions.find(request.cookies.get(self._cookie(request), ""))

    @staticmethod
    def _cookie(request: Request) -> str:
        """Cookies do not tell ports apart, and a machine may have several consoles."""
        return f"rowgate_console_{request.url.port or ''}"

    async def _visit(self, request: Request, session: ConsoleSession) -> Visit:
        fields: dict[str, str] = {}
        if request.method == "POST":
            fields = await fields_of(request)
            given = request.headers.get(SECRET_HEADER) or fields.pop(SECRET_FIELD, "")
            fields.pop(SECRET_FIELD, None)
            if not session.allows(given):
                raise RequestRefused(
                    "This form is not from a page of your session.", hint="Load the page again, then send it once more."
                )
        names = self._gateway.endpoint_names
        if session.holder is None and len(names) > 1:
            # Whoever has the link that the process printed may open all of its endpoints, one after the other.
            session.choices = names
            session.endpoint = session.endpoint or names[0]
        endpoint = self._gateway.endpoint(session.endpoint)
        if endpoint is None:
            raise RequestRefused("The gateway has several endpoints.", hint="Sign in with the admin token of one.")
        database = await endpoint.database(endpoint.target.database)
        if session.holder is not None and not self._access.is_holder(database, session.holder):
            raise AdminTokenRefused("The admin token of this session was removed, or has expired.")
        return Visit(request, session, endpoint, database, fields)
