"""What a backend answers, turned into what the client is to see, message by message as it comes.

Every message that goes to the backend has a slot here that says what becomes of its answer: whether the client sees it,
what happens when it has succeeded, and what the client reads instead where the gateway itself has refused. Pure: takes
messages, gives bytes, and never holds more than one backend's answer to one read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final, Literal

from rowgate.errors import DatabaseError, ProtocolViolation, SetupIncomplete
from rowgate.gateway.callbacks import nobody_is_told
from rowgate.pgwire.fields import error_fields, parameter_status
from rowgate.pgwire.server import answers

SlotKind = Literal["parse", "bind", "describe", "execute", "close", "sync"]
HEADER: Final = Struct(">ci").pack
COPY_DATA: Final = 0x64
COPY_DONE: Final = 0x63
NOT_IN_A_BLOCK: Final = "25P01"
# After these the backend, or the whole server, is not to be trusted with another session (PostgreSQL 18, appendix A).
FATAL_SQLSTATES: Final = frozenset({"53200", "XX000", "57P01", "57P02", "57P03"})


@dataclass(frozen=True, slots=True)
class Slot:
    """One message that was sent to the backend.

    ``visible``: the client asked for it and sees its answer. ``done`` is called when it has succeeded, ``skipped`` when
    an error before it kept it from running. ``refusal`` is the ErrorResponse that the client reads in place of the
    backend's, ``answer`` the same for success. ``tag`` replaces the command tag, ``rows`` takes a region of rows of a
    hidden query. ``offset`` is where the statement begins in the client's text, in characters, so that an error's
    position is right. ``simple`` marks the simple protocol, which has no NoData. ``quiet`` swallows the warning that
    SET LOCAL stands outside a block. ``is_context`` marks the identity.
    """

    kind: SlotKind
    visible: bool = True
    done: Callable[[], None] | None = None
    skipped: Callable[[], None] | None = None
    refusal: bytes | None = None
    tag: bytes | None = None
    answer: bytes | None = None
    rows: Callable[[bytes], None] | None = None
    offset: int = 0
    simple: bool = False
    quiet: bool = False
    is_context: bool = False


BIND: Final = Slot("bind")
DESCRIBE: Final = Slot("describe")
CLOSE: Final = Slot("close")
SYNC: Final = Slot("sync")
HIDDEN_PARSE: Final = Slot("parse", visible=False)
HIDDEN_BIND: Final = Slot("bind", visible=False)
IDENTITY_BIND: Final = Slot("bind", visible=False, is_context=True)
IDENTITY_EXECUTE: Final = Slot("execute", visible=False, is_context=True)
"""Slots of messages about which nothing else is to be said, made once because they are needed all the time."""


class Relay:
    """The conversation of one session with the backend that it holds.

    ``emit`` takes bytes for the client. ``on_copy_in`` is called when the backend waits for the client's data, with the
    number of Syncs that it ignores; ``on_error`` with every error that the client is to be told.
    """

    def __init__(self, emit: Callable[[bytes], None], *, on_copy_in: Callable[[int], None],
                 on_error: Callable[[DatabaseError, Slot | None], None]) -> None:  # fmt: skip
        self._emit = emit
        self._on_copy_in = on_copy_in
        self._on_error = on_error
        self._slots: deque[Slot] = deque()
        self.status = answers.IDLE
        self.failed = False
        self.erred = False
        self.tainted = False
        self.last_tag = b""

    @property
    def is_settled(self) -> bool:
        """Whether the backend owes no answer."""
        return not self._slots

    def close(self) -> None:
        """The session is over, and is not held by its relay any longer."""
        self._on_copy_in = self._on_error = nobody_is_told

    def expect(self, slot: Slot) -> None:
        """A message with this slot goes to the backend next."""
        self._slots.append(slot)

    def receive(self, kind: int, body: bytes) -> bool:
        """Takes one backend message; True when it was ReadyForQuery. Raises ProtocolViolation."""
        if kind == 0x44:  # DataRow, as a region
            self._rows(body)
        elif kind == COPY_DATA:
            self._copied_out(body)
        elif kind == 0x5A:
            return self._ready(body)
        elif kind == 0x45:
            self._error(body)
        elif kind in (0x4E, 0x53, 0x41):  # NoticeResponse, ParameterStatus, NotificationResponse
            self._aside(kind, body)
        else:
            self._answer(kind, body)
        return False

    # --- inside -----------------------------------------------------------------------------------------------

    def _head(self, kind: int) -> Slot:
        if not self._slots:
            raise ProtocolViolation(f"message {chr(kind)!r} came without a request")
        return self._slots[0]

    def _rows(self, region: bytes) -> None:
        slot = self._head(0x44)
        if slot.rows is not None:
            slot.rows(region)
        if slot.visible:
            self._emit(region)

    def _copied_out(self, body: bytes) -> None:
        if self._head(COPY_DATA).visible:
            self._emit(HEADER(b"d", len(body) + 4) + body)

    def _answer(self, kind: int, body: bytes) -> None:
        slot = self._head(kind)
        ends = ENDS.get(kind)
        if ends is None:  # ParameterDescription, CopyOutResponse, CopyDone: more of the same answer follows
            if kind not in (0x74, 0x48, 0x63, 0x47):
                raise ProtocolViolation(f"unexpected message {chr(kind)!r} from the server")
            if slot.visible:
                self._emit(HEADER(bytes((kind,)), len(body) + 4) + body)
            if kind == 0x47:
                self._copy_in()
            return
        if slot.kind not in ends:
            raise ProtocolViolation(f"message {chr(kind)!r} does not answer a {slot.kind}")
        self._slots.popleft()
        if slot.visible and not (slot.simple and kind in HIDDEN_FROM_SIMPLE):
            if slot.tag is not None and kind == 0x43:
                body = slot.tag + b"\0"
            self._emit(slot.answer or HEADER(bytes((kind,)), len(body) + 4) + body)
        if kind == 0x43:
            self.last_tag = body
        if slot.done is not None:
            slot.done()

    def _copy_in(self) -> None:
        # The server reads and ignores a Sync that was sent before it asked for data (PostgreSQL 18, section 54.2.6).
        swallowed = 0
        while len(self._slots) > 1 and self._slots[1].kind == "sync":
            del self._slots[1]
            swallowed += 1
        self._on_copy_in(swallowed)

    def _error(self, body: bytes) -> None:
        error = DatabaseError(error_fields(body))
        slot = self._slots[0] if self._slots else None
        if error.database_sqlstate in FATAL_SQLSTATES or error.is_fatal:
            self.tainted = True
        if slot is None and self.status == answers.IDLE:
            return  # the server ends a backend that owes nothing: that is not the client's affair
        self.failed = self.erred = True
        self._skip_to_sync()
        if slot is not None and slot.refusal is not None:
            self._emit(slot.refusal)
            return
        self._on_error(error, slot)

    def _skip_to_sync(self) -> None:
        """The server runs nothing more up to Sync (PostgreSQL 18, section 54.2.3)."""
        while self._slots and self._slots[0].kind != "sync":
            skipped = self._slots.popleft().skipped
            if skipped is not None:
                skipped()

    def _ready(self, body: bytes) -> bool:
        if self.failed:
            self._skip_to_sync()  # what went out after the error had come
        slot = self._head(0x5A)
        if slot.kind != "sync" or len(body) != 1:
            raise ProtocolViolation("ReadyForQuery came before the answers that were due")
        self._slots.popleft()
        self.failed = False
        self.status = body[0]
        self._emit(answers.ready_for_query(self.status))
        return True

    def _aside(self, kind: int, body: bytes) -> None:
        if kind == 0x4E:
            quiet = bool(self._slots) and self._slots[0].quiet
            if not (quiet and error_fields(body).get("C") == NOT_IN_A_BLOCK):
                self._emit(HEADER(b"N", len(body) + 4) + body)
        elif kind == 0x41 or parameter_status(body)[0] not in SESSION_PARAMETERS:
            # Nobody listens here, and nobody may change what every session relies on.
            self.tainted = True


# Which slots a message ends.
ENDS: Final[dict[int, tuple[SlotKind, ...]]] = {
    0x31: ("parse",),
    0x32: ("bind",),
    0x33: ("close",),
    0x54: ("describe",),
    0x6E: ("describe",),
    0x43: ("execute",),
    0x49: ("execute",),
    0x73: ("execute",),
}
HIDDEN_FROM_SIMPLE: Final = frozenset({0x6E, 0x31, 0x32})
# What a session may set for itself; told to the client by the session, because a backend takes it back by itself.
SESSION_PARAMETERS: Final = frozenset(
    {
        "application_name", "DateStyle", "IntervalStyle", "TimeZone", "default_transaction_read_only",
        "in_hot_standby", "search_path",
    }
)  # fmt: skip


def is_identity_refused(error: DatabaseError, slot: Slot | None) -> bool:
    """Whether ``error``, the answer to ``slot``, says that the database does not take the gateway's identity."""
    return slot is not None and slot.is_context and error.database_sqlstate.startswith("28")


def error_told(error: DatabaseError, slot: Slot | None) -> bytes:
    """What the client reads of ``error``, the backend's answer to ``slot``, as ErrorResponse."""
    if is_identity_refused(error, slot):
        problem = SetupIncomplete(
            "the database did not take the gateway's signed identity",
            detail=f"SQLSTATE {error.database_sqlstate}: {error.message}",
        )
        return answers.error_of(problem, "ERROR")
    fields = dict(error.fields)
    if slot is not None and slot.offset and fields.get("P", "").isdigit():
        fields["P"] = str(int(fields["P"]) + slot.offset)
    return answers.error_response(fields)
