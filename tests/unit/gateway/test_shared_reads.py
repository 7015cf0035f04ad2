"""Which requests of a session share a connection: quick reads that came whole, and only what the gate lets through."""

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from rowgate.gateway.limits import Limits
from rowgate.gateway.meter import Meter
from rowgate.gateway.sessions.session import Session
from rowgate.gateway.sessions.shared_reads import SharedReads
from rowgate.gateway.sessions.state import SessionState
from rowgate.guard import CLIENT, FunctionCatalog, Guard
from rowgate.pgwire import messages
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol
from rowgate.postgres.known_texts import QUICK_RUNS, KnownTexts
from rowgate.settings import Settings

GUARD = Guard(CLIENT, FunctionCatalog.default())
READ = b"select id from todos where id = $1"
PARSE = messages.parse(b"", READ)
BIND = messages.bind(b"", b"", (b"1",))
DESCRIBE = messages.describe_portal(b"")
EXECUTE = messages.execute(b"")


class Taken(Exception):
    """Somebody asked the pool for a connection."""


class Pool:
    """A pool that knows every text as quick and has no connection."""

    def __init__(self) -> None:
        self.texts = KnownTexts()

    def take(self, shares: bool = False, party: object = None) -> None:
        raise Taken(f"shares={shares}")


def events(*parts: bytes) -> deque[Any]:
    protocol = ConnectionProtocol()
    protocol.receive(messages.startup({"user": "u"}))
    protocol.authenticated()
    return deque(protocol.receive(b"".join(parts)))


def reads() -> SharedReads:
    return SharedReads(SessionState(), lambda sql: GUARD.check_session(sql.decode()), lambda: None)


@pytest.mark.parametrize(
    ("parts", "count"),
    [
        ((messages.query(b"select 1"),), 1),
        ((messages.query(b"select id from todos; "),), 1),
        ((PARSE, BIND, DESCRIBE, EXECUTE, messages.SYNC), 5),
        ((PARSE, BIND, EXECUTE, messages.SYNC), 4),
        ((PARSE, BIND, EXECUTE, messages.SYNC, PARSE, BIND), 4),
    ],
)
def test_a_read_that_came_whole_is_found(parts: tuple[bytes, ...], count: int) -> None:
    waiting = events(*parts)
    found = reads().find(waiting.popleft(), waiting)
    assert found is not None
    assert found[0] == count


@pytest.mark.parametrize(
    "parts",
    [
        (messages.query(b"select 1; select 2"),),
        (messages.query(b"insert into todos (task) values ('x')"),),
        (messages.query(b"select id from todos for update"),),
        (messages.query(b"select my_function()"),),
        (messages.query(b"begin"),),
        (messages.query(b"show search_path"),),
        (messages.query(b"select set_config('timezone', 'UTC', false)"),),
        (messages.query(b"select auth.jwt_session_init('x')"),),
        (messages.query(b"set role postgres"),),
        (messages.query(b""),),
        (PARSE, BIND, DESCRIBE, EXECUTE),
        (PARSE, BIND, DESCRIBE, EXECUTE, messages.FLUSH),
        (PARSE, BIND, EXECUTE, EXECUTE, messages.SYNC),
        (PARSE, BIND, BIND, EXECUTE, messages.SYNC),
        (PARSE, BIND, messages.execute(b"", 5), messages.SYNC),
        (PARSE, messages.bind(b"portal", b"", (b"1",)), messages.execute(b"portal"), messages.SYNC),
        (PARSE, messages.bind(b"", b"other", (b"1",)), EXECUTE, messages.SYNC),
        (messages.parse(b"named", READ), messages.bind(b"", b"named", (b"1",)), EXECUTE, messages.SYNC),
        (PARSE, messages.describe_statement(b""), BIND, EXECUTE, messages.SYNC),
        (BIND, EXECUTE, messages.SYNC),
        (messages.parse(b"", b"delete from todos"), BIND, EXECUTE, messages.SYNC),
    ],
)
def test_everything_else_has_a_connection_of_its_own(parts: tuple[bytes, ...]) -> None:
    waiting = events(*parts)
    assert reads().find(waiting.popleft(), waiting) is None


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("parts", [(messages.query(b"select id from todos"),), (PARSE, BIND, EXECUTE, messages.SYNC)])
async def test_only_what_the_gate_lets_through_is_shared(passes: bool, parts: tuple[bytes, ...]) -> None:
    pool = Pool()
    waiting = events(*parts)
    request = waiting.popleft()
    found = reads().find(request, waiting)
    assert found is not None
    assert found[1].verdict is not None
    for _ in range(QUICK_RUNS):
        pool.texts.note(found[1].verdict.fingerprint.encode(), 0.0)
    database = SimpleNamespace(
        guard=GUARD,
        name="app",
        endpoint="",
        pool=lambda role: pool,
        row_security=SimpleNamespace(passes=lambda role, verdict: passes),
    )
    stream = SimpleNamespace(gone=asyncio.get_running_loop().create_future(), write=lambda data: None)
    session = Session(
        stream, ConnectionProtocol(), database, "authenticated", None, (),  # type: ignore[arg-type]
        limits=Limits(Settings()), settings=Settings(), meter=Meter(), parameters={},
    )  # fmt: skip
    session._waiting = waiting
    if passes:
        with pytest.raises(Taken, match="shares=True"):
            await session._read_shared(request)
    else:
        assert await session._read_shared(request) is False
