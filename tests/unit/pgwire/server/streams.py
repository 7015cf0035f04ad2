"""What the tests of this folder say to the server: one sample of each kind, ways into each state, ways to cut bytes."""

import itertools
import struct

from hypothesis import strategies as st

from rowgate.pgwire import messages
from rowgate.pgwire.server import requests
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol, Violation
from rowgate.pgwire.server.state_table import Kind, State

PARAMETERS = {"user": "authenticated", "database": "app"}
STARTUP = messages.startup(PARAMETERS)
PASSWORD = messages.password(b"eyJhbGciOi")
CLIENT_HELLO = b"\x16\x03\x01\x00\x02hi"
GSSENC_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x30"
COPY_DONE = b"c\0\0\0\x04"
FUNCTION_CALL = b"F\0\0\0\x13\0\0\0\x7b\0\0\0\1\0\0\0\1x\0\0"

LIMIT = 10_000


def message(kind, body):
    return kind + struct.pack(">i", len(body) + 4) + body


def packet(code, rest=b""):
    return struct.pack(">iI", len(rest) + 8, code) + rest


def copy_data(data):
    return message(b"d", data)


SAMPLES = {
    Kind.STARTUP: STARTUP,
    Kind.SSL_REQUEST: messages.ssl_request(),
    Kind.GSSENC_REQUEST: GSSENC_REQUEST,
    Kind.CANCEL_REQUEST: messages.cancel_request(4711, b"abcd"),
    Kind.TLS_CLIENT_HELLO: CLIENT_HELLO,
    Kind.PASSWORD: PASSWORD,
    Kind.QUERY: messages.query(b"select 1"),
    Kind.PARSE: messages.parse(b"s1", b"select $1", [25]),
    Kind.BIND: messages.bind(b"p1", b"s1", [b"7", None]),
    Kind.DESCRIBE: messages.describe_statement(b"s1"),
    Kind.EXECUTE: messages.execute(b"p1", 10),
    Kind.CLOSE: messages.close_statement(b"s1"),
    Kind.SYNC: messages.SYNC,
    Kind.FLUSH: messages.FLUSH,
    Kind.COPY_DATA: copy_data(b"1\tone\n"),
    Kind.COPY_DONE: COPY_DONE,
    Kind.COPY_FAIL: messages.copy_fail(b"no"),
    Kind.FUNCTION_CALL: FUNCTION_CALL,
    Kind.TERMINATE: messages.TERMINATE,
}
"""One sample of everything that a client may send, the client's own encoder having made what it can make."""

VALUES = {
    Kind.STARTUP: requests.StartupMessage(0, ((b"user", b"authenticated"), (b"database", b"app"))),
    Kind.SSL_REQUEST: requests.SslRequest(),
    Kind.GSSENC_REQUEST: requests.GssEncRequest(),
    Kind.CANCEL_REQUEST: requests.CancelRequest(4711, b"abcd"),
    Kind.TLS_CLIENT_HELLO: requests.TlsClientHello(),
    Kind.PASSWORD: requests.PasswordMessage(b"eyJhbGciOi"),
    Kind.QUERY: requests.Query(b"select 1"),
    Kind.PARSE: requests.Parse(b"s1", b"select $1", b"\0\1\0\0\0\x19"),
    Kind.BIND: requests.Bind(b"p1", b"s1", b"\0\0\0\2\0\0\0\x017\xff\xff\xff\xff\0\0"),
    Kind.DESCRIBE: requests.Describe(b"S", b"s1"),
    Kind.EXECUTE: requests.Execute(b"p1", 10),
    Kind.CLOSE: requests.Close(b"S", b"s1"),
    Kind.SYNC: requests.Sync(),
    Kind.FLUSH: requests.Flush(),
    Kind.COPY_DATA: requests.CopyData(b"1\tone\n"),
    Kind.COPY_DONE: requests.CopyDone(),
    Kind.COPY_FAIL: requests.CopyFail(b"no"),
    Kind.FUNCTION_CALL: requests.FunctionCall(123, b"\0\0\0\1\0\0\0\1x\0\0"),
    Kind.TERMINATE: requests.Terminate(),
}
"""The values of the samples."""


def protocol_in(state, **limits):
    """A connection that has come to ``state`` on a lawful way."""
    limits.setdefault("max_message_bytes", LIMIT)
    protocol = ConnectionProtocol(**limits)
    for step in WAYS[state]:
        if isinstance(step, bytes):
            protocol.receive(step)
        else:
            step(protocol)
    assert protocol.state is state
    return protocol


def _login(*steps):
    return (STARTUP, PASSWORD, ConnectionProtocol.authenticated, *steps)


