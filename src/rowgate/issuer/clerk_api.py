"""Clerk's Backend API as far as its SDKs need it to make users, organizations, sessions and tokens.

Every call must bring the issuer's secret key. Members of a request that the issuer does not keep are refused, except
those that only concern passwords and second factors, of which there are none. This module never keeps state.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rowgate.errors import IssuerInputInvalid, IssuerSecretRefused, RowgateError
from rowgate.issuer.clerk_objects import (
    deleted_object,
    membership_object,
    organization_object,
    page_of,
    session_object,
    user_object,
)
from rowgate.issuer.issuer import LocalIssuer
from rowgate.issuer.records import merged
from rowgate.issuer.requests import Handler, json_object
from rowgate.issuer.users import User

PREFIX: Final = "/v1"
_METADATA: Final = ("public_metadata", "private_metadata", "unsafe_metadata")
_NAMES: Final = ("first_name", "last_name", "username", "external_id")
_ABOUT_PASSWORDS: Final = frozenset({
    "password", "password_digest", "password_hasher", "skip_password_checks", "skip_password_requirement",
    "totp_secret", "backup_codes", "skip_legal_checks", "legal_accepted_at", "skip_user_requirement",
    "bypass_client_trust", "sign_out_of_other_sessions", "notify_primary_email_address_changed",
})  # fmt: skip
_CODES: Final = {400: "form_param_invalid", 401: "authentication_invalid", 404: "resource_not_found"}
_LARGEST_PAGE: Final = 500

Listed = TypeVar("Listed")


class BackendApi:
    """One method for each route. ``guarded`` wraps handlers so that they take no requests of other sites' pages."""

    def __init__(self, issuer: LocalIssuer, guarded: Callable[[Handler], Handler]) -> None:
        self._issuer = issuer
        self._guarded = guarded

    def routes(self) -> list[Route]:
        """All routes."""
        member = "/organizations/{organization}/memberships/{user}"
        return [
            self._route("/jwks", "GET", self._key_set),
            self._route("/users", "GET", self._users),
            self._route("/users", "POST", self._create_user),
            self._route("/users/count", "GET", self._count_users),
            self._route("/users/{user}", "GET", self._user),
            self._route("/users/{user}", "PATCH", self._update_user),
            self._route("/users/{user}", "DELETE", self._delete_user),
            self._route("/users/{user}/metadata", "PATCH", self._merge_metadata),
            self._route("/users/{user}/metadata", "PUT", self._replace_metadata),
            self._route("/users/{user}/organization_memberships", "GET", self._memberships_of_user),
            self._route("/sessions", "GET", self._sessions),
            self._route("/sessions", "POST", self._create_session),
            self._route("/sessions/{session}", "GET", self._session),
            self._route("/sessions/{session}/revoke", "POST", self._revoke_session),
            self._route("/sessions/{session}/tokens", "POST", self._token),
            self._route("/sessions/{session}/tokens/{template}", "POST", self._token),
            self._route("/organizations", "GET", self._organizations),
            self._route("/organizations", "POST", self._create_organization),
            self._route("/organizations/{organization}", "GET", self._organization),
            self._route("/organizations/{organization}", "PATCH", self._update_organization),
            self._route("/organizations/{organization}", "DELETE", self._delete_organization),
            self._route("/organizations/{organization}/memberships", "GET", self._memberships),
            self._route("/organizations/{organization}/memberships", "POST", self._create_membership),
            self._route(member, "PATCH", self._update_membership),
            self._route(member, "DELETE", self._delete_membership),
        ]

    def _route(self, path: str, method: str, handler: Callable[[Request], Awaitable[Any]]) -> Route:
        async def answer(request: Request) -> Response:
            try:
                self._require_secret(request)
                return JSONResponse(await handler(request), headers={"Cache-Control": "no-store"})
            except RowgateError as error:
                return _told(error)

        return Route(PREFIX + path, self._guarded(answer), methods=[method])

    def _require_secret(self, request: Request) -> None:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        known = self._issuer.secret_key.encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(secret.strip().encode("utf-8", "replace"), known):
            raise IssuerSecretRefused("The secret key is missing or is not this issuer's.")

    async def _key_set(self, request: Request) -> dict[str, Any]:
        return {"keys": self._issuer.keys.public_keys()}

    # --- users ------------------------------------------------------------------------------------------------

    async def _users(self, request: Request) -> list[Any]:
        return [user_object(user) for user in _page(request, self._matching(request))]

    async def _count_users(self, request: Request) -> dict[str, Any]:
        return {"object": "total_count", "total_count": len(self._matching(request))}

    def _matching(self, request: Request) -> list[User]:
        """The users that the query asks for, newest first unless it wants another order."""
        asked = request.query_params
        users: Sequence[User] = self._issuer.users.list()
        for parameter, field in (
            ("user_id", "id"),
            ("email_address", "email"),
            ("username", "username"),
            ("external_id", "external_id"),
        ):
            wanted = {value.lower() for value in asked.getlist(parameter)}
            if wanted:
                users = [user for user in users if (getattr(user, field) or "").lower() in wanted]
        if asked.get("query"):
            part = asked["query"].lower()
            users = [user for user in users if part in f"{user.id} {user.email} {user.full_name}".lower()]
        order = asked.get("order_by", "-created_at")
        field = order.lstrip("+-")
        if field not in {"created_at", "updated_at", "first_name", "last_name", "email_address", "username"}:
            raise IssuerInputInvalid("The users cannot be ordered like that.", detail=f"got {order[:100]!a}")
        name = "email" if field == "email_address" else field
        return sorted(
            users, key=lambda user: getattr(user, name) or type(getattr(user, name))(), reverse=order[0] == "-"
        )

    async def _create_user(self, request: Request) -> dict[str, Any]:
        sent = await json_object(request)
        fields = _user_fields(sent, "email_address")
        emails = sent.get("email_address") or []
        if not isinstance(emails, list) or len(emails) > 1:
            raise IssuerInputInvalid(
                "The user's e-mail addresses cannot be used.",
                detail="expected email_address to be a list of one, which is all that the local issuer keeps",
            )
        now = self._issuer.milliseconds()
        user = User(
            id=self._issuer.new_id("user"), email=emails[0] if emails else "", created_at=now, updated_at=now, **fields
        )
        return user_object(self._issuer.users.add(user))

    async def _user(self, request: Request) -> dict[str, Any]:
        return user_object(self._issuer.users.get(request.path_params["user"]))

    async def _update_user(self, request: Request) -> dict[str, Any]:
        return self._changed(request, _user_fields(await json_object(request, may_be_empty=True)))

    async def _merge_metadata(self, request: Request) -> dict[str, Any]:
        user = self._issuer.users.get(request.path_params["user"])
        sent = _known(await json_object(request), _METADATA)
        return self._changed(
            request, {name: merged(getattr(user, name), _object(value)) for name, value in sent.items()}
        )

    async def _replace_metadata(self, request: Request) -> dict[str, Any]:
        sent = _known(await json_object(request), _METADATA)
        return self._changed(request, {name: _object(value) for name, value in sent.items()})

    def _changed(self, request: Request, changes: Mapping[str, Any]) -> dict[str, Any]:
        dated = {**changes, "updated_at": self._issuer.milliseconds()}
        return user_object(self._issuer.users.update(request.path_params["user"], dated))

    async def _delete_user(self, request: Request) -> dict[str, Any]:
        user_id = request.path_params["user"]
        self._issuer.remove_user(user_id)
        return deleted_object("user", user_id)

    # --- sessions ---------------------------------------------------------------------------------------------

    async def _sessions(self, request: Request) -> Any:
        asked, now = request.query_params, self._issuer.milliseconds()
        found = [
            session_object(session, now)
            for session in reversed(self._issuer.sessions.list())
            if asked.get("user_id") in (None, session.user_id)
        ]
        found = [
            one for one in found
            if asked.get("client_id") in (None, one["client_id"]) and asked.get("status") in (None, one["status"])
        ]  # fmt: skip
        page = _page(request, found)
        return page_of(page, len(found)) if asked.get("paginated") == "true" else page

    async def _create_session(self, request: Request) -> dict[str, Any]:
        sent = _known(await json_object(request), ("user_id", "active_organization_id"))
        user = self._issuer.users.get(_text(sent, "user_id"))
        organization = sent.get("active_organization_id")
        session, _ = self._issuer.open_session(
            user, organization=None if organization is None else _text(sent, "active_organization_id")
        )
        return session_object(session, self._issuer.milliseconds())

    async def _session(self, request: Request) -> dict[str, Any]:
        session = self._issuer.sessions.get(request.path_params["session"])
        return session_object(session, self._issuer.milliseconds())

    async def _revoke_session(self, request: Request) -> dict[str, Any]:
        session = self._issuer.sessions.end(request.path_params["session"], "revoked")
        return session_object(session, self._issuer.milliseconds())

    async def _token(self, request: Request) -> dict[str, Any]:
        sent = _known(await json_object(request, may_be_empty=True), ("expires_in_seconds",))
        token = self._issuer.mint_for_session(
            request.path_params["session"],
            request.path_params.get("template"),
            lifetime=sent.get("expires_in_seconds"),
        )
        return {"object": "token", "jwt": token}

    # --- organizations ----------------------------------------------------------------------------------------

    async def _organizations(self, request: Request) -> Any:
        asked = request.query_params
        part, wanted = asked.get("query", "").lower(), set(asked.getlist("organization_id"))
        found = [
            one
            for one in reversed(self._issuer.organizations.list())
            if part in f"{one.id} {one.name} {one.slug}".lower() and (not wanted or one.id in wanted)
        ]
        return page_of([organization_object(self._issuer, one) for one in _page(request, found)], len(found))

    async def _create_organization(self, request: Request) -> dict[str, Any]:
        sent = _known(await json_object(request), ("name", "slug", "created_by", *_METADATA[:2]))
        made = self._issuer.add_organization(
            _text(sent, "name"),
            slug=sent.get("slug"),
            created_by=sent.get("created_by"),
            **{name: _object(sent[name]) for name in _METADATA[:2] if sent.get(name) is not None},
        )
        return organization_object(self._issuer, made)

    async def _organization(self, request: Request) -> dict[str, Any]:
        return organization_object(self._issuer, self._issuer.organizations.find(request.path_params["organization"]))

    async def _update_organization(self, request: Request) -> dict[str, Any]:
        sent = _known(await json_object(request), ("name", "slug", *_METADATA[:2]))
        dated = {**sent, "updated_at": self._issuer.milliseconds()}
        changed = self._issuer.organizations.update(request.path_params["organization"], dated)
        return organization_object(self._issuer, changed)

    async def _delete_organization(self, request: Request) -> dict[str, Any]:
        organization = self._issuer.organizations.find(request.path_params["organization"])
        self._issuer.organizations.remove(organization.id)
        return deleted_object("organization", organization.id)

    async def _memberships(self, request: Request) -> Any:
        organization = self._issuer.organizations.find(request.path_params["organization"])
        wanted, roles = set(request.query_params.getlist("user_id")), set(request.query_params.getlist("role"))
        found = [
            one
            for one in self._issuer.organizations.memberships(organization_id=organization.id)
            if (not wanted or one.user_id in wanted) and (not roles or one.role in roles)
        ]
        return page_of([membership_object(self._issuer, one) for one in _page(request, found)], len(found))

    async def _memberships_of_user(self, request: Request) -> Any:
        user = self._issuer.users.get(request.path_params["user"])
        found = self._issuer.organizations.memberships(user_id=user.id)
        return page_of([membership_object(self._issuer, one) for one in _page(request, found)], len(found))

    async def _create_membership(self, request: Request) -> dict[str, Any]:
        sent = _known(await json_object(request), ("user_id", "role", *_METADATA[:2]))
        made = self._issuer.add_member(
            request.path_params["organization"],
            _text(sent, "user_id"),
            _text(sent, "role"),
            **{name: _object(sent[name]) for name in _METADATA[:2] if sent.get(name) is not None},
        )
        return membership_object(self._issuer, made)

    async def _update_membership(self, request: Request) -> dict[str, Any]:
        sent = _known(await json_object(request), ("role",))
        changed = self._issuer.organizations.change_membership(
            request.path_params["organization"],
            request.path_params["user"],
            {"role": _text(sent, "role"), "updated_at": self._issuer.milliseconds()},
        )
        return membership_object(self._issuer, changed)

    async def _delete_membership(self, request: Request) -> dict[str, Any]:
        organization, user_id = request.path_params["organization"], request.path_params["user"]
        told = membership_object(self._issuer, self._issuer.organizations.membership(organization, user_id))
        self._issuer.organizations.leave(organization, user_id)
        return told


