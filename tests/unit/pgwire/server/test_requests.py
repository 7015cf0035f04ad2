"""Values of what a client sends: back into the client's own bytes, under other names, and with nothing secret shown."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import ProtocolViolation
from rowgate.pgwire import messages
from rowgate.pgwire.server import requests
from rowgate.pgwire.server.decoding import decode_message
from rowgate.pgwire.server.state_table import Kind
from tests.unit.pgwire.server.streams import BIND, NAME, PARSE, SAMPLES, STRING, TARGET, VALUES

SECRET = b"hunter2"
HIDING = [
    requests.PasswordMessage(SECRET),
    requests.CancelRequest(1, SECRET),
    requests.Query(SECRET),
    requests.Parse(b"s", SECRET, b"\0\0"),
    requests.Bind(b"p", b"s", b"\0\0\0\1\0\0\0\7" + SECRET + b"\0\0"),
    requests.CopyData(SECRET),
    requests.FunctionCall(7, b"\0\0\0\1\0\0\0\7" + SECRET + b"\0\0"),
]


@pytest.mark.parametrize(
    "kind", [kind for kind in Kind if kind is not Kind.TLS_CLIENT_HELLO], ids=lambda kind: kind.name
)
def test_each_value_gives_the_bytes_that_the_client_sent(kind):
    assert VALUES[kind].encode() == SAMPLES[kind]


@pytest.mark.parametrize("value", HIDING, ids=lambda value: type(value).__name__)
def test_nothing_secret_is_shown(value):
    assert "hunter2" not in repr(value)
    assert "hunter2" not in f"{[value]}"
    assert type(value).__name__ in repr(value)


@pytest.mark.parametrize("value", VALUES.values(), ids=lambda value: type(value).__name__)
def test_values_are_frozen_and_can_be_keys(value):
    assert {value: 1}[value] == 1
    for name in value.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(value, name, None)


@given(STRING, STRING, STRING, st.lists(st.none() | st.binary(max_size=30), max_size=6))
def test_bind_under_another_name(portal, statement, other, parameters):
    sent = messages.bind(portal, statement, parameters)
    bind = decode_message(sent[0], sent[5:])
    assert (bind.portal, bind.statement) == (portal, statement)
    assert bind.encode() == sent
    assert bind.renamed(other) == messages.bind(portal, other, parameters)


@given(PARSE, NAME)
def test_parse_under_another_name(parse, other):
    assert parse.renamed(other) == messages.parse(other, parse.sql, parse.type_oids)
    assert parse.encode() == messages.parse(parse.name, parse.sql, parse.type_oids)


@given(TARGET, STRING, NAME)
def test_describe_and_close_under_another_name(target, name, other):
    kept = other if target == b"S" else name
    assert requests.Describe(target, name).renamed(other) == requests.Describe(target, kept).encode()
    assert requests.Close(target, name).renamed(other) == requests.Close(target, kept).encode()


def test_a_portal_keeps_its_name():
    assert requests.Describe(b"P", b"p").renamed(b"s") == messages.describe_portal(b"p")


@given(st.lists(st.none() | st.binary(max_size=30), max_size=6))
def test_the_values_of_a_bind(parameters):
    sent = messages.bind(b"p", b"s", parameters)
    bind = decode_message(sent[0], sent[5:])
    assert bind.parameter_count == len(parameters)
    assert [bind.parameter(number) for number in range(1, len(parameters) + 1)] == parameters
    assert bind.format_codes == bind.result_format_codes == ()


def test_the_format_codes_of_a_bind():
    bind = requests.Bind(b"", b"", b"\0\2\0\1\0\0\0\2\0\0\0\1x\xff\xff\xff\xff\0\1\0\1")
    assert bind.format_codes == (1, 0)
    assert (bind.parameter(1), bind.parameter(2)) == (b"x", None)
    assert bind.result_format_codes == (1,)


@given(BIND)
def test_any_bind_gives_what_it_was_made_of(bind):
    again = decode_message(Kind.BIND, bind.encode()[5:])
    assert again == bind
    assert hash(again) == hash(bind)
    assert again.result_format_codes == bind.result_format_codes


@pytest.mark.parametrize("number", [-1, 0, 3])
def test_a_parameter_that_is_not_there(number):
    with pytest.raises(ProtocolViolation, match="lacks a parameter"):
        VALUES[Kind.BIND].parameter(number)


def startup(minor, *names):
    return requests.StartupMessage(minor, ((b"user", b"u"), *[(name, b"1") for name in names]))


@pytest.mark.parametrize(
    ("message", "minor", "options", "negotiated"),
    [
        (startup(0), 0, (), False),
        (startup(1), 0, (), True),  # there is no 3.1
        (startup(2), 2, (), False),
        (startup(3), 2, (), True),
        (startup(9999, b"_pq_.test_protocol_negotiation"), 2, ("_pq_.test_protocol_negotiation",), True),
        (startup(0, b"_pq_.a", b"x", b"_pq_.b"), 0, ("_pq_.a", "_pq_.b"), True),
    ],
)
def test_what_is_spoken_of_what_was_asked_for(message, minor, options, negotiated):
    assert (message.minor, message.unknown_options, message.needs_negotiation) == (minor, options, negotiated)
    assert not any(name.startswith("_pq_.") for name in message.parameters)


def test_the_parameters_are_text_in_their_order():
    message = requests.StartupMessage(0, ((b"user", "Zoë".encode()), (b"database", b"app"), (b"_pq_.x", b"1")))
    assert list(message.parameters.items()) == [("user", "Zoë"), ("database", "app")]


def test_another_name_for_megabytes_costs_a_copy():
    bind = requests.Bind(b"", b"s", memoryview(b"\0\0\0\1\x01\0\0\0" + bytes(16 << 20) + b"\0\0"))
    begin = time.perf_counter()
    assert len(bind.renamed(b"longer")) == len(bind.tail) + 5 + 1 + 7
    # It takes some milliseconds. Looking at each byte in Python would take seconds.
    assert time.perf_counter() - begin < 1
