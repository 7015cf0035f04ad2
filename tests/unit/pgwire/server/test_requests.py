"""What clients send, there and back: names are exact, parameters stay as they are, and what does not fit is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import DatabaseError, ProtocolViolation, QueueFull, StatementRefused
from rowgate.pgwire import messages
from rowgate.pgwire.fields import backend_key, error_fields, parameter_status, protocol_negotiation
from rowgate.pgwire.server import answers, requests
from rowgate.pgwire.stream import MessageStream

texts = st.binary(max_size=20).map(lambda value: value.replace(b"\0", b""))
values = st.lists(st.none() | st.binary(max_size=30), max_size=6)


def decode(message: bytes) -> requests.Request:
    ((kind, body),) = MessageStream(1 << 20).feed(message)
    return requests.decode(kind, body)


@given(texts, texts, st.lists(st.integers(0, 2**31), max_size=4))
def test_parse(name: bytes, sql: bytes, oids: list[int]) -> None:
    request = decode(messages.parse(name, sql, oids))
    assert isinstance(request, requests.Parse)
    assert (request.name, request.sql) == (name, sql)
    assert request.types == len(oids).to_bytes(2) + b"".join(oid.to_bytes(4) for oid in oids)


@given(texts, texts, texts, values)
def test_bind_keeps_its_parameters_under_another_name(
    portal: bytes, statement: bytes, other: bytes, parameters: list[bytes | None]
) -> None:
    request = decode(messages.bind(portal, statement, parameters))
    assert isinstance(request, requests.Bind)
    assert (request.portal, request.statement) == (portal, statement)
    assert request.renamed(other) == messages.bind(portal, other, parameters)
    assert [request.parameter(number) for number in range(1, len(parameters) + 1)] == parameters
    for number in (0, len(parameters) + 1):
        with pytest.raises(ProtocolViolation):
            request.parameter(number)


@given(texts, st.integers(0, 2**31 - 1))
def test_execute_describe_close(name: bytes, rows: int) -> None:
    assert decode(messages.execute(name, rows)) == requests.Execute(name, rows)
    assert decode(messages.describe_statement(name)) == requests.Describe(b"S", name)
    assert decode(messages.describe_portal(name)) == requests.Describe(b"P", name)
    assert decode(messages.close_statement(name)) == requests.Close(b"S", name)
    assert decode(messages.query(name)) == requests.Query(name)


@pytest.mark.parametrize(
    "message",
    [
        messages.raw(b"B", b"\0\0\0\0\0\x01\0\0\0\x09x\0\0"),
        messages.raw(b"B", b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
        messages.raw(b"B", b"\0\0\0\x01\0\x02\0\0\0\0"),
        messages.raw(b"B", b"\0\0\0\0\0\0\0\0x"),
        messages.raw(b"B", b"\0\0\xff\xff"),
        messages.raw(b"P", b"\0select\0\0\x02\0\0\0\x19"),
        messages.raw(b"P", b"\0select"),
        messages.raw(b"D", b"Xname\0"),
        messages.raw(b"E", b"\0\0\0"),
        messages.raw(b"S", b"x"),
        messages.raw(b"Q", b"select 1"),
        messages.raw(b"Q", b"select 1\0more\0"),
        messages.raw(b"?", b""),
    ],
)
def test_what_does_not_fit_is_refused(message: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode(message)


def test_nothing_secret_shows() -> None:
    shown = repr(decode(messages.raw(b"p", b"tok.en\0"))) + repr(requests.CancelRequest(1, b"tok.en"))
    shown += repr(decode(messages.bind(b"", b"", [b"tok.en"])))
    assert "tok" not in shown


def body(message: bytes) -> bytes:
    ((_, content),) = MessageStream(1 << 20).feed(message)
    return content


def test_answers_read_back() -> None:
    assert parameter_status(body(answers.parameter_status("TimeZone", "UTC"))) == ("TimeZone", "UTC")
    assert backend_key(body(answers.backend_key_data(7, bytes(32)))) == (7, bytes(32))
    assert protocol_negotiation(body(answers.negotiate_protocol_version(2, ["_pq_.x"]))) == (3 << 16 | 2, ("_pq_.x",))
    refused = StatementRefused("no", position=3, sqlstate="42601")
    fields = error_fields(body(answers.error_response(answers.error_fields_of(refused, "ERROR"))))
    assert fields["C"] == "42601"
    assert (fields["P"], fields["S"], fields["R"]) == ("3", "ERROR", "rowgate:statement_refused")
    assert answers.error_fields_of(QueueFull("full"), "FATAL")["C"] == "53300"
    own = answers.error_fields_of(DatabaseError({"S": "ERROR", "C": "42P01", "M": "gone", "n": "x"}), "FATAL")
    assert (own["S"], own["C"], own["n"]) == ("FATAL", "42P01", "x")
    assert answers.ready_for_query(0x49) == b"Z\0\0\0\x05I"
