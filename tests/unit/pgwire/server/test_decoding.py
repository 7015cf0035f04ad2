"""Bytes of a client: built from values they give them back; cut, padded or random they give ProtocolViolation."""

import contextlib
import struct
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowgate.errors import ProtocolViolation
from rowgate.pgwire import messages
from rowgate.pgwire.server import requests
from rowgate.pgwire.server.decoding import DECODERS, KIND_OF, decode_message, decode_packet, packet_kind
from rowgate.pgwire.server.state_table import Kind
from tests.unit.pgwire.server.streams import IN_A_SESSION, PACKET, SAMPLES, STRING, VALUES

TYPED = [kind for kind in Kind if kind in DECODERS]
PACKETS = [Kind.STARTUP, Kind.SSL_REQUEST, Kind.GSSENC_REQUEST, Kind.CANCEL_REQUEST]
WITH_ANY_BODY = {Kind.COPY_DATA}


@given(IN_A_SESSION | st.builds(requests.PasswordMessage, STRING) | st.just(requests.Terminate()))
def test_messages_there_and_back(value):
    sent = value.encode()
    assert sent[0] == KIND_OF[type(value)]
    assert struct.unpack_from(">i", sent, 1) == (len(sent) - 1,)
    assert decode_message(sent[0], sent[5:]) == value


@given(PACKET)
def test_packets_there_and_back(value):
    sent = value.encode()
    assert struct.unpack_from(">i", sent) == (len(sent),)
    kind = packet_kind(struct.unpack_from(">I", sent, 4)[0])
    assert decode_packet(kind, sent[4:]) == value


@pytest.mark.parametrize("kind", TYPED, ids=lambda kind: kind.name)
def test_each_message_of_the_client(kind):
    assert decode_message(kind, SAMPLES[kind][5:]) == VALUES[kind]


@pytest.mark.parametrize("kind", PACKETS, ids=lambda kind: kind.name)
def test_each_packet_of_the_client(kind):
    assert packet_kind(struct.unpack_from(">I", SAMPLES[kind], 4)[0]) is kind
    assert decode_packet(kind, SAMPLES[kind][4:]) == VALUES[kind]


@pytest.mark.parametrize("code", [0, 1, 131072, 196607, 262144, 80877101, 80877105, 0x47455420, 2**32 - 1])
def test_what_is_not_protocol_3(code):
    with pytest.raises(ProtocolViolation, match="another protocol") as caught:
        packet_kind(code)
    assert f"got {code >> 16}.{code & 65535}" in caught.value.detail


@pytest.mark.parametrize("kind", [kind for kind in TYPED if kind not in WITH_ANY_BODY], ids=lambda kind: kind.name)
def test_a_message_cut_short_or_with_bytes_left_over(kind):
    body = SAMPLES[kind][5:]
    for length in range(len(body)):
        with pytest.raises(ProtocolViolation) as caught:
            decode_message(kind, body[:length])
        assert caught.value.detail
    with pytest.raises(ProtocolViolation):
        decode_message(kind, body + b"\0")


@pytest.mark.parametrize("kind", PACKETS, ids=lambda kind: kind.name)
def test_a_packet_cut_short_or_with_bytes_left_over(kind):
    body = SAMPLES[kind][4:]
    for length in range(4, len(body)):
        with pytest.raises(ProtocolViolation):
            decode_packet(kind, body[:length])
    if kind is not Kind.CANCEL_REQUEST:  # whose key may be longer
        with pytest.raises(ProtocolViolation, match="left over"):
            decode_packet(kind, body + b"\0")


@pytest.mark.parametrize("size", [0, 1, 3, 257])
def test_a_cancel_key_of_an_impossible_length(size):
    with pytest.raises(ProtocolViolation, match="impossible length"):
        decode_packet(Kind.CANCEL_REQUEST, messages.cancel_request(1, bytes(size))[4:])


