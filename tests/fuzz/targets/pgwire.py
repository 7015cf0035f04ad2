"""The server's side of the Postgres protocol: a client's bytes from its first one, through ``ConnectionProtocol`` and
what reads its messages: the login, settings, names, and parameters of a Bind.

The first byte of an input chooses what the server does (see ``Choices``), the rest is the client's.

Promised: nothing but the error tree is raised; what is served does not depend on how the bytes were cut; every message
is, encoded again, a part of what came; a broken connection stays silent; and before the credentials hold, no message
of a session is ever served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from rowgate.errors import ProtocolViolation, RowgateError
from rowgate.gateway.sessions.login import read_login, session_settings
from rowgate.pgwire.server import requests
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol, Event, Violation
from rowgate.pgwire.server.state_table import State
from tests.fuzz.target import Target, cut_anywhere, hold
from tests.unit.pgwire.server.streams import FUNCTION_CALL, GSSENC_REQUEST, PASSWORD, SAMPLES, STARTUP

LARGEST = 3000
BEFORE_LOGIN = (
    requests.SslRequest, requests.GssEncRequest, requests.CancelRequest, requests.StartupMessage,
    requests.TlsClientHello, requests.PasswordMessage,
)  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """What this server does: takes TLS, asks for no password, runs queries as COPY, fails what is executed."""

    takes_tls: bool
    asks_nothing: bool
    copies: bool
    fails: bool

    @classmethod
    def of(cls, bits: int) -> Choices:
        return cls(bool(bits & 1), bool(bits & 2), bool(bits & 4), bool(bits & 8))


class Server:
    """Serves each event in turn, and reports to the protocol as a session does."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self.protocol = ConnectionProtocol(max_message_bytes=LARGEST, max_password_bytes=1000, max_held_bytes=2000)
        self.served: list[Event] = []
        self.encrypts = False
        self.is_in = False
        self._waiting: deque[Event] = deque()

    def receive(self, data: bytes) -> None:
        self._waiting.extend(self.protocol.receive(data))
        while self._waiting:
            event = self._waiting.popleft()
            self.served.append(event)
            hold(self.is_in or isinstance(event, (*BEFORE_LOGIN, requests.Terminate, Violation)), "no session before")
            try:
                self._serve(event)
            except ProtocolViolation as problem:
                self.protocol.refuse(problem)
                self.served.append(Violation(problem.message, problem.detail, problem.hint))
                self._waiting.clear()

    @property
    def is_broken(self) -> bool:
        """Whether the client has broken the protocol."""
        return bool(self.served) and isinstance(self.served[-1], Violation)

    def _serve(self, event: Event) -> None:
        protocol, choices = self.protocol, self._choices
        if isinstance(event, requests.SslRequest | requests.GssEncRequest):
            self.encrypts = True
            if choices.takes_tls and isinstance(event, requests.SslRequest):
                if protocol.accept_tls():
                    protocol.tls_established()
            else:
                protocol.decline_encryption()
        elif isinstance(event, requests.TlsClientHello):
            self.encrypts = True
        elif (isinstance(event, requests.StartupMessage) and choices.asks_nothing) or (
            isinstance(event, requests.PasswordMessage) and protocol.state is State.AUTHENTICATING
        ):
            self._let_in()
        elif isinstance(event, requests.Execute) and choices.fails:
            self._again(protocol.error_in_extended(list(self._waiting)))
        elif isinstance(event, requests.Query | requests.Execute) and choices.copies:
            extended = isinstance(event, requests.Execute)
            self._again(protocol.enter_copy_in(list(self._waiting), extended=extended))

    def _let_in(self) -> None:
        self.is_in = True
        self._waiting.extend(self.protocol.authenticated())

    def _again(self, events: list[Event]) -> None:
        self._waiting = deque(events)


def serve(choices: Choices, pieces: Iterable[bytes]) -> Server:
    server = Server(choices)
    for piece in pieces:
        server.receive(piece)
        hold(server.protocol.pending <= LARGEST + 5 + len(piece), "no more is kept than one message")
    return server


