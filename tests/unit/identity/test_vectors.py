"""Other people's test vectors: those of Project Wycheproof, and the examples of RFC 7515, 7519, 7638 and 8037.

What a vector calls invalid is never accepted. What it calls valid is, except what Rowgate refuses on purpose: HMAC,
keys that name an algorithm which does not exist or is not the token's, the JSON serialization, and an empty payload,
which has no claims.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rowgate.errors import RowgateError, TokenAlgorithmRefused, TokenMalformed
from rowgate.identity.compact import HEADER_CHECKS, TOKEN_TYPES, open_envelope, parse_compact
from rowgate.identity.keyset import VerificationKey, parse_key_set
from rowgate.identity.verify import check_suits
from rowgate.identity.weak_keys import is_roca
from tests.unit.identity.forge import key_for, provider, public

VECTORS = Path(__file__).parent / "vectors"


def groups(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / f"{name}_test.json").read_text())["testGroups"]
    return found


def keys_of(group: dict[str, Any]) -> list[dict[str, Any]]:
    """The group's keys; one without a kid gets one, since a provider's set names its keys."""
    key = group.get("public") or group["private"]
    return [{"kid": "unnamed", **one} for one in key.get("keys", [key])]


def is_accepted(jws: object, keys: list[dict[str, Any]]) -> bool:
    """Whether the checks of a gateway from the shape to the signature let ``jws`` through."""
    if not isinstance(jws, str):
        return False
    key_set = parse_key_set(json.dumps({"keys": keys}).encode())
    try:
        envelope = open_envelope(jws)
        for check in HEADER_CHECKS:
            check.judge(envelope.header, TOKEN_TYPES)
    except RowgateError:
        return False
    key = key_set.keys.get(envelope.header.get("kid", keys[0]["kid"]))
    return key is not None and key.verifies(envelope.header["alg"], envelope.signing_input, envelope.signature)


def cases(name: str) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    for group in groups(name):
        for case in group["tests"]:
            yield case, keys_of(group)


def refused_on_purpose(case: dict[str, Any], keys: list[dict[str, Any]]) -> bool:
    return (
        any(key["kty"] == "oct" or key.get("alg") == "ES521" for key in keys)
        or "jws" not in case
        or not isinstance(case["jws"], str)
        or ".." in case["jws"]
        or open_envelope(case["jws"]).header["alg"] not in {key.get("alg") for key in keys}
    )


@pytest.mark.parametrize("name", ["json_web_signature", "json_web_key", "json_web_crypto"])
def test_json_web_vectors(name: str) -> None:
    seen = dict.fromkeys(("valid", "invalid", "on purpose"), 0)
    for case, keys in cases(name):
        accepted = is_accepted(case.get("jws"), keys)
        about = f"{name} {case['tcId']} {case['comment']}"
        if case["result"] == "invalid":
            assert not accepted, about
            seen["invalid"] += 1
        elif refused_on_purpose(case, keys):
            assert not accepted, about
            seen["on purpose"] += 1
        else:
            assert accepted, about
            seen["valid"] += 1
    assert min(seen.values()) > 0, seen


def test_key_sets_of_json_web_key_vectors_have_no_unsound_key() -> None:
    """The key itself is out, not only its signatures."""
    for group in groups("json_web_key"):
        key_set = parse_key_set(json.dumps({"keys": keys_of(group)}).encode())
        if group["tests"][0]["result"] == "invalid" and group["comment"] not in {
            "jws_mixedSymmetryKeyset",
            "jws_keyset",
        }:
            assert not key_set.keys, group["comment"]


SCHEMES = {
    "ecdsa_secp256r1_sha256_p1363": "ES256",
    "ecdsa_secp384r1_sha384_p1363": "ES384",
    "ecdsa_secp521r1_sha512_p1363": "ES512",
    "ed25519": "EdDSA",
    "rsa_pss_2048_sha256_mgf1_32": "PS256",
    "rsa_signature_2048_sha256": "RS256",
}


@pytest.mark.parametrize(("name", "algorithm"), SCHEMES.items())
def test_signature_vectors(name: str, algorithm: str) -> None:
    tried = 0
    for group in groups(name):
        jwk = group.get("publicKeyJwk") or group.get("keyJwk")
        if jwk is None:
            continue
        keys = parse_key_set(json.dumps({"keys": [{**jwk, "kid": "k"}]}).encode()).keys
        if "k" not in keys:
            continue
        for case in group["tests"]:
            valid = keys["k"].verifies(algorithm, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert case["result"] == "acceptable" or valid is (case["result"] == "valid"), case["comment"]
            tried += 1
    assert tried > 100


def test_roca() -> None:
    (weak,) = [group for group in groups("json_web_key") if group["comment"] == "jws_rsa_roca_key"]
    key_set = parse_key_set(json.dumps({"keys": keys_of(weak)}).encode())
    assert [key.reason for key in key_set.skipped] == ["its private half can be found (CVE-2017-15361)"]
    for which in range(4):
        numbers = key_for("RS256", which).raw_value.private_numbers().public_numbers
        assert not is_roca(numbers.n)


# --- the RFCs' own examples -----------------------------------------------------------------------------------

PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RFC_7515_A_2 = (
    {
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd"
        "2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEM"
        "a2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAc"
        "DTW9gb54h4FRWyuXpoQ",
        "e": "AQAB",
    },
    f"eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YK"
    "t_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0Gar"
    "ZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhW"
    "kWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
)
RFC_7515_A_3 = (
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    },
    f"eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6N"
    "U1Q",
)
RFC_7515_A_4 = (
    {
        "kty": "EC",
        "crv": "P-521",
        "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
    },
    "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw"
    "_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
)
RFC_8037_A_4 = (
    {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iy"
    "lGjg5BhVsPt9g7sVvpAr_MuM0KAg",
)
EXAMPLES = {
    "RFC 7515 A.2": RFC_7515_A_2,
    "RFC 7515 A.3": RFC_7515_A_3,
    "RFC 7515 A.4": RFC_7515_A_4,
    "RFC 8037 A.4": RFC_8037_A_4,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_signatures_of_the_rfcs(name: str) -> None:
    key, jws = EXAMPLES[name]
    keys = [{**key, "kid": "k"}]
    assert is_accepted(jws, keys)
    for place in (2, len(jws) // 2, len(jws) - 3):
        changed = jws[:place] + ("A" if jws[place] != "A" else "B") + jws[place + 1 :]
        assert not is_accepted(changed, keys), place
    for other in EXAMPLES:
        assert (other == name) is is_accepted(EXAMPLES[other][1], keys)


@pytest.mark.parametrize(
    ("token", "error"),
    [
        # RFC 7519 section 3.1: HMAC; section 6.1: not signed at all.
        (f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
         TokenAlgorithmRefused),
        (f"eyJhbGciOiJub25lIn0.{PAYLOAD}.", TokenMalformed),
    ],
)  # fmt: skip
def test_examples_that_are_no_signed_tokens(token: str, error: type[RowgateError]) -> None:
    with pytest.raises(error):
        parse_compact(token, needs_key_id=False)


def test_claims_of_the_rfcs_example() -> None:
    token = parse_compact(RFC_7515_A_2[1], needs_key_id=False)
    assert token.claims == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}


@pytest.mark.parametrize(
    ("key", "thumbprint"),
    [
        (RFC_8037_A_4[0], "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        (
            {
                "kty": "RSA",
                "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKR"
                "XjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSq"
                "zs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ"
                "-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
                "e": "AQAB",
                "alg": "RS256",
                "kid": "2011-04-29",
            },
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        ),
    ],
    ids=["RFC 8037 A.3", "RFC 7638 3.1"],
)
def test_thumbprints_of_the_rfcs(key: dict[str, Any], thumbprint: str) -> None:
    (read,) = parse_key_set(json.dumps({"keys": [{"kid": "k", **key}]}).encode()).keys.values()
    assert read.thumbprint == thumbprint


def test_a_key_decides_which_algorithm_it_verifies() -> None:
    """The vectors' own trap, once more at the place where a gateway meets it."""
    key = parse_key_set(json.dumps({"keys": [public(key_for("RS256"), "k", alg="RS256")]}).encode()).keys["k"]
    assert isinstance(key, VerificationKey)
    token = parse_compact(f"eyJhbGciOiJQUzI1NiJ9.{PAYLOAD}.AAAA", needs_key_id=False)
    with pytest.raises(TokenAlgorithmRefused):
        check_suits(token, provider(), key)
