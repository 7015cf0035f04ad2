"""What two parsers could read differently is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.identity.strict_json import DEEPEST, UnsoundJson, parse_object

STORABLE = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)))
FLOATS = st.floats(-1e300, 1e300).filter(lambda value: value == 0 or abs(value) > 1e-300)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**300), 10**300) | FLOATS | STORABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STORABLE, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(STORABLE, VALUES, max_size=6), st.booleans())
def test_what_json_writes_is_read_back(value: dict[str, Any], escaped: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_garbage_is_unsound_or_an_object(text: bytes) -> None:
    try:
        value = parse_object(text)
    except UnsoundJson:
        return
    assert value == json.loads(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a":1,"a":1}', "twice"),
        (b'{"a":{"b":1,"b":2}}', "twice"),
        (b'{"cnf":{"jkt":"x","\\u006akt":"y"}}', "twice"),
        (b'{"a":[{"b":1,"b":2}]}', "twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":Infinity}', "NaN"),
        (b'{"a":-Infinity}', "NaN"),
        (b'{"a":1e400}', "double"),
        (b'{"a":1e-400}', "double"),
        (b'{"a":0e99999999999}', "double"),
        (b'{"a":1' + b"0" * 309 + b"}", "double"),
        (b'{"a":0.' + b"0" * 400 + b"1}", "double"),
        (b'{"a":' + b"9" * 5000 + b"}", "double"),
        (b'{"a":"\\u0000"}', "U+0000"),
        (b'{"\\u0000":1}', "U+0000"),
        (b'{"a":["\\ud800"]}', "surrogate"),
        (b'{"\\udc00":1}', "surrogate"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
        (b'{"a":"\x00"}', "not JSON"),
        (b'{"a":1} {}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_unsound(text: bytes, reason: str) -> None:
    with pytest.raises(UnsoundJson, match=reason.replace("+", r"\+")):
        parse_object(text)


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_depth_has_a_limit() -> None:
    assert parse_object(nested(DEEPEST))
    for levels in (DEEPEST + 1, 100, 900, 6000, 100_000):
        with pytest.raises(UnsoundJson, match="deeper"):
            parse_object(nested(levels))


def test_pairs_of_surrogates_are_characters() -> None:
    assert parse_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "\U0001f600"}
