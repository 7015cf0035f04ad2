"""Collecting the answer to a pipelined write: results, the step that failed, and what taints a connection."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import ProtocolViolation
from rowgate.pgwire.messages import raw
from rowgate.pgwire.stream import MessageStream
from rowgate.postgres.exchange import Exchange, Prepared, Step

PARSED, BOUND, ROW, DONE, READY, ERROR = 0x31, 0x32, 0x44, 0x43, 0x5A, 0x45
ERROR_BODY = b"SERROR\0C42501\0Mno\0\0"


def test_results_come_in_order_and_own_steps_give_none() -> None:
    first, second = Prepared(b"a"), Prepared(b"b")
    exchange = Exchange([Step("context"), Step("statement", first), Step("statement", second)])
    for kind, body in [(BOUND, b""), (ROW, b"void"), (DONE, b"SELECT 1\0"), (BOUND, b""), (ROW, b"1"), (ROW, b"2"),
                       (DONE, b"SELECT 2\0"), (BOUND, b""), (0x49, b"")]:  # fmt: skip
        assert exchange.receive(kind, body) is False
    assert exchange.receive(READY, b"I") is True
    outcome = exchange.outcome()
    assert [(one.prepared, one.regions, one.tag) for one in outcome.results] == [
        (first, [b"1", b"2"], b"SELECT 2\0"),
        (second, [], b""),
    ]
    assert (outcome.error, exchange.status, exchange.state_changed) == (None, ord("I"), False)


def test_the_step_that_failed_is_known() -> None:
    steps = [Step("begin"), Step("context"), Step("statement", Prepared(b"")), Step("commit")]
    exchange = Exchange(steps)
    for kind, body in [(PARSED, b""), (BOUND, b""), (DONE, b"BEGIN\0"), (BOUND, b""), (ERROR, ERROR_BODY)]:
        exchange.receive(kind, body)
    assert exchange.receive(READY, b"E")
    assert exchange.outcome().failed is steps[1]
    assert exchange.outcome().error is not None
    assert exchange.outcome().error.database_sqlstate == "42501"
    assert exchange.status == ord("E")


def test_only_what_was_parsed_is_kept() -> None:
    parsed = Step("statement", Prepared(b"a"), parsed_here=True, sql=b"1")
    skipped = Step("statement", Prepared(b"b"), parsed_here=True, sql=b"2")
    exchange = Exchange([parsed, skipped])
    exchange.receive(PARSED, b"")
    exchange.receive(ERROR, ERROR_BODY)
    exchange.receive(READY, b"I")
    assert exchange.parsed_steps == [parsed]


@pytest.mark.parametrize("kind", [0x53, 0x41])
def test_a_changed_session_is_noticed(kind: int) -> None:
    exchange = Exchange([Step("own")])
    exchange.receive(kind, b"x\0y\0")
    assert exchange.state_changed


def test_messages_that_do_not_belong_are_refused() -> None:
    for kind, body in [(0x52, b""), (READY, b""), (0x7A, b"")]:
        with pytest.raises(ProtocolViolation):
            Exchange([Step("own")]).receive(kind, body)
    exchange = Exchange([Step("own")])
    exchange.receive(DONE, b"SELECT 1\0")
    with pytest.raises(ProtocolViolation):
        exchange.receive(DONE, b"SELECT 1\0")


ORDINARY = [(BOUND, b""), (ROW, b"\0\1\0\0\0\1x"), (DONE, b"SELECT 1\0")]
MESSAGES = st.lists(
    st.sampled_from([*ORDINARY, *ORDINARY, (READY, b"I"), (READY, b"T"), (READY, b""), (PARSED, b""), (0x49, b""),
                     (BOUND, b"x"), (0x4E, b"\0"), (ERROR, ERROR_BODY)]), max_size=12,
)  # fmt: skip


def answer_of(messages: list[tuple[int, bytes]]) -> bytes:
    return b"".join(raw(bytes((kind,)), body) for kind, body in messages)


def one_by_one(exchange: Exchange, data: bytes) -> int:
    """How many bytes it took up to its end; 0 where it has not ended or was no answer."""
    stream, taken = MessageStream(1 << 20, group_rows=True), 0
    with suppress(ProtocolViolation):
        for kind, body in stream.feed(data):
            taken += len(body) + (0 if kind == ROW else 5)
            if exchange.receive(kind, body):
                return taken
    return 0


WHOLE = st.integers(1, 3).map(lambda count: [*ORDINARY * count, (READY, b"I"), (BOUND, b"")])


@given(MESSAGES | WHOLE, st.integers(0, 30))
def test_a_whole_answer_is_the_same_as_its_messages(messages: list[tuple[int, bytes]], cut: int) -> None:
    steps = [Step("context"), Step("statement", Prepared(b"a")), Step("statement", Prepared(b"b"))]
    data = answer_of(messages)[: -cut or None]
    for count in (1, 2, 3):
        whole, apart = Exchange(steps[:count]), Exchange(steps[:count])
        end = whole.receive_whole(b"before" + data, 6)
        if end:
            assert one_by_one(apart, data) == end - 6
            assert [(one.prepared, one.regions, one.tag) for one in whole.outcome().results] == [
                (one.prepared, one.regions, one.tag) for one in apart.outcome().results
            ]
            assert (whole.status, list(whole.parsed_steps)) == (apart.status, list(apart.parsed_steps))
        else:
            assert not whole.outcome().results


def test_an_ordinary_answer_is_taken_whole_and_only_by_what_waits_for_it() -> None:
    data = answer_of([*ORDINARY, (BOUND, b""), (DONE, b"SELECT 0\0"), (READY, b"I")])
    steps = [Step("context"), Step("statement", Prepared(b"a"))]
    exchange = Exchange(steps)
    assert exchange.receive_whole(data, 0) == len(data)
    assert [(one.regions, one.tag) for one in exchange.outcome().results] == [([], b"SELECT 0\0")]
    assert Exchange(steps[:1]).receive_whole(data, 0) == 0
    begun = Exchange(steps)
    begun.receive(*ORDINARY[0])
    begun.receive(*ORDINARY[1])
    assert begun.receive_whole(data, 0) == 0
