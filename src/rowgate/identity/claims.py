"""Whether the claims of a token whose signature holds let it pass (RFC 7519 section 4.1), and the Principal they make.

Times are Unix seconds. Every refusal names the claim, what was expected and what came. This module never looks at a
signature, and a claim that is missing is refused unless the text says that it may be.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from rowgate.errors import (
    TokenAudienceRefused,
    TokenClaimInvalid,
    TokenExpired,
    TokenNotYetValid,
    TokenPartyRefused,
    TokenSubjectMissing,
)
from rowgate.identity.compact import CompactToken, shown
from rowgate.identity.principal import Principal
from rowgate.identity.provider import Provider

LONGEST_IDENTIFIER: Final = 1024
"""Bytes of UTF-8 in ``sub``, ``jti`` and ``sid``: they end up in indexes, logs and limits."""

_LAST_MOMENT: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, the last moment that can be written as ISO 8601 with four digits."""


def principal_of(token: CompactToken, provider: Provider, *, now: float, leeway: float) -> Principal:
    """The principal of ``token``, whose signature by ``provider`` was verified before.

    ``now`` is in Unix seconds, ``leeway`` in seconds for clocks that differ. Raises the TokenRefused of the first check
    that fails.
    """
    claims = token.claims
    expires_at = _check_times(claims, now, leeway)
    subject = _subject(claims)
    _check_audience(claims, provider)
    _check_party(claims, provider)
    _check_session(claims, provider)
    return Principal(
        subject=subject,
        claims_json=token.claims_json,
        provider=provider.name,
        issuer=provider.issuer,
        roles=provider.roles,
        expires_at=expires_at,
        issued_at=_moment(claims, "iat"),
        token_id=_identifier(claims, "jti"),
        session_id=_identifier(claims, "sid"),
    )


def _check_times(claims: dict[str, Any], now: float, leeway: float) -> float:
    """The moment from which the token is refused: ``exp`` (section 4.1.4) and the leeway."""
    expiry = _moment(claims, "exp")
    if expiry is None:
        raise TokenExpired(
            "The token has no expiry.", detail="expected the claim exp, got none", hint="Have exp put into the token."
        )
    if now >= expiry + leeway:
        raise TokenExpired(
            "The token has expired.",
            detail=f"exp is {_iso(expiry)}, now is {_iso(now)}, and {leeway:g} s are allowed for clocks that differ",
        )
    for claim in ("nbf", "iat"):
        start = _moment(claims, claim)
        if start is not None and start > now + leeway:
            raise TokenNotYetValid(
                "The token is not valid yet.",
                detail=f"{claim} is {_iso(start)}, now is {_iso(now)}, and {leeway:g} s are allowed for clocks that "
                "differ",
            )
    return expiry + leeway


def _moment(claims: dict[str, Any], claim: str) -> float | None:
    """A NumericDate (section 2), None where the claim is missing. A bool is an int to Python, and no date."""
    if claim not in claims:
        return None
    value = claims[claim]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_MOMENT:
        raise TokenClaimInvalid(
            f"The claim {claim} is not a date.",
            detail=f"expected seconds since 1970 as a number up to {_LAST_MOMENT}, got {shown(value)}",
        )
    return float(value)


def _subject(claims: dict[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise TokenSubjectMissing(
            "The token names no subject.",
            detail=f"expected sub to be a text that is not empty, got {shown(subject)}",
            hint="Row-level security compares auth.user_id() with sub; have your provider put it into the token.",
        )
    return _bounded("sub", subject)


def _identifier(claims: dict[str, Any], claim: str) -> str | None:
    if claim not in claims:
        return None
    value = claims[claim]
    if not isinstance(value, str):
        raise TokenClaimInvalid(
            f"The claim {claim} is not a text.", detail=f"expected a JSON string, got {shown(value)}"
        )
    return _bounded(claim, value)


def _bounded(claim: str, value: str) -> str:
    size = len(value.encode("utf-8"))
    if size > LONGEST_IDENTIFIER:
        raise TokenClaimInvalid(
            f"The claim {claim} is too long.", detail=f"expected at most {LONGEST_IDENTIFIER} bytes, got {size}"
        )
    return value


def _check_audience(claims: dict[str, Any], provider: Provider) -> None:
    """Section 4.1.3: a text or a list of texts, one of which must be ours where the provider has audiences."""
    audience = claims.get("aud", [])
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(entry, str) for entry in audiences):
        raise TokenClaimInvalid(
            "The claim aud is not an audience.", detail=f"expected a text or a list of texts, got {shown(audience)}"
        )
    if provider.audiences and not set(provider.audiences) & set(audiences):
        raise TokenAudienceRefused(
            "The token is meant for someone else.",
            detail=f"expected aud to hold one of {_listed(provider.audiences)}, got {_listed(audiences)}",
            hint="Ask the provider for a token of this audience, or register the provider with the token's audience.",
        )


def _check_party(claims: dict[str, Any], provider: Provider) -> None:
    if "azp" not in claims:
        return
    party = claims["azp"]
    if not isinstance(party, str):
        raise TokenClaimInvalid("The claim azp is not a text.", detail=f"expected a JSON string, got {shown(party)}")
    if provider.authorized_parties and party not in provider.authorized_parties:
        raise TokenPartyRefused(
            "The token was given to another application.",
            detail=f"expected azp to be one of {_listed(provider.authorized_parties)}, got {shown(party)}",
            hint="Add the application's origin to the provider's authorized parties.",
        )


def _check_session(claims: dict[str, Any], provider: Provider) -> None:
    """Clerk signs tokens for sessions whose user has still to choose an organization or the like (``sts``)."""
    if provider.kind == "clerk" and claims.get("sts") == "pending":
        raise TokenClaimInvalid(
            "The session of the token is still pending.",
            detail="expected sts to be active, got 'pending'",
            hint="Complete the session's tasks in Clerk; until then the user counts as signed out.",
        )


def _listed(values: tuple[str, ...] | list[str]) -> str:
    return ", ".join(shown(value) for value in values[:8]) or "none"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(min(max(moment, 0.0), _LAST_MOMENT), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
