"""Signing in and out at the local issuer: its pages, the browser's session, and OpenID Connect over HTTP.

A form counts only with its own token and cookie; an address to return to is one of the issuer's own, or a redirect URI
that was judged. This module never keeps state but the codes that are on their way.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_plus, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from rowgate.errors import AuthorizationRefused, IssuerInputInvalid, RowgateError
from rowgate.identity.fetcher import FetchedDocument
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.verify import TokenVerifier
from rowgate.issuer.authorization import (
    AUTHORIZE_PATH,
    LOGOUT_PATH,
    USERINFO_PATH,
    AuthorizationCodes,
    AuthorizationRequest,
    Grant,
    id_token_claims,
    read_authorization,
    read_destination,
)
from rowgate.issuer.issuer import SESSION_TOKEN_LIFETIME, LocalIssuer
from rowgate.issuer.pages import (
    ROTATE_PATH,
    SIGN_IN_PATH,
    SIGN_OUT_PATH,
    SWITCH_PATH,
    Visitor,
    error_page,
    home_page,
    sign_in_page,
    sign_out_page,
)
from rowgate.issuer.requests import Doorkeeper, unique_fields
from rowgate.issuer.sessions import LIFETIME, Session
from rowgate.issuer.users import User, user_from

SESSION_TOKEN_PATH: Final = "/session/token"  # noqa: S105 - a path


class OwnKeys:
    """The issuer's own key set, for verifying its own tokens without the network."""

    def __init__(self, issuer: LocalIssuer) -> None:
        self._issuer = issuer

    async def fetch(self, url: str) -> FetchedDocument:
        """The key set as it is now."""
        return FetchedDocument(self._issuer.key_set(), max_age=0)


