"""Keys from files: public halves alone are kept, and tokens verify with them without any fetch."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given as forall
from hypothesis import strategies as st

from rowgate.errors import ProviderUnrecognised, SettingInvalid, TokenKeyUnknown, TokenSignatureInvalid
from rowgate.identity.recognition import Given, static_provider
from rowgate.identity.static_keys import from_jwks, from_pem
from tests.unit.identity.forge import ISSUER, as_json, bench, key_for, public, sign


def pem(algorithm: str = "RS256", *, private: bool = False) -> bytes:
    return key_for(algorithm).as_pem(private=private)


def certificate() -> bytes:
    key: Any = serialization.load_pem_private_key(pem(private=True), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2036))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("content", [pem(), certificate()], ids=["public key", "certificate"])
async def test_a_pem_file(content: bytes) -> None:
    made = static_provider(*from_pem([content]), Given(issuer=ISSUER)).provider
    assert (made.kind, made.jwks_url, made.algorithms) == ("custom", "", ("RS256",))
    tried = bench(made)
    assert await tried.verifier.verify(sign(header={"alg": "RS256"}))
    with pytest.raises(TokenKeyUnknown):
        await tried.verifier.verify(sign(header={"alg": "RS256", "kid": "other"}))
    with pytest.raises(TokenSignatureInvalid):
        await tried.verifier.verify(sign(header={"alg": "RS256"}, key=key_for("RS256", 1)))
    assert tried.documents.fetched == []


async def test_the_key_can_be_named() -> None:
    made = static_provider(*from_pem([pem("ES256")], "k1"), Given(issuer=ISSUER)).provider
    assert await bench(made).verifier.verify(sign("ES256", header={"alg": "ES256", "kid": "k1"}))


async def test_among_several_keys_the_token_must_name_one() -> None:
    made = static_provider(*from_pem([pem("ES256"), pem("EdDSA")]), Given(issuer=ISSUER)).provider
    with pytest.raises(TokenKeyUnknown):
        await bench(made).verifier.verify(sign("ES256", header={"alg": "ES256"}))


async def test_a_jwks_file_keeps_no_private_half() -> None:
    private = {**key_for("ES256").as_dict(private=True), "kid": "a"}
    unnamed = key_for("EdDSA").as_dict(private=True)
    unnamed.pop("kid", None)
    text, key_set = from_jwks(as_json({"keys": [private, unnamed, {"kty": "oct", "k": "c2VjcmV0", "kid": "h"}]}))
    assert private["d"] not in text
    assert unnamed["d"] not in text
    assert "c2VjcmV0" not in text
    assert len(json.loads(text)["keys"]) == len(key_set.keys) == 2
    made = static_provider(text, key_set, Given(issuer=ISSUER)).provider
    assert await bench(made).verifier.verify(sign("ES256", header={"alg": "ES256", "kid": "a"}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        pem(private=True),
        pem() + pem(),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ],
)
def test_pem_files_that_are_refused(content: bytes) -> None:
    with pytest.raises(SettingInvalid) as caught:
        from_pem([content])
    assert content.decode()[30:60].strip() == "" or content.decode()[30:60] not in str(caught.value.detail)


@forall(st.binary(max_size=60) | st.sampled_from([b"{}", b'{"keys":{}}', b'{"keys":[1]}', b'{"keys":[]}']))
def test_nothing_else_is_a_key_file(content: bytes) -> None:
    for read in (from_jwks, lambda one: from_pem([one])):
        with pytest.raises(SettingInvalid):
            read(content)


def test_an_issuer_is_needed() -> None:
    with pytest.raises(ProviderUnrecognised, match="whose keys"):
        static_provider(*from_jwks(as_json({"keys": [public(key_for("ES256"), "a")]})), Given())
