"""The identity that travels with each request: the user's claims, sealed for one backend, one role and a few seconds.

The extension pg_session_jwt verifies the same bytes inside Postgres. Never logs or shows a key or a claim.
"""

from __future__ import annotations

import hmac
import json
from binascii import b2a_base64
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

LIFETIME_SECONDS: Final = 45
TO_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")


def _base64url(data: bytes) -> bytes:
    """RFC 7515 section 2: base64url without padding."""
    return b2a_base64(data, newline=False).rstrip(b"=").translate(TO_URL_ALPHABET)


class SessionIdentity(msgspec.Struct, frozen=True):
    """Whom a request comes from, as Postgres is to know it.

    ``role`` and ``subject`` are UTF-8, ``claims`` is a JSON object as the provider wrote it, ``expires_at`` is when the
    user's own token ends, in unix seconds of this machine's clock. ``membership`` is empty, or the user's organization
    and permissions as a JSON object on one line, which Postgres's functions take from there and not from the claims.
    """

    signer: ContextSigner
    role: bytes
    subject: bytes
    claims: bytes
    expires_at: float
    membership: bytes = b""

    def __repr__(self) -> str:
        """What its repr shows: no claim."""
        return f"SessionIdentity(role={self.role!r})"

    def token(self, process_id: int) -> bytes:
        """The identity as one session token for a backend; Postgres says what is wrong with one that does not fit.

        It is without the membership, which only sealed values have.
        """
        return self.signer.token(process_id, self.role, self.claims, self.expires_at)

    def sealed(self, process_id: int) -> tuple[bytes, bytes]:
        """The sealed identity and the claims, for a backend that is known to accept this signer's seals."""
        claims = b"!%b\n%b" % (self.membership, self.claims) if self.membership else self.claims
        return self.signer.seal(process_id, self.role, self.subject, claims, self.expires_at), claims


class ContextSigner:
    """Signs with one session key of a database.

    ``clock`` gives unix seconds; ``clock_offset`` is how many seconds the database's clock is ahead of it, because
    expiry is compared with the database's clock.
    """

    __slots__ = ("_clock", "_clock_offset", "_header", "_secret")

    def __init__(self, key_id: str, secret: bytes, *, clock: Callable[[], float], clock_offset: float = 0.0) -> None:
        header = json.dumps({"alg": "HS256", "kid": key_id}, separators=(",", ":"))
        self._header = _base64url(header.encode()) + b"."
        self._secret = secret
        self._clock = clock
        self._clock_offset = clock_offset

    def token(self, process_id: int, role: bytes, claims: bytes, expires_at: float) -> bytes:
        """A compact JWS (RFC 7515 section 7.1) over the claims, for one backend; see SessionIdentity for the rest."""
        payload = b'{"pid":%d,"exp":%d,"role":%b,"claims":%b}' % (
            process_id,
            self._expiry(expires_at),
            json.dumps(role.decode()).encode(),
            claims,
        )
        signed = self._header + _base64url(payload)
        return signed + b"." + _base64url(hmac.digest(self._secret, signed, "sha256"))

    def seal(self, process_id: int, role: bytes, subject: bytes, claims: bytes, expires_at: float) -> bytes:
        """The identity as ``auth.user_id()`` reads it, for one backend.

        One after the other: the moment until which it counts (unix seconds, 10 digits), the seal, the SHA-256 of the
        claims, and the subject. The seal is the HMAC-SHA-256 (RFC 2104) of process id, role and all the rest, one a
        line; both digests are in hexadecimal digits. Exposed roles have no line break in their names.
        """
        until = b"%010d" % self._expiry(expires_at)
        rest = sha256(claims).hexdigest().encode() + subject
        message = b"%d\n%b\n%b%b" % (process_id, role, until, rest)
        return until + hmac.digest(self._secret, message, "sha256").hex().encode() + rest

    def _expiry(self, expires_at: float) -> int:
        return int(min(self._clock() + LIFETIME_SECONDS, expires_at) + self._clock_offset)
