"""Which keys of a set may verify signatures. One bad key never spoils the others."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from rowgate.errors import KeySetUnavailable
from rowgate.identity.keyset import MOST_KEYS, parse_key_set
from rowgate.identity.provider import ALGORITHMS
from tests.unit.identity.forge import as_json, encode, key_for, key_set_document, public

GOOD = public(key_for("ES256"), "good")


def parse(*keys: Any) -> Any:
    return parse_key_set(as_json({"keys": list(keys)}))


def test_every_algorithm_has_its_key() -> None:
    key_set = parse_key_set(key_set_document())
    assert set(key_set.keys) == set(ALGORITHMS)
    assert all(key.algorithms == (name,) for name, key in key_set.keys.items())
    assert key_set.skipped == ()


def test_keys_without_alg_verify_what_their_type_allows() -> None:
    keys = parse(public(key_for("RS256"), "rsa"), public(key_for("ES384"), "p384"), public(key_for("EdDSA"), "ed")).keys
    assert keys["rsa"].algorithms == ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
    assert keys["p384"].algorithms == ("ES384",)
    assert keys["ed"].algorithms == ("EdDSA",)


def small_rsa_key() -> dict[str, Any]:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    return {"kty": "RSA", "kid": "bad", "n": encode(numbers.n.to_bytes(128)), "e": "AQAB"}


RSA = public(key_for("RS256"), "bad")
EC = public(key_for("ES256"), "bad")
ED = public(key_for("EdDSA"), "bad")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({**OctKey.generate_key(256).as_dict(private=True), "kid": "bad"}, "HMAC"),
        ({"kty": "oct", "kid": "bad", "k": "", "alg": "HS256"}, "HMAC"),
        ({**RSA, "use": "enc"}, "use"),
        ({**RSA, "use": None}, "use"),
        ({**RSA, "key_ops": ["encrypt"]}, "key_ops"),
        ({**RSA, "key_ops": "verify"}, "key_ops"),
        ({**RSA, "key_ops": []}, "key_ops"),
        ({**RSA, "kty": "AKP"}, "kty"),
        ({**RSA, "kty": None}, "kty"),
        ({**RSA, "kty": ["RSA"]}, "kty"),
        ({**RSA, "alg": "RSA-OAEP"}, "alg"),
        ({**RSA, "alg": "HS256"}, "alg"),
        ({**RSA, "alg": "ES256"}, "alg"),
        ({**RSA, "alg": 1}, "alg"),
        ({**RSA, "alg": ["RS256"]}, "alg"),
        ({**EC, "alg": "ES384"}, "alg"),
        ({**RSA, "n": "!!!"}, "bits"),
        ({**RSA, "n": ""}, "bits"),
        ({**RSA, "n": 5}, "bits"),
        ({**RSA, "n": "Ä" * 400}, "bits"),
        ({**RSA, "n": "_" * 1400}, "bits"),
        ({**RSA, "e": "AA"}, "decoded"),
        ({**RSA, "e": "AQ"}, "decoded"),
        ({**RSA, "e": "Ag"}, "decoded"),
        ({**RSA, "e": None}, "decoded"),
        ({key: value for key, value in RSA.items() if key != "e"}, "decoded"),
        (small_rsa_key(), "1024 bits"),
        ({**EC, "crv": "secp256k1"}, "curve"),
        ({**EC, "crv": "Ed25519"}, "decoded"),
        ({**EC, "crv": ["P-256"]}, "curve"),
        ({**EC, "x": EC["y"]}, "decoded"),
        ({**EC, "x": "AA", "y": "AA"}, "decoded"),
        ({**EC, "y": None}, "decoded"),
        ({**ED, "crv": "X25519"}, "curve"),
        ({**ED, "crv": "Ed448"}, "curve"),
        ({**ED, "crv": "P-256"}, "decoded"),
        ({**ED, "x": "AAAA"}, "decoded"),
        ({**GOOD, "kid": None}, "no kid"),
        ({**GOOD, "kid": ""}, "no kid"),
        ({**GOOD, "kid": 7}, "no kid"),
        ("a text", "object"),
        (None, "object"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_unfit_keys_are_skipped_with_a_reason(key: Any, reason: str) -> None:
    key_set = parse(key, GOOD)
    assert list(key_set.keys) == ["good"]
    assert len(key_set.skipped) == 1
    assert reason in key_set.skipped[0].reason


def test_rfc_9864_names_the_same_key() -> None:
    assert parse({**ED, "alg": "Ed25519"}).keys["bad"].algorithms == ("EdDSA",)


def test_two_keys_of_one_kid_name_neither() -> None:
    other = {**public(key_for("RS256"), "good")}
    key_set = parse(GOOD, other, public(key_for("EdDSA"), "ed"))
    assert list(key_set.keys) == ["ed"]
    assert [(key.key_id, key.reason) for key in key_set.skipped] == [("good", "another key has the same kid")]


def test_the_same_key_twice_is_one_key() -> None:
    assert list(parse(GOOD, GOOD).keys) == ["good"]


def test_an_unfit_key_does_not_make_a_kid_ambiguous() -> None:
    """Keycloak lists an encryption key beside the signing key; it is out of the running."""
    assert list(parse(GOOD, {**public(key_for("RS256"), "good"), "use": "enc"}).keys) == ["good"]


@pytest.mark.parametrize(
    "key", [RSAKey.generate_key(2048), ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")]
)
def test_the_private_half_is_dropped(key: Any) -> None:
    kept = parse({**key.as_dict(private=True), "kid": "k"}).keys["k"]
    assert not kept.public.is_private
    assert key.as_dict(private=True)["d"] not in repr(kept)


def test_extra_members_do_not_matter() -> None:
    extra = {"x5c": [1], "x5t": "old", "use": "sig", "key_ops": ["verify"], "foo": {"bar": None}, "ext": True}
    assert list(parse({**GOOD, **extra}).keys) == ["good"]


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[]", b"{}", b'{"keys":{}}', b'{"keys":null}', b"[" * 200_000, b'{"keys":' + b"9" * 5000 + b"}",
     b"\xff", b'{"error":"not found"}'],
    ids=bytes.__len__,
)  # fmt: skip
def test_documents_that_are_no_key_set(document: bytes) -> None:
    with pytest.raises(KeySetUnavailable) as caught:
        parse_key_set(document)
    assert caught.value.detail
    assert "html" not in f"{caught.value} {caught.value.detail}"


def test_the_number_of_keys_has_a_limit() -> None:
    with pytest.raises(KeySetUnavailable, match="too large"):
        parse(*[GOOD] * (MOST_KEYS + 1))


def test_a_set_without_keys_is_a_set() -> None:
    assert not parse().keys


MEMBERS = st.dictionaries(
    st.sampled_from(["kty", "kid", "use", "alg", "key_ops", "crv", "x", "y", "n", "e", "k", "d"]),
    st.sampled_from(["RSA", "EC", "OKP", "oct", "sig", "P-256", "Ed25519", "RS256", "AQAB", EC["x"], RSA["n"]])
    | st.text(max_size=8)
    | st.sampled_from([None, float("nan"), "\x00", "\ud800", 10**400])
    | st.integers()
    | st.lists(st.text(max_size=3), max_size=2),
)


@given(st.lists(MEMBERS, max_size=4))
@pytest.mark.filterwarnings("error")
def test_no_entry_spoils_the_set(entries: list[dict[str, Any]]) -> None:
    assert "good" in parse(GOOD, *[{**entry, "kid": f"k{number}"} for number, entry in enumerate(entries)]).keys


@given(st.binary())
def test_any_document_is_a_set_or_unavailable(document: bytes) -> None:
    with pytest.raises(KeySetUnavailable):
        parse_key_set(document)


def test_a_withdrawn_key_shows_in_the_fingerprint() -> None:
    ed = public(key_for("EdDSA"), "ed")
    assert parse(GOOD).fingerprint < parse(GOOD, ed).fingerprint
    assert not parse(GOOD).fingerprint <= parse({**ed, "kid": "good"}).fingerprint
    assert parse(GOOD, ed).fingerprint == parse(ed, {**GOOD, "use": "sig"}).fingerprint