def _user_fields(sent: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """The fields of a User that a request sets; null empties a text. ``more`` are members that the caller reads."""
    known = _known(sent, (*_NAMES, *_METADATA, *more, *_ABOUT_PASSWORDS))
    fields: dict[str, Any] = {name: known[name] for name in _NAMES if name in known}
    for name in ("first_name", "last_name"):
        if name in fields and fields[name] is None:
            fields[name] = ""
    return fields | {name: _object(known[name]) for name in _METADATA if known.get(name) is not None}


def _known(sent: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    unknown = sorted(set(sent) - set(names))
    if unknown:
        raise IssuerInputInvalid(
            "The local issuer does not keep everything that was sent.",
            detail=f"expected some of {', '.join(sorted(set(names) - _ABOUT_PASSWORDS))}, got {unknown[0][:100]!a}",
            hint="Leave it out while developing, or use Clerk itself.",
        )
    return sent


def _text(sent: Mapping[str, Any], name: str) -> str:
    value = sent.get(name)
    if not isinstance(value, str) or not value:
        raise IssuerInputInvalid(f"The request has no {name}.", detail=f"expected {name} to be a text")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise IssuerInputInvalid("The metadata cannot be used.", detail="expected a JSON object")
    return value


def _page(request: Request, found: Sequence[Listed]) -> list[Listed]:
    limit, offset = _number(request, "limit", 10), _number(request, "offset", 0)
    return list(found[offset : offset + min(limit, _LARGEST_PAGE)])


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise IssuerInputInvalid(f"The query's {name} cannot be used.", detail="expected a whole number")
    return int(text)


def _told(error: RowgateError) -> Response:
    """An error in the form that Clerk's SDKs read."""
    told = {
        "message": error.message,
        "long_message": " ".join(text for text in (error.message, error.detail, error.hint) if text),
        "code": _CODES.get(error.status, error.code),
        "meta": {"rowgate_code": error.code},
    }
    return JSONResponse({"errors": [told]}, status_code=error.status, headers={"Cache-Control": "no-store"})
