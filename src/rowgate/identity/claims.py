"""Whether the claims of a token whose signature holds let it pass (RFC 7519 section 4.1), and the Principal they make.

Times are Unix seconds. Every refusal names the claim, what was expected and what came. This module never looks at a
signature, and a claim that is missing is refused unless the text says that it may be.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rowgate.errors import (
    TokenAudienceRefused,
    TokenClaimInvalid,
    TokenExpired,
    TokenNotYetValid,
    TokenPartyRefused,
    TokenRoleRefused,
    TokenSubjectMissing,
)
from rowgate.identity.claim_rules import Condition, value_at
from rowgate.identity.compact import CompactToken, shown
from rowgate.identity.membership import first_text, membership_of, written_membership
from rowgate.identity.principal import Principal
from rowgate.identity.provider import Provider

LONGEST_IDENTIFIER: Final = 1024
"""Bytes of UTF-8 in ``sub``, ``jti`` and ``sid``: they end up in indexes, logs and limits."""

ANONYMOUS: Final = "anonymous"

_LAST_MOMENT: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, the last moment that can be written as ISO 8601 with four digits."""


@dataclass(frozen=True, slots=True)
class Moment:
    """``now`` in Unix seconds, and the ``leeway`` in seconds for clocks that differ."""

    now: float
    leeway: float

    def __str__(self) -> str:
        return f"now is {iso(self.now)}, and {self.leeway:g} s are allowed for clocks that differ"


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """One check of the claims. ``judge`` raises a TokenRefused; ``claims`` are what it looks at."""

    name: str
    judge: Callable[[dict[str, Any], Provider, Moment], object]
    claims: Callable[[Provider], tuple[str, ...]]


def principal_of(token: CompactToken, provider: Provider, *, now: float, leeway: float) -> Principal:
    """The principal of ``token``, whose signature by ``provider`` was verified before.

    ``now`` is in Unix seconds, ``leeway`` in seconds for clocks that differ. Raises the TokenRefused of the first check
    that fails.
    """
    claims, rules = token.claims, provider.claim_rules
    moment = Moment(now, leeway)
    for check in CLAIM_CHECKS:
        check.judge(claims, provider, moment)
    subject = _subject(claims, rules.user)
    session, membership = first_text(claims, rules.session), membership_of(claims, rules)
    return Principal(
        subject=subject,
        claims_json=token.claims_json if rules.user == "sub" else _with_subject(claims, subject),
        provider=provider.name,
        issuer=claims.get("iss", provider.issuer),
        roles=_roles(claims, provider),
        expires_at=claims["exp"] + leeway,
        issued_at=_moment(claims, "iat"),
        token_id=_identifier(claims, "jti"),
        session_id=_identifier(claims, "sid") if session is None else _bounded("of the session", session),
        actor=first_text(claims, rules.actor),
        membership=membership,
        membership_json=written_membership(membership),
    )


def _check_is_no_notice(claims: dict[str, Any], provider: Provider, moment: Moment) -> None:
    """Tokens that tell of events (RFC 8417, logout tokens among them) are signed with the same keys, and nobody's
    credential (OpenID Connect Back-Channel Logout 1.0, section 4.1)."""
    if "events" in claims:
        raise TokenClaimInvalid(
            "The token tells of an event; it does not say who its bearer is.",
            detail="expected a token without the claim events",
            hint="Send the user's access or session token.",
        )


def _check_expiry(claims: dict[str, Any], provider: Provider, moment: Moment) -> None:
    """Section 4.1.4: the token is refused from ``exp`` and the leeway on."""
    expiry = _moment(claims, "exp")
    if expiry is None:
        raise TokenExpired(
            "The token has no expiry.", detail="expected the claim exp, got none", hint="Have exp put into the token."
        )
    if moment.now >= expiry + moment.leeway:
        raise TokenExpired("The token has expired.", detail=f"exp is {iso(expiry)}, {moment}")


def _check_start(claims: dict[str, Any], provider: Provider, moment: Moment) -> None:
    """Sections 4.1.5 and 4.1.6: neither ``nbf`` nor ``iat`` lies in the future."""
    for claim in ("nbf", "iat"):
        start = _moment(claims, claim)
        if start is not None and start > moment.now + moment.leeway:
            raise TokenNotYetValid("The token is not valid yet.", detail=f"{claim} is {iso(start)}, {moment}")


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


def _subject(claims: dict[str, Any], claim: str) -> str:
    subject = claims.get(claim)
    if not isinstance(subject, str) or not subject:
        raise TokenSubjectMissing(
            "The token names no subject.",
            detail=f"expected {claim} to be a text that is not empty, got {shown(subject)}",
            hint=f"Row-level security compares auth.user_id() with {claim}; have your provider put it into the token.",
        )
    return _bounded(claim, subject)


def _with_subject(claims: dict[str, Any], subject: str) -> bytes:
    """The claims with the user as their ``sub``: Postgres's functions read the user there, and nowhere else."""
    return json.dumps({**claims, "sub": subject}, ensure_ascii=False, separators=(",", ":")).encode()


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


def _check_audience(claims: dict[str, Any], provider: Provider, moment: Moment) -> None:
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


def _check_party(claims: dict[str, Any], provider: Provider, moment: Moment) -> None:
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


