"""The attacks on the fronts: each a row. Data only.

Where a server could read bytes in two ways, or take a stranger for somebody, there is a row; what must come back was
reviewed one by one. ``python -m tests.attacks.wire`` prints what came back where a row says something else.
"""

# ruff: noqa: E501 (rows are read as rows)

from __future__ import annotations

from struct import pack
from typing import Final

from rowgate.pgwire import messages
from rowgate.pgwire.messages import raw
from rowgate.pgwire.server.requests import GSSENC_REQUEST_CODE, StartupMessage
from tests.attacks.wire.attack import Stage, TlsAttack, WebSocketAttack, WireAttack
from tests.unit.gateway.test_websocket_front import frame, request

FIRST, STARTUP_STAGE, PASSWORD, SESSION = Stage.FIRST, Stage.STARTUP, Stage.PASSWORD, Stage.SESSION

LOGIN: Final = {"user": "authenticated", "database": "neondb"}
STARTUP: Final = messages.startup(LOGIN)
ASKS_FOR_TLS: Final = messages.ssl_request()
ASKS_FOR_GSS: Final = pack(">ii", 8, GSSENC_REQUEST_CODE)
SELECT: Final = messages.query(b"select 1")
SYNC: Final = messages.SYNC

MEMORY = "memory on the word of a length"
TWICE = "bytes that two readers read differently"
EARLY = "a session before the credentials hold"
ROLE = "another role"
IDENTITY = "another user's identity"
INJECTED = "bytes from outside TLS taken for what TLS protects"
LEFTOVER = "state of the shared connection"
OTHERS = "what other sessions keep"
UNSEEN = "SQL, or a call, that the guard has not seen"
CANCEL = "other people's statements cancelled"


def execute(sql: bytes, *values: bytes | None, name: bytes = b"") -> bytes:
    """A statement by the extended protocol."""
    return messages.parse(name, sql) + messages.bind(b"", name, values) + messages.execute(b"") + SYNC


def bound(tail: bytes, sql: bytes = b"select $1::text, $2::text, $3::text") -> bytes:
    """A Bind with everything behind its names as it is."""
    return messages.parse(b"", sql) + raw(b"B", b"\0\0" + tail) + messages.execute(b"") + SYNC


def call(oid: int, *values: bytes) -> bytes:
    """The legacy function call."""
    arguments = b"".join(pack(">i", len(value)) + value for value in values)
    return raw(b"F", pack(">IHH", oid, 0, len(values)) + arguments + b"\0\0")


THREE = pack(">H", 3) + b"".join(pack(">i", 1) + b"x" for _ in range(3))

