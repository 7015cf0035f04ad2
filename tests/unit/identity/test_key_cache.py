"""Key sets are renewed beside the requests, and no flood of tokens becomes a flood of fetches."""

import asyncio
from collections.abc import Callable

import pytest

from rowgate.errors import KeySetUnavailable, RowgateError, TokenKeyUnknown
from rowgate.identity.key_cache import (
    DEFAULT_LIFE,
    FAILURE_PAUSE,
    LONGEST_LIFE,
    LONGEST_STALE,
    RENEW_AFTER,
    SHORTEST_LIFE,
    UNKNOWN_KEY_PAUSE,
    KeySetCache,
)
from tests.unit.identity.forge import JWKS_URL, Clock, Documents, key_for, key_set_document, provider, public

OLD = key_set_document(public(key_for("RS256"), "old"))
NEW = key_set_document(public(key_for("RS256"), "old"), public(key_for("ES256"), "new"))
DOWN = KeySetUnavailable("The provider is down.", detail="timeout")


class Bench:
    def __init__(self, document: bytes | Exception = OLD, max_age: int | None = None) -> None:
        self.clock = Clock()
        self.documents = Documents({JWKS_URL: document}, max_age)
        self.cache = KeySetCache(self.documents, self.clock)

    @property
    def fetches(self) -> int:
        return len(self.documents.fetched)

    def answer(self, document: bytes | Exception) -> None:
        self.documents.by_url[JWKS_URL] = document

    async def key(self, key_id: str = "old") -> str:
        return (await self.cache.key(provider(), key_id)).key_id

    async def refused(self, key_id: str = "old") -> RowgateError:
        with pytest.raises(RowgateError) as caught:
            await self.key(key_id)
        return caught.value

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(100):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came about")

    async def landed(self) -> None:
        await self.until(lambda: not self.cache._flights)


async def test_a_set_is_fetched_once() -> None:
    bench = Bench()
    assert bench.cache.peek(provider(), "old") is None
    assert [await bench.key() for _ in range(5)] == ["old"] * 5
    assert bench.cache.peek(provider(), "old")
    assert bench.fetches == 1


async def test_many_at_once_fetch_once() -> None:
    bench = Bench()
    bench.documents.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(bench.key()) for _ in range(50)]
    await bench.until(lambda: bench.fetches == 1)
    bench.documents.gate.set()
    assert await asyncio.gather(*waiting) == ["old"] * 50
    assert bench.fetches == 1


