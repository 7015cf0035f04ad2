"""Every message byte by byte, as the section "Message Formats" of the Postgres documentation lays it out."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import MalformedParameter
from rowgate.pgwire import compiled, messages
from rowgate.pgwire.messages import bind, parse, startup, text


def test_startup():
    assert startup({"user": "authenticated", "options": "-c role=x"}) == (
        b"\x00\x00\x00\x2e\x00\x03\x00\x00user\x00authenticated\x00options\x00-c role=x\x00\x00"
    )


def test_ssl_request():
    assert messages.ssl_request() == b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


@pytest.mark.parametrize(("secret", "length"), [(b"abcd", 16), (b"x" * 256, 268)])
def test_cancel_request(secret, length):
    assert (
        messages.cancel_request(4711, secret)
        == length.to_bytes(4, "big") + b"\x04\xd2\x16\x2e\x00\x00\x12\x67" + secret
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (messages.password(b"secret"), b"p\x00\x00\x00\x0bsecret\x00"),
        (messages.sasl_initial(b"SCRAM-SHA-256", b"n,,"), b"p\x00\x00\x00\x19SCRAM-SHA-256\x00\x00\x00\x00\x03n,,"),
        (messages.sasl_response(b"c=biws"), b"p\x00\x00\x00\x0ac=biws"),
        (parse(b"s1", b"select 1"), b"P\x00\x00\x00\x12s1\x00select 1\x00\x00\x00"),
        (parse(b"", b"x", [25, 0]), b"P\x00\x00\x00\x11\x00x\x00\x00\x02\x00\x00\x00\x19\x00\x00\x00\x00"),
        (bind(b"", b"s", []), b"B\x00\x00\x00\x0d\x00s\x00\x00\x00\x00\x00\x00\x00"),
        (
            bind(b"p", b"", [b"7", None, b""]),
            b"B\x00\x00\x00\x1ap\x00\x00\x00\x00\x00\x03\x00\x00\x00\x017\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00",
        ),
        (messages.describe_statement(b"s1"), b"D\x00\x00\x00\x08Ss1\x00"),
        (messages.describe_portal(b""), b"D\x00\x00\x00\x06P\x00"),
        (messages.execute(b""), b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"),
        (messages.execute(b"p", 100), b"E\x00\x00\x00\x0ap\x00\x00\x00\x00\x64"),
        (messages.close_statement(b"s1"), b"C\x00\x00\x00\x08Ss1\x00"),
        (messages.query(b"select 1"), b"Q\x00\x00\x00\x0dselect 1\x00"),
        (messages.copy_fail(b"no"), b"f\x00\x00\x00\x07no\x00"),
        (messages.SYNC, b"S\x00\x00\x00\x04"),
        (messages.FLUSH, b"H\x00\x00\x00\x04"),
        (messages.TERMINATE, b"X\x00\x00\x00\x04"),
    ],
)
def test_message(message, expected):
    assert message == expected


@pytest.mark.parametrize(
    "encode",
    [
        lambda: startup({"user": "a\0b"}),
        lambda: startup({"us\0er": "a"}),
        lambda: startup({"": "a"}),
        lambda: messages.password(b"a\0b"),
        lambda: messages.sasl_initial(b"a\0b", b""),
        lambda: parse(b"a\0b", b"select 1"),
        lambda: parse(b"", b"select '\0'"),
        lambda: bind(b"\0", b"", []),
        lambda: bind(b"", b"\0", []),
        lambda: messages.describe_statement(b"\0"),
        lambda: messages.describe_portal(b"\0"),
        lambda: messages.execute(b"\0"),
        lambda: messages.close_statement(b"\0"),
        lambda: messages.query(b"select 1\0; drop table x"),
        lambda: messages.copy_fail(b"\0"),
        lambda: text("\0"),
        lambda: text("\ud800"),
        lambda: bind(b"", b"", [b""] * 65_536),
        lambda: parse(b"", b"", [0] * 65_536),
    ],
)
def test_refused(encode):
    with pytest.raises(MalformedParameter) as caught:
        encode()
    assert caught.value.sqlstate == "22021"
    assert caught.value.detail


def test_too_long_is_refused_before_it_is_copied(monkeypatch):
    monkeypatch.setattr(messages, "MAX_MESSAGE_BYTES", 100)
    for encode in (
        lambda: bind(b"", b"", [b"x" * 101]),
        lambda: bind(b"", b"", [b"x" * 60] * 2),
        lambda: parse(b"", b"x" * 101),
    ):
        with pytest.raises(MalformedParameter, match="longer than Postgres reads"):
            encode()


def test_the_most_parameters_that_fit():
    assert bind(b"", b"", [None] * 65_535)[9:11] == b"\xff\xff"


def test_text_names_what_is_wrong_and_not_the_value():
    with pytest.raises(MalformedParameter) as caught:
        text("hunter2\ud800", "Parameter $3")
    assert "Parameter $3" in caught.value.message
    assert "hunter2" not in f"{caught.value.message}{caught.value.detail}{caught.value.hint}"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_text_is_utf8(value):
    assert text(value).decode() == value


@given(st.lists(st.none() | st.binary()))
def test_bind_can_be_read_back(parameters):
    message = bind(b"", b"s", parameters)
    assert struct.unpack(">ci", message[:5]) == (b"B", len(message) - 1)
    assert message[5:10] == b"\0s\0\0\0"
    assert struct.unpack_from(">H", message, 10) == (len(parameters),)
    position, found = 12, []
    for _ in parameters:
        (length,) = struct.unpack_from(">i", message, position)
        position += 4
        found.append(None if length < 0 else message[position : position + length])
        position += max(length, 0)
    assert found == parameters
    assert message[position:] == b"\0\0"


@given(st.lists(st.none() | st.binary(max_size=20), max_size=6), st.sampled_from([list, tuple]))
def test_a_bind_from_a_head_is_the_same_in_both_implementations(parameters, kind):
    head = messages.bind_head(b"name", len(parameters))
    made = messages.bind_to(head, kind(parameters))
    assert made == messages.bind_to_in_python(head, parameters) == bind(b"", b"name", parameters)
    assert compiled.bind_to(head, kind(parameters), messages.MAX_MESSAGE_BYTES) == made


def test_a_bind_that_is_too_long_is_left_to_python_which_refuses_it():
    head = messages.bind_head(b"name", 1)
    length = len(messages.bind_to(head, [b"x" * 50])) - 1
    assert compiled.bind_to(head, [b"x" * 50], length) is not None
    assert compiled.bind_to(head, [b"x" * 51], length) is None
    with pytest.raises(TypeError):
        compiled.bind_to(head, ["text"], length)
