"""The outer shape of a token, judged before any key is looked at."""

import base64
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowgate.errors import TokenAlgorithmRefused, TokenKeyUnknown, TokenMalformed, TokenRefused
from rowgate.identity.compact import LARGEST_TOKEN, parse_compact, shown
from tests.unit.identity.forge import as_json, claims, encode, sign

HEADER = {"alg": "RS256", "kid": "k"}


def token(header: object = HEADER, payload: object = None, signature: str = "AAAA") -> str:
    return f"{encode(as_json(header))}.{encode(as_json(claims() if payload is None else payload))}.{signature}"


def test_a_sound_token_is_taken_apart() -> None:
    text = token()
    parsed = parse_compact(text)
    assert (parsed.algorithm, parsed.key_id, parsed.signature) == ("RS256", "k", b"\0\0\0")
    assert parsed.claims == claims()
    assert parsed.signing_input.decode() == text.rsplit(".", 1)[0]


def test_the_payload_stays_as_it_was_written() -> None:
    written = '{ "sub":"Zo\u00eb \\u00eb \\/", "n":1.0e1,\n"z":1, "a":2 }'.encode()
    assert parse_compact(token(payload=written)).claims_json == written


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c.d.e", "opaque", " " + token(),
     token() + "\n", token() + "=", token(signature="AA=="), token(signature="A"), token(signature="AB"),
     token(signature="A+A/"), token(signature="AA AA"), token(signature="ÄÄÄÄ"), token(signature="\ud800"),
     "Bearer " + token()],
    ids=str.__len__,
)  # fmt: skip
def test_shapes_that_are_none(text: str) -> None:
    with pytest.raises(TokenMalformed) as caught:
        parse_compact(text)
    assert caught.value.detail


def test_trailing_bits_must_be_zero() -> None:
    """AB and AA decode to the same byte: two tokens for one signature."""
    assert base64.urlsafe_b64decode("AB==") == base64.urlsafe_b64decode("AA==")
    assert parse_compact(token(signature="AA"))
    with pytest.raises(TokenMalformed):
        parse_compact(token(signature="AB"))


def test_size_has_a_limit() -> None:
    with pytest.raises(TokenMalformed, match="too long"):
        parse_compact("a" * (LARGEST_TOKEN + 1))
    assert parse_compact(token(payload=claims(pad="x" * 8000)))


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "HS256", "HS512", "RS1", "", None, 1, ["RS256"], {}, "rs256", "ES256K"]
)
def test_algorithms_that_are_never_verified(algorithm: Any) -> None:
    with pytest.raises(TokenAlgorithmRefused):
        parse_compact(token({**HEADER, "alg": algorithm}))


def test_an_unsigned_token_has_no_third_part() -> None:
    with pytest.raises(TokenMalformed):
        parse_compact(token({"alg": "none"}, signature=""))


@pytest.mark.parametrize("key_id", [None, "", 1, ["k"], "k" * 513])
def test_a_key_must_be_named(key_id: Any) -> None:
    with pytest.raises(TokenKeyUnknown):
        parse_compact(token({**HEADER, "kid": key_id}))
    with pytest.raises(TokenKeyUnknown):
        parse_compact(token({"alg": "RS256"}))


@pytest.mark.parametrize(
    "members",
    [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"b64": True}, {"zip": "DEF"}, {"enc": "A128GCM"}, {"typ": "JWE"},
     {"typ": "dpop+jwt"}, {"typ": "logout+jwt"}, {"typ": 1}, {"typ": None}, {"typ": ""}],
)  # fmt: skip
def test_headers_that_change_the_meaning(members: dict[str, Any]) -> None:
    with pytest.raises(TokenMalformed):
        parse_compact(token({**HEADER, **members}))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/jwt"])
def test_types_of_access_tokens(kind: str) -> None:
    assert parse_compact(token({**HEADER, "typ": kind}))


def test_keys_in_the_header_are_not_looked_at() -> None:
    members = {"jwk": {"kty": "oct"}, "jku": "http://evil.example", "x5u": "http://evil.example", "x5c": [1]}
    assert parse_compact(token({**HEADER, **members})).key_id == "k"


@pytest.mark.parametrize(
    "text",
    [b'{"alg":"RS256","alg":"none","kid":"k"}', b'{"alg":"RS256","kid":"k","x":"\\u0000"}', b"[]", b'"x"', b"\xff"],
)
def test_headers_that_are_unsound(text: bytes) -> None:
    with pytest.raises(TokenMalformed, match="header"):
        parse_compact(token(text))


@pytest.mark.parametrize(
    "text",
    [b'{"sub":"a","sub":"b"}', b'{"cnf":{"jkt":"a","jkt":"b"}}', b'{"x":"\\u0000"}', b'{"x":"\\ud800"}', b'{"exp":NaN}',
     b"[" * 9000, b"1", b"{}{}"],
)  # fmt: skip
def test_payloads_that_are_unsound(text: bytes) -> None:
    with pytest.raises(TokenMalformed, match="payload"):
        parse_compact(token(payload=text))


@given(st.text() | st.text("abcAB01-_.=", max_size=60) | st.binary().map(lambda data: data.decode("latin-1")))
@example("ey\ud800.e30.e30")
def test_any_text_is_refused_in_our_own_words(text: str) -> None:
    with pytest.raises(TokenRefused):
        parse_compact(text)


@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "x"]), st.none() | st.text() | st.integers() | st.lists(st.text())
    )
)
def test_any_header_is_taken_or_refused(header: dict[str, Any]) -> None:
    try:
        parsed = parse_compact(token(header))
    except TokenRefused:
        return
    assert (parsed.algorithm, parsed.key_id) == (header["alg"], header["kid"])


def test_neither_repr_nor_error_shows_a_token() -> None:
    text = sign()
    assert not any(part in repr(parse_compact(text)) for part in text.split("."))
    for broken in (text + "=", text + ".x", text.replace(".", "", 1)):
        with pytest.raises(TokenMalformed) as caught:
            parse_compact(broken)
        told = f"{caught.value} {caught.value.detail} {caught.value.hint}"
        assert not any(part[:20] in told for part in text.split("."))


@given(st.text())
def test_what_is_shown_is_short_and_printable(value: str) -> None:
    assert shown(value).isascii()
    assert shown(value).isprintable()
    assert len(shown(value)) < 2500


def test_other_types_are_shown_by_name() -> None:
    assert [shown(value) for value in (None, True, 1, 1.5, [], {})] == [
        "none", "a boolean", "a number", "a number", "a list", "an object",
    ]  # fmt: skip
