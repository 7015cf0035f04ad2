"""Whole conversations with the server: the same bytes give the same events however they are cut, and limits hold."""

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import DatabaseError, InternalFault, ProtocolViolation, TokenExpired
from rowgate.pgwire import messages, stream
from rowgate.pgwire.fields import error_fields
from rowgate.pgwire.server import answers, connection_protocol
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol, Violation
from rowgate.pgwire.server.requests import (
    CopyData,
    CopyDone,
    Execute,
    GssEncRequest,
    PasswordMessage,
    Query,
    SslRequest,
    StartupMessage,
    Sync,
    Terminate,
    TlsClientHello,
)
from rowgate.pgwire.server.state_table import Kind, State
from rowgate.pgwire.startup import Startup
from tests.unit.pgwire.server.streams import (
    CLIENT_HELLO,
    COPY_DONE,
    GSSENC_REQUEST,
    IN_A_SESSION,
    LIMIT,
    PARAMETERS,
    PASSWORD,
    SAMPLES,
    STARTUP,
    VALUES,
    copy_data,
    cut,
    is_violation,
    message,
    packet,
    protocol_in,
    receive_all,
    single_bytes,
)

QUERY = SAMPLES[Kind.QUERY]
EXTENDED = b"".join(SAMPLES[kind] for kind in (Kind.PARSE, Kind.BIND, Kind.DESCRIBE, Kind.EXECUTE, Kind.SYNC))
IN_EXTENDED = [VALUES[kind] for kind in (Kind.PARSE, Kind.BIND, Kind.DESCRIBE, Kind.EXECUTE, Kind.SYNC)]
EVERYTHING = b"".join(SAMPLES[kind] for kind in Kind if kind < 256 and kind not in (Kind.PASSWORD, Kind.TERMINATE))
GARBAGE = b"\xff" * 5


def serve(protocol, chunks):
    """A front in its shortest form: encryption is declined, and every password is right. The events in order."""
    events = []
    for chunk in chunks:
        fresh = protocol.receive(chunk)
        while fresh:
            event = fresh.pop(0)
            events.append(event)
            if isinstance(event, SslRequest | GssEncRequest):
                protocol.decline_encryption()
            elif isinstance(event, PasswordMessage):
                fresh += [] if any(isinstance(later, Violation) for later in fresh) else protocol.authenticated()
    return events


# --- cut anywhere -----------------------------------------------------------------------------------------------------


CONVERSATIONS = {
    "the serverless driver": [STARTUP + PASSWORD + QUERY + QUERY],
    "the serverless driver, extended": [STARTUP + PASSWORD + EXTENDED + messages.TERMINATE],
    "psql with everything to ask": [GSSENC_REQUEST, messages.ssl_request(), STARTUP, PASSWORD, EVERYTHING],
    "a violation in the middle": [STARTUP + PASSWORD + QUERY + message(b"E", b"short") + QUERY],
    "a violation in the login": [STARTUP + QUERY + PASSWORD],
    "a cancel request and more": [messages.cancel_request(1, bytes(32)) + STARTUP],
    "HTTP": [b"GET / HTTP/1.1\r\nHost: db\r\n\r\n"],
    "more after Terminate": [STARTUP + PASSWORD + messages.TERMINATE + QUERY + GARBAGE],
}


