"""Who a request comes from, once its token has passed every check. Never holds the token itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NewType

from rowgate.identity.membership import NO_MEMBERSHIP, Membership
from rowgate.identity.strict_json import parse_object

Token = NewType("Token", str)
"""A compact JWT as the client sent it. A credential: never logged, never part of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The subject of a verified token.

    ``claims_json`` is the payload as the provider wrote it, byte for byte (UTF-8 JSON text that Postgres's ``jsonb``
    takes); where another claim than ``sub`` names the user, it is written anew with that as its ``sub``.
    ``provider`` is the name that the provider is registered under, ``issuer`` its ``iss``. ``roles`` are the
    Postgres roles that the token may be used for. ``expires_at`` (Unix seconds) is the moment from which the token is
    refused: ``exp`` and the leeway of the verifier. ``token_id`` is ``jti``, ``session_id`` is ``sid``,
    ``issued_at`` is ``iat`` (Unix seconds), ``actor`` who acts in the subject's place (RFC 8693 section 4.1); each is
    None where the token has none. ``membership`` is the organization and what the user may do there, and
    ``membership_json`` the same as Postgres is told it.

    Claims are personal data, so no repr shows them.
    """

    subject: str
    claims_json: bytes = field(repr=False)
    provider: str
    issuer: str
    roles: tuple[str, ...]
    expires_at: float
    issued_at: float | None = None
    token_id: str | None = None
    session_id: str | None = None
    actor: str | None = None
    membership: Membership = field(default=NO_MEMBERSHIP, repr=False)
    membership_json: bytes = field(default=b"", repr=False)

    @property
    def claims(self) -> dict[str, Any]:
        """The claims, parsed anew at each call.

        Kept as bytes because a hundred thousand cached principals would otherwise hold as many dictionaries, and
        because nobody can change the claims of another request through a copy of his own.
        """
        return parse_object(self.claims_json)
