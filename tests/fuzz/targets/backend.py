"""The client's side of the Postgres protocol: what a hostile or broken server sends.

The first byte of an input chooses who reads the rest: ``U`` to ``X`` are four starts of a connection (TLS or not, in
clear or not), ``E`` an exchange of the pipeline, ``F`` an answer that may be read at once, ``R`` the relay of a
session.

Promised: nothing but the error tree is raised; what is read does not depend on how the bytes were cut, nor on
whether the compiled module reads it or Python alone; a password
never leaves in clear where it must not, and after SCRAM has begun a start is ready only where the server has proved
that it knows the password; a result is JSON, whatever its rows hold; a relay tells the client no message that it was
not asked for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from unittest import mock

from scramp import ScramMechanism

from rowgate.errors import DatabaseError, ProtocolViolation, RowgateError
from rowgate.gateway.response import error_response, result_json
from rowgate.gateway.sessions.relay import Relay, Slot
from rowgate.pgwire import messages
from rowgate.pgwire import rows as rows_module
from rowgate.pgwire.result_shape import ResultShape
from rowgate.pgwire.startup import Ready, Startup, TlsMode
from rowgate.pgwire.stream import MessageStream, cut, cut_in_python
from rowgate.pgwire.types import BUILTIN_ARRAYS, JSON, JSONB
from rowgate.postgres.exchange import Exchange, Prepared, Result, Step
from tests.fuzz.target import Target, cut_anywhere, hold
from tests.unit.pgwire.test_rows import row
from tests.unit.pgwire.test_startup import IDLE, OK, PARAMETERS, SETTLED, authentication, message, sasl

PASSWORD = b"sesame-in-clear"
NONCE = "fuzz"
LARGEST = 3000
OUT_OF_BOUNDS = "A message's length is out of bounds."
DOCUMENTS = frozenset({JSON, JSONB, 199, 3807})  # with their arrays: what Postgres has checked is not checked again
STARTS: dict[int, tuple[TlsMode, bool]] = {
    ord("U"): ("disable", False), ord("V"): ("disable", True), ord("W"): ("prefer", False), ord("X"): ("require", True),
}  # fmt: skip


def try_out(data: bytes) -> None:
    """See above."""
    if not data:
        return
    reader, sent = data[0], data[1:]
    if reader in STARTS:
        read = start
    elif reader == ord("E"):
        read = exchange
    elif reader == ord("F"):
        read = answer
    elif reader == ord("R"):
        read = relay
    else:
        return
    whole = read(reader, [sent])
    pieces = read(reader, cut_anywhere(sent))
    if OUT_OF_BOUNDS not in repr(whole):  # what came with it is lost with the connection
        hold(pieces == whole, f"the same however the bytes were cut: {whole} and {pieces}")


def outcome_of(problem: RowgateError) -> str:
    """A problem to compare; it must have an answer."""
    error_response(problem)
    return f"{problem.code} {problem.message}"


def start(reader: int, pieces: Iterable[bytes]) -> object:
    """A start to its end: Ready without what came after it, or the problem."""
    tls, in_clear = STARTS[reader]
    startup = Startup(PARAMETERS, PASSWORD, tls, lambda: b"binding", allow_cleartext=in_clear, nonce=lambda: NONCE)
    sent = startup.start()
    encrypted = has_answered = False
    came = b""
    try:
        for piece in pieces:
            if tls != "disable" and not has_answered:
                has_answered = True
                came, piece = piece[:1], piece[1:]
                step = startup.receive(came)
                sent += step.send
                if step.begin_tls:
                    encrypted = True
                    sent += startup.tls_established()
                if not piece:
                    continue
            came += piece
            step = startup.receive(piece)
            sent += step.send
            if step.ready is not None:
                hold(b"p" not in sent or b"SCRAM" not in sent or server_proof() in came, "SCRAM proves the server")
                return Ready(step.ready.parameters, step.ready.process_id, step.ready.secret_key)
    except RowgateError as problem:
        return outcome_of(problem)
    finally:
        hold(encrypted or in_clear or PASSWORD not in sent, "no password goes out in clear")
    return None


def exchange(reader: int, pieces: Iterable[bytes]) -> object:
    """An exchange to its end: its results as JSON in all four forms, or the problem."""
    prepared = Prepared(b"s1", 0)
    known = Prepared(b"s2", 0)
    steps = [
        Step("context"), Step("statement", prepared, True, b"select 1"), Step("statement", known), Step("own"),
    ]  # fmt: skip
    asked = Exchange(steps)
    outcome = None
    stream = MessageStream(LARGEST, group_rows=True)
    try:
        for kind, body in _messages(stream, pieces):
            if asked.receive(kind, body):
                break
        outcome = asked.outcome()
        hold(len(outcome.results) <= 2, "as many results as statements")
        if outcome.error is not None:
            error_response(outcome.error, "role")
        texts = []
        for result in outcome.results:
            types = {one.type_oid for one in result.prepared.columns.fields}
            for raw_text, array_mode in itertools.product((False, True), repeat=2):
                text = result_json(result, raw_text, array_mode, BUILTIN_ARRAYS)
                hold(text == by_python(result, raw_text, array_mode), "Python alone writes the same")
                if raw_text or not types & DOCUMENTS:
                    rows = json.loads(text)["rows"]
                    hold(len(rows) == result.row_count, "as many rows as came")
                texts.append(text)
    except RowgateError as problem:
        if outcome is not None:
            for result, raw_text, array_mode in itertools.product(outcome.results, (False, True), (False, True)):
                _written(result, raw_text, array_mode)
        return outcome_of(problem)
    return texts, None if outcome.error is None else outcome.error.fields, asked.status, asked.state_changed


def by_python(result: Result, raw_text: bool, array_mode: bool) -> bytes:
    """What Python alone writes of a result, in the place of the compiled module. Raises ProtocolViolation."""
    with mock.patch.object(rows_module, "IS_COMPILED", new=False):
        other = Prepared(result.prepared.name)
        other.shape = ResultShape(result.prepared.columns.fields)
        return result_json(Result(other, result.regions, result.tag), raw_text, array_mode, BUILTIN_ARRAYS)


def _written(result: Result, raw_text: bool, array_mode: bool) -> None:
    """Both write the same, or both refuse."""
    written = []
    for write in (partial(result_json, array_types=BUILTIN_ARRAYS), by_python):
        try:
            written.append(write(result, raw_text=raw_text, array_mode=array_mode))
        except ProtocolViolation:
            written.append(b"")
    hold(written[0] == written[1], f"Python alone writes the same: {written}")


def answer(reader: int, pieces: Iterable[bytes]) -> object:
    """A whole answer, read at once, is what it is message by message; and both ways of cutting bytes cut the same."""
    sent = b"".join(pieces)
    for group_rows in (False, True):
        cuts = []
        for one in (cut, cut_in_python):
            messages_of: list[tuple[int, bytes]] = []
            cuts.append((one(sent, 0, LARGEST, messages_of, group_rows), messages_of))
        hold(cuts[0] == cuts[1], "both cut the same")
    at_once, by_one = Exchange(_known_steps()), Exchange(_known_steps())
    end = at_once.receive_whole(sent, 0)
    if not end:
        return None
    stream = MessageStream(len(sent), group_rows=True)
    ended = [by_one.receive(kind, body) for kind, body in stream.feed(sent[:end])]
    hold(ended and ended[-1] and not any(ended[:-1]) and not stream.pending, "it ends with the one ReadyForQuery")
    found = [
        (exchange.status, exchange.error, [(one.tag, b"".join(one.regions)) for one in exchange.outcome().results])
        for exchange in (at_once, by_one)
    ]
    hold(found[0] == found[1], f"the same at once and by one: {found}")
    return None


def _known_steps() -> list[Step]:
    return [Step("context"), Step("statement", Prepared(b"s1")), Step("own")]


@dataclass
class Client:
    """A client of a session, with what it is told."""

    told: list[bytes] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    copies: int = 0

    def on_error(self, error: DatabaseError, slot: Slot | None) -> None:
        self.errors.append(error.fields)

    def on_copy_in(self, swallowed: int) -> None:
        self.copies += 1


ASKED = (b"1", b"2", b"T", b"n", b"t", b"D", b"d", b"c", b"C", b"I", b"s", b"3", b"G", b"H", b"N", b"Z")


def relay(reader: int, pieces: Iterable[bytes]) -> object:
    """A relay with a hidden statement ahead of a visible one, and what its client is told."""
    client = Client()
    hidden: list[bytes] = []
    relayed = Relay(client.told.append, on_copy_in=client.on_copy_in, on_error=client.on_error)
    for slot in (
        Slot("parse", visible=False), Slot("bind", visible=False, is_context=True),
        Slot("execute", visible=False, rows=hidden.append, is_context=True),
        Slot("parse"), Slot("bind"), Slot("describe"), Slot("execute", offset=3), Slot("close"), Slot("sync"),
    ):  # fmt: skip
        relayed.expect(slot)
    try:
        for kind, body in _messages(MessageStream(LARGEST, group_rows=True), pieces):
            relayed.receive(kind, body)
    except ProtocolViolation as problem:
        client.told = [b"".join(client.told)]
        return client, outcome_of(problem)
    hold(all(told[:1] in ASKED for told in client.told), "the client reads nothing that it has not asked for")
    # Rows come in regions, which are cut where the bytes were.
    client.told = [b"".join(client.told)]
    return client, b"".join(hidden), relayed.status, relayed.tainted, relayed.erred, relayed.is_settled


def _messages(stream: MessageStream, pieces: Iterable[bytes]) -> Iterable[tuple[int, bytes]]:
    for piece in pieces:
        yield from stream.feed(piece)


# --- a server that knows the password, with numbers that are always the same ----------------------------------------


def _scram() -> tuple[bytes, bytes, bytes]:
    """Its challenge, its last message, and the proof in it."""
    mechanism = ScramMechanism("SCRAM-SHA-256")
    info = mechanism.make_auth_info(PASSWORD.decode(), 4096, b"sixteen byte salt")
    server = mechanism.make_server(lambda user: info, s_nonce="server")
    startup = Startup(PARAMETERS, PASSWORD, "disable", nonce=lambda: NONCE)
    startup.start()
    first = startup.receive(sasl("SCRAM-SHA-256")).send
    server.set_client_first(first[5:].partition(b"\0")[2][4:].decode())
    challenge = authentication(11, server.get_server_first().encode())
    server.set_client_final(startup.receive(challenge).send[5:].decode())
    final = server.get_server_final().encode()
    return challenge, authentication(12, final), final


_SCRAM = _scram()


def server_proof() -> bytes:
    """What only a server that knows the password can say."""
    return _SCRAM[2]


def _column(name: bytes, type_oid: int) -> bytes:
    return name + b"\0" + bytes(6) + type_oid.to_bytes(4) + b"\xff\xff" + b"\xff\xff\xff\xff" + b"\0\0"


def _result(*columns: tuple[int, bytes | None]) -> bytes:
    description = len(columns).to_bytes(2) + b"".join(
        _column(b"c%d" % number, oid) for number, (oid, _) in enumerate(columns)
    )
    return message(b"T", description) + message(b"D", row([value for _, value in columns]))


def seeds() -> Iterable[bytes]:
    """Sound starts and answers, and the ways in which they end badly."""
    challenge, proof, _ = _SCRAM
    scram = sasl("SCRAM-SHA-256") + challenge + proof + OK + SETTLED + IDLE
    for reader in (b"U", b"V"):
        yield reader + scram
        yield reader + OK + SETTLED + IDLE
        yield reader + authentication(3) + OK + SETTLED + IDLE
        yield reader + authentication(5, b"salt") + OK + SETTLED + IDLE
        yield reader + sasl("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
        yield reader + message(b"E", b"SFATAL\0VFATAL\0C28P01\0Mno\0\0")
        yield reader + message(b"v", b"\0\3\0\0\0\0\0\1_pq_.x\0") + OK
    for answer in (b"S", b"N", b"E", b"SS"):
        yield b"W" + answer + scram
        yield b"X" + answer + authentication(3) + OK + SETTLED + IDLE
    context = message(b"2", b"") + message(b"C", b"SELECT 1\0")
    result = _result((23, b"7"), (25, "é".encode()), (1007, b"{1,NULL,3}"), (16, b"t"), (701, b"1e400"), (25, None))
    ends = message(b"C", b"SELECT 1\0")
    last = message(b"2", b"") + ends + message(b"2", b"") + ends + IDLE
    parsed, bound, nothing = message(b"1", b""), message(b"2", b""), message(b"n", b"") + message(b"I", b"")
    for reader in (b"E", b"R"):
        yield reader + context + parsed + bound + result + ends + message(b"3", b"") + last
        yield reader + context + parsed + message(b"E", b"SERROR\0VERROR\0C42P01\0Mno\0P8\0\0") + IDLE
        yield (reader + context + parsed + bound + nothing + IDLE)
        yield reader + context + message(b"N", b"SWARNING\0C25P01\0Mx\0\0") + message(b"A", bytes(4) + b"c\0p\0")
        yield reader + context + message(b"S", b"TimeZone\0UTC\0") + message(b"G", b"\0\0\0") + message(b"H", b"\0\0\0")
        yield reader + context + parsed + bound + _result((1009, b'{{"a","\\"b"},{NULL,x}}'),
              (20, b"9223372036854775807"), (114, b'{"a":1}'), (1003, b"[0:1]={a,b}")) + ends  # fmt: skip

    rows = b"".join(message(b"D", row([b"%d" % number, None, "é".encode()])) for number in range(40))
    for middle in (rows, b"", message(b"D", b"\0\1\0\0\0\x09x")):
        yield b"F" + context + message(b"2", b"") + middle + ends + last[: -len(IDLE)] + IDLE
        yield b"F" + context + message(b"2", b"") + middle + ends + message(b"2", b"") + ends + IDLE


TARGET = Target(
    "backend",
    try_out,
    seeds,
    (
        OK, IDLE, SETTLED, sasl("SCRAM-SHA-256"), authentication(3), b"r=fuzz", b",s=", b",i=4096", b"v=", b"e=other",
        messages.SYNC, message(b"1", b""), message(b"2", b""), message(b"C", b"INSERT 0 1\0"), message(b"Z", b"T"),
        message(b"D", b"\0\0"), b"\xff\xff\xff\xff", b"\0\0\0\x04", b"{", b"}", b'"', b"\\", b"NULL", b"NaN",
        (1007).to_bytes(4), (1016).to_bytes(4), (700).to_bytes(4), b"C57P01\0", b"VPANIC\0", b"C53200\0", b"\xc3(",
    ),
)  # fmt: skip