@pytest.mark.parametrize("turns", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_one_byte_at_a_time(turns):
    expected = serve(ConnectionProtocol(), turns)
    assert expected
    assert serve(ConnectionProtocol(), [byte for turn in turns for byte in single_bytes(turn)]) == expected


@given(st.sampled_from(list(CONVERSATIONS.values())), st.lists(st.integers(0, 400)))
def test_any_chunks(turns, borders):
    expected = serve(ConnectionProtocol(), turns)
    assert serve(ConnectionProtocol(), [chunk for turn in turns for chunk in cut(turn, borders)]) == expected


@given(st.lists(IN_A_SESSION, max_size=12), st.lists(st.integers(0, 500)))
def test_any_session_in_any_chunks(values, borders):
    data = b"".join(value.encode() for value in values)
    protocol = protocol_in(State.READY)
    assert receive_all(protocol, cut(data, borders)) == values
    assert protocol.pending == 0


@given(st.sampled_from(list(State)), st.lists(st.binary(max_size=40), max_size=10))
def test_random_bytes_are_events_or_one_violation(state, chunks):
    protocol = protocol_in(state, max_held_bytes=60)
    events = []
    for chunk in chunks:
        events += protocol.receive(chunk)
        assert protocol.pending <= LIMIT + 5
    again = protocol_in(state, max_held_bytes=60)
    if TlsClientHello() not in events:
        assert receive_all(again, single_bytes(b"".join(chunks))) == events
    assert [event for event in events[:-1] if isinstance(event, Violation)] == []


@given(st.binary(max_size=60), st.sampled_from(sorted(Kind)))
def test_random_bodies_are_events_or_one_violation(body, kind):
    if kind < 256:
        events = protocol_in(State.READY).receive(message(bytes((kind,)), body))
        assert len(events) == 1


# --- the start --------------------------------------------------------------------------------------------------------


def test_everything_in_one_go():
    protocol = ConnectionProtocol()
    assert protocol.receive(STARTUP + PASSWORD + EXTENDED) == [VALUES[Kind.STARTUP], VALUES[Kind.PASSWORD]]
    assert protocol.state is State.AUTHENTICATING
    assert protocol.pending == len(EXTENDED)
    assert protocol.authenticated() == IN_EXTENDED
    assert (protocol.state, protocol.pending) == (State.READY, 0)


def test_the_incomplete_end_is_held_too():
    protocol = ConnectionProtocol()
    protocol.receive(STARTUP + PASSWORD + QUERY[:3])
    assert protocol.authenticated() == []
    assert protocol.receive(QUERY[3:]) == [VALUES[Kind.QUERY]]


def test_the_client_of_this_package():
    client = Startup(PARAMETERS, b"secret", "prefer", allow_cleartext=True)
    server = ConnectionProtocol()
    assert server.receive(client.start()) == [SslRequest()]
    assert server.receive(client.receive(server.decline_encryption()).send) == [VALUES[Kind.STARTUP]]
    assert server.receive(client.receive(answers.AUTHENTICATION_CLEARTEXT_PASSWORD).send) == [
        PasswordMessage(b"secret")
    ]
    assert server.authenticated() == []
    step = client.receive(
        answers.AUTHENTICATION_OK
        + answers.parameter_status("server_version", "18.4")
        + answers.backend_key_data(4711, b"abcd")
        + answers.ready_for_query(answers.IDLE)
    )
    assert step.ready.parameters == {"server_version": "18.4"}
    assert (step.ready.process_id, step.ready.secret_key) == (4711, b"abcd")


def test_the_client_of_this_package_with_tls():
    client = Startup(PARAMETERS, b"secret", "require")
    server = ConnectionProtocol()
    server.receive(client.start())
    assert client.receive(server.accept_tls()).begin_tls
    assert server.state is State.TLS_HANDSHAKE
    server.tls_established()
    assert server.receive(client.tls_established()) == [VALUES[Kind.STARTUP]]
    with pytest.raises(DatabaseError) as caught:
        client.receive(server.refuse(TokenExpired("The token has expired.")))
    assert caught.value.fields["S"] == "FATAL"
    assert caught.value.database_sqlstate == "28000"


@pytest.mark.parametrize("request_for_it", [messages.ssl_request(), GSSENC_REQUEST])
@pytest.mark.parametrize("injected", [b"\0", STARTUP, CLIENT_HELLO, messages.ssl_request()])
def test_bytes_before_tls_are_refused(request_for_it, injected):
    """CVE-2021-23214: what somebody between slips in must not be taken for what came through TLS."""
    protocol = ConnectionProtocol()
    first, second = protocol.receive(request_for_it + injected)
    assert isinstance(first, SslRequest | GssEncRequest)
    assert isinstance(second, Violation)
    for step in (protocol.accept_tls, protocol.decline_encryption, protocol.tls_established):
        with pytest.raises(ProtocolViolation, match="Bytes came where only TLS"):
            step()
    assert protocol.pending == 0
    assert error_fields(protocol.refuse(second.error)[5:])["C"] == "08P01"


def test_bytes_during_the_handshake_are_refused_without_a_word():
    protocol = protocol_in(State.TLS_HANDSHAKE)
    (event,) = protocol.receive(STARTUP)
    assert protocol.refuse(event.error) == b""


@pytest.mark.parametrize("size", [1, 3, len(CLIENT_HELLO)])
def test_tls_without_asking(size):
    protocol = ConnectionProtocol()
    assert protocol.receive(CLIENT_HELLO[:size]) == [TlsClientHello()]
    assert (protocol.state, protocol.pending) == (State.TLS_HANDSHAKE, 0)
    protocol.tls_established()
    assert protocol.receive(STARTUP) == [VALUES[Kind.STARTUP]]


@pytest.mark.parametrize("minor", [0, 2])
def test_either_version(minor):
    (startup,) = ConnectionProtocol().receive(packet(3 << 16 | minor, b"user\0u\0\0"))
    assert startup == StartupMessage(minor, ((b"user", b"u"),))
    assert not startup.needs_negotiation


def test_a_version_to_be_negotiated():
    protocol = ConnectionProtocol()
    (startup,) = protocol.receive(packet(3 << 16 | 9999, b"user\0u\0_pq_.test\0\0\0"))
    assert answers.negotiate_protocol_version(startup.minor, startup.unknown_options) == (
        b"v\0\0\0\x16\0\3\0\2\0\0\0\1_pq_.test\0"
    )
    assert protocol.state is State.AWAITING_PASSWORD


@pytest.mark.parametrize("version", [0, 2 << 16, 4 << 16, 80877101])
def test_another_protocol(version):
    (event,) = ConnectionProtocol().receive(packet(version))
    assert event.message == "The client speaks another protocol."
    assert "3.0 to 3.2" in event.detail


def test_a_password_that_nobody_asked_for_is_dropped_once():
    protocol = protocol_in(State.AWAITING_PASSWORD)
    assert protocol.authenticated() == []
    assert protocol.receive(PASSWORD + QUERY) == [VALUES[Kind.QUERY]]
    assert is_violation(protocol.receive(PASSWORD))


def test_a_client_that_leaves_while_it_is_verified():
    protocol = protocol_in(State.AUTHENTICATING)
    assert protocol.receive(messages.TERMINATE) == []
    assert protocol.authenticated() == [Terminate()]
    assert protocol.state is State.CLOSED


def test_a_second_password():
    first, second, violation = ConnectionProtocol().receive(STARTUP + PASSWORD + PASSWORD)
    assert (first, second) == (VALUES[Kind.STARTUP], VALUES[Kind.PASSWORD])
    assert "A PasswordMessage came where it does not belong." in violation.message


def test_handing_over():
    protocol = protocol_in(State.AUTHENTICATING)
    protocol.receive(QUERY + GARBAGE)
    assert protocol.hand_over() == QUERY + GARBAGE
    assert (protocol.state, protocol.pending) == (State.CLOSED, 0)
    assert protocol.receive(QUERY) == []
    assert protocol.refuse(TokenExpired("No.")) == b""


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "header", "most"),
    [
        (State.AWAITING_PASSWORD, b"p", 65_536),
        (State.READY, b"Q", LIMIT),
        (State.READY, b"P", LIMIT),
        (State.READY, b"B", LIMIT),
        (State.READY, b"d", LIMIT),
        (State.READY, b"F", LIMIT),
        (State.READY, b"D", 9_996),
        (State.READY, b"E", 9_996),
        (State.READY, b"C", 9_996),
        (State.READY, b"S", 9_996),
        (State.READY, b"H", 9_996),
        (State.READY, b"X", 9_996),
        (State.READY, b"c", 9_996),
        (State.READY, b"f", 9_996),
        (State.SKIPPING, b"Q", LIMIT),
        (State.AUTHENTICATING, b"Q", LIMIT),
    ],
)
@pytest.mark.parametrize("size", [1, 5])
def test_lengths_are_judged_with_the_header(state, header, most, size):
    for length in (-(2**31), -1, 0, 3, most + 5, 2**31 - 1):
        sent = header + length.to_bytes(4, "big", signed=True)
        protocol = protocol_in(state)
        events = receive_all(protocol, [sent[start : start + size] for start in range(0, 5, size)])
        assert is_violation(events)
        assert "out of bounds" in events[0].message
        assert str(length) in events[0].detail
    assert protocol_in(state).receive(header + (most + 4).to_bytes(4, "big")) == []