WAYS = {
    State.AWAITING_STARTUP: (),
    State.TLS_REQUESTED: (messages.ssl_request(),),
    State.TLS_DECLINED: (messages.ssl_request(), ConnectionProtocol.decline_encryption),
    State.GSSENC_REQUESTED: (GSSENC_REQUEST,),
    State.GSSENC_DECLINED: (GSSENC_REQUEST, ConnectionProtocol.decline_encryption),
    State.TLS_REQUESTED_LAST: (GSSENC_REQUEST, ConnectionProtocol.decline_encryption, messages.ssl_request()),
    State.GSSENC_REQUESTED_LAST: (messages.ssl_request(), ConnectionProtocol.decline_encryption, GSSENC_REQUEST),
    State.TLS_HANDSHAKE: (messages.ssl_request(), ConnectionProtocol.accept_tls),
    State.STARTUP_DUE: (
        messages.ssl_request(),
        ConnectionProtocol.accept_tls,
        ConnectionProtocol.tls_established,
    ),
    State.AWAITING_PASSWORD: (STARTUP,),
    State.AUTHENTICATING: (STARTUP, PASSWORD),
    State.AUTHENTICATED_UNASKED: (STARTUP, ConnectionProtocol.authenticated),
    State.READY: _login(),
    State.EXTENDED: _login(SAMPLES[Kind.PARSE]),
    State.SKIPPING: _login(SAMPLES[Kind.PARSE], ConnectionProtocol.error_in_extended),
    State.COPY_IN: _login(SAMPLES[Kind.QUERY], lambda protocol: protocol.enter_copy_in(extended=False)),
    State.COPY_IN_EXTENDED: _login(SAMPLES[Kind.EXECUTE], lambda protocol: protocol.enter_copy_in(extended=True)),
    State.CLOSED: (messages.cancel_request(4711, b"abcd"),),
}


def single_bytes(data):
    return [data[index : index + 1] for index in range(len(data))]


def cut(data, borders):
    """``data`` cut at ``borders``, wherever they lie."""
    places = sorted({min(border, len(data)) for border in borders} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def receive_all(protocol, chunks):
    return [event for chunk in chunks for event in protocol.receive(chunk)]


def is_violation(events):
    return len(events) == 1 and isinstance(events[0], Violation)


STRING = st.binary(max_size=20).map(lambda value: value.replace(b"\0", b"x"))
NAME = STRING.filter(bool)
CODES = st.lists(st.integers(0, 1), max_size=5)
PARAMETERS_OF_BIND = st.lists(st.none() | st.binary(max_size=20), max_size=6)


def counted(code, items):
    return struct.pack(f">H{len(items)}{code}", len(items), *items)


def values(items):
    lengths = [b"\xff\xff\xff\xff" if item is None else struct.pack(">i", len(item)) + item for item in items]
    return struct.pack(">H", len(items)) + b"".join(lengths)


BIND = st.builds(
    lambda portal, statement, codes, items, results: requests.Bind(
        portal, statement, counted("h", codes) + values(items) + counted("h", results)
    ),
    STRING,
    STRING,
    CODES,
    PARAMETERS_OF_BIND,
    CODES,
)
FUNCTION = st.builds(
    lambda oid, codes, items: requests.FunctionCall(oid, counted("h", codes) + values(items) + b"\0\0"),
    st.integers(0, 2**32 - 1),
    CODES,
    PARAMETERS_OF_BIND,
)
PARSE = st.builds(
    lambda name, sql, oids: requests.Parse(name, sql, counted("I", oids)),
    STRING,
    STRING,
    st.lists(st.integers(0, 2**32 - 1), max_size=5),
)
TARGET = st.sampled_from([b"S", b"P"])
IN_A_SESSION = st.one_of(
    st.builds(requests.Query, STRING),
    PARSE,
    BIND,
    st.builds(requests.Describe, TARGET, STRING),
    st.builds(requests.Execute, STRING, st.integers(0, 2**31 - 1)),
    st.builds(requests.Close, TARGET, STRING),
    st.just(requests.Sync()),
    st.just(requests.Flush()),
    st.builds(requests.CopyData, st.binary(max_size=30)),
    st.just(requests.CopyDone()),
    st.builds(requests.CopyFail, STRING),
    FUNCTION,
)
"""Every message that a client may send between login and Terminate."""

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
PAIRS = st.dictionaries(TEXT.filter(bool), TEXT, max_size=5).map(
    lambda found: tuple(
        (name.encode(), value.encode()) for name, value in ({"user": "u"} | found | {"user": "u"}).items()
    )
)
PACKET = st.one_of(
    st.just(requests.SslRequest()),
    st.just(requests.GssEncRequest()),
    st.builds(requests.CancelRequest, st.integers(-(2**31), 2**31 - 1), st.binary(min_size=4, max_size=256)),
    st.builds(requests.StartupMessage, st.integers(0, 2**16 - 1), PAIRS),
)
