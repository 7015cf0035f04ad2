"""One client's connection, from its first byte to its last: bytes in, requests out, in the order that may be.

The rules are in ``state_table``; this module cuts the bytes, applies the tables and remembers the state. Nothing is
allocated on the word of a length field: type and length are judged as soon as they are there, and only bytes that came
are kept. It never does I/O, never verifies anything and never answers on its own: the caller's steps return the bytes.

A front is a loop: ``for request in protocol.receive(data)``: serve it, and report what came of it. Requests are handed
out as soon as they are complete, so some may be out before an earlier one has failed or has begun a COPY. The steps
that change what those mean take them back (``unserved``), judge them again, and return those that are still to be
served: nobody else has to know the rules.

Source: PostgreSQL 18, section 54.2, "Message Flow".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Final

import msgspec

from rowgate.errors import InternalFault, ProtocolViolation, RowgateError
from rowgate.pgwire.server import answers, requests
from rowgate.pgwire.server.decoding import DECODERS, KIND_OF, decode_message, decode_packet, packet_kind
from rowgate.pgwire.server.requests import Request
from rowgate.pgwire.server.state_table import (
    BEFORE_STARTUP,
    KIND_NAMES,
    MESSAGES,
    OUTCOMES,
    REWOUND,
    Action,
    Cell,
    Kind,
    Outcome,
    State,
)

MAX_STARTUP_BYTES: Final = 10_000
"""The longest startup packet without its length: MAX_STARTUP_PACKET_LENGTH of Postgres."""
MAX_SMALL_MESSAGE_BYTES: Final = 10_000 - 4
"""The longest body of a message that only names something: PQ_SMALL_MESSAGE_LIMIT of Postgres."""
MAX_PASSWORD_BYTES: Final = 65_536
MAX_MESSAGE_BYTES: Final = 20_000_000
MAX_HELD_BYTES: Final = 1_048_576
"""What may be sent ahead of the end of the authentication: a driver's first query, not a bulk load."""

_LARGE: Final = frozenset({Kind.QUERY, Kind.PARSE, Kind.BIND, Kind.FUNCTION_CALL, Kind.COPY_DATA})
_TLS_CLIENT_HELLO: Final = 0x16  # the type of a TLS record that holds a handshake (RFC 8446 section 5.1)
_ROWS: Final[Mapping[State, Mapping[int, Cell]]] = {
    state: {int(kind): cell for kind, cell in row.items()} for state, row in MESSAGES.items()
}
"""The table under plain numbers, since a type byte comes as one."""
_LENGTH = Struct(">i").unpack_from
_CODE = Struct(">I").unpack_from
_HEADER = Struct(">Bi").unpack_from
_HEADER_BYTES = 5


class Violation(msgspec.Struct, frozen=True):
    """The client broke the protocol: the last event there is. ``refuse(event.error)`` makes the answer."""

    message: str
    detail: str | None = None
    hint: str | None = None

    @property
    def error(self) -> ProtocolViolation:
        """The same as an error."""
        return ProtocolViolation(self.message, detail=self.detail, hint=self.hint)


Event = Request | Violation
"""What ``receive`` gives: the client's requests in order, and at most one Violation as the end."""


