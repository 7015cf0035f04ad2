"""Every cell: each kind of message and each step of the server in each state, whether the table names it or not."""

import pytest

from rowgate.errors import InternalFault, ProtocolViolation
from rowgate.pgwire.fields import error_fields
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol, Violation
from rowgate.pgwire.server.decoding import DECODERS, KIND_OF
from rowgate.pgwire.server.state_table import (
    BEFORE_STARTUP,
    KIND_NAMES,
    MESSAGES,
    OUTCOMES,
    REWOUND,
    Action,
    Kind,
    Outcome,
    State,
)
from tests.unit.pgwire.server.streams import SAMPLES, VALUES, is_violation, protocol_in, receive_all, single_bytes

STEPS = {
    Outcome.TLS_ACCEPTED: ConnectionProtocol.accept_tls,
    Outcome.ENCRYPTION_DECLINED: ConnectionProtocol.decline_encryption,
    Outcome.TLS_ESTABLISHED: ConnectionProtocol.tls_established,
    Outcome.AUTHENTICATED: ConnectionProtocol.authenticated,
    Outcome.HANDED_OVER: ConnectionProtocol.hand_over,
    Outcome.ERROR_IN_EXTENDED: ConnectionProtocol.error_in_extended,
    Outcome.COPY_IN_BEGAN: lambda protocol: protocol.enter_copy_in(extended=False),
    Outcome.COPY_IN_BEGAN_EXTENDED: lambda protocol: protocol.enter_copy_in(extended=True),
    Outcome.COPY_IN_FAILED: ConnectionProtocol.leave_copy_in,
}
# Where an ErrorResponse would not be read: by TLS, or by nobody.
UNREAD = {State.TLS_HANDSHAKE, State.CLOSED}


@pytest.mark.parametrize("chunked", ["at once", "one byte at a time"])
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_every_message_in_every_state(state, kind, chunked):
    sample, cell = SAMPLES[kind], MESSAGES[state].get(kind)
    if kind is Kind.TLS_CLIENT_HELLO and cell is not None:
        sample = sample[:1]  # the rest is for TLS
    protocol = protocol_in(state)
    events = receive_all(protocol, [sample] if chunked == "at once" else single_bytes(sample))
    if state is State.CLOSED:
        assert events == []
        assert protocol.pending == 0
    elif cell is None:
        assert is_violation(events)
        assert protocol.state is State.CLOSED
        answer = protocol.refuse(events[0].error)
        assert answer == b"" if state in UNREAD else error_fields(answer[5:])["C"] == "08P01"
    elif cell.action is Action.HOLD:
        assert (events, protocol.state, protocol.pending) == ([], state, len(SAMPLES[kind]))
        assert protocol.authenticated() == [VALUES[kind]]
    else:
        assert events == ([VALUES[kind]] if cell.action is Action.DELIVER else [])
        assert (protocol.state, protocol.pending) == (cell.next_state, 0)


@pytest.mark.parametrize(
    "state", [state for state in State if state not in BEFORE_STARTUP], ids=lambda state: state.name
)
def test_every_type_byte_without_a_kind(state):
    for byte in set(range(256)) - {int(kind) for kind in Kind}:
        protocol = protocol_in(state)
        events = protocol.receive(bytes((byte, 0, 0, 0, 4)))
        if state is State.CLOSED:
            assert events == []
        else:
            assert is_violation(events)
            assert events[0].message == "A message of an unknown type came."
            assert f"0x{byte:02x}" in events[0].detail


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.name)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_every_step_in_every_state(state, outcome):
    protocol = protocol_in(state)
    if (state, outcome) in OUTCOMES:
        STEPS[outcome](protocol)
        assert protocol.state is OUTCOMES[state, outcome]
    elif state is State.CLOSED:
        assert not STEPS[outcome](protocol)  # it is too late, and no defect
        assert protocol.state is state
    else:
        with pytest.raises(InternalFault, match="does not belong"):
            STEPS[outcome](protocol)
        assert protocol.state is state