async def test_one_who_gives_up_does_not_take_the_others_along() -> None:
    bench = Bench()
    bench.documents.gate = asyncio.Event()
    first, second = asyncio.ensure_future(bench.key()), asyncio.ensure_future(bench.key())
    await bench.until(lambda: bench.fetches == 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    bench.documents.gate.set()
    assert await second == "old"


@pytest.mark.parametrize(
    ("max_age", "life"),
    [(None, DEFAULT_LIFE), (0, SHORTEST_LIFE), (59, SHORTEST_LIFE), (600, 600), (10**9, LONGEST_LIFE)],
)
async def test_a_set_lives_as_long_as_its_answer_says_within_bounds(max_age: int | None, life: float) -> None:
    bench = Bench(max_age=max_age)
    await bench.key()
    bench.clock.now += life * RENEW_AFTER
    await bench.key()
    await bench.landed()
    assert bench.fetches == 1
    bench.clock.now += 1
    await bench.key()
    await bench.landed()
    assert bench.fetches == 2


async def test_renewal_happens_in_the_background() -> None:
    bench = Bench()
    await bench.key()
    bench.documents.gate = asyncio.Event()
    bench.answer(NEW)
    bench.clock.now += DEFAULT_LIFE * 3
    assert [await bench.key() for _ in range(3)] == ["old"] * 3
    await bench.until(lambda: bench.fetches == 2)
    bench.documents.gate.set()
    await bench.landed()
    assert bench.cache.peek(provider(), "new")
    assert bench.fetches == 2


async def test_the_old_set_serves_while_the_provider_is_down() -> None:
    bench = Bench()
    await bench.key()
    bench.answer(DOWN)
    for _ in range(20):
        bench.clock.now += DEFAULT_LIFE
        assert await bench.key() == "old"
        await bench.landed()
    bench.answer(NEW)
    bench.clock.now += DEFAULT_LIFE
    assert await bench.key() == "old"
    await bench.landed()
    assert bench.cache.peek(provider(), "new")


async def test_a_provider_that_is_down_is_not_hammered() -> None:
    bench = Bench()
    await bench.key()
    bench.answer(DOWN)
    bench.clock.now += DEFAULT_LIFE
    for _ in range(100):
        await bench.key()
        await bench.landed()
        bench.clock.now += UNKNOWN_KEY_PAUSE / 100
    assert bench.fetches == 2


async def test_a_set_does_not_outlive_its_provider_for_ever() -> None:
    bench = Bench()
    await bench.key()
    bench.answer(DOWN)
    bench.clock.now += DEFAULT_LIFE
    await bench.key()
    await bench.landed()
    bench.clock.now += LONGEST_STALE
    assert isinstance(await bench.refused(), KeySetUnavailable)


async def test_after_a_long_silence_the_set_is_renewed_before_use() -> None:
    """Nobody asked for an hour: a key that was withdrawn meanwhile must not pass once more."""
    bench = Bench()
    await bench.key()
    bench.answer(key_set_document(public(key_for("ES256"), "new")))
    bench.clock.now += LONGEST_LIFE + 1
    assert isinstance(await bench.refused(), TokenKeyUnknown)
    assert await bench.key("new") == "new"
    assert bench.fetches == 2


async def test_after_a_long_silence_a_provider_that_is_down_costs_one_wait() -> None:
    bench = Bench()
    await bench.key()
    bench.answer(DOWN)
    bench.clock.now += LONGEST_LIFE + 1
    assert await bench.key() == "old"
    assert bench.fetches == 2
    assert bench.cache.peek(provider(), "old")


async def test_a_new_key_is_found_at_once() -> None:
    bench = Bench()
    await bench.key()
    bench.answer(NEW)
    bench.clock.now += UNKNOWN_KEY_PAUSE
    assert await bench.key("new") == "new"


async def test_a_flood_of_unknown_keys_fetches_once_in_a_while() -> None:
    bench = Bench()
    for number in range(1000):
        error = await bench.refused(f"k{number}")
        assert isinstance(error, TokenKeyUnknown)
        bench.clock.now += 0.02
    assert bench.fetches == 4
    assert await bench.key() == "old"


async def test_unknown_keys_at_once_share_a_fetch() -> None:
    bench = Bench()
    await bench.key()
    bench.clock.now += UNKNOWN_KEY_PAUSE
    await asyncio.gather(*[bench.refused(f"k{number}") for number in range(50)])
    assert bench.fetches == 2


async def test_an_unknown_key_does_not_cost_the_known_ones_when_the_provider_is_down() -> None:
    bench = Bench()
    await bench.key()
    bench.answer(DOWN)
    bench.clock.now += UNKNOWN_KEY_PAUSE
    error = await bench.refused("new")
    assert isinstance(error, TokenKeyUnknown)
    assert "could not be renewed: The provider is down." in str(error.detail)
    assert await bench.key() == "old"


async def test_without_any_set_a_failure_is_told_and_soon_tried_again() -> None:
    bench = Bench(DOWN)
    for _ in range(10):
        error = await bench.refused()
        assert isinstance(error, KeySetUnavailable)
        assert "example" in error.message
        assert "timeout" in str(error.detail)
    assert bench.fetches == 1
    bench.answer(OLD)
    bench.clock.now += FAILURE_PAUSE
    assert await bench.key() == "old"


@pytest.mark.parametrize("document", [b"<html>secret</html>", b"{}", RuntimeError("secret")])
async def test_what_is_no_key_set_leaves_the_old_one(document: bytes | Exception) -> None:
    bench = Bench()
    await bench.key()
    bench.answer(document)
    bench.clock.now += DEFAULT_LIFE
    assert await bench.key() == "old"
    await bench.landed()
    assert await bench.key() == "old"
    fresh = Bench(document)
    error = await fresh.refused()
    assert isinstance(error, KeySetUnavailable)
    assert "secret" not in f"{error} {error.detail}"


async def test_a_clock_that_is_set_back_does_not_stop_renewal() -> None:
    bench = Bench()
    await bench.key()
    bench.clock.now -= 1_000_000
    assert await bench.key() == "old"
    await bench.landed()
    assert bench.fetches == 2


async def test_withdrawal_is_told() -> None:
    bench = Bench(NEW)
    told: list[str] = []
    bench.cache.on_withdrawal(lambda: told.append("withdrawn"))
    await bench.key()
    for document, count in ((NEW, 0), (OLD, 1), (NEW, 1), (key_set_document(public(key_for("EdDSA"), "old")), 2)):
        bench.answer(document)
        bench.clock.now += DEFAULT_LIFE
        await bench.key()
        await bench.landed()
        assert len(told) == count


async def test_two_providers_of_one_url_share_its_set() -> None:
    bench = Bench()
    await bench.cache.key(provider(), "old")
    await bench.cache.key(provider(name="other", issuer="https://other.example"), "old")
    assert bench.fetches == 1


async def test_retain_forgets_the_others() -> None:
    bench = Bench()
    await bench.key()
    bench.cache.retain([provider()])
    assert bench.cache.peek(provider(), "old")
    bench.cache.retain([])
    assert bench.cache.peek(provider(), "old") is None


async def test_the_set_itself() -> None:
    bench = Bench()
    assert list((await bench.cache.key_set(provider())).keys) == ["old"]
    assert list((await bench.cache.key_set(provider())).keys) == ["old"]
    assert bench.fetches == 1
    with pytest.raises(KeySetUnavailable):
        await Bench(DOWN).cache.key_set(provider())


async def test_close_ends_what_is_under_way() -> None:
    bench = Bench()
    bench.documents.gate = asyncio.Event()
    waiting = asyncio.ensure_future(bench.refused())
    await bench.until(lambda: bench.fetches == 1)
    await bench.cache.close()
    assert isinstance(await waiting, KeySetUnavailable)
    assert not bench.cache._flights
    assert len(asyncio.all_tasks()) == 1


async def test_renewed_now_whatever_is_at_hand() -> None:
    bench = Bench()
    assert bench.cache.fetched_at(provider()) is None
    assert await bench.key() == "old"
    withdrawn: list[str] = []
    bench.cache.on_withdrawal(lambda: withdrawn.append("gone"))
    bench.answer(key_set_document(public(key_for("ES256"), "new")))
    bench.clock.now += 1
    assert set((await bench.cache.renew(provider())).keys) == {"new"}
    assert (bench.fetches, withdrawn, bench.cache.fetched_at(provider())) == (2, ["gone"], bench.clock.now)
    bench.answer(DOWN)
    with pytest.raises(KeySetUnavailable):
        await bench.cache.renew(provider())
    assert await bench.key("new") == "new"


async def test_renewing_does_not_take_what_was_under_way_before() -> None:
    bench = Bench()
    bench.documents.gate = asyncio.Event()
    earlier = asyncio.ensure_future(bench.key())
    await bench.until(lambda: bench.fetches == 1)
    renewed = asyncio.ensure_future(bench.cache.renew(provider()))
    await asyncio.sleep(0)
    bench.answer(NEW)
    bench.documents.gate.set()
    assert set((await renewed).keys) == {"old", "new"}
    assert (await earlier, bench.fetches) == ("old", 2)
