"""What makes a session's backend pause: a client that is behind, and a bearer who owes."""

import asyncio
from typing import Any

import pytest

from rowgate.gateway.sessions import outflow as module
from rowgate.gateway.sessions.outflow import CHARGED_AT_ONCE_BYTES, Outflow


class Stream:
    """A client that has read everything once ``reads`` is set."""

    def __init__(self) -> None:
        self.written = b""
        self.reads = asyncio.Event()
        self.reads.set()

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        await self.reads.wait()


class Source:
    def __init__(self) -> None:
        self.paused = asyncio.Event()
        self.resumed = asyncio.Event()

    def pause(self) -> None:
        self.paused.set()

    def resume(self) -> None:
        self.resumed.set()


class Bearer:
    def __init__(self, *, owes: bool) -> None:
        self.owes = owes
        self.charged: list[int] = []

    def charge(self, size: int) -> bool:
        self.charged.append(size)
        return self.owes


def outflow_of(bearer: Bearer) -> tuple[Outflow, Any, Source]:
    stream: Any = Stream()
    return Outflow(stream, bearer.charge), stream, Source()


async def test_a_result_is_charged_while_it_flows_and_its_rest_at_the_end() -> None:
    bearer = Bearer(owes=False)
    outflow, stream, source = outflow_of(bearer)
    for _ in range(3):
        outflow.write(bytes(CHARGED_AT_ONCE_BYTES - 1))
        outflow.relieve(source)
    assert bearer.charged == [2 * (CHARGED_AT_ONCE_BYTES - 1)]
    await outflow.drain()
    assert not outflow.charge()
    assert bearer.charged == [2 * (CHARGED_AT_ONCE_BYTES - 1), CHARGED_AT_ONCE_BYTES - 1]
    assert len(stream.written) == sum(bearer.charged)


@pytest.mark.parametrize("rows", [1, 4, 100])
async def test_where_its_bearer_owes_a_result_waits_for_as_long_as_it_is_large(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Rows of a megabyte flow no faster than small ones."""
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    outflow, _, source = outflow_of(Bearer(owes=True))
    outflow.write(bytes(rows * CHARGED_AT_ONCE_BYTES))
    outflow.relieve(source)
    assert source.paused.is_set()
    async with asyncio.timeout(10):
        await source.resumed.wait()
    pace = rows * CHARGED_AT_ONCE_BYTES / module.OWING_BYTES_A_SECOND
    assert slept == [min(pace, module.LONGEST_REST_SECONDS)]


async def test_small_results_never_wait_for_that() -> None:
    outflow, _, source = outflow_of(Bearer(owes=True))
    for _ in range(100):
        outflow.write(bytes(1000))
        outflow.relieve(source)
        assert outflow.charge()
    assert not source.paused.is_set()


async def test_a_client_that_is_behind_pauses_its_backend_until_it_has_read() -> None:
    outflow, stream, source = outflow_of(Bearer(owes=False))
    stream.reads.clear()
    outflow.write(bytes(module.WRITE_AHEAD_BYTES + 1))
    outflow.relieve(source)
    assert source.paused.is_set()
    assert not source.resumed.is_set()
    stream.reads.set()
    async with asyncio.timeout(10):
        await source.resumed.wait()
