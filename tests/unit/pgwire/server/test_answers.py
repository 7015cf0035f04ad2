"""Answers of the server, read back by the client's side of this package."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate import errors
from rowgate.errors import DatabaseError, InternalFault, MalformedParameter, StatementRefused, catalogue
from rowgate.pgwire import fields
from rowgate.pgwire.server import answers
from rowgate.pgwire.stream import MessageStream
from tests.unit.pgwire.server.streams import TEXT

CODES = "SVCMDHPpqWstcdnFLR"


def read(message):
    """The one message that there is, as type and body."""
    ((kind, body),) = MessageStream(1 << 20).feed(message)
    return chr(kind), body


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (answers.AUTHENTICATION_OK, b"R\0\0\0\x08\0\0\0\0"),
        (answers.AUTHENTICATION_CLEARTEXT_PASSWORD, b"R\0\0\0\x08\0\0\0\3"),
        (answers.PARSE_COMPLETE, b"1\0\0\0\4"),
        (answers.BIND_COMPLETE, b"2\0\0\0\4"),
        (answers.CLOSE_COMPLETE, b"3\0\0\0\4"),
        (answers.EMPTY_QUERY_RESPONSE, b"I\0\0\0\4"),
        (answers.NO_DATA, b"n\0\0\0\4"),
        (answers.PORTAL_SUSPENDED, b"s\0\0\0\4"),
        (answers.COPY_DONE, b"c\0\0\0\4"),
        (answers.TLS_ACCEPTED, b"S"),
        (answers.ENCRYPTION_DECLINED, b"N"),
        (answers.ready_for_query(answers.IDLE), b"Z\0\0\0\5I"),
        (answers.ready_for_query(answers.IN_TRANSACTION), b"Z\0\0\0\5T"),
        (answers.ready_for_query(answers.IN_FAILED_TRANSACTION), b"Z\0\0\0\5E"),
        (answers.data_row([b"7", None, b""]), b"D\0\0\0\x13\0\3\0\0\0\x017\xff\xff\xff\xff\0\0\0\0"),
        (answers.copy_in_response(0, [0, 1]), b"G\0\0\0\x0b\0\0\2\0\0\0\1"),
        (answers.copy_out_response(1, []), b"H\0\0\0\7\1\0\0"),
        (answers.notice_response({"M": "hi"}), b"N\0\0\0\x09Mhi\0\0"),
    ],
)
def test_byte_by_byte(message, expected):
    assert message == expected


@given(TEXT, TEXT)
def test_parameter_status(name, value):
    kind, body = read(answers.parameter_status(name, value))
    assert (kind, fields.parameter_status(body)) == ("S", (name, value))


@given(st.integers(-(2**31), 2**31 - 1), st.binary(min_size=4, max_size=256))
def test_backend_key_data(process_id, key):
    kind, body = read(answers.backend_key_data(process_id, key))
    assert (kind, fields.backend_key(body)) == ("K", (process_id, key))


@given(st.integers(0, 2), st.lists(TEXT, max_size=3))
def test_negotiate_protocol_version(minor, options):
    kind, body = read(answers.negotiate_protocol_version(minor, options))
    assert (kind, fields.protocol_negotiation(body)) == ("v", (196608 + minor, tuple(options)))


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_parameter_description(oids):
    kind, body = read(answers.parameter_description(oids))
    assert (kind, fields.parameter_description(body)) == ("t", tuple(oids))


def test_row_description():
    columns = (fields.Field("id", 16384, 1, 23, 4, -1), fields.Field("caf\u00e9", 0, 0, 25, -1, -1))
    kind, body = read(answers.row_description(columns))
    assert (kind, fields.row_description(body)) == ("T", columns)
    assert read(answers.row_description(columns, answers.BINARY_FORMAT))[1][-2:] == b"\0\1"


def test_command_complete():
    kind, body = read(answers.command_complete("INSERT 0 3"))
    assert (kind, fields.command_tag(body)) == ("C", ("INSERT", 3))


@given(st.lists(st.none() | st.binary(max_size=20), max_size=6))
def test_data_row(values):
    kind, body = read(answers.data_row(values))
    assert kind == "D"
    assert struct.unpack_from(">H", body) == (len(values),)
    assert len(body) == 2 + sum(4 + len(value or b"") for value in values)


@given(st.dictionaries(st.sampled_from(CODES), TEXT))
def test_error_response(found):
    kind, body = read(answers.error_response(found))
    assert (kind, fields.error_fields(body)) == ("E", found)


def test_an_error_arrives_whatever_its_text_holds():
    _, body = read(answers.error_response({"M": "a\0b\ud800", "D": ""}))
    assert fields.error_fields(body) == {"M": "a\ufffdb?", "D": ""}


@pytest.mark.parametrize("code", ["", "MM", "\0", "\u0100"])
def test_a_field_code_that_is_none(code):
    with pytest.raises(InternalFault):
        answers.error_response({code: "x"})


@pytest.mark.parametrize(
    "encode",
    [
        lambda: answers.parameter_status("a\0", "b"),
        lambda: answers.parameter_status("a", "b\0c"),
        lambda: answers.negotiate_protocol_version(2, ["\0"]),
        lambda: answers.command_complete("SELECT\0"),
        lambda: answers.row_description([fields.Field("a\0", 0, 0, 25, -1, -1)]),
    ],
)
def test_texts_that_are_refused(encode):
    with pytest.raises(MalformedParameter):
        encode()


@pytest.mark.parametrize(
    "kind", [kind for kind in catalogue() if kind is not DatabaseError], ids=lambda kind: kind.code
)
def test_every_error_of_ours(kind):
    error = kind("What happened.", detail="What came.", hint="What to do.")
    assert answers.error_fields_of(error, "FATAL") == {
        "S": "FATAL",
        "V": "FATAL",
        "C": error.sqlstate,
        "M": "What happened.",
        "D": "What came.",
        "H": "What to do.",
        "R": "rowgate:" + error.code,
    }


def test_an_error_without_detail_and_hint():
    found = answers.error_fields_of(errors.ProtocolViolation("No."), "ERROR")
    assert found == {"S": "ERROR", "V": "ERROR", "C": "08P01", "M": "No.", "R": "rowgate:protocol_violation"}


def test_a_refused_statement_says_where():
    found = answers.error_fields_of(StatementRefused("No.", position=8, sqlstate="42601"), "ERROR")
    assert (found["C"], found["P"]) == ("42601", "8")


def test_an_error_of_postgres_keeps_its_fields():
    own = {"S": "FEHLER", "V": "ERROR", "C": "23505", "M": "doppelt", "n": "todos_pkey", "R": "_bt_check_unique"}
    assert answers.error_fields_of(DatabaseError(own), "FATAL") == own
    assert answers.error_fields_of(DatabaseError({"C": "57P01"}), "FATAL") == {
        "S": "FATAL",
        "V": "FATAL",
        "C": "57P01",
        "M": "unknown database error",
    }


def test_the_refusal_of_a_function_call():
    kind, body = read(answers.FUNCTION_CALL_REFUSED)
    found = fields.error_fields(body)
    assert (kind, found["S"], found["C"], found["R"]) == ("E", "ERROR", "0A000", "rowgate:unsupported_statement")