@pytest.mark.parametrize("length", [-1, 0, 7, 10_005, 0x47455420])
def test_lengths_of_startup_packets(length):
    (event,) = ConnectionProtocol().receive(length.to_bytes(4, "big", signed=True))
    assert "out of bounds" in event.message


def test_the_longest_startup_packet():
    value = b"x" * (10_000 - 4 - len(b"user\0u\0application_name\0\0\0"))
    sent = packet(196608, b"user\0u\0application_name\0" + value + b"\0\0")
    assert len(sent) == 10_004
    (startup,) = ConnectionProtocol().receive(sent)
    assert startup.parameters["application_name"] == value.decode()


def test_a_promised_length_takes_no_memory():
    protocol = protocol_in(State.READY, max_message_bytes=2**30)
    tracemalloc.start()
    try:
        protocol.receive(b"Q\x3f\xff\xff\xff" + b"x")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_memory_of_a_long_message_is_given_back():
    protocol = protocol_in(State.READY, max_message_bytes=1 << 20)
    protocol.receive(message(b"d", bytes(1 << 20))[:-1])
    protocol.receive(b"\0")
    assert protocol.pending == 0
    assert protocol._partial.__sizeof__() < 100


def test_an_idle_connection_is_small():
    tracemalloc.start()
    try:
        idle = [protocol_in(State.READY) for _ in range(200)]
        assert tracemalloc.get_traced_memory()[0] / len(idle) < 600
    finally:
        tracemalloc.stop()


