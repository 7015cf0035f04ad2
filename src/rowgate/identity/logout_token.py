"""Logout tokens: what an identity provider says when it has ended a session (OpenID Connect Back-Channel Logout 1.0).

They are signed like other tokens of the provider, and judged by rules of their own, so that neither passes for the
other. This module never verifies a signature and never revokes anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rowgate.errors import NoticeRefused
from rowgate.identity.compact import TOKEN_TYPES, CompactToken, shown
from rowgate.identity.provider import Provider
from rowgate.identity.revocation import LONGEST_VALUE, Revocation, Told, told_by_provider

LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TYPES: Final = TOKEN_TYPES | {"logout+jwt", "application/logout+jwt"}
MOST_AGE: Final = 300.0
"""Seconds after ``iat`` until which a logout token without ``exp`` counts; with it, an hour at most."""

_LONGEST_LIFE: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutNotice:
    """What a logout token says. ``token_id`` may be used once until ``expires_at`` (Unix seconds)."""

    revocations: tuple[Revocation, ...]
    token_id: str
    expires_at: float


def read_logout_token(token: CompactToken, provider: Provider, *, now: float, leeway: float) -> LogoutNotice:
    """What ``token``, whose signature by ``provider`` was verified before, asks for (section 2.6, steps 3 to 9).

    With a session, that session ends, and with it the user's tokens that name no session, because they may be its own.
    With a user alone, everything that was issued to the user until now. Raises NoticeRefused.
    """
    claims = token.claims
    _check_audience(claims, provider)
    expires_at = _check_times(claims, now, leeway)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise _refused("events", f"an object with the member {LOGOUT_EVENT}", events)
    if "nonce" in claims:
        raise _refused("nonce", "no such claim, which ID tokens have", claims["nonce"])
    token_id = _text(claims, "jti")
    if token_id is None:
        raise _refused("jti", "a text", None)
    session, subject = _text(claims, "sid"), _text(claims, provider.claim_rules.user)
    if session is None and subject is None:
        raise _refused(f"sid or {provider.claim_rules.user}", "a text", None)
    wanted: list[Told] = []
    if session is not None:
        wanted.append(("session", session, None))
    if subject is not None:
        wanted.append(("subject" if session is None else "sessionless", subject, now))
    reason = "signed out at the identity provider"
    revocations = told_by_provider(provider.name, wanted, reason=reason, revoked_by="back-channel logout", now=now)
    return LogoutNotice(revocations=revocations, token_id=token_id, expires_at=expires_at)


def _check_audience(claims: dict[str, Any], provider: Provider) -> None:
    """It must be meant for us: without an audience of ours there is nothing to compare with, and it is refused."""
    ours = {*provider.client_ids, *provider.audiences}
    if not ours:
        raise NoticeRefused(
            "It is not known for which client this provider's logout tokens are meant.",
            detail=f"the provider {provider.name} has neither client ids nor audiences",
            hint="Register the provider with --client-id of the application that signs your users in.",
        )
    audience = claims.get("aud")
    found = [audience] if isinstance(audience, str) else audience
    if not isinstance(found, list) or not any(isinstance(entry, str) and entry in ours for entry in found):
        raise _refused("aud", "the client id or audience of the provider", audience)


def _check_times(claims: dict[str, Any], now: float, leeway: float) -> float:
    """Until when the token counts."""
    issued_at = _moment(claims, "iat")
    if issued_at > now + leeway:
        raise _refused("iat", "a moment that is not in the future", "a later one")
    expiry = _moment(claims, "exp") if "exp" in claims else issued_at + MOST_AGE
    until = min(expiry, issued_at + _LONGEST_LIFE) + leeway
    if now >= until:
        raise NoticeRefused("The logout token has expired.")
    return until


def _moment(claims: dict[str, Any], claim: str) -> float:
    value = claims.get(claim)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise _refused(claim, "seconds since 1970", value)
    return float(value)


def _text(claims: dict[str, Any], claim: str) -> str | None:
    if claim not in claims:
        return None
    value = claims[claim]
    if not isinstance(value, str) or not value or "\0" in value or len(value.encode()) > LONGEST_VALUE:
        raise _refused(claim, f"a text of 1 to {LONGEST_VALUE} bytes", value)
    return value


def _refused(claim: str, expected: str, got: object) -> NoticeRefused:
    return NoticeRefused(
        "The logout token is not one that counts here.", detail=f"expected {claim} to be {expected}, got {shown(got)}"
    )
