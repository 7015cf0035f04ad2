"""When a session ends, and what its client and the counts are told of it."""

import asyncio
from types import SimpleNamespace

import pytest

from rowgate.errors import TokenExpired
from rowgate.gateway.meter import Meter
from rowgate.gateway.sessions import lifetime
from rowgate.gateway.sessions.lifetime import STOPPED, Lifetime, SessionOver
from rowgate.gateway.sessions.outflow import Outflow
from rowgate.pgwire.server import answers

EXPIRED = TokenExpired("expired")


class Work:
    """Something that a session is in the middle of."""

    def __init__(self, *, is_free: bool = True) -> None:
        self.is_free = is_free
        self.woken: list[type[BaseException]] = []

    def wake(self, problem: BaseException) -> None:
        self.woken.append(type(problem))


class Client:
    """The life of a session with two works, and what its client has read."""

    def __init__(self, *, is_free: bool = True) -> None:
        self.read = b""
        self.closed = 0
        self.meter = Meter()
        self.works = (Work(), Work(is_free=is_free))
        self.gone = asyncio.get_running_loop().create_future()
        stream = SimpleNamespace(gone=self.gone, write=self._write, close=self._close)
        outflow = Outflow(stream)  # type: ignore[arg-type]
        self.lifetime = Lifetime(stream, outflow, self.meter, None, *self.works)  # type: ignore[arg-type]
        self.lifetime.begin()

    def _write(self, data: bytes) -> None:
        self.read += data

    def _close(self) -> None:
        self.closed += 1

    @property
    def woken(self) -> list[list[type[BaseException]]]:
        return [work.woken for work in self.works]


async def test_the_client_reads_once_why_its_session_ended() -> None:
    client = Client(is_free=False)
    client.lifetime.end(EXPIRED)
    client.lifetime.end(STOPPED)
    client.lifetime.fail(STOPPED)
    assert client.read == answers.error_of(EXPIRED, "FATAL")
    assert client.closed
    assert client.lifetime.is_over
    assert dict(client.meter.errors) == {("session", EXPIRED.code): 1}
    assert client.woken == [[SessionOver], [SessionOver]]


async def test_a_session_that_is_free_ends_at_once() -> None:
    client = Client()
    client.lifetime.end_when_free(STOPPED)
    assert client.read == answers.error_of(STOPPED, "FATAL")


async def test_a_session_in_the_middle_of_something_ends_after_it() -> None:
    client = Client(is_free=False)
    client.lifetime.end_when_free(STOPPED)
    client.lifetime.end_if_free()
    assert not client.lifetime.is_over
    assert client.woken == [[], []]
    client.works[1].is_free = True
    client.lifetime.end_if_free()
    assert client.read == answers.error_of(STOPPED, "FATAL")


@pytest.mark.parametrize("leaves", [False, True])
async def test_whoever_asks_nothing_more_is_ended_in_a_moment(monkeypatch: pytest.MonkeyPatch, leaves: bool) -> None:
    """And whoever leaves in that moment is told nothing, and not counted as told."""
    monkeypatch.setattr(lifetime, "LAST_WORD_SECONDS", 0.0)
    client = Client(is_free=False)
    client.lifetime.end_when_free(STOPPED)
    client.works[1].is_free = True
    client.lifetime.await_last_request()
    assert not client.lifetime.is_over
    if leaves:
        client.lifetime.close()
    for _ in range(2):
        await asyncio.sleep(0)
    assert client.read == (b"" if leaves else answers.error_of(STOPPED, "FATAL"))
    assert bool(client.meter.errors) is not leaves


@pytest.mark.parametrize(("problem", "stays"), [(EXPIRED, False), (STOPPED, True)])
async def test_a_fresh_token_takes_back_the_end_of_an_older_one_alone(problem: TokenExpired, stays: bool) -> None:
    client = Client(is_free=False)
    client.lifetime.end_when_free(problem)
    client.lifetime.token_renewed()
    client.works[1].is_free = True
    client.lifetime.end_if_free()
    assert client.lifetime.is_over is stays


async def test_a_client_that_has_gone_wakes_whoever_waits_and_is_told_nothing() -> None:
    client = Client(is_free=False)
    client.gone.set_result(None)
    await asyncio.sleep(0)
    assert client.woken == [[SessionOver], [SessionOver]]
    assert client.read == b""


async def test_a_session_that_has_ended_hears_of_its_client_no_more() -> None:
    client = Client()
    client.lifetime.close()
    client.gone.set_result(None)
    await asyncio.sleep(0)
    assert client.woken == [[], []]
