"""Bodies of messages: built from values they give them back; cut, padded or random they give ProtocolViolation."""

import contextlib
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.fields import (
    Field,
    backend_key,
    command_tag,
    error_fields,
    notification,
    parameter_description,
    parameter_status,
    protocol_negotiation,
    row_description,
    strings,
)

NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
OID = st.integers(0, 2**32 - 1)
FIELD = st.builds(
    Field, NAME, OID, st.integers(0, 2**16 - 1), OID, st.integers(-(2**15), 2**15 - 1), st.integers(-(2**31), 2**31 - 1)
)
DECODERS = [
    error_fields,
    row_description,
    parameter_description,
    parameter_status,
    backend_key,
    command_tag,
    notification,
    protocol_negotiation,
    lambda body: strings(body, 0),
]


def terminated(value):
    return value.encode() + b"\0"


def described(fields, text_format=0):
    columns = [
        terminated(f.name)
        + struct.pack(">IHIhih", f.table_oid, f.column_number, f.type_oid, f.type_size, f.type_modifier, text_format)
        for f in fields
    ]
    return struct.pack(">H", len(fields)) + b"".join(columns)


@given(st.lists(FIELD, max_size=10))
def test_row_description(fields):
    assert row_description(described(fields)) == tuple(fields)


def test_row_description_as_postgres_sends_it():
    body = b"\0\1id\0\0\0\x40\0\0\1\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"
    assert row_description(body) == (Field("id", 16384, 1, 23, 4, -1),)


def test_a_binary_column_is_refused():
    with pytest.raises(ProtocolViolation, match="binary"):
        row_description(described([Field("a", 0, 0, 25, -1, -1)], text_format=1))


@given(st.dictionaries(st.sampled_from("SVCMDHPpqWstcdnFLRZ"), NAME))
def test_error_fields(fields):
    body = b"".join(code.encode() + terminated(value) for code, value in fields.items()) + b"\0"
    assert error_fields(body) == fields


def test_error_fields_replace_what_is_not_utf8():
    assert error_fields(b"M caf\xe9\0\0") == {"M": " caf\ufffd"}


@given(st.lists(OID, max_size=50))
def test_parameter_description(oids):
    assert parameter_description(struct.pack(f">H{len(oids)}I", len(oids), *oids)) == tuple(oids)


@given(NAME, NAME)
def test_parameter_status(name, value):
    assert parameter_status(terminated(name) + terminated(value)) == (name, value)


@given(st.integers(-(2**31), 2**31 - 1), st.binary(min_size=4, max_size=256))
def test_backend_key(process_id, secret):
    assert backend_key(struct.pack(">i", process_id) + secret) == (process_id, secret)


@pytest.mark.parametrize("size", [0, 4, 7, 261])
def test_backend_key_of_an_impossible_length(size):
    with pytest.raises(ProtocolViolation):
        backend_key(bytes(size))


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("SELECT 5", ("SELECT", 5)),
        ("INSERT 0 3", ("INSERT", 3)),
        ("INSERT 7", ("INSERT", None)),
        ("UPDATE 0", ("UPDATE", 0)),
        ("DELETE 18446744073709551615", ("DELETE", 2**64 - 1)),
        ("MERGE 2", ("MERGE", 2)),
        ("FETCH 1", ("FETCH", 1)),
        ("CREATE TABLE", ("CREATE", None)),
        ("START TRANSACTION", ("START", None)),
        ("SET", ("SET", None)),
        ("", ("", None)),
        ("SELECT 1_0", ("SELECT", None)),
        ("SELECT \u0665", ("SELECT", None)),
        ("SELECT -1", ("SELECT", None)),
        ("SELECT " + "9" * 5000, ("SELECT", None)),
    ],
)
def test_command_tag(tag, expected):
    assert command_tag(terminated(tag)) == expected


def test_notification():
    found = notification(b"\0\0\x12\x67" + terminated("channel") + terminated("secret"))
    assert (found.process_id, found.channel, found.payload) == (4711, "channel", "secret")
    assert "secret" not in repr(found)


def test_protocol_negotiation():
    assert protocol_negotiation(b"\0\3\0\0\0\0\0\2_pq_.a\0_pq_.b\0") == (196608, ("_pq_.a", "_pq_.b"))


def test_strings():
    assert strings(b"\0\0\0\nSCRAM-SHA-256\0\0", 4) == ("SCRAM-SHA-256",)
    assert strings(b"\0", 0) == ()


@pytest.mark.parametrize("decode", DECODERS)
@given(body=st.binary(max_size=80))
@example(body=b"")
@example(body=b"\xff\xff\xff\xff")
@example(body=b"\0\3\0\0\x7f\xff\xff\xff")
def test_random_bytes_raise_nothing_but_a_violation(decode, body):
    with contextlib.suppress(ProtocolViolation):
        decode(body)


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        (error_fields, b"SERROR\0Mno\0\0"),
        (row_description, described([Field("id", 1, 1, 23, 4, -1), Field("a", 0, 0, 25, -1, -1)])),
        (parameter_description, b"\0\2\0\0\0\x17\0\0\0\x19"),
        (parameter_status, b"TimeZone\0UTC\0"),
        (command_tag, b"SELECT 5\0"),
        (notification, b"\0\0\0\1a\0b\0"),
        (protocol_negotiation, b"\0\3\0\0\0\0\0\1x\0"),
        (lambda body: strings(body, 0), b"a\0b\0\0"),
    ],
)
def test_every_cut_and_every_excess_is_a_violation(decode, body):
    decode(body)
    for length in range(len(body)):
        with pytest.raises(ProtocolViolation):
            decode(body[:length])
    with pytest.raises(ProtocolViolation):
        decode(body + b"x")