class SignIn:
    """One method for each route."""

    def __init__(self, issuer: LocalIssuer, doorkeeper: Doorkeeper) -> None:
        self._issuer = issuer
        self._doorkeeper = doorkeeper
        self._codes = AuthorizationCodes(issuer.clock, issuer.new_secret, lambda session_id: _end(issuer, session_id))
        self._cookie_suffix = str(urlsplit(issuer.url).port or "")
        self._is_secure = issuer.url.startswith("https:")

    def routes(self) -> list[Route]:
        """All routes."""
        guarded = self._doorkeeper.guarded
        return [
            Route("/", guarded(self.home), methods=["GET"]),
            Route(SIGN_IN_PATH, guarded(self.show_sign_in), methods=["GET"]),
            Route(SIGN_IN_PATH, guarded(self.sign_in), methods=["POST"]),
            Route(SIGN_OUT_PATH, guarded(self.sign_out), methods=["POST"]),
            Route(SWITCH_PATH, guarded(self.switch), methods=["POST"]),
            Route(ROTATE_PATH, guarded(self.rotate), methods=["POST"]),
            Route(AUTHORIZE_PATH, guarded(self.authorize), methods=["GET"]),
            Route(LOGOUT_PATH, guarded(self.show_sign_out), methods=["GET"]),
            Route(USERINFO_PATH, guarded(self.userinfo), methods=["GET", "POST"]),
            Route(SESSION_TOKEN_PATH, guarded(self.session_token), methods=["POST"]),
            *(
                Route(path, guarded(self._doorkeeper.preflight), methods=["OPTIONS"])
                for path in (USERINFO_PATH, SESSION_TOKEN_PATH)
            ),
        ]

    # --- pages ------------------------------------------------------------------------------------------------

    async def home(self, request: Request) -> Response:
        return self._page(request, lambda visitor: home_page(self._issuer, visitor))

    async def show_sign_in(self, request: Request) -> Response:
        return self._page(request, lambda visitor: sign_in_page(self._issuer, visitor))

    async def sign_in(self, request: Request) -> Response:
        """Begin a session as the user that was picked, or as a new one."""
        fields = await self._doorkeeper.own_form(request, self._form_cookie(request))
        user = self._issuer.users.get(fields["user"]) if "user" in fields else self._new_user(fields)
        earlier = self._session(request)
        if earlier is not None:
            self._issuer.sessions.end(earlier.id, "ended")
        _, cookie = self._issuer.open_session(user, organization=self._only_organization(user))
        response = RedirectResponse(_own_address(fields.get("return", "")), status_code=303)
        self._set_cookie(response, "session", cookie, LIFETIME)
        return response

    async def sign_out(self, request: Request) -> Response:
        fields = await self._doorkeeper.own_form(request, self._form_cookie(request))
        session = self._session(request)
        if session is not None:
            self._issuer.sessions.end(session.id, "ended")
        target = fields.get("return", "")
        response = RedirectResponse(target if self._may_lead_to(target) else "/", status_code=303)
        self._set_cookie(response, "session", "", 0)
        return response

    async def switch(self, request: Request) -> Response:
        """Make another organization the active one of the session."""
        fields = await self._doorkeeper.own_form(request, self._form_cookie(request))
        session = self._session(request)
        if session is not None:
            organization = fields.get("organization") or None
            if organization is not None:
                self._issuer.organizations.membership(organization, session.user_id)
            self._issuer.sessions.update(session.id, {"organization_id": organization})
        return RedirectResponse("/", status_code=303)

    async def rotate(self, request: Request) -> Response:
        await self._doorkeeper.own_form(request, self._form_cookie(request))
        self._issuer.keys.rotate()
        return RedirectResponse("/", status_code=303)

    async def show_sign_out(self, request: Request) -> Response:
        """RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0), which asks the user before it does anything."""
        target = request.query_params.get("post_logout_redirect_uri", "")
        state = request.query_params.get("state", "")
        if target and not self._may_lead_to(target):
            raise AuthorizationRefused(
                "The address to return to may not be used.",
                detail="expected post_logout_redirect_uri on a loopback address or an allowed origin",
            )
        if target and state:
            target += f"{'&' if '?' in target else '?'}state={state}" if state.isalnum() else ""
        return self._page(request, lambda visitor: sign_out_page(visitor, target), leads_to=target)

    async def session_token(self, request: Request) -> Response:
        """A fresh token of the browser's session, for a page to call whenever the last one is about to expire."""
        session = self._session(request)
        if session is None:
            raise AuthorizationRefused("Nobody is signed in.", hint=f"Sign in at {self._issuer.url}{SIGN_IN_PATH}.")
        token = self._issuer.mint_for_session(session.id, authorized_party=request.headers.get("origin"))
        sharing = self._doorkeeper.sharing(request)
        answer = {"token": token, "token_type": "Bearer", "expires_in": SESSION_TOKEN_LIFETIME}
        return JSONResponse(answer, headers={"Cache-Control": "no-store", **sharing})

    # --- OpenID Connect ---------------------------------------------------------------------------------------

    async def authorize(self, request: Request) -> Response:
        """Show the sign-in page, or send whoever is signed in back with a code."""
        parameters = unique_fields(request.url.query.encode("ascii", "replace"))
        destination = read_destination(parameters, self._doorkeeper.may_receive_codes)
        session = self._session(request)
        try:
            asked = read_authorization(parameters, destination)
            wants_page = session is None or {"login", "select_account", "create"} & set(asked.prompts)
            if wants_page and "none" in asked.prompts:
                raise AuthorizationRefused("Nobody is signed in.", oauth_error="login_required")
        except AuthorizationRefused as refused:
            answer = {"error": refused.oauth_error, "error_description": refused.message, "iss": self._issuer.url}
            return RedirectResponse(destination.address(answer), status_code=303, headers=_NO_STORE)
        if session is None or wants_page:
            return self._page(
                request,
                lambda visitor: sign_in_page(
                    self._issuer,
                    visitor,
                    return_to=f"{AUTHORIZE_PATH}?{_without_prompt(request.url.query)}",
                    hint=asked.login_hint,
                    client=destination.client_id,
                ),
                leads_to=destination.redirect_uri,
            )
        answer = {"code": self._codes.grant(session.id, asked), "iss": self._issuer.url}
        return RedirectResponse(destination.address(answer), status_code=303, headers=_NO_STORE)

    def exchange(self, request: Request, fields: Mapping[str, Any]) -> Response:
        """The token endpoint (OpenID Connect Core 1.0 sections 3.1.3 and 12), for fields with a ``grant_type``."""
        sharing = self._doorkeeper.sharing(request)
        try:
            answer = self._granted(fields, _client_id(request, fields))
        except AuthorizationRefused as refused:
            told = {
                "error": refused.oauth_error,
                "error_description": f"{refused.message} {refused.hint or ''}".strip(),
            }
            status = 401 if refused.oauth_error == "invalid_client" else 400
            return JSONResponse(told, status_code=status, headers={**_NO_STORE, **sharing})
        return JSONResponse(answer, headers={**_NO_STORE, **sharing})

    def _granted(self, fields: Mapping[str, Any], client_id: str) -> dict[str, Any]:
        kind = fields.get("grant_type")
        if kind == "refresh_token":
            return self._refreshed(str(fields.get("refresh_token", "")), client_id)
        if kind != "authorization_code":
            raise AuthorizationRefused("The grant type is not supported.", oauth_error="unsupported_grant_type")
        grant = self._codes.redeem(fields, client_id)
        try:
            answer = self._tokens(grant.session_id, client_id)
        except RowgateError as error:
            raise AuthorizationRefused(error.message, oauth_error="invalid_grant") from error
        answer["scope"] = " ".join(grant.request.scopes)
        answer["id_token"] = self._id_token(grant, answer["access_token"])
        if "offline_access" in grant.request.scopes:
            answer["refresh_token"] = self._new_refresh_token(grant.session_id, client_id)
        return answer

    def _refreshed(self, refresh_token: str, client_id: str) -> dict[str, Any]:
        session = self._issuer.sessions.by_refresh_token(refresh_token)
        if session is None or session.client_id != client_id:
            raise AuthorizationRefused(
                "The refresh token is unknown, was used, or is over.", oauth_error="invalid_grant"
            )
        answer = self._tokens(session.id, client_id)
        answer["refresh_token"] = self._new_refresh_token(session.id, client_id)
        return answer

    def _tokens(self, session_id: str, client_id: str) -> dict[str, Any]:
        token = self._issuer.mint_for_session(session_id, authorized_party=client_id)
        return {"access_token": token, "token_type": "Bearer", "expires_in": SESSION_TOKEN_LIFETIME}

    def _new_refresh_token(self, session_id: str, client_id: str) -> str:
        secret = self._issuer.new_secret()
        self._issuer.sessions.renew_refresh_token(session_id, secret, client_id)
        return f"{session_id}.{secret}"

    def _id_token(self, grant: Grant, access_token: str) -> str:
        session = self._issuer.sessions.get(grant.session_id)
        claims = id_token_claims(
            grant,
            issuer=self._issuer.url,
            user=_profile(self._issuer.users.get(session.user_id), grant.request),
            access_token=access_token,
            now=int(self._issuer.clock()),
            lifetime=SESSION_TOKEN_LIFETIME,
        )
        return self._issuer.sign(claims)

    async def userinfo(self, request: Request) -> Response:
        """The user of an access token (OpenID Connect Core 1.0 section 5.3)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key_sets = KeySetCache(OwnKeys(self._issuer), self._issuer.clock)
        verifier = TokenVerifier([self._issuer.provider()], key_sets, self._issuer.clock, cache_size=0)
        try:
            if scheme.lower() != "bearer":
                raise AuthorizationRefused("The request has no access token.")
            principal = await verifier.verify(token.strip())
            user = self._issuer.users.get(principal.subject)
        except RowgateError as error:
            told = {"error": "invalid_token", "error_description": error.message}
            return JSONResponse(told, status_code=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        finally:
            await key_sets.close()
        return JSONResponse(_profile(user, None), headers={**_NO_STORE, **self._doorkeeper.sharing(request)})

    # --- the browser ------------------------------------------------------------------------------------------

    def refusal_page(self, error: RowgateError, status: int) -> Response:
        """An error for people."""
        return _html(error_page(error.message, error.detail, error.hint), status=status)

    def _page(self, request: Request, make: Any, *, leads_to: str = "") -> Response:
        """A page, with the cookie that its forms belong to. ``leads_to`` is where its forms may end up elsewhere."""
        session = self._session(request)
        cookie = self._form_cookie(request) or self._issuer.new_secret()
        user = self._user_of(session)
        visitor = Visitor(self._doorkeeper.form_token(cookie), user, session if user else None)
        response = _html(make(visitor), leads_to=leads_to)
        self._set_cookie(response, "form", cookie, LIFETIME)
        return response

    def _user_of(self, session: Session | None) -> User | None:
        found = [user for user in self._issuer.users.list() if session is not None and user.id == session.user_id]
        return found[0] if found else None

    def _session(self, request: Request) -> Session | None:
        session = self._issuer.sessions.by_cookie(request.cookies.get(self._cookie_name("session"), ""))
        return session if self._user_of(session) else None

    def _form_cookie(self, request: Request) -> str:
        return request.cookies.get(self._cookie_name("form"), "")

    def _cookie_name(self, what: str) -> str:
        """With the port in it, because browsers send a host's cookies to all of its ports."""
        return f"rowgate_{what}_{self._cookie_suffix}".rstrip("_")

    def _set_cookie(self, response: Response, what: str, value: str, seconds: int) -> None:
        response.set_cookie(
            self._cookie_name(what), value, max_age=seconds, httponly=True, samesite="lax", secure=self._is_secure
        )

    def _new_user(self, fields: Mapping[str, str]) -> User:
        now = self._issuer.milliseconds()
        first_name = fields.get("first_name", "").strip()
        if not first_name:
            raise IssuerInputInvalid("The new user has no name.", detail="expected first_name not to be empty")
        members: dict[str, Any] = {"first_name": first_name, "created_at": now}
        if fields.get("email"):
            members["email"] = fields["email"].strip()
        made = user_from({**members, "updated_at": now})
        if any(made.id == user.id for user in self._issuer.users.list()):
            made = user_from({**members, "id": self._issuer.new_id("user"), "updated_at": now})
        return self._issuer.users.add(made)

    def _only_organization(self, user: User) -> str | None:
        """The organization to begin in: the user's own choice, or the one there is."""
        places = [one.organization_id for one in self._issuer.organizations.memberships(user_id=user.id)]
        if user.active_organization in places:
            return user.active_organization
        return places[0] if len(places) == 1 else None

    def _may_lead_to(self, target: str) -> bool:
        try:
            read_destination({"client_id": "x", "redirect_uri": target}, self._doorkeeper.may_receive_codes)
        except AuthorizationRefused:
            return False
        return True