@pytest.mark.parametrize("size", [4, 32, 256])
def test_cancel_keys_of_either_version(size):
    found = decode_packet(Kind.CANCEL_REQUEST, messages.cancel_request(-7, bytes(size))[4:])
    assert found == requests.CancelRequest(-7, bytes(size))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"user\0u\0database\0a\0user\0v\0\0", "twice"),
        (b"user\0u\0_pq_.a\0001\0_pq_.a\0002\0\0", "twice"),
        (b"database\0app\0\0", "no user"),
        (b"user\0\0\0", "no user"),
        (b"\0", "no user"),
        (b"user\0caf\xe9\0\0", "UTF-8"),
        (b"user\0u\0caf\xe9\0x\0\0", "UTF-8"),
        (b"user\0u\0\0\0", "left over"),
        (b"user\0u\0", "cut short"),
        (b"user\0u\0database", "cut short"),
        (b"user", "cut short"),
        (b"", "cut short"),
    ],
)
def test_startup_messages_that_are_refused(body, problem):
    with pytest.raises(ProtocolViolation, match=problem):
        decode_packet(Kind.STARTUP, b"\0\3\0\0" + body)


@pytest.mark.parametrize(
    ("kind", "body", "problem"),
    [
        (Kind.PARSE, b"\0\0\0\1", "cut short"),
        (Kind.PARSE, b"\0\0\xff\xff", "cut short"),
        (Kind.PARSE, b"\0\0\0\0\0\0\0\0", "left over"),
        (Kind.BIND, b"\0\0\xff\xff", "cut short"),
        (Kind.BIND, b"\0\0\0\0\xff\xff\0\0", "cut short"),
        (Kind.BIND, b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0", "negative length"),
        (Kind.BIND, b"\0\0\0\0\0\1\x80\0\0\0\0\0", "negative length"),
        (Kind.BIND, b"\0\0\0\0\0\1\x7f\xff\xff\xff\0\0", "cut short"),
        (Kind.BIND, b"\0\0\0\0\0\0\0\1\0", "cut short"),
        (Kind.FUNCTION_CALL, b"\0\0\0\1\0\0\0\1\xff\xff\xff\xfe\0\0", "negative length"),
        (Kind.EXECUTE, b"\0\xff\xff\xff\xff", "negative number"),
        (Kind.DESCRIBE, b"Xs\0", "neither"),
        (Kind.CLOSE, b"\0s\0", "neither"),
        (Kind.CLOSE, b"", "neither"),
        (Kind.QUERY, b"select 1", "cut short"),
        (Kind.QUERY, b"select 1\0select 2\0", "left over"),
        (Kind.PASSWORD, b"a\0b\0", "left over"),
        (Kind.SYNC, b"\0", "left over"),
    ],
)
def test_messages_that_are_refused(kind, body, problem):
    with pytest.raises(ProtocolViolation, match=problem):
        decode_message(kind, body)


def test_what_came_is_in_no_error():
    with pytest.raises(ProtocolViolation) as caught:
        decode_message(Kind.PASSWORD, b"hunter2")
    assert "hunter2" not in f"{caught.value.message}{caught.value.detail}{caught.value.hint}"


def test_as_many_parameters_as_can_be_counted():
    sent = messages.bind(b"", b"", [b"x"] * 65_535)
    assert decode_message(Kind.BIND, sent[5:]).parameter_count == 65_535


def test_counts_cost_no_memory_and_little_time():
    begin = time.perf_counter()
    for _ in range(1000):
        with pytest.raises(ProtocolViolation):
            decode_message(Kind.BIND, b"\0\0\0\0\xff\xff" + b"\xff" * 8)
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("kind", TYPED, ids=lambda kind: kind.name)
@given(body=st.binary(max_size=60))
@example(body=b"\0\0\0\1\0\0\0\1\0\0\0\0")
def test_random_bodies(kind, body):
    with contextlib.suppress(ProtocolViolation):
        value = decode_message(kind, body)
        assert value.encode()[5:] == body


@pytest.mark.parametrize("kind", PACKETS, ids=lambda kind: kind.name)
@given(rest=st.binary(max_size=60))
def test_random_packets(kind, rest):
    with contextlib.suppress(ProtocolViolation):
        value = decode_packet(kind, SAMPLES[kind][4:8] + rest)
        assert value.encode()[4:] == SAMPLES[kind][4:8] + rest
