"""What becomes of a backend's answers: who sees them, in which order, and what an error takes with it."""

import pytest

from rowgate.errors import DatabaseError, ProtocolViolation
from rowgate.gateway.sessions.relay import Relay, Slot, error_told
from rowgate.pgwire import messages
from rowgate.pgwire.fields import error_fields
from rowgate.pgwire.server import answers

PARSED, BOUND, CLOSED, NO_DATA, ROW_DESCRIPTION, ROW, DONE, READY = 0x31, 0x32, 0x33, 0x6E, 0x54, 0x44, 0x43, 0x5A
ERROR, NOTICE, STATUS, NOTIFICATION = 0x45, 0x4E, 0x53, 0x41
FAILURE = b"SERROR\0VERROR\0C42P01\0Mno\0P3\0\0"


class Conversation:
    """A relay with what it tells."""

    def __init__(self, *slots: Slot) -> None:
        self.emitted: list[bytes] = []
        self.errors: list[tuple[DatabaseError, Slot | None]] = []
        self.copies = self.swallowed = 0
        self.relay = Relay(
            self.emitted.append, on_copy_in=self._copy, on_error=lambda error, slot: self.errors.append((error, slot))
        )
        for slot in slots:
            self.relay.expect(slot)

    def _copy(self, swallowed: int) -> None:
        self.copies += 1
        self.swallowed = swallowed

    def feed(self, *kinds: int | tuple[int, bytes]) -> list[bool]:
        return [self.relay.receive(*(kind if isinstance(kind, tuple) else (kind, b""))) for kind in kinds]

    @property
    def kinds(self) -> bytes:
        return b"".join(message[:1] for message in self.emitted)


def test_hidden_answers_stay_hidden_and_the_rest_keeps_its_order() -> None:
    seen = Conversation(
        Slot("parse", visible=False), Slot("bind", visible=False), Slot("execute", visible=False),
        Slot("parse"), Slot("bind"), Slot("describe"), Slot("execute"), Slot("sync"),
    )  # fmt: skip
    ended = seen.feed(
        PARSED, BOUND, (ROW, b"\0\0"), (DONE, b"SELECT 1\0"),
        PARSED, BOUND, (ROW_DESCRIPTION, b"\0\0"), (ROW, messages.raw(b"D", b"\0\0")), (DONE, b"SELECT 1\0"),
        (READY, b"T"),
    )  # fmt: skip
    assert ended[-1] is True
    assert not any(ended[:-1])
    assert seen.kinds == b"12TDCZ"
    assert (seen.relay.status, seen.relay.is_settled, seen.relay.last_tag) == (ord("T"), True, b"SELECT 1\0")


def test_the_simple_protocol_has_no_no_data() -> None:
    seen = Conversation(Slot("describe", simple=True), Slot("execute", tag=b"DISCARD ALL"), Slot("sync"))
    seen.feed(NO_DATA, (DONE, b"UNLISTEN\0"), (READY, b"I"))
    assert seen.emitted == [messages.raw(b"C", b"DISCARD ALL\0"), answers.ready_for_query(ord("I"))]


def test_an_error_takes_everything_up_to_sync_with_it() -> None:
    skipped: list[str] = []
    failing = Slot("parse", offset=7)
    seen = Conversation(
        failing, Slot("bind"), Slot("parse", skipped=lambda: skipped.append("later")), Slot("sync"), Slot("bind"),
    )  # fmt: skip
    seen.feed((ERROR, FAILURE))
    assert seen.relay.failed
    ((error, slot),) = seen.errors
    assert (error.database_sqlstate, slot, skipped) == ("42P01", failing, ["later"])
    seen.feed((READY, b"I"), BOUND)
    assert (seen.kinds, seen.relay.failed, seen.relay.erred, seen.relay.tainted) == (b"Z2", False, True, False)


def test_what_goes_out_after_an_error_is_dropped_up_to_sync() -> None:
    """A request may be on its way to the backend when the error of an earlier one comes: the server skips it."""
    skipped: list[str] = []
    seen = Conversation(Slot("parse"))
    seen.feed((ERROR, FAILURE))
    seen.relay.expect(Slot("parse", skipped=lambda: skipped.append("late")))
    seen.relay.expect(Slot("sync"))
    assert seen.feed((READY, b"I")) == [True]
    assert (skipped, seen.relay.is_settled, seen.kinds) == (["late"], True, b"Z")