def test_a_long_message_costs_linear_time():
    sent = message(b"d", bytes(4 << 20))
    protocol = protocol_in(State.READY, max_message_bytes=4 << 20)
    begin = time.perf_counter()
    (event,) = receive_all(protocol, [sent[start : start + 64] for start in range(0, len(sent), 64)])
    assert len(event.data) == 4 << 20
    # It takes a tenth of a second. Copying what is there again for each chunk would move 130 GB.
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize("size", [1, 7, 200])
def test_what_is_held_back_is_bounded(size):
    protocol = protocol_in(State.AUTHENTICATING, max_held_bytes=100)
    sent = copy_data(bytes(30)) * 10
    events = receive_all(protocol, [sent[start : start + size] for start in range(0, len(sent), size)])
    assert is_violation(events)
    assert "100 bytes" in events[0].detail
    assert protocol.pending == 0


def test_as_much_as_may_be_held_back():
    protocol = protocol_in(State.AUTHENTICATING, max_held_bytes=100)
    assert protocol.receive(copy_data(bytes(45)) * 2) == []
    assert protocol.pending == 100
    assert protocol.authenticated() == [CopyData(bytes(45))] * 2


def test_small_limits_hold_for_small_messages_too():
    protocol = protocol_in(State.READY, max_message_bytes=50)
    assert is_violation(protocol.receive(messages.describe_statement(b"s" * 60)))


def test_the_limits_that_hold_unless_told_otherwise():
    assert connection_protocol.MAX_STARTUP_BYTES == 10_000
    assert connection_protocol.MAX_PASSWORD_BYTES == 65_536
    protocol = ConnectionProtocol()
    protocol.receive(STARTUP + PASSWORD)
    protocol.authenticated()
    assert is_violation(protocol.receive(b"Q" + (20_000_005).to_bytes(4, "big")))


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_an_error_skips_to_sync():
    protocol = protocol_in(State.EXTENDED)
    assert protocol.error_in_extended() == []
    assert protocol.receive(SAMPLES[Kind.EXECUTE] + QUERY + messages.SYNC + QUERY) == [Sync(), VALUES[Kind.QUERY]]


def test_an_error_takes_back_what_was_handed_out():
    protocol = protocol_in(State.READY)
    parse, bind, describe, *unserved = protocol.receive(EXTENDED + EXTENDED)
    assert (parse, bind, describe) == tuple(IN_EXTENDED[:3])
    assert protocol.error_in_extended(unserved) == [Sync(), *IN_EXTENDED]
    assert protocol.state is State.READY


def test_an_error_whose_sync_has_not_come():
    protocol = protocol_in(State.READY)
    unserved = protocol.receive(EXTENDED[:-5] + QUERY)
    assert protocol.error_in_extended(unserved[1:]) == []
    assert protocol.state is State.SKIPPING
    assert protocol.receive(QUERY + messages.SYNC) == [Sync()]


@pytest.mark.parametrize("end", [messages.TERMINATE, GARBAGE])
def test_an_error_before_the_end_of_all(end):
    protocol = protocol_in(State.READY)
    parse, *unserved = protocol.receive(SAMPLES[Kind.PARSE] + QUERY + end)
    assert parse == VALUES[Kind.PARSE]
    assert protocol.error_in_extended(unserved) == unserved[-1:]
    assert (protocol.state, protocol.pending) == (State.CLOSED, 0)


