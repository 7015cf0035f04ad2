"""Which message of a client may come when, and what becomes of it: the protocol as two tables.

``MESSAGES`` says what a message does in a state, ``OUTCOMES`` what the server's own step does. What stands in neither
is refused. This module is data: it never reads a byte and never holds a connection.

Source: PostgreSQL 18, section 54.2, "Message Flow".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum, auto
from types import MappingProxyType
from typing import Final, NamedTuple


class State(Enum):
    """Where a connection stands."""

    AWAITING_STARTUP = auto()
    """Nothing has come yet."""
    TLS_REQUESTED = auto()
    """SSLRequest came first. Nothing may come before its answer."""
    TLS_DECLINED = auto()
    """The client may ask for GSSAPI encryption, or go on without any (section 54.2.10)."""
    GSSENC_REQUESTED = auto()
    """GSSENCRequest came first. Nothing may come before its answer."""
    GSSENC_DECLINED = auto()
    """The client may ask for TLS, or go on without any (section 54.2.11)."""
    TLS_REQUESTED_LAST = auto()
    """SSLRequest came after GSSENCRequest had been declined."""
    GSSENC_REQUESTED_LAST = auto()
    """GSSENCRequest came after SSLRequest had been declined."""
    TLS_HANDSHAKE = auto()
    """All bytes are for TLS, and none for this protocol."""
    STARTUP_DUE = auto()
    """There is nothing left to ask for: the startup packet must come, or a CancelRequest."""
    AWAITING_PASSWORD = auto()
    """The startup message has come; a password may have been sent ahead of the request for it."""
    AUTHENTICATING = auto()
    """The password has come and is being verified. What the client has sent ahead is held back, unread."""
    AUTHENTICATED_UNASKED = auto()
    """Authenticated without a password. One that was sent ahead may still arrive; it is dropped, once."""
    READY = auto()
    """Between two cycles, or in simple ones."""
    EXTENDED = auto()
    """In an extended query, whose end is Sync."""
    SKIPPING = auto()
    """An extended query has failed: everything is dropped until Sync (section 54.2.3)."""
    COPY_IN = auto()
    """A COPY FROM STDIN of a simple query reads data (section 54.2.6)."""
    COPY_IN_EXTENDED = auto()
    """A COPY FROM STDIN of an extended query reads data."""
    CLOSED = auto()
    """The client has left, was refused or was handed over: what still comes is not read."""


class Kind(IntEnum):
    """Everything that a client may send: by its type byte, or by a number above all bytes where it has none."""

    PASSWORD = ord("p")
    QUERY = ord("Q")
    PARSE = ord("P")
    BIND = ord("B")
    DESCRIBE = ord("D")
    EXECUTE = ord("E")
    CLOSE = ord("C")
    SYNC = ord("S")
    FLUSH = ord("H")
    COPY_DATA = ord("d")
    COPY_DONE = ord("c")
    COPY_FAIL = ord("f")
    FUNCTION_CALL = ord("F")
    TERMINATE = ord("X")
    STARTUP = 256
    SSL_REQUEST = 257
    GSSENC_REQUEST = 258
    CANCEL_REQUEST = 259
    TLS_CLIENT_HELLO = 260


KIND_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {
        Kind.PASSWORD: "PasswordMessage",
        Kind.STARTUP: "StartupMessage",
        Kind.SSL_REQUEST: "SSLRequest",
        Kind.GSSENC_REQUEST: "GSSENCRequest",
        Kind.CANCEL_REQUEST: "CancelRequest",
        Kind.TLS_CLIENT_HELLO: "TLS ClientHello",
        Kind.QUERY: "Query",
        Kind.PARSE: "Parse",
        Kind.BIND: "Bind",
        Kind.DESCRIBE: "Describe",
        Kind.EXECUTE: "Execute",
        Kind.CLOSE: "Close",
        Kind.SYNC: "Sync",
        Kind.FLUSH: "Flush",
        Kind.COPY_DATA: "CopyData",
        Kind.COPY_DONE: "CopyDone",
        Kind.COPY_FAIL: "CopyFail",
        Kind.FUNCTION_CALL: "FunctionCall",
        Kind.TERMINATE: "Terminate",
    }
)
"""What the documentation calls each kind."""


class Action(Enum):
    """What becomes of a message."""

    DELIVER = auto()
    """The caller gets it."""
    DROP = auto()
    """It is read over, its body unseen."""
    HOLD = auto()
    """It stays unread, with all that follows, until the state changes."""


class Cell(NamedTuple):
    """One cell of the table: what becomes of the message, and the state after it."""

    action: Action
    next_state: State


class Outcome(Enum):
    """A step of the server itself."""

    TLS_ACCEPTED = auto()
    ENCRYPTION_DECLINED = auto()
    TLS_ESTABLISHED = auto()
    AUTHENTICATED = auto()
    HANDED_OVER = auto()
    ERROR_IN_EXTENDED = auto()
    COPY_IN_BEGAN = auto()
    COPY_IN_BEGAN_EXTENDED = auto()
    COPY_IN_FAILED = auto()


def _deliver(state: State) -> Cell:
    return Cell(Action.DELIVER, state)


_HELD = Cell(Action.HOLD, State.AUTHENTICATING)
_SKIPPED = Cell(Action.DROP, State.SKIPPING)
_READY: Final[Mapping[Kind, Cell]] = {
    Kind.QUERY: _deliver(State.READY),
    Kind.PARSE: _deliver(State.EXTENDED),
    Kind.BIND: _deliver(State.EXTENDED),
    Kind.DESCRIBE: _deliver(State.EXTENDED),
    Kind.EXECUTE: _deliver(State.EXTENDED),
    Kind.CLOSE: _deliver(State.EXTENDED),
    Kind.SYNC: _deliver(State.READY),
    Kind.FLUSH: _deliver(State.READY),
    # Data for a COPY that is about to begin (some drivers do not wait for CopyInResponse), or left over from one that
    # has failed: only who runs the COPY can tell.
    Kind.COPY_DATA: _deliver(State.READY),
    Kind.COPY_DONE: _deliver(State.READY),
    Kind.COPY_FAIL: _deliver(State.READY),
    Kind.FUNCTION_CALL: _deliver(State.READY),
    Kind.TERMINATE: _deliver(State.CLOSED),
}
# With a Query or FunctionCall inside an extended query, a failure before it still makes it skipped: Sync alone ends it.
_EXTENDED: Final[Mapping[Kind, Cell]] = {
    Kind.QUERY: _deliver(State.EXTENDED),
    Kind.PARSE: _deliver(State.EXTENDED),
    Kind.BIND: _deliver(State.EXTENDED),
    Kind.DESCRIBE: _deliver(State.EXTENDED),
    Kind.EXECUTE: _deliver(State.EXTENDED),
    Kind.CLOSE: _deliver(State.EXTENDED),
    Kind.SYNC: _deliver(State.READY),
    Kind.FLUSH: _deliver(State.EXTENDED),
    Kind.COPY_DATA: _deliver(State.EXTENDED),
    Kind.COPY_DONE: _deliver(State.EXTENDED),
    Kind.COPY_FAIL: _deliver(State.EXTENDED),
    Kind.FUNCTION_CALL: _deliver(State.EXTENDED),
    Kind.TERMINATE: _deliver(State.CLOSED),
}

MESSAGES: Final[Mapping[State, Mapping[Kind, Cell]]] = MappingProxyType(
    {
        State.AWAITING_STARTUP: {
            Kind.TLS_CLIENT_HELLO: _deliver(State.TLS_HANDSHAKE),
            Kind.SSL_REQUEST: _deliver(State.TLS_REQUESTED),
            Kind.GSSENC_REQUEST: _deliver(State.GSSENC_REQUESTED),
            Kind.STARTUP: _deliver(State.AWAITING_PASSWORD),
            Kind.CANCEL_REQUEST: _deliver(State.CLOSED),
        },
        State.TLS_REQUESTED: {},
        State.TLS_DECLINED: {
            Kind.GSSENC_REQUEST: _deliver(State.GSSENC_REQUESTED_LAST),
            Kind.STARTUP: _deliver(State.AWAITING_PASSWORD),
            Kind.CANCEL_REQUEST: _deliver(State.CLOSED),
        },
        State.GSSENC_REQUESTED: {},
        State.GSSENC_DECLINED: {
            Kind.SSL_REQUEST: _deliver(State.TLS_REQUESTED_LAST),
            Kind.STARTUP: _deliver(State.AWAITING_PASSWORD),
            Kind.CANCEL_REQUEST: _deliver(State.CLOSED),
        },
        State.TLS_REQUESTED_LAST: {},
        State.GSSENC_REQUESTED_LAST: {},
        State.TLS_HANDSHAKE: {},
        State.STARTUP_DUE: {
            Kind.STARTUP: _deliver(State.AWAITING_PASSWORD),
            Kind.CANCEL_REQUEST: _deliver(State.CLOSED),
        },
        State.AWAITING_PASSWORD: {
            Kind.PASSWORD: _deliver(State.AUTHENTICATING),
            Kind.TERMINATE: _deliver(State.CLOSED),
        },
        State.AUTHENTICATING: {
            Kind.QUERY: _HELD,
            Kind.PARSE: _HELD,
            Kind.BIND: _HELD,
            Kind.DESCRIBE: _HELD,
            Kind.EXECUTE: _HELD,
            Kind.CLOSE: _HELD,
            Kind.SYNC: _HELD,
            Kind.FLUSH: _HELD,
            Kind.COPY_DATA: _HELD,
            Kind.COPY_DONE: _HELD,
            Kind.COPY_FAIL: _HELD,
            Kind.FUNCTION_CALL: _HELD,
            Kind.TERMINATE: _HELD,
        },
        State.AUTHENTICATED_UNASKED: {Kind.PASSWORD: Cell(Action.DROP, State.READY), **_READY},
        State.READY: _READY,
        State.EXTENDED: _EXTENDED,
        State.SKIPPING: {
            Kind.QUERY: _SKIPPED,
            Kind.PARSE: _SKIPPED,
            Kind.BIND: _SKIPPED,
            Kind.DESCRIBE: _SKIPPED,
            Kind.EXECUTE: _SKIPPED,
            Kind.CLOSE: _SKIPPED,
            Kind.SYNC: _deliver(State.READY),
            Kind.FLUSH: _SKIPPED,
            Kind.COPY_DATA: _SKIPPED,
            Kind.COPY_DONE: _SKIPPED,
            Kind.COPY_FAIL: _SKIPPED,
            Kind.FUNCTION_CALL: _SKIPPED,
            Kind.TERMINATE: _deliver(State.CLOSED),
        },
        # Sync and Flush are ignored, because who runs an extended COPY may have sent them before it knew
        # (section 54.2.6). Every other message ends the connection, as it does in Postgres.
        State.COPY_IN: {
            Kind.COPY_DATA: _deliver(State.COPY_IN),
            Kind.COPY_DONE: _deliver(State.READY),
            Kind.COPY_FAIL: _deliver(State.READY),
            Kind.SYNC: Cell(Action.DROP, State.COPY_IN),
            Kind.FLUSH: Cell(Action.DROP, State.COPY_IN),
            Kind.TERMINATE: _deliver(State.CLOSED),
        },
        State.COPY_IN_EXTENDED: {
            Kind.COPY_DATA: _deliver(State.COPY_IN_EXTENDED),
            Kind.COPY_DONE: _deliver(State.EXTENDED),
            Kind.COPY_FAIL: _deliver(State.EXTENDED),
            Kind.SYNC: Cell(Action.DROP, State.COPY_IN_EXTENDED),
            Kind.FLUSH: Cell(Action.DROP, State.COPY_IN_EXTENDED),
            Kind.TERMINATE: _deliver(State.CLOSED),
        },
        State.CLOSED: {},
    }
)
"""What a client may send in each state. What is not here is refused, and the connection is closed."""

BEFORE_STARTUP: Final = frozenset(
    {
        State.AWAITING_STARTUP,
        State.TLS_REQUESTED,
        State.TLS_DECLINED,
        State.GSSENC_REQUESTED,
        State.GSSENC_DECLINED,
        State.TLS_REQUESTED_LAST,
        State.GSSENC_REQUESTED_LAST,
        State.TLS_HANDSHAKE,
        State.STARTUP_DUE,
    }
)
"""Where packets have no type byte yet (section 54.2.1)."""

OUTCOMES: Final[Mapping[tuple[State, Outcome], State]] = MappingProxyType(
    {
        (State.TLS_REQUESTED, Outcome.TLS_ACCEPTED): State.TLS_HANDSHAKE,
        (State.TLS_REQUESTED, Outcome.ENCRYPTION_DECLINED): State.TLS_DECLINED,
        (State.GSSENC_REQUESTED, Outcome.ENCRYPTION_DECLINED): State.GSSENC_DECLINED,
        (State.TLS_REQUESTED_LAST, Outcome.TLS_ACCEPTED): State.TLS_HANDSHAKE,
        (State.TLS_REQUESTED_LAST, Outcome.ENCRYPTION_DECLINED): State.STARTUP_DUE,
        (State.GSSENC_REQUESTED_LAST, Outcome.ENCRYPTION_DECLINED): State.STARTUP_DUE,
        (State.TLS_HANDSHAKE, Outcome.TLS_ESTABLISHED): State.STARTUP_DUE,
        (State.AWAITING_PASSWORD, Outcome.AUTHENTICATED): State.AUTHENTICATED_UNASKED,
        (State.AUTHENTICATING, Outcome.AUTHENTICATED): State.READY,
        (State.AUTHENTICATING, Outcome.HANDED_OVER): State.CLOSED,
        (State.EXTENDED, Outcome.ERROR_IN_EXTENDED): State.SKIPPING,
        (State.COPY_IN_EXTENDED, Outcome.ERROR_IN_EXTENDED): State.SKIPPING,
        (State.READY, Outcome.COPY_IN_BEGAN): State.COPY_IN,
        (State.EXTENDED, Outcome.COPY_IN_BEGAN): State.COPY_IN,
        (State.READY, Outcome.COPY_IN_BEGAN_EXTENDED): State.COPY_IN_EXTENDED,
        (State.EXTENDED, Outcome.COPY_IN_BEGAN_EXTENDED): State.COPY_IN_EXTENDED,
        (State.COPY_IN, Outcome.COPY_IN_FAILED): State.READY,
    }
)
"""What each step of the server leads to. A step that is not here is a defect of the caller."""

REWOUND: Final[Mapping[Outcome, State]] = MappingProxyType(
    {
        Outcome.ERROR_IN_EXTENDED: State.SKIPPING,
        Outcome.COPY_IN_BEGAN: State.COPY_IN,
        Outcome.COPY_IN_BEGAN_EXTENDED: State.COPY_IN_EXTENDED,
        Outcome.COPY_IN_FAILED: State.READY,
    }
)
"""The state from which requests that were handed out too early are judged again."""
