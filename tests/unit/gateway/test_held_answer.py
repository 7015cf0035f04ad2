"""Large results that are written while they come and go out whole: the same bytes, and nothing of a run given up."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rowgate.gateway.answer_formats import ArrayTypes, JsonFormat
from rowgate.gateway.held_answer import HeldAnswer
from rowgate.gateway.response import Response, result_json
from rowgate.pgwire.types import BUILTIN_ARRAYS
from rowgate.postgres.exchange import Prepared
from tests.unit.gateway.test_answer_flow import Source, done, region, request, statement, values


class KnownTypes:
    """As much of a database as is asked for."""

    def known_array_types(self, statements: Sequence[Prepared]) -> ArrayTypes | None:
        return BUILTIN_ARRAYS

    async def read_array_types(self, statements: Sequence[Prepared]) -> ArrayTypes:
        raise NotImplementedError("they are known")


def answer_to(*queries: str) -> tuple[HeldAnswer, Source]:
    database: Any = KnownTypes()
    answer, source = HeldAnswer(request(*queries), JsonFormat, database), Source()
    answer.run_from(source)
    return answer, source


def body(response: Response) -> bytes:
    whole = response.body + b"".join(response.rest)
    assert (response.status, response.size, response.written) == (200, len(whole), None)
    return whole


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=1, max_size=5), min_size=1, max_size=8), st.integers(1, 8))
async def test_the_bytes_are_those_of_a_result_written_at_once(rows: list[list[int]], taken: int) -> None:
    """Whatever came in one piece, and whatever of it was left at the end."""
    prepared = statement()
    regions = [region(*numbers) for numbers in rows]
    answer, source = answer_to("select")
    for one in regions[:taken]:
        answer.take(source, [], prepared, [one])
    answer.leave(source)
    response = await answer.finish([done(prepared, *regions[taken:])])
    assert answer.has_taken
    assert body(response) == result_json(done(prepared, *regions), False, False, BUILTIN_ARRAYS)


async def test_a_run_elsewhere_begins_anew() -> None:
    prepared, (answer, first) = statement(), answer_to("select")
    answer.take(first, [], prepared, [region(1)])
    second = Source()
    answer.run_from(second)
    assert not answer.has_taken
    answer.take(first, [], prepared, [region(2)])
    assert not answer.has_taken, "rows of the run that was given up"
    answer.take(second, [], prepared, [region(3)])
    assert values(body(await answer.finish([done(prepared)]))) == [[3]]
    assert (first.paused, second.paused) == (0, 0)


async def test_a_batch_with_a_large_result_between_others() -> None:
    first, large, last = statement(), statement(), statement()
    answer, source = answer_to("select 1", "select 2", "select 3")
    before = done(first, region(1))
    answer.take(source, [before], large, [region(2), region(3)])
    response = await answer.finish([before, done(large), done(last)])
    assert values(body(response)) == [[1], [2, 3], []]
    assert response.headers == request("select 1", "select 2").transaction.echo  # type: ignore[union-attr]


async def test_what_was_closed_holds_nobody() -> None:
    prepared, (answer, source) = statement(), answer_to("select")
    answer.take(source, [], prepared, [region(1)])
    answer.close()
    answer.leave(source)
    assert (answer.has_taken, source.paused) == (False, 0)
