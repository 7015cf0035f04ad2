"""The claims of the local issuer's tokens, as Clerk writes them: session tokens, and tokens of a template.

Pure: the time and the random identifiers are given. This module never signs and never stores a token.
"""

from __future__ import annotations

from typing import Any

from rowgate.issuer.templates import Template
from rowgate.issuer.users import User

SESSION_TOKEN_VERSION = 2


def token_claims(
    *,
    issuer: str,
    user: User,
    template: Template | None,
    lifetime: int,
    now: int,
    token_id: str,
    authorized_party: str | None = None,
) -> dict[str, Any]:
    """The claims of a token for ``user`` that is good from ``now`` (Unix seconds) for ``lifetime`` seconds.

    Without a template it is a session token (with ``sid``, ``sts``, ``v`` and the organization in ``o``), with one it
    holds the template's claims beside the issuer's own. ``authorized_party`` becomes ``azp``.
    """
    own: dict[str, Any] = {
        "exp": now + lifetime,
        "iat": now,
        "iss": issuer,
        "jti": token_id,
        "nbf": now,
        "sub": user.id,
    }
    if authorized_party is not None:
        own["azp"] = authorized_party
    if template is not None:
        return {**template.render(user), **own}
    return {**own, **_session(user)}


def _session(user: User) -> dict[str, Any]:
    """One session for each user, so that what ends a session can be tried as well."""
    claims: dict[str, Any] = {
        "sid": f"sess_{user.id.removeprefix('user_')}",
        "sts": "active",
        "v": SESSION_TOKEN_VERSION,
    }
    organization = user.organization
    if organization is not None:
        role = organization.role.removeprefix("org:")
        claims["o"] = {"id": organization.id, "slg": organization.slug, "rol": role}
    return claims
