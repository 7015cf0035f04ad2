"""The claims of the local issuer's tokens, as Clerk writes them: session tokens, and tokens of a template.

Pure: the time and the random identifiers are given. This module never signs and never stores a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rowgate.issuer.organizations import ActiveMembership, feature_masks
from rowgate.issuer.sessions import Session
from rowgate.issuer.shortcodes import attributes_of
from rowgate.issuer.templates import Template
from rowgate.issuer.users import User

SESSION_TOKEN_VERSION: Final = 2
CLOCK_SKEW: Final = 5
"""Seconds by which ``nbf`` precedes ``iat``, as at Clerk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Who a token is about: the user, the organization that is active, all of the user's organizations with the role
    there, and the session, where there is one."""

    user: User
    active: ActiveMembership | None
    organizations: Mapping[str, str]
    session: Session | None = None

    @property
    def session_id(self) -> str:
        """That of the session; without one always the same for a user, so that what ends a session can be tried."""
        return self.session.id if self.session else f"sess_{self.user.id.removeprefix('user_')}"


def token_claims(
    *,
    issuer: str,
    bearer: Bearer,
    template: Template | None,
    lifetime: int,
    now: int,
    token_id: str,
    authorized_party: str | None = None,
) -> dict[str, Any]:
    """The claims of a token for ``bearer`` that is good from ``now`` (Unix seconds) for ``lifetime`` seconds.

    Without a template it is a session token (with ``sid``, ``sts``, ``v`` and the organization in ``o``), with one it
    holds the template's claims beside the issuer's own. ``authorized_party`` becomes ``azp``.
    """
    own: dict[str, Any] = {
        "exp": now + lifetime,
        "iat": now,
        "iss": issuer,
        "jti": token_id,
        "nbf": now - CLOCK_SKEW,
        "sub": bearer.user.id,
    }
    if authorized_party is not None:
        own["azp"] = authorized_party
    if template is not None:
        attributes = attributes_of(bearer.user, bearer.active, bearer.organizations, bearer.session)
        return {**template.render(attributes), **own}
    return {**own, **_session(bearer, now)}


def _session(bearer: Bearer, now: int) -> dict[str, Any]:
    age = 0 if bearer.session is None else max(0, now - bearer.session.created_at // 1000) // 60
    claims: dict[str, Any] = {
        "fva": [age, -1],
        "sid": bearer.session_id,
        "sts": "active",
        "v": SESSION_TOKEN_VERSION,
    }
    if bearer.session is not None and bearer.session.actor is not None:
        claims["act"] = bearer.session.actor
    active = bearer.active
    if active is not None:
        organization: dict[str, Any] = {
            "id": active.organization.id,
            "slg": active.organization.slug,
            "rol": active.membership.role.removeprefix("org:"),
        }
        features, actions, masks = feature_masks(active.permissions)
        if features:
            claims["fea"] = ",".join(f"o:{feature}" for feature in features)
            organization |= {"per": ",".join(actions), "fpm": ",".join(map(str, masks))}
        claims["o"] = organization
    return claims
