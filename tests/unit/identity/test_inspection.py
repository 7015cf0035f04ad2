"""``inspect`` makes a gateway's checks, all of them: it agrees with the verifier about every token, and says why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowgate.errors import RowgateError, TokenIssuerUnknown, TokenKeyUnknown
from rowgate.identity.inspection import Inspection, KeySource, inspect
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.keyset import parse_key_set
from rowgate.identity.provider import Provider
from rowgate.identity.static_keys import from_jwks
from rowgate.identity.verify import TokenVerifier, by_issuer
from tests.unit.identity.forge import (
    ISSUER,
    JWKS_URL,
    NOW,
    Bench,
    Clock,
    Documents,
    bench,
    claims,
    encode,
    key_for,
    key_set_document,
    provider,
    public,
    sign,
)

KEYS = key_set_document(*[public(key_for(name), name, alg=name) for name in ("RS256", "ES256", "EdDSA")])


async def inspected(
    token: str, tried: Bench, *, assumed: Provider | None = None, role: str | None = None
) -> Inspection:
    return await inspect(
        token,
        by_issuer(tried.verifier.providers),
        KeySource(tried.key_sets.key, tried.key_sets.only_key_id),
        now=tried.clock.now,
        leeway=30,
        assumed=assumed,
        role=role,
    )


async def verdict(token: str, tried: Bench) -> str | None:
    try:
        await tried.verifier.verify(token)
    except RowgateError as error:
        return error.code
    return None


def failures(found: Inspection) -> dict[str, str]:
    return {one.check: one.refusal.code for one in found.outcomes if one.refusal is not None}


async def test_a_sound_token_passes_every_check() -> None:
    found = await inspected(sign(payload=claims(aud="api", sid="s")), bench(provider(audiences=("api",))))
    assert found.accepted
    assert found.principal is not None
    assert found.principal.subject == "user_alice"
    seen = {one.check: one.seen for one in found.outcomes}
    assert {one.verdict for one in found.outcomes} == {"passed"}
    assert seen["expiry"] == "exp 2027-01-15T08:01:00Z"
    assert seen["audience"] == "aud 'api'"
    assert seen["key"] == "kid 'RS256', RSA"


async def test_everything_that_is_wrong_is_told_at_once() -> None:
    tried = bench(provider(audiences=("api",), authorized_parties=("https://app.example",)))
    token = sign(
        "ES256",
        key=key_for("ES256"),
        header={"alg": "ES256", "kid": "ES256", "typ": "other", "crit": []},
        payload=claims(exp=NOW - 100, nbf=NOW + 100, aud=["x"], azp="https://evil.example", sub="", jti=1),
    )
    changed = token.rsplit(".", 1)[0] + "." + encode(b"\0" * 64)
    assert failures(await inspected(changed, tried)) == {
        "header members": "token_malformed", "type": "token_malformed", "signature": "token_signature_invalid",
        "expiry": "token_expired", "start": "token_not_yet_valid", "subject": "token_subject_missing",
        "audience": "token_audience_refused", "authorized party": "token_party_refused",
        "identifiers": "token_claim_invalid",
    }  # fmt: skip


async def test_another_issuer_and_an_assumed_provider() -> None:
    tried = bench()
    token = sign(payload=claims(iss=ISSUER + "/"))
    alone = await inspected(token, tried)
    assert failures(alone) == {"issuer": "token_issuer_unknown"}
    assert {one.verdict for one in alone.outcomes if "key" in one.check} == {"unchecked"}
    assumed = await inspected(token, tried, assumed=provider())
    assert failures(assumed) == {"issuer": "token_issuer_unknown"}
    assert not assumed.accepted
    assert assumed.principal is None
    assert {one.verdict for one in assumed.outcomes if "key" in one.check} == {"passed"}


@pytest.mark.parametrize("role", ["authenticated", "postgres"])
async def test_the_role(role: str) -> None:
    found = await inspected(sign(), bench(), role=role)
    assert failures(found) == ({} if role == "authenticated" else {"role": "token_role_refused"})
    assert found.accepted is (role == "authenticated")


async def test_keys_that_cannot_be_had() -> None:
    tried = bench()
    tried.documents.by_url.clear()
    assert failures(await inspected(sign(), tried)) == {"key": "key_set_unavailable"}
    other = bench(document=key_set_document(public(key_for("RS256"), "other")))
    assert failures(await inspected(sign(), other)) == {"key": "token_key_unknown"}


async def test_a_token_that_cannot_be_taken_apart() -> None:
    for token in ("", "x", "a.b.c.d.e", "a.b", "\xff.\xff.\xff"):
        found = await inspected(token, bench())
        assert [one.check for one in found.outcomes] == ["shape"]
        assert failures(found) == {"shape": "token_malformed"}


async def test_nothing_that_is_shown_holds_the_token_or_its_signature() -> None:
    token = sign(payload=claims(exp=0))
    found = await inspected(token, bench())
    text = repr(found) + json.dumps([(one.seen, repr(one.refusal)) for one in found.outcomes])
    assert not any(part in text for part in token.split("."))


CLAIM_VALUES = (
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats() | st.text(max_size=5)
    | st.sampled_from([NOW, NOW + 60, NOW - 60, ISSUER, "api", "RS256", "at+jwt", ["api"], [1], {}])
)  # fmt: skip
PAYLOADS = st.dictionaries(
    st.sampled_from(["iss", "sub", "exp", "nbf", "iat", "aud", "azp", "jti", "sid", "act", "client_id"]), CLAIM_VALUES
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "enc", "zip", "jwk"]), CLAIM_VALUES)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PAYLOADS, HEADERS, st.sampled_from(["RS256", "ES256", "EdDSA"]), st.sampled_from(["", "signature", "payload"]))
async def test_it_agrees_with_the_verifier(
    payload: dict[str, Any], header: dict[str, Any], algorithm: str, damaged: str
) -> None:
    """Accepted by one is accepted by both; what the verifier says is among what the inspection says."""
    tried = bench(provider(audiences=("api",)), document=KEYS)
    token = sign(
        algorithm,
        header={"alg": algorithm, "kid": algorithm, **header},
        payload={**claims(aud="api"), **payload},
    )
    if damaged:
        parts = token.split(".")
        place = 2 if damaged == "signature" else 1
        parts[place] = encode(bytes([parts[place].encode()[0] ^ 1]) + parts[place].encode()[1:])
        token = ".".join(parts)
    code, found = await verdict(token, tried), await inspected(token, tried)
    assert found.accepted is (code is None)
    assert (found.principal is None) is (code is not None)
    if code is not None:
        assert code in failures(found).values()


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: f"{encode(raw)}.{encode(raw)}.{encode(raw)}"))
async def test_any_text_is_refused_by_both(token: str) -> None:
    tried = bench(document=KEYS)
    assert await verdict(token, tried) is not None
    assert not (await inspected(token, tried)).accepted


async def test_offline_with_keys_of_a_file() -> None:
    text, _ = from_jwks(KEYS)
    static = provider(jwks_url="", key_set=text)
    documents = Documents()
    key_sets = KeySetCache(documents, Clock())
    tried = Bench(TokenVerifier([static], key_sets, Clock()), key_sets, documents, Clock())
    assert (await inspected(sign(), tried)).accepted
    assert documents.fetched == []
    assert parse_key_set(text.encode()).keys.keys() == {"RS256", "ES256", "EdDSA"}


# --- what a refusal tells about other tenants -----------------------------------------------------------------


async def test_wording_and_fetches_tell_nothing_about_other_tenants() -> None:
    """A database's refusal is the same for a token of another database's provider as for one of nobody's."""
    other = provider(name="other", issuer="https://other-tenant.example", jwks_url="https://other-tenant.example/jwks")
    documents = Documents({JWKS_URL: KEYS, other.jwks_url: KEYS})
    told = []
    for issuer in (other.issuer, "https://nobody-tenant.example"):
        own, foreign = [TokenVerifier([one], KeySetCache(documents, Clock()), Clock()) for one in (provider(), other)]
        await foreign.verify(sign(payload=claims(iss=other.issuer)))
        documents.fetched.clear()
        with pytest.raises(TokenIssuerUnknown) as caught:
            await own.verify(sign(payload=claims(iss=issuer)))
        error = caught.value
        told.append((error.code, error.message, str(error.detail).replace(issuer, "ISSUER"), error.hint))
        assert documents.fetched == []
        assert "other" not in f"{error.message} {error.hint}"
    assert told[0] == told[1]


async def test_a_kid_of_another_tenant_is_as_unknown_as_any() -> None:
    other = provider(name="other", issuer="https://other-tenant.example", jwks_url="https://other-tenant.example/jwks")
    document = key_set_document(public(key_for("RS256", 1), "theirs"))
    told = []
    for key_id in ("theirs", "nobody"):
        documents = Documents({JWKS_URL: KEYS, other.jwks_url: document})
        verifier = TokenVerifier([provider(), other], KeySetCache(documents, Clock()), Clock())
        stolen = sign(key=key_for("RS256", 1), header={"alg": "RS256", "kid": "theirs"},
                      payload=claims(iss=other.issuer))  # fmt: skip
        assert await verifier.verify(stolen)
        documents.fetched.clear()
        with pytest.raises(TokenKeyUnknown) as caught:
            await verifier.verify(sign(key=key_for("RS256", 1), header={"alg": "RS256", "kid": key_id}))
        error = caught.value
        told.append((error.message, str(error.detail).replace(key_id, "KID"), error.hint, tuple(documents.fetched)))
    assert told[0] == told[1]
    assert "other" not in str(told)