@pytest.mark.parametrize(
    ("status", "is_told"), [(b"I", False), (b"T", True), (b"E", True)], ids=["idle", "in a transaction", "failed"]
)
def test_the_end_of_a_backend_that_owes_nothing_is_not_the_clients_affair(status: bytes, is_told: bool) -> None:
    """It may stand right behind the answer; the session goes on with another backend."""
    seen = Conversation(Slot("sync"))
    seen.feed((READY, status), (ERROR, b"SFATAL\0VFATAL\0C57P01\0Mshutting down\0\0"))
    assert (seen.relay.tainted, seen.relay.failed, bool(seen.errors)) == (True, is_told, is_told)


def test_a_refusal_of_the_gateway_stands_in_for_the_backends_error() -> None:
    refusal = answers.error_response({"C": "42501"})
    seen = Conversation(Slot("bind", refusal=refusal), Slot("sync"))
    seen.feed((ERROR, FAILURE), (READY, b"E"))
    assert (seen.emitted[0], seen.errors) == (refusal, [])


def test_a_parse_that_is_known_already_is_answered_in_its_turn() -> None:
    seen = Conversation(Slot("bind"), Slot("close", answer=answers.PARSE_COMPLETE))
    seen.feed(BOUND, CLOSED)
    assert seen.kinds == b"21"


def test_rows_of_a_hidden_query_are_for_the_session() -> None:
    rows: list[bytes] = []
    seen = Conversation(Slot("execute", visible=False, rows=rows.append))
    seen.feed((ROW, b"row"), (DONE, b"SHOW\0"))
    assert (rows, seen.emitted) == ([b"row"], [])


def test_a_sync_that_copy_swallows_is_not_waited_for() -> None:
    seen = Conversation(Slot("execute"), Slot("sync"), Slot("sync"))
    seen.feed((0x47, b"\0\0\0"))
    assert (seen.copies, seen.swallowed) == (1, 2)
    assert seen.feed((DONE, b"COPY 1\0")) == [False]
    assert seen.relay.is_settled


def test_notices_are_passed_on_but_for_the_one_about_set_local() -> None:
    seen = Conversation(Slot("execute", quiet=True), Slot("execute"))
    seen.feed((NOTICE, b"SWARNING\0C25P01\0Mx\0\0"), (NOTICE, b"SNOTICE\0C00000\0Mx\0\0"), (DONE, b"SET\0"))
    seen.feed((NOTICE, b"SWARNING\0C25P01\0Mx\0\0"))
    assert seen.kinds == b"NCN"


@pytest.mark.parametrize(
    ("kind", "body", "tainted"),
    [
        (STATUS, b"TimeZone\0UTC\0", False),
        (STATUS, b"client_encoding\0LATIN1\0", True),
        (STATUS, b"session_authorization\0postgres\0", True),
        (NOTIFICATION, b"\0\0\0\1a\0b\0", True),
        (ERROR, b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0", True),
        (ERROR, b"SERROR\0VERROR\0C53200\0Mshared memory\0\0", True),
    ],
)
def test_what_taints_a_backend(kind: int, body: bytes, tainted: bool) -> None:
    seen = Conversation(Slot("execute"), Slot("sync"))
    seen.feed((kind, body))
    assert seen.relay.tainted is tainted
    assert seen.emitted == []


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ((), (ROW, b"")),
        ((), (READY, b"I")),
        ((Slot("parse"),), (BOUND, b"")),
        ((Slot("execute"), Slot("sync")), (READY, b"I")),
        ((Slot("sync"),), (READY, b"")),
        ((Slot("execute"),), (0x52, b"\0\0\0\0")),
    ],
)
def test_answers_that_were_not_due_end_the_backend(slots: tuple[Slot, ...], message: tuple[int, bytes]) -> None:
    with pytest.raises(ProtocolViolation):
        Conversation(*slots).feed(message)


@pytest.mark.parametrize(
    ("slot", "fields", "told"),
    [
        (None, {"C": "42P01", "P": "3"}, ("42P01", "3", None)),
        (Slot("execute", offset=10), {"C": "42P01", "P": "3"}, ("42P01", "13", None)),
        (Slot("execute", offset=10), {"C": "42P01"}, ("42P01", None, None)),
        (Slot("execute"), {"C": "28000"}, ("28000", None, None)),
        (Slot("bind", is_context=True), {"C": "42883"}, ("42883", None, None)),
        (Slot("bind", is_context=True), {"C": "28000"}, ("F0000", None, "rowgate:setup_incomplete")),
    ],
)
def test_what_the_client_reads_of_an_error(
    slot: Slot | None, fields: dict[str, str], told: tuple[str, str | None, str | None]
) -> None:
    """Positions are in the client's own text, and an identity that is not taken is the gateway's affair."""
    error = DatabaseError({"S": "ERROR", "V": "ERROR", "M": "no", **fields})
    read = error_fields(error_told(error, slot)[5:])
    assert (read["C"], read.get("P"), read.get("R")) == told