_FIRST = [
    ("a length of 0", b"\0\0\0\0", MEMORY, "FATAL 08P01"),
    ("a length of -1", b"\xff\xff\xff\xff", MEMORY, "FATAL 08P01"),
    ("a length of 2 GiB", b"\x7f\xff\xff\xff", MEMORY, "FATAL 08P01"),
    ("a startup packet of 10,005 bytes", b"\0\0\x27\x19" + bytes(4), MEMORY, "FATAL 08P01"),
    ("a hundred zeros", bytes(100), TWICE, "FATAL 08P01"),
    ("protocol 2.0", pack(">ii", 8, 2 << 16), TWICE, "FATAL 08P01"),
    ("protocol 4.0", pack(">ii", 8, 4 << 16), TWICE, "FATAL 08P01"),
    ("an unknown request code", pack(">ii", 8, 80877105), TWICE, "FATAL 08P01"),
    ("a startup without parameters", pack(">ii", 8, 3 << 16), TWICE, "FATAL 08P01"),
    ("a startup with bytes behind its end", messages.startup(LOGIN)[:-1] + b"y", TWICE, "FATAL 08P01"),
    (
        "a startup that names two users",
        StartupMessage(0, ((b"user", b"authenticated"), (b"user", b"postgres"))).encode(),
        ROLE,
        "FATAL 08P01",
    ),
    ("a startup without a user", messages.startup({"database": "neondb"}), ROLE, "FATAL 08P01"),
    ("a name that is not UTF-8", StartupMessage(0, ((b"user", b"\xff"),)).encode(), TWICE, "FATAL 08P01"),
    (
        "a request of HTTP",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "a browser's request taken for a session",
        "FATAL 08P01",
    ),
    (
        "a form that a browser posts",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n" + STARTUP,
        "a browser's request taken for a session",
        "FATAL 08P01",
    ),
    ("a query", SELECT, EARLY, "FATAL 08P01"),
    ("a password", raw(b"p", b"x\0"), EARLY, "FATAL 08P01"),
    ("a query behind the startup", STARTUP + SELECT, EARLY, "FATAL 08P01"),
    ("a statement behind the startup", STARTUP + execute(b"select 1"), EARLY, "FATAL 08P01"),
    ("forty thousand queries behind the startup", STARTUP + SELECT * 40_000, MEMORY, "FATAL 08P01"),
    ("a function call behind the startup", STARTUP + call(2078), EARLY, "FATAL 08P01"),
    ("COPY data behind the startup", STARTUP + raw(b"d", b"x"), EARLY, "FATAL 08P01"),
    ("a Sync behind the startup", STARTUP + SYNC, EARLY, "FATAL 08P01"),
    (
        "a second startup behind the first",
        STARTUP + messages.startup({**LOGIN, "user": "postgres"}),
        ROLE,
        "FATAL 08P01",
    ),
    ("a password of 128 KiB", STARTUP + b"p\0\x02\0\0", MEMORY, "FATAL 08P01"),
    ("a request for GSSAPI, and a startup behind it", ASKS_FOR_GSS + STARTUP, INJECTED, "FATAL 08P01"),
    ("two requests for GSSAPI", ASKS_FOR_GSS + ASKS_FOR_GSS, TWICE, "FATAL 08P01"),
    ("a request for TLS with bytes in it", pack(">ii", 12, 80877103) + b"more", TWICE, "FATAL 08P01"),
    ("to cancel with a guessed key", messages.cancel_request(1, b"abcd"), CANCEL, "closed"),
    ("to cancel every process", messages.cancel_request(-1, bytes(256)), CANCEL, "closed"),
    ("to cancel with an empty key", messages.cancel_request(1, b""), CANCEL, "FATAL 08P01"),
    ("to cancel with a key of 257 bytes", messages.cancel_request(1, bytes(257)), MEMORY, "FATAL 08P01"),
]

_PARAMETERS = [
    ({"replication": "database"}, "all rows, by logical decoding", "FATAL 0A000"),
    ({"replication": "true"}, "all rows, by streaming", "FATAL 0A000"),
    ({"replication": "1"}, "all rows, by streaming", "FATAL 0A000"),
    ({"options": "-c role=postgres"}, ROLE, "FATAL 42501"),
    ({"options": "-crole=postgres"}, ROLE, "FATAL 42501"),
    ({"options": "--role=postgres"}, ROLE, "FATAL 42501"),
    ({"options": "-c ROLE=postgres"}, ROLE, "FATAL 42501"),
    ({"options": "-c 'role=postgres'"}, ROLE, "FATAL 42501"),
    ({"options": "-c session_authorization=postgres"}, ROLE, "FATAL 42501"),
    ({"options": "-c rowgate.identity=bob"}, IDENTITY, "FATAL 42501"),
    ({"options": "-c rowgate.session={}"}, IDENTITY, "FATAL 42501"),
    ({"options": "-c request.jwt.claims={}"}, IDENTITY, "FATAL 42501"),
    ({"options": "-c session_preload_libraries=x"}, "code in the server", "FATAL 42501"),
    ({"options": "-c local_preload_libraries=x"}, "code in the server", "FATAL 42501"),
    ({"options": "-c row_security=off"}, "rows past a policy", "FATAL 22023"),
    ({"options": "-c 'search_path=evil"}, TWICE, "FATAL 08P01"),
    ({"options": "-B 16"}, "settings of the server", "FATAL 08P01"),
    ({"options": "-c"}, TWICE, "FATAL 08P01"),
    ({"options": "pool_mode=evil"}, LEFTOVER, "FATAL 08P01"),
    ({"role": "postgres"}, ROLE, "FATAL 42501"),
    ({"session_authorization": "postgres"}, ROLE, "FATAL 42501"),
    ({"row_security": "off"}, "rows past a policy", "FATAL 22023"),
    ({"client_encoding": "LATIN1"}, TWICE, "FATAL 22023"),
    ({"client_encoding": "GBK"}, TWICE, "FATAL 22023"),
    ({"standard_conforming_strings": "off"}, TWICE, "FATAL 22023"),
    ({"backslash_quote": "on"}, TWICE, "FATAL 42501"),
    ({"search_path": "pg_temp"}, LEFTOVER, "FATAL 22023"),
    ({"log_statement": "none"}, "traces", "FATAL 42501"),
    ({"database": "template1"}, "another database", "FATAL 28P01"),
    ({"database": "postgres"}, "another database", "FATAL 28P01"),
    ({"database": "nowhere"}, "another database", "FATAL 28P01"),
    ({"database": "neondb\nx"}, "another database", "FATAL 28P01"),
    ({"user": "postgres"}, ROLE, "FATAL 28P01"),
    ({"user": "rowgate_control"}, ROLE, "FATAL 28P01"),
    ({"user": "rowgate_owner"}, ROLE, "FATAL 28P01"),
    ({"user": "rowgate_authenticated"}, "the login behind the role", "FATAL 28P01"),
    ({"user": "neondb_owner"}, ROLE, "FATAL 28P01"),
    ({"user": "Authenticated"}, ROLE, "FATAL 28P01"),
    ({"user": "authenticated; drop role"}, ROLE, "FATAL 28P01"),
]