@pytest.mark.parametrize("outcome", [step for step in Outcome if step not in REWOUND], ids=lambda step: step.name)
@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED], ids=lambda state: state.name)
def test_no_step_undoes_a_violation(state, outcome):
    protocol = protocol_in(state)
    assert is_violation(protocol.receive(b"\xffgarbage"))
    with pytest.raises(ProtocolViolation):
        STEPS[outcome](protocol)
    assert protocol.state is State.CLOSED


@pytest.mark.parametrize("outcome", sorted(REWOUND, key=lambda outcome: outcome.name), ids=lambda outcome: outcome.name)
@pytest.mark.parametrize(
    "state",
    sorted(BEFORE_STARTUP | {State.AWAITING_PASSWORD, State.AUTHENTICATING}, key=lambda state: state.name),
    ids=lambda state: state.name,
)
def test_nothing_is_judged_again_before_the_login(state, outcome):
    protocol = protocol_in(state)
    step = {
        Outcome.ERROR_IN_EXTENDED: protocol.error_in_extended,
        Outcome.COPY_IN_BEGAN: lambda unserved: protocol.enter_copy_in(unserved, extended=False),
        Outcome.COPY_IN_BEGAN_EXTENDED: lambda unserved: protocol.enter_copy_in(unserved, extended=True),
        Outcome.COPY_IN_FAILED: protocol.leave_copy_in,
    }[outcome]
    with pytest.raises(InternalFault):
        step([VALUES[Kind.SYNC]])
    assert protocol.state is state


def test_the_tables_are_complete():
    assert set(MESSAGES) == set(State)
    assert set(KIND_NAMES) == set(Kind) == set(SAMPLES) == set(VALUES)
    assert set(DECODERS) == set(KIND_OF.values()) == {kind for kind in Kind if kind < 256}
    reached = {cell.next_state for row in MESSAGES.values() for cell in row.values()} | set(OUTCOMES.values())
    assert reached | {State.AWAITING_STARTUP} == set(State)
    assert {outcome: state for (_, outcome), state in OUTCOMES.items() if outcome in REWOUND} == REWOUND


def test_the_tables_cannot_be_changed():
    for table in (MESSAGES, OUTCOMES, REWOUND, KIND_NAMES, DECODERS, KIND_OF):
        with pytest.raises(TypeError):
            table[next(iter(table))] = None


def test_what_the_tables_must_never_say():
    """The rules that security rests on, written down a second time."""
    statements = {kind for kind in Kind if kind < 256} - {Kind.PASSWORD, Kind.TERMINATE}
    for state in BEFORE_STARTUP | {State.AWAITING_PASSWORD}:
        assert not statements & set(MESSAGES[state]), "a statement before the authentication"
    assert all(cell.action is Action.HOLD for cell in MESSAGES[State.AUTHENTICATING].values())
    for state in (
        State.TLS_REQUESTED,
        State.TLS_REQUESTED_LAST,
        State.GSSENC_REQUESTED,
        State.GSSENC_REQUESTED_LAST,
        State.TLS_HANDSHAKE,
    ):
        assert not MESSAGES[state], "bytes before the answer to a request for encryption"
    into_session = {state for (state, step), after in OUTCOMES.items() if step is Outcome.AUTHENTICATED}
    assert into_session == {State.AWAITING_PASSWORD, State.AUTHENTICATING}
    delivering = {state for state, row in MESSAGES.items() for kind, cell in row.items()
                  if kind is Kind.PASSWORD and cell.action is Action.DELIVER}  # fmt: skip
    assert delivering == {State.AWAITING_PASSWORD}, "a second password"
    assert set(MESSAGES[State.SKIPPING].values()) - {MESSAGES[State.SKIPPING][Kind.QUERY]} == {
        MESSAGES[State.SKIPPING][Kind.SYNC],
        MESSAGES[State.SKIPPING][Kind.TERMINATE],
    }


def test_a_violation_is_a_value():
    violation = Violation("What happened.", "What was expected.", "What to do.")
    error = violation.error
    assert (error.message, error.detail, error.hint) == ("What happened.", "What was expected.", "What to do.")
    assert violation == Violation("What happened.", "What was expected.", "What to do.")
