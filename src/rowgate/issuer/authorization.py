"""OpenID Connect's authorization code flow with PKCE (OpenID Connect Core 1.0 section 3.1, RFC 7636), without the HTTP.

There are no registered clients: any client may ask, but codes go to loopback addresses and allowed origins alone, and
every client must use PKCE. This module never issues a token and never looks at a cookie.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from rowgate.errors import AuthorizationRefused
from rowgate.identity.addresses import split_address

AUTHORIZE_PATH: Final = "/authorize"
USERINFO_PATH: Final = "/userinfo"
LOGOUT_PATH: Final = "/logout"
SCOPES: Final = ("openid", "profile", "email", "offline_access")

CODE_LIFETIME: Final = 60
"""Seconds (RFC 6749 section 4.1.2 allows ten minutes)."""

_MOST_CODES: Final = 1000
_CLIENT: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_LONGEST_PARAMETER: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the answer goes. Known to be allowed before anything else of a request is looked at."""

    client_id: str
    redirect_uri: str
    state: str

    def address(self, answer: Mapping[str, str]) -> str:
        """The redirect URI with ``answer`` and the client's state in its query."""
        added = {**answer, **({"state": self.state} if self.state else {})}
        return f"{self.redirect_uri}{'&' if '?' in self.redirect_uri else '?'}{urlencode(added)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """A request that may be granted. ``challenge`` is that of RFC 7636, by S256."""

    destination: Destination
    scopes: tuple[str, ...]
    challenge: str
    nonce: str
    prompts: tuple[str, ...] = ()
    login_hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a code stands for. Times are Unix seconds."""

    session_id: str
    request: AuthorizationRequest
    granted_at: int


def read_destination(parameters: Mapping[str, str], is_allowed: Callable[[str], bool]) -> Destination:
    """Client and redirect URI. Raises AuthorizationRefused, which must be shown and not sent there.

    ``is_allowed`` judges the origin of the redirect URI.
    """
    client_id = parameters.get("client_id", "")
    if not _CLIENT.fullmatch(client_id):
        raise AuthorizationRefused(
            "The request names no client.",
            detail="expected client_id to be 1 to 255 printable characters",
            hint="Choose any client_id; the local issuer keeps no list.",
        )
    redirect_uri = parameters.get("redirect_uri", "")
    parts = split_address(redirect_uri)
    if parts is None or not is_allowed(f"{parts.scheme}://{parts.netloc}"):
        raise AuthorizationRefused(
            "The redirect URI may not be used.",
            detail=f"expected redirect_uri on a loopback address or an allowed origin, got {redirect_uri[:200]!a}",
            hint="Use http://localhost with any port and path.",
        )
    state = parameters.get("state", "")
    return Destination(client_id=client_id, redirect_uri=redirect_uri, state=state[:_LONGEST_PARAMETER])


def read_authorization(parameters: Mapping[str, str], destination: Destination) -> AuthorizationRequest:
    """The rest of the request. Raises AuthorizationRefused, whose ``oauth_error`` the destination is told."""
    if "request" in parameters or "request_uri" in parameters:
        raise AuthorizationRefused("Request objects are not supported.", oauth_error="request_not_supported")
    if parameters.get("response_type") != "code" or parameters.get("response_mode", "query") != "query":
        raise AuthorizationRefused(
            "Only the authorization code flow is supported.",
            detail="expected response_type=code, and response_mode=query or none",
            oauth_error="unsupported_response_type",
        )
    scopes = tuple(parameters.get("scope", "").split())
    if "openid" not in scopes:
        raise AuthorizationRefused("The scope has no openid.", oauth_error="invalid_scope")
    challenge = parameters.get("code_challenge", "")
    if parameters.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise AuthorizationRefused(
            "The request does not use PKCE.", detail="expected code_challenge, and code_challenge_method=S256"
        )
    return AuthorizationRequest(
        destination=destination,
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        challenge=challenge,
        nonce=parameters.get("nonce", "")[:_LONGEST_PARAMETER],
        prompts=tuple(parameters.get("prompt", "").split()),
        login_hint=parameters.get("login_hint", "")[:255],
    )


class AuthorizationCodes:
    """Codes that were given out, for a minute and for one use. Kept in memory: a restart forgets them.

    ``clock`` gives Unix seconds, ``new_code`` a text that nobody guesses. ``on_replay`` is told the session of a code
    that came twice, which is then to end (RFC 6749 section 4.1.2).
    """

    def __init__(
        self, clock: Callable[[], float], new_code: Callable[[], str], on_replay: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._new_code = new_code
        self._on_replay = on_replay
        self._grants: OrderedDict[str, Grant | str] = OrderedDict()

    def grant(self, session_id: str, request: AuthorizationRequest) -> str:
        """A code for this session."""
        code = self._new_code()
        self._grants[code] = Grant(session_id=session_id, request=request, granted_at=int(self._clock()))
        while len(self._grants) > _MOST_CODES:
            self._grants.popitem(last=False)
        return code

    def redeem(self, parameters: Mapping[str, Any], client_id: str) -> Grant:
        """What the code of a token request stands for. Raises AuthorizationRefused."""
        code = str(parameters.get("code", ""))
        found = self._grants.get(code)
        if isinstance(found, str):
            self._on_replay(found)
        if not isinstance(found, Grant):
            raise _no_grant("The code is unknown, or was used already.")
        # Used up by this attempt, whatever comes of it: nobody tries verifiers one by one.
        self._grants[code] = found.session_id
        if self._clock() - found.granted_at >= CODE_LIFETIME:
            raise _no_grant("The code is over.")
        destination = found.request.destination
        if client_id != destination.client_id or parameters.get("redirect_uri") != destination.redirect_uri:
            raise _no_grant("The code was given to another client or redirect URI.")
        verifier = parameters.get("code_verifier")
        if not isinstance(verifier, str) or not _VERIFIER.fullmatch(verifier):
            raise _no_grant("The code verifier is missing or is none.")
        if not hmac.compare_digest(
            _left_out_padding(hashlib.sha256(verifier.encode()).digest()), found.request.challenge
        ):
            raise _no_grant("The code verifier does not belong to the code challenge.")
        return found


def id_token_claims(grant: Grant, *, issuer: str, user: Mapping[str, Any], access_token: str, now: int,
                    lifetime: int) -> dict[str, Any]:  # fmt: skip
    """The claims of an ID token (OpenID Connect Core 1.0 sections 2 and 3.1.3.6). ``user`` is what scopes may show."""
    client_id = grant.request.destination.client_id
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    claims = {
        **user,
        "iss": issuer,
        "aud": client_id,
        "azp": client_id,
        "iat": now,
        "exp": now + lifetime,
        "auth_time": grant.granted_at,
        "sid": grant.session_id,
        "at_hash": _left_out_padding(half),
    }
    return {**claims, "nonce": grant.request.nonce} if grant.request.nonce else claims


def _left_out_padding(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _no_grant(message: str) -> AuthorizationRefused:
    return AuthorizationRefused(message, hint="Start again at the authorization endpoint.", oauth_error="invalid_grant")
