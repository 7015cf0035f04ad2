"""The known ways of forging a token, and the traps of the library underneath, each tried against the whole verifier."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from rowgate.errors import (
    RowgateError,
    TokenAlgorithmRefused,
    TokenExpired,
    TokenKeyUnknown,
    TokenMalformed,
    TokenSignatureInvalid,
)
from rowgate.identity.keyset import parse_key_set
from tests.unit.identity.forge import (
    ISSUER,
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


async def refusal(token: str, document: bytes | None = None) -> type[RowgateError]:
    tried = bench(document=document)
    with pytest.raises(RowgateError) as caught:
        await tried.verifier.verify(token)
    assert tried.documents.fetched in ([], ["https://issuer.example/.well-known/jwks.json"])
    return type(caught.value)


def compact(header: dict[str, Any], payload: Any = None, signature: bytes = b"x") -> str:
    body = as_json(claims() if payload is None else payload)
    return f"{encode(as_json(header))}.{encode(body)}.{encode(signature)}"


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
async def test_alg_none(name: str) -> None:
    assert await refusal(compact({"alg": name, "kid": "RS256"})) is TokenAlgorithmRefused
    assert await refusal(compact({"alg": name, "kid": "RS256"}, signature=b"")) is TokenMalformed


@pytest.mark.parametrize("form", ["pem", "der", "n", "jwk"])
async def test_hmac_with_the_public_key_as_secret(form: str) -> None:
    key = key_for("RS256")
    assert isinstance(key, RSAKey)
    secret = {
        "pem": key.as_pem(private=False),
        "der": key.as_der(private=False),
        "n": str(key.as_dict(private=False)["n"]).encode(),
        "jwk": json.dumps(key.as_dict(private=False)).encode(),
    }[form]
    signing_input = compact({"alg": "HS256", "kid": "RS256"}).rsplit(".", 1)[0]
    signature = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    assert await refusal(f"{signing_input}.{encode(signature)}") is TokenAlgorithmRefused


async def test_an_hmac_key_in_a_published_set_is_no_key() -> None:
    secret = OctKey.generate_key(256, {"kid": "shared"})
    document = key_set_document({**secret.as_dict(private=True), "alg": "HS256"}, public(key_for("RS256"), "RS256"))
    token = jwt.encode({"alg": "HS256", "kid": "shared"}, claims(), secret, algorithms=["HS256"])
    assert await refusal(token, document) is TokenAlgorithmRefused


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
async def test_a_key_that_the_token_brings_along(name: str) -> None:
    own = key_for("RS256", 1)
    value = {
        "jwk": own.as_dict(private=False),
        "jku": "https://evil.example/k",
        "x5u": "https://evil.example/k",
        "x5c": [],
    }
    header = {"alg": "RS256", "kid": "RS256", name: value[name]}
    assert await refusal(sign(key=own, header=header)) is TokenSignatureInvalid
    assert await refusal(sign(key=own, header={**header, "kid": "mine"})) is TokenKeyUnknown


async def test_a_rogue_key_with_a_known_kid() -> None:
    assert await refusal(sign(key=key_for("RS256", 1))) is TokenSignatureInvalid


@pytest.mark.parametrize(
    ("algorithm", "size"), [("ES256", 64), ("ES384", 96), ("ES512", 132), ("EdDSA", 64), ("RS256", 256)]
)
async def test_a_signature_of_zeros(algorithm: str, size: int) -> None:
    """CVE-2022-21449: r = s = 0 solved the equation."""
    header = {"alg": algorithm, "kid": algorithm}
    for signature in (bytes(size), bytes(size - 1) + b"\x01", b"\0", b"\xff" * size):
        assert await refusal(compact(header, signature=signature)) is TokenSignatureInvalid


async def test_a_der_signature_is_none() -> None:
    key = key_for("ES256")
    assert isinstance(key, ECKey)
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    signing_input = compact({"alg": "ES256", "kid": "ES256"}).rsplit(".", 1)[0]
    assert key.private_key is not None
    der = key.private_key.sign(signing_input.encode(), ECDSA(hashes.SHA256()))
    assert await refusal(f"{signing_input}.{encode(der)}") is TokenSignatureInvalid


@pytest.mark.parametrize(
    ("algorithm", "key_id"),
    [
        ("ES256", "RS256"),
        ("RS256", "ES256"),
        ("EdDSA", "ES256"),
        ("PS256", "RS256"),
        ("RS512", "RS256"),
        ("ES384", "ES256"),
    ],
)
async def test_an_algorithm_that_does_not_suit_the_key(algorithm: str, key_id: str) -> None:
    assert await refusal(sign(algorithm, header={"alg": algorithm, "kid": key_id})) is TokenAlgorithmRefused


async def test_the_key_decides_even_where_it_names_no_alg() -> None:
    document = key_set_document(public(key_for("ES256"), "one"))
    assert await refusal(sign("RS256", header={"alg": "RS256", "kid": "one"}), document) is TokenAlgorithmRefused
    assert await refusal(sign("ES384", header={"alg": "ES384", "kid": "one"}), document) is TokenAlgorithmRefused


async def test_a_changed_payload() -> None:
    header, _, signature = sign().split(".")
    changed = encode(as_json(claims(sub="user_bob")))
    assert await refusal(f"{header}.{changed}.{signature}") is TokenSignatureInvalid


async def test_a_header_swapped_for_another() -> None:
    _, payload, signature = sign().split(".")
    header = encode(as_json({"kid": "RS256", "alg": "RS256"}))
    assert await refusal(f"{header}.{payload}.{signature}") is TokenSignatureInvalid


async def test_a_second_subject() -> None:
    """Two parsers would see two users."""
    payload = as_json(claims())[:-1] + b', "sub": "user_bob"}'
    assert await refusal(sign(payload=payload)) is TokenMalformed


async def test_whitespace_cannot_make_a_second_token_of_one() -> None:
    token = sign()
    for twin in (token + " ", token + "\n", "\t" + token, token + "=", token.replace(".", ". ", 1)):
        assert await refusal(twin) is TokenMalformed


async def test_unencoded_payload() -> None:
    """RFC 7797."""
    header = {"alg": "RS256", "kid": "RS256", "b64": False, "crit": ["b64"]}
    assert await refusal(sign(header=header)) is TokenMalformed


# --- what the library underneath does not do by itself ------------------------------------------------------------


async def test_trap_decode_does_not_check_claims() -> None:
    assert await refusal(sign(payload=claims(exp=1))) is TokenExpired


async def test_trap_no_algorithms_means_all() -> None:
    """There the empty list counts as not given; here a provider without algorithms cannot be made."""
    with pytest.raises(RowgateError, match="algorithms"):
        provider(algorithms=())


async def test_trap_expiry_that_is_no_number() -> None:
    payload = f'{{"iss":"{ISSUER}","sub":"a","exp":NaN}}'.encode()
    assert await refusal(sign(payload=payload)) is TokenMalformed


@pytest.mark.filterwarnings("error")
async def test_trap_one_bad_key_fails_the_set() -> None:
    bad: list[Any] = [
        {"kty": "EC", "crv": "P-999", "kid": "a", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "b", "n": "AQAB", "e": "AQAB"},
        {"kty": "XYZ", "kid": "c"},
        {"kid": "d"},
        None,
    ]
    document = key_set_document(*bad, public(key_for("RS256"), "RS256"))
    assert list(parse_key_set(document).keys) == ["RS256"]
    assert await bench(document=document).verifier.verify(sign())


async def test_trap_empty_crit() -> None:
    assert await refusal(sign(header={"alg": "RS256", "kid": "RS256", "crit": []})) is TokenMalformed


async def test_trap_any_typ() -> None:
    assert await refusal(sign(header={"alg": "RS256", "kid": "RS256", "typ": "secevent+jwt"})) is TokenMalformed


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800"])
async def test_trap_text_that_postgres_cannot_hold(text: str) -> None:
    payload = as_json(claims(sub="SUB")).replace(b"SUB", text.encode())
    assert await refusal(sign(payload=payload)) is TokenMalformed


async def test_an_encrypted_token() -> None:
    """RFC 7519 appendix A.1: five parts. That it is encrypted to somebody says nothing about who wrote it."""
    key = key_for("RS256")
    assert isinstance(key, RSAKey)
    header = {"alg": "RSA-OAEP-256", "enc": "A128GCM", "kid": "RS256"}
    token = jwe.encrypt_compact(header, as_json(claims()), key, algorithms=["RSA-OAEP-256", "A128GCM"])
    assert token.count(".") == 4
    assert await refusal(token) is TokenMalformed


async def test_nested_tokens() -> None:
    """RFC 7519 appendix A.2, and a signed token in a signed one: the outer signature does not vouch for the inner."""
    key = key_for("RS256")
    assert isinstance(key, RSAKey)
    header = {"alg": "RSA-OAEP-256", "enc": "A128GCM", "cty": "JWT", "kid": "RS256"}
    inner = sign().encode()
    encrypted = jwe.encrypt_compact(header, inner, key, algorithms=["RSA-OAEP-256", "A128GCM"])
    assert await refusal(encrypted) is TokenMalformed
    assert await refusal(sign(header={"alg": "RS256", "kid": "RS256", "cty": "JWT"}, payload=inner)) is TokenMalformed


@pytest.mark.parametrize("member", ["sub", "exp", "aud", "iss"])
async def test_members_twice(member: str) -> None:
    doubled = as_json(claims()).rstrip(b"}") + f', "{member}": "x"}}'.encode()
    doubled = doubled if b'"aud"' not in doubled or member != "aud" else doubled.replace(b"{", b'{"aud": "y", ', 1)
    assert await refusal(sign(payload=doubled)) is TokenMalformed


async def test_a_token_that_is_too_long() -> None:
    assert await refusal(sign(payload=claims(filler="x" * 20_000))) is TokenMalformed
