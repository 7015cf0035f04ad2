"""Parameters in audit records: as text, bounded, and no token whatever stands around it."""

import json
from base64 import urlsafe_b64encode
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.gateway.audit.parameters import (
    LONGEST_VALUE,
    MOST_VALUES,
    REDACTED,
    SEARCHED_BYTES,
    shown_bind,
    shown_parameters,
    shown_value,
    without_tokens,
)
from rowgate.gateway.audit.record import Trace
from rowgate.pgwire import messages
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol
from rowgate.pgwire.server.requests import Bind


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


TOKEN = ".".join(base64url(part) for part in (b'{"alg":"RS256","kid":"a"}', b'{"sub":"alice"}', b"signature" * 20))
ENCRYPTED = ".".join(base64url(part) for part in (b'{"alg":"dir","enc":"A128GCM"}', b"", b"iv", b"text", b"tag"))


def bind(*values: bytes | None, codes: tuple[int, ...] = ()) -> Bind:
    protocol = ConnectionProtocol()
    protocol.receive(messages.startup({"user": "u"}))
    protocol.authenticated()
    body = b"\0\0" + pack(f">h{len(codes)}h", len(codes), *codes) + pack(">h", len(values))
    for value in values:
        body += pack(">i", -1) if value is None else pack(">i", len(value)) + value
    (request,) = protocol.receive(messages.raw(b"B", body + b"\0\0"))
    assert isinstance(request, Bind)
    return request


@pytest.mark.parametrize("token", [TOKEN, ENCRYPTED])
@pytest.mark.parametrize(
    "around", ["{}", "Bearer {}", "x={}&y=1", '{{"token": "{}"}}', "https://a.example/{}/b", "{},{}", "prefix{}", "{}."]
)
def test_a_token_is_left_out_whatever_stands_around_it(token: str, around: str) -> None:
    shown = without_tokens(around.format(token, token))
    assert REDACTED in shown
    for part in token.split("."):
        assert len(part) < 8 or part not in shown


@pytest.mark.parametrize(
    "header", [{"alg": "none"}, {"typ": "JWT", "alg": "EdDSA"}, {"kid": "x" * 300, "alg": "ES256"}, {"alg": 1}]
)
def test_every_header_is_known(header: dict[str, object]) -> None:
    for text in (json.dumps(header), json.dumps(header, separators=(",", ":")), json.dumps(header, indent=1)):
        assert without_tokens(f"{base64url(text.encode())}.e30.c2ln") == REDACTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a value",
        "1.5",
        "example.com",
        "an.address@mail.example.com",
        "eyebrows.and.more.eyebrows.of.a.kind",
        "1.2.3.4",
    ],
)
def test_everything_else_is_shown(text: str) -> None:
    assert shown_value(text.encode()) == text


def test_a_value_is_cut_and_a_token_at_the_cut_with_it() -> None:
    assert shown_value(b"x" * 1000) == "x" * LONGEST_VALUE + "…"
    shown = shown_value(b"y " * 120 + TOKEN.encode())
    assert REDACTED in shown
    assert "eyJ" not in shown
    assert len(shown_value(b"z" * (SEARCHED_BYTES + 1))) == LONGEST_VALUE + 1


def test_parameters_over_http_and_of_a_bind() -> None:
    assert shown_parameters([b"one", None, TOKEN.encode()]) == ["one", None, REDACTED]
    assert shown_bind(bind(b"one", None, b"\0\1", codes=(0, 0, 1))) == ["one", None, "\\x0001"]
    assert shown_bind(bind(TOKEN.encode(), b"\xff", codes=(1,))) == [REDACTED, "\\xff"]
    assert shown_bind(bind(b"one", b"two")) == ["one", "two"]
    assert len(shown_bind(bind(*[b"x"] * 500))) == len(shown_parameters([b"x"] * 500)) == MOST_VALUES


def test_they_are_left_out_unless_asked_for() -> None:
    trace = Trace("http")
    trace.parameters = [[b"a value"]]
    assert trace.record(None, size=0, with_sql=True).parameters is None
    assert trace.record(None, size=0, with_sql=False, with_parameters=True).parameters == [["a value"]]


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_shown_within_the_bound(value: bytes, is_binary: bool) -> None:
    assert len(shown_value(value, is_binary=is_binary)) <= LONGEST_VALUE + 1


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=50), st.text(alphabet=' ,;:/&"', max_size=3))
def test_no_signature_is_ever_shown(around: str, between: str) -> None:
    signature = TOKEN.rpartition(".")[2]
    assert signature not in shown_value(f"{around}{between}{TOKEN}{between}{around}".encode())