class ConnectionProtocol:
    """The server's side of one connection.

    The methods named after steps raise InternalFault where the step does not belong (a defect of the caller), and
    ProtocolViolation once the client has broken the protocol, even if the caller has not come to that event yet.
    """

    __slots__ = ("_limits", "_max_held", "_mute", "_needed", "_partial", "_row", "_state", "_violation")

    def __init__(
        self,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_password_bytes: int = MAX_PASSWORD_BYTES,
        max_held_bytes: int = MAX_HELD_BYTES,
    ) -> None:
        """``max_message_bytes`` and ``max_password_bytes`` are the longest bodies that are accepted.

        ``max_held_bytes`` bounds what is held back while the caller authenticates. It is for a caller that goes on
        reading then; one that does not is never near it.
        """
        self._limits = _limits(max_message_bytes, max_password_bytes)
        self._max_held = max_held_bytes
        self._partial = bytearray()
        self._needed = 0  # how long the partial message must be before anything more can be said about it
        self._violation: Violation | None = None
        self._mute = False
        self._state = State.AWAITING_STARTUP
        self._row = _ROWS[self._state]

    @property
    def state(self) -> State:
        """Where the connection stands, for logs; after the last request that was handed out."""
        return self._state

    @property
    def pending(self) -> int:
        """How many bytes are kept: of an incomplete message, or held back."""
        return len(self._partial)

    def receive(self, data: bytes) -> list[Event]:
        """Take the next bytes, cut anywhere, and return what is complete now. Never raises.

        Once the connection is closed, bytes are forgotten. After TlsClientHello, the whole chunk belongs to TLS.
        """
        if self._state is State.CLOSED:
            return []
        if not self._partial:
            return self._cut(data)
        # A bytearray grows by a share of its size, so a long message costs linear time in any chunking.
        self._partial += data
        if len(self._partial) < self._needed:
            return []
        return self._cut(bytes(self._partial))

    # --- what the caller reports -----------------------------------------------------------------------------------

    def accept_tls(self) -> bytes:
        """SSLRequest is answered with yes: the byte to send, after which the TLS handshake begins (section 54.2.10).

        Raises ProtocolViolation when bytes have come before this answer: they would be taken for what TLS protects
        (CVE-2021-23214). Begin no handshake then.
        """
        return answers.TLS_ACCEPTED if self._step(Outcome.TLS_ACCEPTED) else b""

    def decline_encryption(self) -> bytes:
        """SSLRequest or GSSENCRequest is answered with no: the byte to send (sections 54.2.10 and 54.2.11).

        Raises ProtocolViolation when bytes have come before this answer.
        """
        return answers.ENCRYPTION_DECLINED if self._step(Outcome.ENCRYPTION_DECLINED) else b""

    def tls_established(self) -> None:
        """The TLS handshake is done; what comes from now on has come through TLS. Raises ProtocolViolation."""
        self._step(Outcome.TLS_ESTABLISHED)

    def authenticated(self) -> list[Event]:
        """The caller is sure who the client is; returns what was held back.

        It may also be said without any password, where none is needed. Raises ProtocolViolation.
        """
        return self._cut(bytes(self._partial)) if self._step(Outcome.AUTHENTICATED) else []

    def hand_over(self) -> bytes:
        """The client is authenticated and somebody else reads from now on; returns the bytes that were held back.

        Raises ProtocolViolation.
        """
        held = bytes(self._partial)
        self._step(Outcome.HANDED_OVER)
        self._partial = bytearray()
        self._mute = True
        return held

    def error_in_extended(self, unserved: Iterable[Event] = ()) -> list[Event]:
        """A request of an extended query has failed: everything up to Sync is skipped (section 54.2.3).

        ``unserved`` are the events that were handed out after that request; returns those still to be served.
        """
        return self._rewind(Outcome.ERROR_IN_EXTENDED, unserved)

    def enter_copy_in(self, unserved: Iterable[Event] = (), *, extended: bool) -> list[Event]:
        """A COPY FROM STDIN reads data from now on (section 54.2.6); ``extended`` if an Execute has begun it.

        ``unserved`` are the events that were handed out after that request; returns those still to be served. The end
        comes with CopyDone or CopyFail. CopyData that comes while no COPY reads is to be dropped by the caller.
        """
        return self._rewind(Outcome.COPY_IN_BEGAN_EXTENDED if extended else Outcome.COPY_IN_BEGAN, unserved)

    def leave_copy_in(self, unserved: Iterable[Event] = ()) -> list[Event]:
        """The COPY of a simple query has failed before its data ended; as for ``enter_copy_in``.

        For the COPY of an extended query it is ``error_in_extended``.
        """
        return self._rewind(Outcome.COPY_IN_FAILED, unserved)

    def refuse(self, error: RowgateError) -> bytes:
        """End the connection: the ErrorResponse to send before it is closed, of severity FATAL.

        Empty where the client would not read one: inside a TLS handshake, after a CancelRequest, when it has left, and
        the second time.
        """
        mute = self._mute or self._state is State.TLS_HANDSHAKE
        self._mute = True
        self._enter(State.CLOSED)
        self._partial = bytearray()
        return b"" if mute else answers.error_of(error, "FATAL")

    # --- inside ----------------------------------------------------------------------------------------------------

    def _cut(self, source: bytes) -> list[Event]:
        """Cut the requests that are complete from ``source``, which is all there is, and keep the rest."""
        events: list[Event] = []
        position, total = 0, len(source)
        self._needed = 0
        try:
            while position < total and self._state is not State.CLOSED:
                take = self._take_packet if self._state in BEFORE_STARTUP else self._take_message
                end = take(source, position, events)
                if end == position:
                    break
                position = end
        except ProtocolViolation as error:
            events.append(self._broken(error))
        # A new one, because a cleared bytearray may keep the memory of the longest message ever seen.
        self._partial = bytearray() if self._state is State.CLOSED else bytearray(source[position:])
        return events

    def _take_message(self, source: bytes, position: int, events: list[Event]) -> int:
        """Take one message with a type byte; return where it ends, or ``position`` if it is not complete."""
        available = len(source) - position
        if available < _HEADER_BYTES:
            self._needed = _HEADER_BYTES
            return position
        kind, length = _HEADER(source, position)
        cell = self._row.get(kind)
        if cell is None:
            raise self._misplaced(kind)
        if not 4 <= length <= self._limits[kind]:
            raise _out_of_bounds(KIND_NAMES[kind], 4, self._limits[kind], length)
        if cell.action is Action.HOLD:
            if available > self._max_held:
                raise ProtocolViolation(
                    "Too much was sent before the authentication ended.",
                    detail=f"Expected at most {self._max_held} bytes.",
                )
            self._needed = self._max_held + 1
            return position
        end: int = position + 1 + length
        if end > len(source):
            self._needed = end - position
            return position
        if cell.action is Action.DELIVER:
            events.append(decode_message(kind, source[position + _HEADER_BYTES : end]))
        self._apply(cell)
        return end

    def _take_packet(self, source: bytes, position: int, events: list[Event]) -> int:
        """Take one packet without a type byte; return where it ends, or ``position`` if it is not complete."""
        if not self._row:
            raise ProtocolViolation(
                "Bytes came where only TLS, or the answer to the request for it, belongs.",
                detail=f"The state of the connection is {self._state.name}.",
                hint="Wait for the answer to SSLRequest or GSSENCRequest before you send anything.",
            )
        if Kind.TLS_CLIENT_HELLO in self._row and source[position] == _TLS_CLIENT_HELLO:
            events.append(requests.TlsClientHello())
            self._apply(self._row[Kind.TLS_CLIENT_HELLO])
            return len(source)
        available = len(source) - position
        self._needed = 4 if available < 4 else 8
        if available < 4:
            return position
        (length,) = _LENGTH(source, position)
        if not 8 <= length <= 4 + MAX_STARTUP_BYTES:
            raise _out_of_bounds("startup packet", 8, 4 + MAX_STARTUP_BYTES, length)
        if available < 8:
            return position
        kind = packet_kind(_CODE(source, position + 4)[0])
        cell = self._row.get(kind)
        if cell is None:
            raise self._misplaced(kind)
        if length > available:
            self._needed = length
            return position
        end: int = position + length
        events.append(decode_packet(kind, source[position + 4 : end]))
        self._apply(cell)
        return end

    def _step(self, outcome: Outcome) -> bool:
        """Do a step of the caller; False if it is too late for it, because the client has left."""
        if self._violation is not None:
            raise self._violation.error
        if self._state is State.CLOSED:
            return False
        state = OUTCOMES.get((self._state, outcome))
        if state is None:
            raise _misused(outcome, self._state)
        self._enter(state)
        return True

    def _rewind(self, outcome: Outcome, unserved: Iterable[Event]) -> list[Event]:
        """Do a step that belongs before ``unserved``, and judge these again from there."""
        again = list(unserved)
        if not again:
            self._step(outcome)
            return []
        if self._state is State.CLOSED and not isinstance(again[-1], Violation | requests.Terminate):
            return []  # it was the caller that closed it
        if self._state in BEFORE_STARTUP or self._state in (State.AWAITING_PASSWORD, State.AUTHENTICATING):
            raise _misused(outcome, self._state)
        self._mute = False
        self._enter(REWOUND[outcome])
        kept: list[Event] = []
        try:
            for event in again:
                if isinstance(event, Violation):
                    kept.append(event)
                    self._enter(State.CLOSED)
                else:
                    kind = KIND_OF[type(event)]
                    cell = self._row.get(kind)
                    if cell is None:
                        raise self._misplaced(kind)
                    if cell.action is Action.DELIVER:
                        kept.append(event)
                    self._apply(cell)
                if self._state is State.CLOSED:
                    break
        except ProtocolViolation as error:
            kept.append(self._broken(error))
        if self._state is State.CLOSED:
            self._partial = bytearray()
        return kept

    def _apply(self, cell: Cell) -> None:
        if cell.next_state is not self._state:
            self._enter(cell.next_state)
            self._mute = cell.next_state is State.CLOSED  # it was the client that ended it

    def _enter(self, state: State) -> None:
        self._state = state
        self._row = _ROWS[state]

    def _broken(self, error: ProtocolViolation) -> Violation:
        self._mute = self._state is State.TLS_HANDSHAKE
        self._enter(State.CLOSED)
        self._violation = Violation(error.message, error.detail, error.hint)
        return self._violation

    def _misplaced(self, kind: int) -> ProtocolViolation:
        name = KIND_NAMES.get(kind)
        expected = ", ".join([KIND_NAMES[known] for known in self._row])
        return ProtocolViolation(
            f"A {name} came where it does not belong." if name else "A message of an unknown type came.",
            detail=f"Expected {expected or 'nothing'}, got {name or f'type byte 0x{kind:02x}'}; "
            f"the state of the connection is {self._state.name}.",
        )


@lru_cache(maxsize=16)
def _limits(max_message_bytes: int, max_password_bytes: int) -> Mapping[int, int]:
    """The greatest length of each kind, itself included; one table for all connections, since idle ones are many."""
    small = min(MAX_SMALL_MESSAGE_BYTES, max_message_bytes)
    limits = {int(kind): 4 + (max_message_bytes if kind in _LARGE else small) for kind in DECODERS}
    limits[Kind.PASSWORD] = 4 + max_password_bytes
    return limits


def _out_of_bounds(what: str, least: int, most: int, length: int) -> ProtocolViolation:
    return ProtocolViolation(
        f"The length of a {what} is out of bounds.", detail=f"Expected a length from {least} to {most}, got {length}."
    )


def _misused(outcome: Outcome, state: State) -> InternalFault:
    return InternalFault(
        "A connection was told of a step that does not belong.", detail=f"{outcome.name} came in state {state.name}."
    )