_PASSWORDS = [
    ("an empty one", b"", EARLY, "FATAL 28000"),
    ("no token", b"x", EARLY, "FATAL 28000"),
    ("a token that nobody signed", b"eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.eyJzdWIiOiJib2IifQ.eA", IDENTITY, "FATAL 28000"),
    ("a token by a secret", b"eyJhbGciOiJIUzI1NiIsImtpZCI6ImEifQ.eyJzdWIiOiJib2IifQ.eA", IDENTITY, "FATAL 28000"),
    ("a token that is encrypted", b"a.b.c.d.e", IDENTITY, "FATAL 28000"),
    ("sixty thousand dots", b"." * 60_000, MEMORY, "FATAL 28000"),
    ("bytes that are not UTF-8", b"\xff\xfe", TWICE, "FATAL 28000"),
    ("an answer of SCRAM", b"SCRAM-SHA-256", EARLY, "FATAL 28000"),
]

_SESSION = [
    ("a message of an unknown type", raw(b"?", b""), TWICE, "FATAL 08P01"),
    ("the password again", raw(b"p", b"again\0"), IDENTITY, "FATAL 08P01"),
    ("a length of 0", b"Q\0\0\0\0", MEMORY, "FATAL 08P01"),
    ("a length of -1", b"Q\xff\xff\xff\xff", MEMORY, "FATAL 08P01"),
    ("a length of 2 GiB", b"Q\x7f\xff\xff\xff", MEMORY, "FATAL 08P01"),
    ("a Describe of 1 MiB", b"D\0\x10\0\0", MEMORY, "FATAL 08P01"),
    ("a startup packet", messages.startup({"user": "postgres"}), ROLE, "FATAL 08P01"),
    ("a request for TLS", ASKS_FOR_TLS, TWICE, "FATAL 08P01"),
    ("to cancel, in a session", messages.cancel_request(1, b"abcd"), CANCEL, "FATAL 08P01"),
    ("a query without an end", raw(b"Q", b"no end"), TWICE, "FATAL 08P01"),
    ("a query behind a NUL", raw(b"Q", b"select 1\0set role none\0"), UNSEEN, "FATAL 08P01"),
    ("a query that is not UTF-8", messages.query(b"select '\xff'"), TWICE, "ERROR 22021"),
    ("a query of GBK's trick with quotes", messages.query(b"select '\xbf\\' or 1=1"), TWICE, "ERROR 22021"),
    ("a statement behind another in Parse", execute(b"select 1; select 2"), UNSEEN, "ERROR 42601"),
    ("SET ROLE behind another statement in Parse", execute(b"select 1; set role none"), ROLE, "ERROR 42501"),
    ("SET ROLE by the extended protocol", execute(b"set role none"), ROLE, "ERROR 42501"),
    ("set_config with everything in parameters", execute(b"select set_config($1,$2,false)", b"role", b"none"), ROLE, "ERROR 42501"),
    ("a setting's name in a parameter", execute(b"select current_setting($1)", b"rowgate.identity"), "one's own seal", "ERROR 42501"),
    ("a setting's value in a parameter", execute(b"select set_config('search_path',$1,false)", b"pg_temp"), LEFTOVER, "ERROR 22023"),
    ("a forged token in a parameter", execute(b"select auth.jwt_session_init($1)", b"eyJhbGciOiJub25lIn0.e30.eA"), IDENTITY, "ERROR 28000"),
    ("a type's name in a parameter", execute(b"select $1::text::regrole::oid", b"nobody"), "names of roles", "ERROR 42704"),
    ("a Parse that says 65,535 types", raw(b"P", b"\0select 1\0\xff\xff"), MEMORY, "FATAL 08P01"),
    ("a Parse with bytes left over", raw(b"P", b"\0select 1\0\0\0more"), TWICE, "FATAL 08P01"),
    ("a Parse of a type that is none", raw(b"P", b"\0select $1\0\0\1\xff\xff\xff\xff") + SYNC, TWICE, "ERROR XX000"),
    ("a Bind that says 65,535 values", raw(b"B", b"\0\0\0\0\xff\xff"), MEMORY, "FATAL 08P01"),
    ("a Bind with a value of -2 bytes", raw(b"B", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"), MEMORY, "FATAL 08P01"),
    ("a Bind with a value longer than itself", raw(b"B", b"\0\0\0\0\0\1\x7f\xff\xff\xffx\0\0"), MEMORY, "FATAL 08P01"),
    ("a Bind with bytes left over", raw(b"B", b"\0\0\0\0\0\0\0\0more"), TWICE, "FATAL 08P01"),
    ("a Bind with two formats for three values", bound(pack(">HHH", 2, 0, 0) + THREE + b"\0\0"), TWICE, "ERROR 08P01"),
    ("a Bind with an unknown format", bound(pack(">HH", 1, 7) + THREE + b"\0\0"), TWICE, "ERROR 22023"),
    ("a Bind with results in an unknown format", bound(pack(">H", 0) + THREE + pack(">HH", 1, 7)), TWICE, "ERROR 22023"),
    ("a Bind with too few values", bound(pack(">HH", 0, 0) + b"\0\0"), TWICE, "ERROR 08P01"),
    ("a value with a NUL", execute(b"select $1::text", b"a\0b"), TWICE, "ERROR 22021"),
    ("a value that is not UTF-8", execute(b"select $1::text", b"\xff"), TWICE, "ERROR 22021"),
    ("binary values of the wrong size", bound(pack(">HHH", 1, 1, 1) + pack(">i", 3) + b"abc" + b"\0\0", b"select $1::int8"), TWICE, "ERROR 08P01"),
    ("a message above the limit", b"P\x01\x40\0\0", MEMORY, "FATAL 08P01"),
    ("a Describe of neither statement nor portal", raw(b"D", b"Xx\0"), TWICE, "FATAL 08P01"),
    ("a Close of neither statement nor portal", raw(b"C", b"\0x\0"), TWICE, "FATAL 08P01"),
    ("an Execute of -1 rows", raw(b"E", b"\0\xff\xff\xff\xff"), TWICE, "FATAL 08P01"),
    ("a portal that is not there", messages.execute(b"c1") + SYNC, OTHERS, "ERROR 34000"),
    ("a prepared statement of Bob's", messages.bind(b"", b"bobs", ()) + messages.execute(b"") + SYNC, OTHERS, "ERROR 26000"),
    ("to describe Bob's statement", messages.describe_statement(b"bobs") + SYNC, OTHERS, "ERROR 26000"),
    ("a portal of Bob's", messages.describe_portal(b"bobs") + SYNC, OTHERS, "ERROR 34000"),
    ("Bob's statement by EXECUTE", messages.query(b"execute bobs"), OTHERS, "ERROR 42501"),
    ("to close Bob's statement", messages.close_statement(b"bobs") + SYNC, OTHERS, "served"),
    ("a statement of the gateway's name", messages.bind(b"", b"rowgate_refused", ()) + SYNC, LEFTOVER, "ERROR 26000"),
    ("a name of 9,000 bytes", messages.parse(b"x" * 9000, b"select 1") + SYNC, MEMORY, "served"),
    ("a function call of set_config", call(2078, b"role", b"none", b"f"), UNSEEN, "ERROR 0A000"),
    ("a function call of pg_read_file", call(2624, b"/etc/passwd", b"0", b"9"), UNSEEN, "ERROR 0A000"),
    ("a function call of lo_import", call(764, b"/etc/passwd"), UNSEEN, "ERROR 0A000"),
    ("a function call in a pipeline", messages.parse(b"", b"select 1") + call(2078, b"role", b"none", b"f") + SYNC, UNSEEN, "ERROR 0A000"),
    ("a function call that says 65,535 values", raw(b"F", pack(">IHH", 2078, 0, 0xFFFF)), MEMORY, "FATAL 08P01"),
    ("COPY data without a COPY", raw(b"d", b"x") + raw(b"c", b"") + messages.copy_fail(b"no"), LEFTOVER, "served"),
    ("COPY to a program", messages.query(b"copy todos to program 'id'"), "the server", "ERROR 42501"),
    ("COPY from a file", messages.query(b"copy todos from '/etc/passwd'"), "files", "ERROR 42501"),
    ("COPY of rows in Bob's name", messages.query(b"copy todos (user_id, task) from stdin") + raw(b"d", b"user_bob\tx\n") + raw(b"c", b""), "a row in another's name", "ERROR 0A000"),
    ("a query in the middle of COPY", messages.query(b"copy free (body) from stdin") + raw(b"d", b"x\n") + SELECT, UNSEEN, "FATAL 08P01"),
    ("a password in the middle of COPY", messages.query(b"copy free (body) from stdin") + raw(b"p", b"x\0"), IDENTITY, "FATAL 08P01"),
    ("COPY in an encoding", messages.query(b"copy free (body) from stdin (encoding 'GBK')"), TWICE, "ERROR 42501"),
    ("ten thousand Flushes", messages.FLUSH * 10_000, "time without bound", "served"),
    ("ten thousand Syncs", SYNC * 10_000, "time without bound", "served"),
    ("five hundred and one statements in one text", messages.query(b";".join([b"select 1"] * 501)), "time without bound", "ERROR 54001"),
    ("a query behind Terminate", messages.TERMINATE + SELECT, UNSEEN, "closed"),
]  # fmt: skip


def _rows() -> list[WireAttack]:
    numbered: list[tuple[str, Stage, str, bytes | dict[str, str], str, str]] = [
        *(("protocol", FIRST, what, sent, gain, answer) for what, sent, gain, answer in _FIRST),
        *(("login", STARTUP_STAGE, _listed(sent), sent, gain, answer) for sent, gain, answer in _PARAMETERS),
        *(("login", PASSWORD, what, sent, gain, answer) for what, sent, gain, answer in _PASSWORDS),
        *(("session", SESSION, what, sent, gain, answer) for what, sent, gain, answer in _SESSION),
    ]  # fmt: skip
    return [
        WireAttack(f"wire-{number:03}", wall, stage, what, sent, gain, answer)
        for number, (wall, stage, what, sent, gain, answer) in enumerate(numbered, 1)
    ]


def _listed(parameters: dict[str, str]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items())


WIRE_ATTACKS: Final = _rows()

ALERTS: Final = b"\x15\x03\x03\x00\x02\x01\x00" * 5000
"""Warnings of TLS, of which an old server reads without end (CVE-2016-8610)."""

_TLS: Final = [
    TlsAttack("tls-01", "TLS 1.0, direct", "broken ciphers", "refused", oldest="TLSv1", newest="TLSv1", alpn=("postgresql",), ciphers="ALL:@SECLEVEL=0"),
    TlsAttack("tls-02", "TLS 1.1, direct", "broken ciphers", "refused", oldest="TLSv1_1", newest="TLSv1_1", alpn=("postgresql",), ciphers="ALL:@SECLEVEL=0"),
    TlsAttack("tls-03", "TLS 1.1 after it was asked for", "broken ciphers", "refused", asks=True, oldest="TLSv1_1", newest="TLSv1_1", ciphers="ALL:@SECLEVEL=0"),
    TlsAttack("tls-04", "TLS 1.0 over HTTPS", "broken ciphers", "refused", port="HTTPS", oldest="TLSv1", newest="TLSv1", ciphers="ALL:@SECLEVEL=0"),
    TlsAttack("tls-05", "ciphers without encryption", "passwords in clear", "refused", newest="TLSv1_2", alpn=("postgresql",), ciphers="eNULL:@SECLEVEL=0"),
    TlsAttack("tls-06", "ciphers without a certificate", "somebody between, unseen", "refused", newest="TLSv1_2", alpn=("postgresql",), ciphers="aNULL:@SECLEVEL=0"),
    TlsAttack("tls-07", "direct TLS without ALPN", "a client of another protocol led here", "FATAL 08P01", sent=STARTUP),
    TlsAttack("tls-08", "direct TLS as http/1.1, with a browser's request", "a browser's request taken for a session (ALPACA)", "FATAL 08P01", alpn=("http/1.1",), sent=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    TlsAttack("tls-09", "direct TLS as h2", "a client of another protocol led here", "FATAL 08P01", alpn=("h2",), sent=STARTUP),
    TlsAttack("tls-10", "HTTPS as postgresql, with a startup packet", "a session's client led to the HTTP front", "HTTP 400", port="HTTPS", alpn=("postgresql",), sent=STARTUP + b"\r\n\r\n"),
    TlsAttack("tls-11", "a startup behind the request for TLS, in clear", INJECTED + " (CVE-2021-23214)", "FATAL 08P01", asks=True, in_clear=STARTUP),
    TlsAttack("tls-12", "a query behind the request for TLS, in clear", INJECTED + " (CVE-2021-23214)", "FATAL 08P01", asks=True, in_clear=SELECT),
    TlsAttack("tls-13", "the request for TLS twice", TWICE, "FATAL 08P01", asks=True, in_clear=ASKS_FOR_TLS),
    TlsAttack("tls-14", "a request for TLS inside TLS", TWICE, "N", alpn=("postgresql",), sent=ASKS_FOR_TLS),
    TlsAttack("tls-15", "a request for GSSAPI inside TLS", TWICE, "N", alpn=("postgresql",), sent=ASKS_FOR_GSS),
    TlsAttack("tls-16", "a TLS record of nonsense", "a crash", "refused", raw=b"\x16\x03\x01\x00\x40" + bytes(range(64))),
    TlsAttack("tls-17", "a TLS record that says 64 KiB", MEMORY, "refused", raw=b"\x16\x03\x01\xff\xff" + b"\x01" * 2000),
    TlsAttack("tls-18", "five thousand alerts in the place of a handshake", "time without bound (CVE-2016-8610)", "refused", asks=True, raw=ALERTS),
    TlsAttack("tls-19", "five thousand alerts behind a handshake's first byte", "time without bound (CVE-2016-8610)", "refused", raw=b"\x16\x03\x01\x00\x04" + ALERTS),
    TlsAttack("tls-20", "a handshake of SSL 2", "broken ciphers", "FATAL 08P01", raw=b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37)),
    TlsAttack("tls-21", "a name of another server (SNI)", "another endpoint's database", "asked", alpn=("postgresql",), name="evil.example", sent=STARTUP),
    TlsAttack("tls-22", "HTTPS for another server's name", "another site's answers", "HTTP 400", port="HTTPS", name="evil.example", sent=b"POST /sql HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"),
    TlsAttack("tls-23", "a request of HTTP to the port of sessions, in TLS", "a browser's request taken for a session", "FATAL 08P01", alpn=("postgresql",), sent=b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
    TlsAttack("tls-24", "a startup without TLS, from another machine", "tokens in clear", "FATAL 28P01", sent=STARTUP, from_elsewhere=True),
    TlsAttack("tls-25", "a password ahead of the question for it, without TLS, from another machine", "tokens in clear", "FATAL 28P01", sent=STARTUP + raw(b"p", b"x\0"), from_elsewhere=True),
    TlsAttack("tls-26", "a request of HTTP without TLS, from another machine", "tokens in clear", "HTTP 400", port="HTTPS", sent=b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", from_elsewhere=True),
    TlsAttack("tls-27", "a WebSocket without TLS, from another machine", "tokens in clear", "HTTP 400", port="HTTPS", sent=request(), from_elsewhere=True),
]  # fmt: skip
TLS_ATTACKS: Final = tuple(_TLS)

MASKED: Final = b"\1\2\3\4"
BINARY, TEXT, PING, CLOSE = 2, 1, 9, 8
HIJACK = "a site's page in a session of its visitor"

_WEBSOCKET: Final = [
    ("another site's page", HIJACK, "403", request(Origin="https://evil.example"), b""),
    ("an origin that only begins alike", HIJACK, "403", request(Origin="https://app.example.evil.example"), b""),
    ("a page without a site", HIJACK, "403", request(Origin="null"), b""),
    ("two origins", HIJACK, "400", request().replace(b"\r\n\r\n", b"\r\nOrigin: https://app.example\r\nOrigin: https://evil.example\r\n\r\n"), b""),
    ("no key", TWICE, "400", request(Sec_WebSocket_Key=""), b""),
    ("a key that is none", TWICE, "400", request(Sec_WebSocket_Key="x"), b""),
    ("version 8", TWICE, "400", request(Sec_WebSocket_Version="8"), b""),
    ("an upgrade by POST", TWICE, "400", request().replace(b"GET", b"POST"), b""),
    ("an upgrade of HTTP/1.0", TWICE, "400", request().replace(b"HTTP/1.1", b"HTTP/1.0"), b""),
    ("an upgrade to h2c", "another protocol on the same connection", "400", request(Upgrade="h2c"), b""),
    ("an upgrade behind an unanswered request", "another request's answer", "400", b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" + request(), b""),
    ("compression (permessage-deflate), and a bomb", MEMORY, "1002", request(Sec_WebSocket_Extensions="permessage-deflate"), frame(BINARY, b"x" * 100).replace(b"\x82", b"\xc2", 1)),
    ("a frame of text", TWICE, "1003", request(), frame(TEXT, b"select 1")),
    ("a frame without a mask", "a proxy's cache poisoned (RFC 6455, section 10.3)", "1002", request(), b"\x82\x05plain"),
    ("a frame of 2 to the 62 bytes", MEMORY, "1009", request(), b"\x82\xff" + pack(">Q", 1 << 62) + MASKED + b"x"),
    ("a frame that says 2 to the 63 bytes", MEMORY, "1009", request(), b"\x82\xff" + pack(">Q", 1 << 63) + MASKED + b"x"),
    ("a continuation of nothing", TWICE, "1002", request(), frame(0, b"x")),
    ("a message within a message", TWICE, "1002", request(), frame(BINARY, b"x", fin=False) + frame(BINARY, b"y")),
    ("a ping of 126 bytes", MEMORY, "1002", request(), frame(PING, b"x" * 126)),
    ("a ping in pieces", TWICE, "1002", request(), frame(PING, b"x", fin=False)),
    ("a frame of an unknown kind", TWICE, "1002", request(), frame(3, b"x")),
    ("reserved bits", TWICE, "1002", request(), b"\xf2" + frame(BINARY, b"x")[1:]),
    ("a Close with half a code", TWICE, "1002", request(), frame(CLOSE, b"\x03")),
    ("a Close that is not UTF-8", TWICE, "1007", request(), frame(CLOSE, b"\x03\xe8\xff")),
    ("a thousand pings", "time without bound", "served", request(), frame(PING, b"x") * 1000),
    ("a startup packet a byte a frame", TWICE, "served", request(), b"".join(frame(BINARY, bytes((byte,))) for byte in STARTUP)),
    ("a startup packet in empty frames and fragments", TWICE, "served", request(), frame(BINARY, b"", fin=False) + frame(0, STARTUP[:9], fin=False) + frame(0, b"", fin=False) + frame(0, STARTUP[9:])),
    ("frames behind the request for the upgrade", TWICE, "served", request() + frame(BINARY, STARTUP), b""),
]  # fmt: skip
WEBSOCKET_ATTACKS: Final = tuple(
    WebSocketAttack(f"websocket-{number:02}", what, gain, answer, head, sent)
    for number, (what, gain, answer, head, sent) in enumerate(_WEBSOCKET, 1)
)
