"""Tokens that pass, and every reason for which a token does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import (
    KeySetUnavailable,
    ProviderConflict,
    RowgateError,
    TokenAlgorithmRefused,
    TokenAudienceRefused,
    TokenClaimInvalid,
    TokenExpired,
    TokenIssuerUnknown,
    TokenKeyUnknown,
    TokenMalformed,
    TokenNotYetValid,
    TokenPartyRefused,
    TokenRefused,
    TokenRoleRefused,
    TokenSignatureInvalid,
    TokenSubjectMissing,
)
from rowgate.identity.provider import ALGORITHMS
from rowgate.identity.verify import authorize
from tests.unit.identity.forge import (
    ISSUER,
    NOW,
    Bench,
    as_json,
    bench,
    claims,
    encode,
    key_for,
    key_set_document,
    provider,
    public,
    sign,
)


async def refusal(tried: Bench, token: str) -> RowgateError:
    """The error of a token that must not pass; it never tells the token."""
    with pytest.raises(RowgateError) as caught:
        await tried.verifier.verify(token)
    assert tried.verifier.cached(token) is None
    told = f"{caught.value} {caught.value.detail} {caught.value.hint}"
    assert not any(part[:24] in told for part in token.split(".") if len(part) > 24)
    return caught.value


async def refused_claims(expected: type[TokenRefused], payload: Any = None, **changes: Any) -> TokenRefused:
    error = await refusal(bench(), sign(payload=claims(**changes) if payload is None else payload))
    assert type(error) is expected
    assert error.detail
    return error


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm(algorithm: str) -> None:
    tried = bench()
    token = sign(algorithm)
    principal = await tried.verifier.verify(token)
    assert principal.subject == "user_alice"
    assert tried.verifier.cached(token) is principal
    changed = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBA")
    assert isinstance(await refusal(tried, changed), TokenSignatureInvalid | TokenMalformed)


async def test_the_principal() -> None:
    payload = as_json(claims(sid="sess_1", jti="j1", name="Zoë")) + b" "
    tried = bench(provider(roles=("authenticated", "editor")))
    principal = await tried.verifier.verify(sign(payload=payload))
    assert principal.claims_json == payload
    assert principal.claims["name"] == "Zoë"
    assert (principal.provider, principal.issuer) == ("example", ISSUER)
    assert principal.roles == ("authenticated", "editor")
    assert principal.expires_at == NOW + 60 + 30
    assert (principal.token_id, principal.session_id, principal.issued_at) == ("j1", "sess_1", NOW)
    assert "Zo" not in repr(principal)


async def test_tokens_that_were_verified_are_counted_once_while_they_are_cached() -> None:
    tried = bench()
    token = sign(payload=claims())
    for _ in range(3):
        await tried.verifier.verify(token)
    await tried.verifier.verify(sign(payload=claims(sub="another")))
    await refusal(tried, sign(payload=claims(exp=1)))
    ((name, seen),) = tried.verifier.seen.items()
    assert (name, seen.count, seen.last) == (provider().name, 2, NOW)


async def test_claims_of_a_principal_cannot_be_changed_for_others() -> None:
    tried = bench()
    principal = await tried.verifier.verify(sign())
    principal.claims["sub"] = "user_mallory"
    assert principal.claims["sub"] == "user_alice"


@pytest.mark.parametrize("exp", [..., NOW - 31, NOW - 30, 0, 1.5])
async def test_expired(exp: Any) -> None:
    error = await refused_claims(TokenExpired, exp=exp)
    assert "exp" in str(error.detail)


async def test_the_leeway_is_allowed_for() -> None:
    assert await bench().verifier.verify(sign(payload=claims(exp=NOW - 29.5)))
    assert await bench().verifier.verify(sign(payload=claims(nbf=NOW + 30, iat=NOW + 30)))
    strict = bench(leeway=0.0)
    assert type(await refusal(strict, sign(payload=claims(exp=NOW)))) is TokenExpired


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_not_yet_valid(claim: str) -> None:
    error = await refused_claims(TokenNotYetValid, **{claim: NOW + 31})
    assert "2027-01-15T08:00:31Z" in str(error.detail)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [True, False, None, "1800000060", [], {}, -1, 10**20, 1e300, 253402300800])
async def test_dates_that_are_none(claim: str, value: Any) -> None:
    await refused_claims(TokenClaimInvalid, **{claim: value})


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
async def test_dates_that_are_no_json(number: bytes) -> None:
    await refused_claims(TokenMalformed, b'{"iss":"https://issuer.example","sub":"a","exp":' + number + b"}")


@pytest.mark.parametrize("sub", [..., "", None, 1, True, ["a"], {}])
async def test_subject_missing(sub: Any) -> None:
    await refused_claims(TokenSubjectMissing, sub=sub)


@pytest.mark.parametrize(
    "changes",
    [{"sub": "x" * 1025}, {"sub": "ä" * 513}, {"jti": 1}, {"jti": None}, {"jti": "x" * 1025}, {"sid": []}, {"aud": 1},
     {"aud": None}, {"aud": ["a", 1]}, {"aud": {}}, {"azp": 1}, {"azp": None}],
)  # fmt: skip
async def test_claims_of_the_wrong_type(changes: dict[str, Any]) -> None:
    await refused_claims(TokenClaimInvalid, **changes)


async def test_a_pending_session_at_clerk_is_signed_out() -> None:
    pending = sign(payload=claims(sts="pending"))
    assert type(await refusal(bench(provider(kind="clerk")), pending)) is TokenClaimInvalid
    assert await bench(provider(kind="clerk")).verifier.verify(sign(payload=claims(sts="active")))
    assert await bench(provider(kind="oidc")).verifier.verify(pending)


@pytest.mark.parametrize("aud", [..., "other", [], ["other"], "minemine", "mine "])
async def test_audience_refused(aud: Any) -> None:
    error = await refusal(bench(provider(audiences=("mine", "mine2"))), sign(payload=claims(aud=aud)))
    assert type(error) is TokenAudienceRefused
    assert "'mine', 'mine2'" in str(error.detail)


@pytest.mark.parametrize("aud", ["mine", ["other", "mine"]])
async def test_audience(aud: Any) -> None:
    assert await bench(provider(audiences=("mine",))).verifier.verify(sign(payload=claims(aud=aud)))
    assert await bench().verifier.verify(sign(payload=claims(aud=aud)))


async def test_authorized_parties() -> None:
    tried = bench(provider(authorized_parties=("https://app.example",)))
    assert await tried.verifier.verify(sign(payload=claims(azp="https://app.example")))
    assert await tried.verifier.verify(sign())
    for azp in ("https://evil.example", "", "https://app.example/"):
        error = await refusal(tried, sign(payload=claims(azp=azp)))
        assert type(error) is TokenPartyRefused
        assert "https://app.example" in str(error.detail)


@pytest.mark.parametrize(
    "iss", [..., None, 1, [ISSUER], "", "https://evil.example", ISSUER + "/", "http://issuer.example"]
)
async def test_issuer_unknown(iss: Any) -> None:
    await refused_claims(TokenIssuerUnknown, iss=iss)


async def test_a_near_miss_of_the_issuer_is_named_and_nothing_else() -> None:
    assert f"exactly '{ISSUER}'" in str((await refused_claims(TokenIssuerUnknown, iss=ISSUER + "/")).detail)
    assert ISSUER not in str((await refused_claims(TokenIssuerUnknown, iss="https://evil.example")).detail)


async def test_algorithm_that_the_provider_does_not_use() -> None:
    error = await refusal(bench(provider(algorithms=("RS256",))), sign("ES256"))
    assert type(error) is TokenAlgorithmRefused
    assert "RS256, got ES256" in str(error.detail)


async def test_key_unknown() -> None:
    tried = bench(document=key_set_document(public(key_for("RS256"), "known")))
    error = await refusal(tried, sign())
    assert type(error) is TokenKeyUnknown
    assert "expected one of 'known', got 'RS256'" in str(error.detail)


async def test_a_skipped_key_is_explained() -> None:
    tried = bench(document=key_set_document({**public(key_for("RS256"), "RS256"), "use": "enc"}))
    error = await refusal(tried, sign())
    assert type(error) is TokenKeyUnknown
    assert "its use is not sig" in str(error.detail)


async def test_key_set_unavailable() -> None:
    tried = bench()
    tried.documents.by_url.clear()
    error = await refusal(tried, sign())
    assert type(error) is KeySetUnavailable
    assert "404" in str(error.detail)


async def test_roles() -> None:
    principal = await bench(provider(roles=("authenticated",))).verifier.verify(sign())
    authorize(principal, "authenticated")
    for role in ("anonymous", "postgres", "", "Authenticated"):
        with pytest.raises(TokenRoleRefused) as caught:
            authorize(principal, role)
        assert "expected one of authenticated" in str(caught.value.detail)


async def test_a_key_of_one_provider_does_not_sign_for_another() -> None:
    """Both sets have a key of the same kid; a token says by iss whose key counts."""
    other = provider(name="other", issuer="https://other.example", jwks_url="https://other.example/jwks")
    tried = bench(provider(), other)
    tried.documents.by_url["https://other.example/jwks"] = key_set_document(public(key_for("RS256", 1), "RS256"))
    forged = sign(key=key_for("RS256", 1))
    assert type(await refusal(tried, forged)) is TokenSignatureInvalid
    assert (await tried.verifier.verify(sign())).provider == "example"
    honest = sign(key=key_for("RS256", 1), payload=claims(iss="https://other.example"))
    assert (await tried.verifier.verify(honest)).provider == "other"


def test_providers_must_differ() -> None:
    with pytest.raises(ProviderConflict):
        bench(provider(), provider(name="twin"))
    with pytest.raises(ProviderConflict):
        bench(provider(), provider(issuer="https://twin.example"))


TOKEN = sign()


@given(st.integers(0, len(TOKEN) - 1), st.characters())
async def test_no_mutation_passes(position: int, character: str) -> None:
    mutated = TOKEN[:position] + character + TOKEN[position + 1 :]
    if mutated != TOKEN:
        error = await refusal(bench(), mutated)
        assert isinstance(error, TokenRefused)


@given(st.text() | st.lists(st.text("ab01-_", min_size=1), min_size=3, max_size=3).map(".".join))
async def test_no_text_passes(text: str) -> None:
    assert isinstance(await refusal(bench(), text), TokenRefused)


CLAIM = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
NAMES = st.sampled_from(["iss", "sub", "exp", "nbf", "iat", "aud", "azp", "jti", "sid", "cnf", "x"])


@given(st.dictionaries(NAMES, CLAIM))
async def test_any_signed_claims_pass_or_are_refused(changes: dict[str, Any]) -> None:
    """Whatever a provider signs: a principal with a subject, or a refusal; nothing else comes out."""
    try:
        principal = await bench().verifier.verify(sign(payload={**claims(), **changes}))
    except TokenRefused:
        return
    assert principal.subject == principal.claims["sub"] != ""
    assert principal.expires_at > NOW


@given(st.dictionaries(st.text(), CLAIM), st.sampled_from(ALGORITHMS))
async def test_unsigned_claims_never_pass(header: dict[str, Any], algorithm: str) -> None:
    header = {**header, "alg": algorithm, "kid": algorithm}
    token = f"{encode(as_json(header))}.{encode(as_json(claims()))}.{encode(b'0' * 64)}"
    assert isinstance(await refusal(bench(), token), TokenRefused)