def _check_client(claims: dict[str, Any], provider: Provider, moment: Moment) -> None:
    """At least one of the claims that name the client is there, and none of them names a client that is not ours."""
    if not provider.client_ids:
        return
    names = [name for name in provider.claim_rules.client_claims if name in claims]
    for name in names:
        found = claims[name] if isinstance(claims[name], list) else [claims[name]]
        if not any(client in found for client in provider.client_ids):
            raise _other_client(name, provider, shown(claims[name]) if len(found) != 1 else shown(found[0]))
    if not names:
        raise _other_client(" or ".join(provider.claim_rules.client_claims), provider, "none")


def _other_client(claim: str, provider: Provider, got: str) -> TokenPartyRefused:
    return TokenPartyRefused(
        "The token was made for another client.",
        detail=f"expected {claim} to be one of {_listed(provider.client_ids)}, got {got}",
        hint="Register the provider with --client-id of the application that signs your users in.",
    )


def _check_required(claims: dict[str, Any], provider: Provider, moment: Moment) -> None:
    for condition in provider.claim_rules.required:
        if not condition.holds(claims):
            raise TokenClaimInvalid(
                f"The claim {_name(condition)} has not the value that this provider's tokens must have.",
                detail=f"expected {_name(condition)} to be {_wanted(condition)}, "
                f"got {shown(value_at(claims, condition.path))}",
                hint="Send a token of another type or tenant, or register the provider for this one.",
            )


def _check_denied(claims: dict[str, Any], provider: Provider, moment: Moment) -> None:
    for condition in provider.claim_rules.denied:
        if condition.holds(claims):
            raise TokenClaimInvalid(
                f"Tokens with this value of the claim {_name(condition)} are not accepted.",
                detail=f"expected {_name(condition)} not to be {_wanted(condition)}, "
                f"got {shown(value_at(claims, condition.path))}",
                hint=_DENIED_HINTS.get(condition.path[-1]),
            )


_DENIED_HINTS: Final = {
    "sts": "Complete the session's tasks in Clerk; until then the user counts as signed out.",
    "role": "Send a user's own token; one of the provider's administrator is not a user's.",
    "banned": "The provider has banned this user.",
}


def _check_identifiers(claims: dict[str, Any], provider: Provider, moment: Moment) -> None:
    """``jti`` and ``sid`` are texts of bounded length, and ``iat`` is a date, where they are there."""
    _moment(claims, "iat")
    _identifier(claims, "jti")
    session = first_text(claims, provider.claim_rules.session)
    if session is None:
        _identifier(claims, "sid")
    else:
        _bounded("of the session", session)


CLAIM_CHECKS: Final = (
    ClaimCheck("no notice", _check_is_no_notice, lambda provider: ("events",)),
    ClaimCheck("expiry", _check_expiry, lambda provider: ("exp",)),
    ClaimCheck("start", _check_start, lambda provider: ("nbf", "iat")),
    ClaimCheck(
        "subject",
        lambda claims, provider, moment: _subject(claims, provider.claim_rules.user),
        lambda provider: (provider.claim_rules.user,),
    ),
    ClaimCheck("audience", _check_audience, lambda provider: ("aud",)),
    ClaimCheck("authorized party", _check_party, lambda provider: ("azp",)),
    ClaimCheck("client", _check_client, lambda provider: provider.claim_rules.client_claims),
    ClaimCheck("required claims", _check_required, lambda provider: _paths(provider.claim_rules.required)),
    ClaimCheck("denied claims", _check_denied, lambda provider: _paths(provider.claim_rules.denied)),
    ClaimCheck("identifiers", _check_identifiers, lambda provider: ("jti", "sid")),
    ClaimCheck(
        "roles",
        lambda claims, provider, moment: _roles(claims, provider),
        lambda provider: _paths(provider.claim_rules.anonymous),
    ),
)
"""In the order in which a gateway makes them: the first that fails is what a client is told."""


def _paths(conditions: tuple[Condition, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(condition) for condition in conditions))


def _roles(claims: dict[str, Any], provider: Provider) -> tuple[str, ...]:
    """The provider's roles without those that ask for claims which the token has not; of them the role ``anonymous``
    alone for someone who has not signed in. No claim ever names a role: the registered grants do."""
    grants = provider.claim_rules.role_grants
    granted = {grant.role for grant in grants if grant.holds(claims)}
    refused = {grant.role for grant in grants} - granted
    roles = tuple(role for role in provider.roles if role not in refused)
    for condition in provider.claim_rules.anonymous:
        if condition.holds(claims):
            if ANONYMOUS in roles:
                return (ANONYMOUS,)
            raise TokenRoleRefused(
                "The token is that of an anonymous user, and this provider's tokens may not be used for that role.",
                detail=f"{_name(condition)} is {shown(value_at(claims, condition.path))}",
                hint="Sign in, or register the provider with --role anonymous.",
            )
    return roles


def _name(condition: Condition) -> str:
    return ".".join(condition.path)


def _wanted(condition: Condition) -> str:
    return _listed([value if isinstance(value, str) else str(value).lower() for value in condition.values])


def _listed(values: tuple[str, ...] | list[str]) -> str:
    return ", ".join(shown(value) for value in values[:8]) or "none"


def iso(moment: float) -> str:
    """Unix seconds as people write a time (ISO 8601, UTC)."""
    return datetime.fromtimestamp(min(max(moment, 0.0), _LAST_MOMENT), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