_NO_STORE: Final = {"Cache-Control": "no-store"}


def _html(content: str, *, status: int = 200, leads_to: str = "") -> HTMLResponse:
    parts = urlsplit(leads_to)
    # A browser holds the redirect after a form to form-action as well.
    targets = f"'self' {parts.scheme}://{parts.netloc}" if parts.netloc else "'self'"
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; form-action {targets}; frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        **_NO_STORE,
    }
    return HTMLResponse(content, status_code=status, headers=headers)


def _end(issuer: LocalIssuer, session_id: str) -> None:
    issuer.sessions.end(session_id, "revoked")


def _own_address(target: str) -> str:
    """``target`` if it is the authorization endpoint's, else the first page."""
    return target if target.startswith(f"{AUTHORIZE_PATH}?") and target.isprintable() else "/"


def _without_prompt(query: str) -> str:
    """The request without ``prompt``: whoever has just signed in is not asked again."""
    return "&".join(pair for pair in query.split("&") if pair.partition("=")[0] not in {"prompt", "login_hint"})


def _client_id(request: Request, fields: Mapping[str, Any]) -> str:
    """The client by RFC 6749 section 2.3.1. Its secret is not looked at: there are no registered clients."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name = base64.b64decode(credentials, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError) as error:
            raise AuthorizationRefused("The client's credentials are damaged.", oauth_error="invalid_client") from error
        return unquote_plus(name)
    client_id = fields.get("client_id")
    if not isinstance(client_id, str) or not client_id:
        raise AuthorizationRefused("The request names no client.", oauth_error="invalid_client")
    return client_id


def _profile(user: User, asked: AuthorizationRequest | None) -> dict[str, Any]:
    """What the scopes of a request show of a user; all of it where there is no request."""
    profile: dict[str, Any] = {"sub": user.id}
    if asked is None or "profile" in asked.scopes:
        named = {
            "name": user.full_name,
            "given_name": user.first_name,
            "family_name": user.last_name,
            "preferred_username": user.username,
        }
        profile |= {name: value for name, value in named.items() if value}
    if user.email and (asked is None or "email" in asked.scopes):
        profile |= {"email": user.email, "email_verified": True}
    return profile
