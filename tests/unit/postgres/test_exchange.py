"""Collecting the answer to a pipelined write: results, the step that failed, and what taints a connection."""

import pytest

from rowgate.errors import ProtocolViolation
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