def try_out(data: bytes) -> None:
    """See above."""
    if not data:
        return
    choices, sent = Choices.of(data[0]), data[1:]
    whole = serve(choices, [sent])
    pieces = serve(choices, cut_anywhere(sent))
    # What comes with a request for encryption is refused, and what comes after its answer is not; so it is with
    # messages of a session ahead of the news that no password is needed. And what is dropped after an error is not
    # read, but may have been read before the error was known.
    may_differ = whole.is_broken and (choices.asks_nothing or choices.fails)
    if not whole.encrypts and not may_differ:
        served, in_pieces = plain(whole.served, choices), plain(pieces.served, choices)
        # A message that has not come whole may be judged by its type already, or only once it has.
        early = whole.protocol.pending and in_pieces == [*served, "violation"]
        hold(in_pieces == served or early, f"the same requests however cut: {whole.served} and {pieces.served}")
    for event in whole.served:
        if isinstance(event, Violation):
            hold(event is whole.served[-1], "nothing is served after a violation")
            hold(whole.protocol.state is State.CLOSED, "a violation closes the connection")
        elif not isinstance(event, requests.TlsClientHello):
            hold(event.encode() in sent, f"{event} is what came")
            read(event)
    if whole.protocol.state is State.CLOSED:
        hold(whole.protocol.receive(sent) == [], "what is closed stays closed")


def plain(events: list[Event], choices: Choices) -> list[object]:
    """Events to compare; what a violation says depends on the state that the connection was in when it was read, and
    whether a password that nobody has asked for is read at all on whether it came in time."""
    return [
        "violation" if isinstance(event, Violation) else event
        for event in events
        if not (choices.asks_nothing and isinstance(event, requests.PasswordMessage))
    ]


def read(event: Event) -> None:
    """What the gateway reads of a message."""
    try:
        if isinstance(event, requests.StartupMessage):
            hold(event.minor in (0, 2), "a minor version that there is")
            _ = event.needs_negotiation
            login = read_login(event.parameters, "ep.example")
            hold(login.role, "a login names a role")
            for setting in session_settings(login.settings):
                hold("\0" not in setting.assignment, "a setting is SQL")
        elif isinstance(event, requests.Parse):
            hold(len(event.types) == 2 + 4 * len(event.type_oids), "all types are there")
        elif isinstance(event, requests.Bind):
            count = event.parameter_count
            values = [event.parameter(number) for number in range(1, count + 1)]
            hold(len(values) == count, "all parameters are there")
            _ = event.format_codes, event.result_format_codes
            hold(event.renamed(b"own").endswith(b"\0own\0" + bytes(event.tail)), "a renamed Bind keeps its values")
        elif isinstance(event, requests.Describe | requests.Close):
            _ = event.renamed(b"own")
    except RowgateError as problem:
        hold(problem.status < 500 or isinstance(problem, ProtocolViolation), f"{problem.code} is the client's doing")
    hold(repr(event), "a message can be shown")


def seeds() -> Iterable[bytes]:
    """Sessions of every kind: one message of each kind in each, with each choice of the server."""
    login = STARTUP + PASSWORD
    messages = [sample for kind, sample in SAMPLES.items() if kind < 256]
    for bits in range(16):
        first = bytes((bits,))
        yield first + login + b"".join(messages)
    for sample in messages:
        yield b"\0" + login + sample + SAMPLES[ord("S")] + sample  # type: ignore[index]
    yield b"\0" + SAMPLES[257] + STARTUP + PASSWORD  # type: ignore[index]
    yield b"\1" + SAMPLES[257]  # type: ignore[index]
    yield b"\0" + GSSENC_REQUEST
    yield b"\0" + SAMPLES[259]  # type: ignore[index]
    yield b"\0" + SAMPLES[260]  # type: ignore[index]
    yield b"\2" + STARTUP + FUNCTION_CALL
    options = (
        ("options", "-c TimeZone=UTC --search-path=public endpoint=ep"), ("application_name", "x"),
        ("DateStyle", "ISO, MDY"), ("statement_timeout", "5s"), ("_pq_.x", "1"), ("client_encoding", "'utf-8'"),
        ("replication", "database"), ("options", "-c role=postgres"),
    )  # fmt: skip
    for name, value in options:
        yield b"\2" + requests.StartupMessage(2, ((b"user", b"u"), (name.encode(), value.encode()))).encode()


TARGET = Target(
    "pgwire",
    try_out,
    seeds,
    (
        *SAMPLES.values(), b"user\0", b"database\0", b"options\0", b"-c ", b"endpoint=", b"pool_mode=session",
        b"search_path", b"TimeZone", b"role", b"session_authorization", b"replication\0", b"client_encoding\0UTF8\0",
        b"\xff\xff\xff\xff", b"\0\0\0\x04", b"\x7f\xff\xff\xff", b"\0\0", b"'", b"\\", b"_pq_.",
    ),
)  # fmt: skip
