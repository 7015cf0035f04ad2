"""The sealed identity: verified here by another library, bounded by the token and by a minute."""

import hashlib
import hmac
import json

from joserfc import jws
from joserfc.jwk import OctKey

from rowgate.postgres.session_context import LIFETIME_SECONDS, ContextSigner, SessionIdentity

SECRET = bytes(range(32))
CLAIMS = '{"sub":"é\\""}'.encode()


def identity(expires_at: float, *, now: float = 1000.0, offset: float = 0.0) -> SessionIdentity:
    signer = ContextSigner("key 1", SECRET, clock=lambda: now, clock_offset=offset)
    return SessionIdentity(signer, b"authenticated", 'é"'.encode(), CLAIMS, expires_at)


def payload(expires_at: float, *, now: float = 1000.0, offset: float = 0.0) -> dict[str, object]:
    token = identity(expires_at, now=now, offset=offset).token(42)
    verified = jws.deserialize_compact(token, OctKey.import_key(SECRET), algorithms=["HS256"])
    assert verified.protected == {"alg": "HS256", "kid": "key 1"}
    return json.loads(verified.payload)


def test_claims_arrive_as_they_were() -> None:
    assert payload(2000.0) == {
        "pid": 42,
        "exp": 1000 + LIFETIME_SECONDS,
        "role": "authenticated",
        "claims": {"sub": 'é"'},
    }


def test_it_never_outlives_the_users_token() -> None:
    assert payload(1010.0)["exp"] == 1010


def test_it_follows_the_databases_clock() -> None:
    assert payload(2000.0, offset=300.0)["exp"] == 1300 + LIFETIME_SECONDS


def test_it_lives_less_than_a_minute() -> None:
    assert LIFETIME_SECONDS <= 60


def test_the_seal_is_an_hmac_over_backend_role_time_claims_and_user() -> None:
    sealed, claims = identity(1010.0).sealed(42)
    assert claims == CLAIMS
    until, seal, digest, subject = sealed[:10], sealed[10:74], sealed[74:138], sealed[138:]
    assert (until, subject) == (b"0000001010", 'é"'.encode())
    assert digest == hashlib.sha256(CLAIMS).hexdigest().encode()
    message = b"42\nauthenticated\n" + until + digest + subject
    assert seal.decode() == hmac.new(SECRET, message, hashlib.sha256).hexdigest()


def test_nothing_of_it_shows() -> None:
    assert repr(SECRET) not in repr(identity(1010.0))
    assert "sub" not in repr(identity(1010.0))


def test_the_membership_stands_before_the_claims_under_the_same_seal() -> None:
    bare = identity(1010.0)
    member = SessionIdentity(bare.signer, bare.role, bare.subject, CLAIMS, 1010.0, b'{"org_id":"o"}')
    sealed, claims = member.sealed(42)
    assert claims == b'!{"org_id":"o"}\n' + CLAIMS
    assert sealed[74:138] == hashlib.sha256(claims).hexdigest().encode()
    assert member.token(42) == bare.token(42)
    assert "org_id" not in repr(member)
