"""The flow of a large result, step by step: when it begins, whom it makes wait, and what it leaves out."""

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from rowgate.errors import ConnectionLost
from rowgate.gateway.answer_flow import AnswerFlow
from rowgate.gateway.answer_formats import ArrayTypes, JsonFormat
from rowgate.gateway.request import SqlRequest, decode
from rowgate.gateway.response import Response
from rowgate.pgwire.fields import Field
from rowgate.pgwire.messages import raw
from rowgate.pgwire.result_shape import ResultShape
from rowgate.pgwire.types import BUILTIN_ARRAYS
from rowgate.postgres.exchange import Prepared, Result

HEADERS = ((b"RateLimit", b"r=1"),)


class Client:
    """A client's connection that takes so many pieces before it is full."""

    def __init__(self, places: int = 1000) -> None:
        self.on_writable: Callable[[], None] | None = None
        self.heads: list[Response] = []
        self.body = b""
        self.places = places

    def begin_body(self, head: Response) -> None:
        self.heads.append(head)

    def write_body(self, data: bytes) -> bool:
        assert data  # an empty chunk would end the body
        self.body += data
        self.places -= 1
        return self.places > 0


class Source:
    """A connection to Postgres."""

    def __init__(self) -> None:
        self.paused = 0

    def pause(self) -> None:
        self.paused += 1

    def resume(self) -> None:
        self.paused -= 1


def request(*queries: str) -> SqlRequest:
    body = {"queries": [{"query": one} for one in queries]} if len(queries) > 1 else {"query": queries[0]}
    headers = {b"neon-connection-string": b"postgresql://authenticated@x/db"}
    return decode(headers, json.dumps(body).encode(), max_batch_statements=9)


def statement() -> Prepared:
    prepared = Prepared(b"")
    prepared.shape = ResultShape([Field("n", 0, 0, 23, 4, -1)])
    return prepared


def region(*numbers: int) -> bytes:
    return b"".join(raw(b"D", b"\0\1" + len(str(n)).to_bytes(4, "big") + str(n).encode()) for n in numbers)


def done(prepared: Prepared, *regions: bytes) -> Result:
    return Result(prepared, list(regions), b"SELECT 9\0")


def values(body: bytes) -> list[list[int]]:
    whole = json.loads(body)
    return [[row["n"] for row in one["rows"]] for one in whole.get("results", [whole])]


class Types:
    """The database's types: at hand, or read when ``arrive`` is called."""

    def __init__(self, *, known: bool = True, fails: bool = False) -> None:
        self.known = known
        self.fails = fails
        self.arrived = asyncio.Event()

    def at_hand(self, statements: Sequence[Prepared]) -> ArrayTypes | None:
        return BUILTIN_ARRAYS if self.known else None

    async def read(self, statements: Sequence[Prepared]) -> ArrayTypes:
        await self.arrived.wait()
        if self.fails:
            raise ConnectionLost("gone")
        return BUILTIN_ARRAYS


def flow_to(client: Client, types: Types, *queries: str) -> tuple[AnswerFlow, Source]:
    flow, source = AnswerFlow(request(*queries), JsonFormat, client, HEADERS, 10, types.at_hand, types.read), Source()
    flow.run_from(source)
    return flow, source


async def test_a_slow_client_pauses_the_source_until_it_has_caught_up() -> None:
    client, prepared = Client(places=3), statement()
    flow, source = flow_to(client, Types(), "select")
    flow.take(source, [], prepared, [region(1, 2)])
    assert (source.paused, flow.threshold, len(client.heads)) == (0, 0, 1)
    assert (client.heads[0].status, client.heads[0].headers) == (200, HEADERS)
    flow.take(source, [], prepared, [region(3)])
    assert source.paused == 1
    assert client.on_writable is not None
    client.places = 1000
    client.on_writable()
    assert source.paused == 0
    answer = await flow.finish([done(prepared, region(4))])
    assert values(client.body) == [[1, 2, 3, 4]]
    assert (answer.written, client.on_writable) == (len(client.body), None)


async def test_results_before_and_behind_the_large_one_stand_in_their_places() -> None:
    client, first, large, last = Client(), statement(), statement(), statement()
    flow, source = flow_to(client, Types(), "select 1", "select 2", "select 3")
    before = done(first, region(1))
    flow.take(source, [before], large, [region(2)])
    flow.take(source, [before], large, [region(3)])
    await flow.finish([before, done(large), done(last)])
    assert values(client.body) == [[1], [2, 3], []]


@pytest.mark.parametrize("fails", [False, True])
async def test_rows_whose_types_are_not_known_yet_wait_for_them(fails: bool) -> None:
    """Also where the whole result is there first."""
    client, prepared, types = Client(), statement(), Types(known=False, fails=fails)
    flow, source = flow_to(client, types, "select")
    flow.take(source, [], prepared, [region(1)])
    flow.take(source, [], prepared, [region(2)])
    assert (source.paused, client.heads, flow.begun) == (1, [], True)
    flow.leave(source)
    assert source.paused == 0  # it serves others
    finished = asyncio.ensure_future(flow.finish([done(prepared, region(3))]))
    await asyncio.sleep(0)
    types.arrived.set()
    await finished
    assert values(client.body) == [[1, 2, 3]]
    assert source.paused == 0


async def test_rows_of_a_run_that_was_given_up_are_left_out() -> None:
    client, prepared = Client(), statement()
    flow, first = flow_to(client, Types(), "select")
    second = Source()
    flow.run_from(second)
    flow.take(first, [], prepared, [region(1)])
    assert not flow.begun
    flow.take(second, [], prepared, [region(2)])
    flow.leave(first)
    await flow.finish([done(prepared)])
    assert values(client.body) == [[2]]


async def test_what_is_closed_writes_nothing_and_holds_nobody() -> None:
    client, prepared = Client(places=1), statement()
    flow, source = flow_to(client, Types(), "select")
    flow.take(source, [], prepared, [region(1)])
    assert source.paused == 1
    flow.close()
    assert source.paused == 0
    body = client.body
    flow.take(source, [], prepared, [region(2)])
    assert client.body == body

    waiting, types = Client(), Types(known=False)
    flow, source = flow_to(waiting, types, "select")
    flow.take(source, [], prepared, [region(1)])
    flow.close()
    types.arrived.set()
    await asyncio.sleep(0)
    assert (source.paused, waiting.heads) == (0, [])
