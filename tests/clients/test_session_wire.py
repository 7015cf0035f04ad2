"""Sessions by the bytes: orders of messages that libraries rarely send, and what Postgres does with them."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from rowgate.pgwire import messages
from rowgate.pgwire.fields import data_row, error_fields
from tests.clients.session_stack import DEADLINE, Sessions, Wire, running_sessions

SYNC, FLUSH = messages.SYNC, messages.FLUSH


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(
        tmp_path_factory.mktemp("sessions"), "grant select, insert, delete on plain to authenticated"
    ) as running:
        yield running


@pytest.fixture
def wire(sessions: Sessions) -> Iterator[Wire]:
    with Wire(sessions) as connected:
        connected.log_in(sessions)
        yield connected


def run(sql: bytes, *, name: bytes = b"") -> bytes:
    """Parse, Bind, Describe, Execute."""
    return (
        messages.parse(name, sql) + messages.bind(b"", name, ()) + messages.describe_portal(b"") + messages.execute(b"")
    )


def kinds(wire: Wire) -> bytes:
    return b"".join(kind for kind, _ in wire.messages())


def rows(wire: Wire) -> list[list[bytes | None]]:
    return [data_row(body) for kind, body in wire.messages() if kind == b"D"]


def test_a_pipeline_is_one_transaction(wire: Wire) -> None:
    wire.send(run(b"insert into plain values (1, 'x')") + run(b"select nope") + run(b"select 1") + SYNC)
    assert kinds(wire) == b"12nCEZ"
    wire.send(run(b"select count(*) from plain") + SYNC)
    assert rows(wire) == [[b"0"]]


def test_identity_comes_back_after_commit_in_a_pipeline(wire: Wire) -> None:
    wire.send(run(b"begin") + run(b"commit") + run(b"select auth.user_id()") + run(b"rollback")
              + run(b"select auth.user_id()") + SYNC)  # fmt: skip
    assert rows(wire) == [[b"user_alice"], [b"user_alice"]]


def test_several_syncs_in_one_write(wire: Wire) -> None:
    wire.send(b"".join(run(b"select %d" % number) + SYNC for number in range(20)))
    assert [rows(wire) for _ in range(20)] == [[[b"%d" % number]] for number in range(20)]


def test_flush_gives_what_is_ready(wire: Wire) -> None:
    wire.send(messages.parse(b"s", b"select $1::int") + messages.describe_statement(b"s") + FLUSH)
    assert [kind for kind, _ in wire.messages(until=b"T")] == [b"1", b"t", b"T"]
    wire.send(messages.bind(b"", b"s", [b"7"]) + messages.execute(b"") + SYNC)
    assert rows(wire) == [[b"7"]]


def test_prepared_statements_are_the_sessions_own(sessions: Sessions, wire: Wire) -> None:
    with Wire(sessions) as other:
        other.log_in(sessions, "bob")
        for connected, text in ((wire, b"select 'alice', auth.user_id()"), (other, b"select 'bob', auth.user_id()")):
            connected.send(messages.parse(b"s", text) + SYNC)
            assert kinds(connected) == b"1Z"
        for connected, name in ((wire, b"alice"), (other, b"bob")) * 5:
            connected.send(messages.bind(b"", b"s", ()) + messages.execute(b"") + SYNC)
            assert rows(connected) == [[name, b"user_" + name]]
        wire.send(messages.parse(b"s", b"select 2") + SYNC)
        assert wire.refusal()["C"] == "42P05"
        wire.send(messages.close_statement(b"s") + messages.parse(b"s", b"select 2") + SYNC)
        assert kinds(wire) == b"31Z"
        other.send(messages.bind(b"", b"s", ()) + messages.execute(b"") + SYNC)
        assert rows(other) == [[b"bob", b"user_bob"]]


def test_a_statement_that_failed_to_parse_is_not_there(wire: Wire) -> None:
    for text in (b"select nope", b"set role postgres", b"selec"):
        wire.send(messages.parse(b"s", text) + SYNC)
        assert kinds(wire) == b"EZ"
        wire.send(messages.bind(b"", b"s", ()) + SYNC)
        assert wire.refusal()["C"] == "26000"


def test_the_unnamed_statement_lives_on_between_transactions(sessions: Sessions, wire: Wire) -> None:
    wire.send(messages.parse(b"", b"select auth.user_id()") + SYNC)
    assert kinds(wire) == b"1Z"
    sessions.stack.sql("select 1", token=sessions.stack.tokens["bob"])
    wire.send(messages.bind(b"", b"", ()) + messages.execute(b"") + SYNC)
    assert rows(wire) == [[b"user_alice"]]


def test_after_an_error_everything_is_skipped_until_sync(wire: Wire) -> None:
    wire.send(messages.parse(b"", b"set role postgres") + messages.query(b"select 1") + run(b"select 2") + SYNC)
    assert kinds(wire) == b"EZ"
    wire.send(run(b"select nope") + messages.query(b"select 1") + SYNC)
    assert kinds(wire) == b"EZ"


def test_portals_in_steps(wire: Wire) -> None:
    wire.send(messages.query(b"begin"))
    assert kinds(wire) == b"CZ"
    wire.send(messages.parse(b"", b"select g from generate_series(1, 5) g") + messages.bind(b"p", b"", ())
              + messages.execute(b"p", 2) + SYNC)  # fmt: skip
    assert kinds(wire) == b"12DDsZ"
    wire.send(messages.execute(b"p", 2) + messages.execute(b"p", 2) + SYNC)
    assert kinds(wire) == b"DDsDCZ"
    wire.send(messages.query(b"rollback"))
    assert kinds(wire) == b"CZ"
    wire.send(messages.execute(b"p") + SYNC)
    assert wire.refusal()["C"] == "34000"


def test_copy_by_the_extended_protocol(wire: Wire) -> None:
    """The Sync that libpq sends ahead of the data is ignored by a server that waits for data."""
    wire.send(
        messages.parse(b"", b"copy plain from stdin") + messages.bind(b"", b"", ()) + messages.execute(b"") + SYNC
    )
    assert [kind for kind, _ in wire.messages(until=b"G")] == [b"1", b"2", b"G"]
    wire.send(messages.raw(b"d", b"1\tone\n") + messages.raw(b"d", b"2\ttwo\n") + messages.raw(b"c", b"") + SYNC)
    assert kinds(wire) == b"CZ"
    wire.send(run(b"copy (select count(*) from plain) to stdout") + SYNC)
    assert kinds(wire) == b"12nHdcCZ"
    wire.send(messages.query(b"delete from plain"))
    assert kinds(wire) == b"CZ"


def test_copy_that_the_client_gives_up(wire: Wire) -> None:
    wire.send(messages.query(b"copy plain from stdin; select 1"))
    assert wire.messages(until=b"G")[-1][0] == b"G"
    wire.send(messages.raw(b"d", b"1\tone\n") + messages.copy_fail(b"enough"))
    assert wire.refusal()["C"] == "57014"
    wire.send(messages.query(b"select count(*) from plain"))
    assert rows(wire) == [[b"0"]]


NO_DATA = (
    messages.query(b"select 1"), messages.parse(b"", b"select 1"), messages.execute(b""), messages.raw(b"p", b"x\0"),
    messages.raw(b"F", bytes(10)),
)  # fmt: skip


@pytest.mark.parametrize("message", NO_DATA, ids=lambda sent: chr(sent[0]))
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_what_is_no_data_ends_a_copy_and_its_session(wire: Wire, message: bytes, extended: bool) -> None:
    """As in Postgres, which cannot tell where the data goes on (section 54.2.6)."""
    copy = b"copy plain from stdin"
    wire.send(run(copy) + SYNC if extended else messages.query(copy))
    assert wire.messages(until=b"G")[-1][0] == b"G"
    wire.send(messages.raw(b"d", b"1\tone\n") + FLUSH + SYNC + message)
    told = wire.messages()
    assert [kind for kind, _ in told] == [b"E"]
    assert (error_fields(told[0][1])["S"], error_fields(told[0][1])["C"]) == ("FATAL", "08P01")


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_client_that_stops_at_the_error_of_its_copy_is_told_the_end(wire: Wire, extended: bool) -> None:
    copy = b"copy plain from stdin"
    wire.send(run(copy) + SYNC if extended else messages.query(copy))
    assert wire.messages(until=b"G")[-1][0] == b"G"
    wire.send(messages.raw(b"d", b"no number\tone\n" * 10_000))
    assert wire.messages(until=b"E")[-1][0] == b"E"
    if extended:
        wire.send(SYNC)
    assert kinds(wire) == b"Z"
    wire.send(
        messages.raw(b"d", b"1\tlate\n") + messages.raw(b"c", b"") + messages.query(b"select count(*) from plain")
    )
    assert rows(wire) == [[b"0"]]


def test_an_empty_query(wire: Wire) -> None:
    for text in (b"", b";", b" -- nothing"):
        wire.send(messages.query(text))
        assert kinds(wire) == b"IZ"
        wire.send(run(text) + SYNC)
        assert kinds(wire) == b"12nIZ"


def test_a_token_presented_by_parameter_never_reaches_postgres(sessions: Sessions, wire: Wire) -> None:
    token = sessions.stack.tokens["bob"].encode()
    wire.send(messages.parse(b"", b"select auth.jwt_session_init($1)") + messages.bind(b"", b"", [token])
              + messages.execute(b"") + SYNC)  # fmt: skip
    assert rows(wire) == [[b""]]
    wire.send(messages.query(b"select auth.user_id()"))
    assert rows(wire) == [[b"user_bob"]]


# --- a backend that dies ------------------------------------------------------------------------------------------

COUNT = b"select count(*), auth.user_id() from generate_series(1, %d)"
LONG = 20_000_000_000


def terminate(sessions: Sessions, state: str) -> None:
    """Waits for the one backend in ``state``, and has Postgres end it."""
    with psycopg.connect(sessions.stack.superuser_url, autocommit=True) as superuser:
        deadline = time.monotonic() + DEADLINE
        while not superuser.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where usename = 'rowgate_authenticated' and state = %s",
            (state,),
        ).fetchall():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def last_words(wire: Wire) -> list[tuple[str, str]]:
    """Severity and SQLSTATE of all errors that come until the connection ends."""
    found = [error_fields(body) for kind, body in wire.messages(until=b"nothing") if kind == b"E"]
    return [(fields["V"], fields["C"]) for fields in found]


def test_the_session_of_a_transaction_whose_backend_dies_ends_with_one_word(sessions: Sessions, wire: Wire) -> None:
    """Nobody waits for an answer then; what the client asks next would never have one."""
    wire.send(messages.query(b"begin"))
    assert kinds(wire) == b"CZ"
    terminate(sessions, "idle in transaction")
    assert last_words(wire) == [("FATAL", "57P01")]


def test_a_statement_whose_backend_dies_has_one_error(sessions: Sessions, wire: Wire) -> None:
    wire.send(messages.query(b"begin"))
    assert kinds(wire) == b"CZ"
    wire.send(messages.query(COUNT % LONG))
    terminate(sessions, "active")
    assert last_words(wire) == [("FATAL", "57P01")]
