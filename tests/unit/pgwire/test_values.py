"""JSON values to bind parameters: digits are kept, lists are read back by an array reader, errors name the number."""

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import MalformedParameter
from rowgate.pgwire.literals import array_values
from rowgate.pgwire.values import MAX_DEPTH, parameter, parameters

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCALAR = st.none() | st.booleans() | st.integers() | FINITE | TEXT
DOCUMENT = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
OBJECT = st.dictionaries(TEXT, DOCUMENT, max_size=5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", b""),
        ("caf\u00e9", "café".encode()),
        ("true", b"true"),
        (True, b"true"),
        (False, b"false"),
        (0, b"0"),
        (2**63, b"9223372036854775808"),
        (-(10**30), b"-1000000000000000000000000000000"),
        (1.5, b"1.5"),
        (-0.0, b"-0.0"),
        (1e22, b"1e+22"),
        (Decimal("1.50"), b"1.50"),
        (Decimal("123456789.123456789123456789"), b"123456789.123456789123456789"),
        (Decimal("1E+400"), b"1E+400"),
        ([], b"{}"),
        ([1, None, "x"], b'{1,NULL,"x"}'),
        ([True, 2.5, Decimal("1.10")], b"{true,2.5,1.10}"),
        ([[1, 2], [3, None]], b"{{1,2},{3,NULL}}"),
        (["NULL", "", 'a"b\\c', "a\nb"], b'{"NULL","","a\\"b\\\\c","a\nb"}'),
        ([{"a": [1, "x"]}], b'{"{\\"a\\":[1,\\"x\\"]}"}'),
        ({"a": 1, "b": [None, True, "é"]}, '{"a":1,"b":[null,true,"é"]}'.encode()),
        ({"n": 2**64, "d": Decimal("0.10")}, b'{"n":18446744073709551616,"d":0.10}'),
        ({"nul": "\0"}, b'{"nul":"\\u0000"}'),
        ({}, b"{}"),
    ],
)
def test_examples(value, expected):
    assert parameter(value) == expected


def test_an_integer_of_any_length():
    assert parameter(10**100_000) == b"1" + b"0" * 100_000
    assert parameter(-(10**100_000) + 1) == b"-" + b"9" * 100_000
    assert parameter([10**5000]) == b"{1" + b"0" * 5000 + b"}"


def test_parameters_are_numbered():
    assert parameters(["a", None, 3]) == [b"a", None, b"3"]
    with pytest.raises(MalformedParameter, match=r"\$3"):
        parameters(["a", "b", "c\0"])


@pytest.mark.parametrize(
    "value",
    [
        "s3cret\0", "s3cret\ud800", ["s3cret\0"], ["s3cret\udfff"], {"s3cret": "\ud800"}, {"s3cret\ud800": 1},
        [{"s3cret": "\ud800"}], float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"),
        [float("nan")], {"s3cret": float("inf")}, b"s3cret", ("s3cret",), {"s3cret"}, object(), {1: "s3cret"},
        [b"s3cret"],
    ],
)  # fmt: skip
def test_refused(value):
    with pytest.raises(MalformedParameter) as caught:
        parameter(value, 7)
    told = f"{caught.value.message} {caught.value.detail} {caught.value.hint}"
    assert caught.value.message.startswith("Parameter $7 ")
    assert "s3cret" not in told


def nested(depth, wrap):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}, lambda v: [{"a": v}]])
def test_depth(wrap):
    each = 2 if isinstance(wrap(1), list) and isinstance(wrap(1)[0], dict) else 1
    assert parameter(nested(MAX_DEPTH // each, wrap))
    for depth in (MAX_DEPTH // each + 1, 50_000):
        value = nested(depth, wrap)
        with pytest.raises(MalformedParameter, match="nested too deeply"):
            parameter(value)


@given(OBJECT)
def test_an_object_is_its_json_text(value):
    encoded = parameter(value)
    assert json.loads(encoded) == value
    assert encoded == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def read_back(value):
    if isinstance(value, list):
        return [read_back(item) for item in value]
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(st.lists(SCALAR | OBJECT, max_size=8))
def test_a_list_is_an_array_literal(values):
    assert array_values(parameter(values).decode(), ",", None) == read_back(values)


@given(st.lists(st.lists(SCALAR, min_size=2, max_size=2), min_size=1, max_size=5))
def test_a_nested_list_is_a_nested_array(values):
    assert array_values(parameter(values).decode(), ",", None) == read_back(values)


@given(
    st.recursive(
        st.text() | st.floats() | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_value_gives_utf8_or_is_refused(value):
    with contextlib.suppress(MalformedParameter):
        assert "\0" not in parameter(value).decode()
