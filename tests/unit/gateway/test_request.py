"""``POST /sql`` requests: bodies and headers, kept to the digit, refused with words."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import MalformedBody, MalformedHeader, MalformedParameter, RowgateError
from rowgate.gateway import request
from rowgate.gateway.request import decode

HEADERS = {b"neon-connection-string": b"postgresql://authenticated@localhost/neondb"}


def read(body: object, **headers: bytes):
    given_headers = HEADERS | {name.replace("_", "-").encode(): value for name, value in headers.items()}
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode(given_headers, text, max_batch_statements=3)


def test_a_single_query() -> None:
    request = read({"query": "select $1", "params": ["x", None], "unknown": 1}, authorization=b"Bearer abc")
    assert request.texts == ["select $1"]
    assert request.statements[0].parameters == [b"x", None]
    assert (request.token, request.transaction, request.raw_text, request.array_modes) == ("abc", None, False, [False])


def test_output_headers_count_only_for_the_exact_word() -> None:
    body = {"query": "select 1"}
    request = read(body, neon_raw_text_output=b"true", neon_array_mode=b"true")
    assert (request.raw_text, request.array_modes) == (True, [True])
    request = read(body, neon_raw_text_output=b"TRUE", neon_array_mode=b"1")
    assert (request.raw_text, request.array_modes) == (False, [False])


def test_a_batch_with_its_transaction() -> None:
    request = read(
        {"queries": [{"query": "a", "arrayMode": True}, {"query": "b", "params": [1]}]},
        neon_batch_isolation_level=b"Serializable",
        neon_batch_read_only=b"true",
        neon_batch_deferrable=b"true",
    )
    assert request.transaction is not None
    assert request.transaction.begin == b"START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"
    assert dict(request.transaction.echo) == {
        b"Neon-Batch-Isolation-Level": b"Serializable",
        b"Neon-Batch-Read-Only": b"true",
        b"Neon-Batch-Deferrable": b"true",
    }
    assert request.array_modes == [True, False]


def test_a_batch_without_options_echoes_nothing() -> None:
    request = read({"queries": []}, neon_batch_read_only=b"false")
    assert request.transaction is not None
    assert (request.transaction.begin, request.transaction.echo) == (b"START TRANSACTION", [])


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("9223372036854775807", b"9223372036854775807"),
        ("18446744073709551615", b"18446744073709551615"),
        ("99999999999999999999999", b"99999999999999999999999"),
        ("1.10", b"1.10"),
        ("true", b"true"),
        ("null", None),
        ('{"a": [1, 2.50]}', b'{"a":[1,2.50]}'),
        ('["1", null, "x"]', b'{"1",NULL,"x"}'),
        ("[]", b"{}"),
        ("[[1,2],[3,4]]", b"{{1,2},{3,4}}"),
    ],
)
def test_parameters_keep_every_digit(parameter: str, expected: bytes | None) -> None:
    request = read(b'{"query":"select $1","params":[' + parameter.encode() + b"]}")
    assert request.statements[0].parameters == [expected]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"{nonsense",
        b'{"query":1}',
        b'{"query":"a","params":{}}',
        b'{"queries":{}}',
        b'{"queries":[{}]}',
        b'{"query":"\xff"}',
        b'{"query":"\\ud800"}',
        b'{"query":"a","params":[NaN]}',
        b'{"query":"a","params":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"queries":[{"query":"a"},{"query":"a"},{"query":"a"},{"query":"a"}]}',
    ],
)
def test_bodies_that_are_refused(body: bytes) -> None:
    with pytest.raises((MalformedBody, MalformedParameter)) as refused:
        read(body)
    assert refused.value.message


def test_a_nul_is_refused_without_showing_the_value() -> None:
    with pytest.raises(MalformedParameter) as refused:
        read({"query": "select $1, $2", "params": ["fine", "secret\0value"]})
    assert "$2" in refused.value.message + (refused.value.detail or "")
    assert "secret" not in str(vars(refused.value))
    with pytest.raises(MalformedParameter):
        read({"query": "select '\0'"})


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(MalformedBody, match="too many parameters"):
        read({"query": "select 1", "params": [1] * 65536})


@pytest.mark.parametrize("value", [b"Basic abc", b"abc", b"Bearer \xff"])
def test_authorization_must_be_a_bearer_token(value: bytes) -> None:
    with pytest.raises(MalformedHeader):
        read({"query": "select 1"}, authorization=value)


def test_isolation_levels_are_fixed_words() -> None:
    with pytest.raises(MalformedHeader, match="invalid isolation level"):
        read({"queries": []}, neon_batch_isolation_level=b"Serializable; drop table x")


def test_neither_token_nor_password_shows() -> None:
    headers = {b"neon-connection-string": b"postgresql://u:hunter2@h/d", b"authorization": b"Bearer eyJsecret"}
    request = decode(headers, b'{"query":"select 1"}', max_batch_statements=1)
    assert "hunter2" not in repr(request)
    assert "eyJsecret" not in repr(request)


@given(st.binary(max_size=200), st.binary(max_size=80), st.binary(max_size=40))
def test_no_bytes_raise_anything_else(body: bytes, connection: bytes, authorization: bytes) -> None:
    with contextlib.suppress(RowgateError):
        decode({b"neon-connection-string": connection, b"authorization": authorization}, body, max_batch_statements=3)


@pytest.mark.parametrize(
    "connection",
    [
        "postgresql://alice:s3cret@h/db", "postgresql://alice@h/db?password=s3cret", "postgresql://alice@h/db?PassWord=s3cret",
        "postgresql://alice:s3cr%65t@h/db?sslmode=require",
    ],
)  # fmt: skip
def test_no_password_stays_in_memory(connection: str) -> None:
    decode({b"neon-connection-string": connection.encode()}, b'{"query":"select 1"}', max_batch_statements=1)
    assert connection.encode() not in request._passwordless


def test_connection_strings_that_are_kept_are_bounded() -> None:
    for number in range(request.MOST_CONNECTION_STRINGS + 10):
        header = b"postgresql://authenticated@h%d/db" % number
        decoded = decode({b"neon-connection-string": header}, b'{"query":"select 1"}', max_batch_statements=1)
        assert decoded.connection is request._passwordless[header]
        assert len(request._passwordless) <= request.MOST_CONNECTION_STRINGS
    long = b"postgresql://authenticated@h/db?options=" + b"x" * request.LONGEST_KNOWN_HEADER
    decode({b"neon-connection-string": long}, b'{"query":"select 1"}', max_batch_statements=1)
    assert long not in request._passwordless
