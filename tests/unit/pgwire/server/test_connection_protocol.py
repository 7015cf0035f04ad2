"""The order of things on a client's connection: every cell of the table, byte by byte, and whatever strangers send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import ProtocolViolation
from rowgate.pgwire import messages
from rowgate.pgwire.server import requests
from rowgate.pgwire.server.connection_protocol import (
    LONGEST_PASSWORD,
    LONGEST_STARTUP,
    MOST_HELD_BACK,
    READ,
    ConnectionProtocol,
    State,
)
from rowgate.pgwire.server.requests import DECODERS, Request

SSL_REQUEST = (8).to_bytes(4) + requests.SSL_REQUEST.to_bytes(4)
GSSENC_REQUEST = (8).to_bytes(4) + requests.GSSENC_REQUEST.to_bytes(4)
STARTUP = messages.startup({"user": "authenticated", "database": "neondb"})
PASSWORD = messages.raw(b"p", b"secret\0")
SAMPLES = {
    ord("p"): b"x\0", ord("Q"): b"select 1\0", ord("P"): b"s\0select $1\0\0\x01\0\0\0\x19",
    ord("B"): b"\0s\0\0\0\0\x01\0\0\0\x011\0\0", ord("D"): b"Ss\0", ord("E"): b"\0\0\0\0\0", ord("C"): b"Pp\0",
    ord("S"): b"", ord("H"): b"", ord("d"): b"data", ord("c"): b"", ord("f"): b"no\0", ord("F"): b"\0\0\0\x01",
    ord("X"): b"",
}  # fmt: skip


def new() -> ConnectionProtocol:
    return ConnectionProtocol(max_message_bytes=1000)


def in_state(state: State) -> ConnectionProtocol:
    """A connection that has come as far as ``state``."""
    protocol = new()
    if state is State.STARTUP:
        return protocol
    if state is State.NEGOTIATING:
        protocol.receive(SSL_REQUEST)
        return protocol
    if state is State.CLOSED:
        protocol.hand_over()
        return protocol
    protocol.receive(STARTUP)
    if state in (State.AUTHENTICATING, State.READY):
        protocol.receive(PASSWORD)
    if state is State.READY:
        protocol.authenticated()
    return protocol


@pytest.mark.parametrize("kind", range(256))
@pytest.mark.parametrize("state", list(State))
def test_every_cell(state: State, kind: int) -> None:
    protocol = in_state(state)
    assert protocol.state is state
    body = SAMPLES.get(kind, b"")
    message = messages.raw(bytes((kind,)), body)
    if kind in READ[state]:
        (request,) = protocol.receive(message)
        assert type(request) is type(DECODERS[kind](body))
    elif state in (State.LOGIN, State.AUTHENTICATING):
        assert protocol.receive(message) == []
        assert protocol.hand_over() == message
    else:
        with pytest.raises(ProtocolViolation):
            protocol.receive(message + bytes(16))
        assert protocol.state is State.CLOSED


def test_the_samples_cover_every_message() -> None:
    assert set(SAMPLES) == set(DECODERS)


def test_what_drivers_send_in_one_go() -> None:
    protocol = new()
    query = messages.query(b"select 1")
    startup, password = protocol.receive(STARTUP + PASSWORD + query)
    assert isinstance(startup, requests.StartupMessage)
    assert startup.parameters == {"user": "authenticated", "database": "neondb"}
    assert password == requests.PasswordMessage(b"secret")
    assert protocol.authenticated() == [requests.Query(b"select 1")]


def test_a_password_that_nobody_asked_for_is_ignored_once() -> None:
    protocol = new()
    protocol.receive(STARTUP)
    assert protocol.authenticated() == []
    assert protocol.receive(PASSWORD + messages.SYNC) == [requests.Sync()]
    with pytest.raises(ProtocolViolation):
        protocol.receive(PASSWORD)


def test_encryption_is_asked_for_once_each_and_nothing_comes_before_its_answer() -> None:
    protocol = new()
    assert protocol.receive(GSSENC_REQUEST) == [requests.GssEncRequest()]
    protocol.tls_answered()
    assert protocol.receive(SSL_REQUEST) == [requests.SslRequest()]
    protocol.tls_answered()
    with pytest.raises(ProtocolViolation, match="twice"):
        protocol.receive(SSL_REQUEST)
    with pytest.raises(ProtocolViolation, match="unencrypted"):
        new().receive(SSL_REQUEST + STARTUP)


def test_a_cancel_request_ends_the_connection() -> None:
    protocol = new()
    assert protocol.receive(messages.cancel_request(42, b"key!")) == [requests.CancelRequest(42, b"key!")]
    assert protocol.state is State.CLOSED


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"\x16\x03\x01", "TLS"),
        (b"GET / HTTP/1.1\r\n", "length"),
        ((7).to_bytes(4), "length"),
        ((LONGEST_STARTUP + 1).to_bytes(4), "length"),
        ((8).to_bytes(4) + (2 << 16).to_bytes(4), "2.0"),
        ((8).to_bytes(4) + (4 << 16).to_bytes(4), "4.0"),
        ((17).to_bytes(4) + (3 << 16).to_bytes(4) + b"user\0x\0\0x", "left over"),
    ],
)
def test_first_packets_that_are_refused(data: bytes, part: str) -> None:
    with pytest.raises(ProtocolViolation, match=part):
        new().receive(data)


def test_a_parameter_that_comes_twice_is_refused() -> None:
    body = (3 << 16).to_bytes(4) + b"user\0a\0user\0b\0\0"
    with pytest.raises(ProtocolViolation, match="twice"):
        new().receive((len(body) + 4).to_bytes(4) + body)


@pytest.mark.parametrize(
    ("minor", "spoken", "negotiates"), [(0, 0, False), (2, 2, False), (3, 2, True), (9999, 2, True)]
)
def test_versions_of_the_protocol(minor: int, spoken: int, negotiates: bool) -> None:
    body = (3 << 16 | minor).to_bytes(4) + b"user\0a\0\0"
    (startup,) = new().receive((len(body) + 4).to_bytes(4) + body)
    assert isinstance(startup, requests.StartupMessage)
    assert (startup.minor, startup.needs_negotiation) == (spoken, negotiates)


def test_options_of_the_protocol_are_told_apart() -> None:
    body = (3 << 16).to_bytes(4) + b"_pq_.thing\0" + b"1\0user\0a\0\0"
    (startup,) = new().receive((len(body) + 4).to_bytes(4) + body)
    assert isinstance(startup, requests.StartupMessage)
    assert (startup.parameters, startup.unknown_options) == ({"user": "a"}, ("_pq_.thing",))


def test_lengths_are_judged_before_the_body_is_there() -> None:
    for state, header in (
        (State.LOGIN, b"p" + (LONGEST_PASSWORD + 1).to_bytes(4)),
        (State.READY, b"Q" + (1005).to_bytes(4)),
        (State.READY, b"Q" + (3).to_bytes(4)),
        (State.READY, b"Q" + (0xFFFFFFFF).to_bytes(4)),
    ):
        with pytest.raises(ProtocolViolation):
            in_state(state).receive(header)


def test_what_is_held_back_is_bounded() -> None:
    protocol = in_state(State.AUTHENTICATING)
    for _ in range(MOST_HELD_BACK // 1024):
        protocol.receive(bytes(1024))
    with pytest.raises(ProtocolViolation, match="before the login"):
        protocol.receive(b"x")


def whole(data: bytes, size: int) -> list[Request]:
    """The requests of a connection that logs in as soon as the password is there; ``data`` comes in pieces."""
    protocol = new()
    found: list[Request] = []
    for start in range(0, len(data), size):
        found += protocol.receive(data[start : start + size])
        if protocol.state is State.NEGOTIATING:
            protocol.tls_answered()
        if protocol.state is State.AUTHENTICATING:
            found += protocol.authenticated()
    return found


def test_one_byte_at_a_time() -> None:
    typed = b"".join(messages.raw(bytes((kind,)), body) for kind, body in SAMPLES.items() if kind != ord("p"))
    expected = whole(STARTUP + PASSWORD + typed, 1 << 20)
    assert len(expected) == 2 + len(SAMPLES) - 1
    for size in (1, 2, 3, 7):
        assert whole(STARTUP + PASSWORD + typed, size) == expected
    assert whole(SSL_REQUEST + STARTUP + PASSWORD + typed, 1)[1:] == expected


@given(st.binary(max_size=300), st.sampled_from(list(State)), st.integers(1, 50))
def test_strangers_can_only_be_refused(data: bytes, state: State, size: int) -> None:
    protocol = in_state(state)
    try:
        for start in range(0, len(data), size):
            protocol.receive(data[start : start + size])
    except ProtocolViolation:
        assert protocol.state is State.CLOSED


@given(st.sampled_from(sorted(DECODERS)), st.binary(max_size=200))
def test_bodies_that_do_not_fit_are_refused(kind: int, body: bytes) -> None:
    try:
        requests.decode(kind, body)
    except ProtocolViolation:
        return