@pytest.mark.parametrize("chunked", [lambda data: [data], single_bytes])
def test_copy_by_a_client_that_waits(chunked):
    protocol = protocol_in(State.READY)
    assert receive_all(protocol, chunked(QUERY)) == [VALUES[Kind.QUERY]]
    assert protocol.enter_copy_in(extended=False) == []
    sent = copy_data(b"1\n") + messages.FLUSH + copy_data(b"2\n") + COPY_DONE + QUERY
    expected = [CopyData(b"1\n"), CopyData(b"2\n"), CopyDone(), VALUES[Kind.QUERY]]
    assert receive_all(protocol, chunked(sent)) == expected
    assert protocol.state is State.READY


def test_copy_by_a_client_that_does_not_wait():
    protocol = protocol_in(State.READY)
    query, *unserved = protocol.receive(QUERY + copy_data(b"1\n") + COPY_DONE + QUERY)
    assert protocol.enter_copy_in(unserved, extended=False) == [CopyData(b"1\n"), CopyDone(), query]
    assert protocol.state is State.READY


def test_an_extended_copy_swallows_the_sync_that_came_before_it():
    protocol = protocol_in(State.READY)
    *_, execute, sync = protocol.receive(EXTENDED)
    assert isinstance(execute, Execute)
    assert protocol.enter_copy_in([sync], extended=True) == []
    assert protocol.state is State.COPY_IN_EXTENDED
    assert protocol.receive(copy_data(b"1\n") + COPY_DONE + messages.SYNC) == [CopyData(b"1\n"), CopyDone(), Sync()]


def test_a_copy_that_fails_in_the_middle():
    protocol = protocol_in(State.COPY_IN)
    unserved = protocol.receive(copy_data(b"x") + copy_data(b"y"))
    assert protocol.leave_copy_in(unserved) == unserved  # the caller drops what belongs to no COPY
    assert protocol.receive(QUERY) == [VALUES[Kind.QUERY]]


def test_an_extended_copy_that_fails_in_the_middle():
    protocol = protocol_in(State.COPY_IN_EXTENDED)
    unserved = protocol.receive(copy_data(b"x") + COPY_DONE + messages.SYNC + QUERY)
    assert protocol.error_in_extended(unserved) == [Sync(), VALUES[Kind.QUERY]]


def test_a_query_where_data_was_due():
    protocol = protocol_in(State.READY)
    unserved = protocol.receive(QUERY + copy_data(b"1\n") + QUERY + QUERY)[1:]
    data, violation = protocol.enter_copy_in(unserved, extended=False)
    assert data == CopyData(b"1\n")
    assert "A Query came where it does not belong." in violation.message
    assert protocol.state is State.CLOSED
    assert error_fields(protocol.refuse(violation.error)[5:])["C"] == "08P01"


def test_a_function_call_goes_on():
    protocol = protocol_in(State.READY)
    assert protocol.receive(SAMPLES[Kind.FUNCTION_CALL] + QUERY) == [VALUES[Kind.FUNCTION_CALL], VALUES[Kind.QUERY]]
    kinds = [kind for kind, _ in stream.MessageStream(1000).feed(answers.FUNCTION_CALL_REFUSED)]
    assert kinds == [stream.ERROR_RESPONSE]


# --- the end ----------------------------------------------------------------------------------------------------------


def test_requests_before_a_violation_are_served():
    protocol = protocol_in(State.READY)
    query, violation = protocol.receive(QUERY + GARBAGE + QUERY)
    assert query == Query(b"select 1")
    assert isinstance(violation, Violation)
    assert protocol.receive(QUERY) == []


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_refusing_in_every_state(state):
    protocol = protocol_in(state)
    answer = protocol.refuse(TokenExpired("The token has expired."))
    if state in (State.TLS_HANDSHAKE, State.CLOSED):
        assert answer == b""
    else:
        found = error_fields(answer[5:])
        assert (found["S"], found["C"], found["R"]) == ("FATAL", "28000", "rowgate:token_expired")
    assert (protocol.state, protocol.pending) == (State.CLOSED, 0)
    assert protocol.refuse(TokenExpired("Again.")) == b""
    assert protocol.receive(STARTUP) == []


def test_a_client_that_has_left_is_told_nothing():
    protocol = protocol_in(State.READY)
    assert protocol.receive(messages.TERMINATE) == [Terminate()]
    assert protocol.refuse(InternalFault("No.")) == b""


def test_who_has_refused_does_not_go_on():
    protocol = protocol_in(State.READY)
    _, *unserved = protocol.receive(EXTENDED)
    protocol.refuse(InternalFault("No."))
    assert protocol.error_in_extended(unserved) == []
    assert protocol.state is State.CLOSED
