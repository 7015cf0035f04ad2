"""A provider that is out of order, behind a real HTTP server: what was valid stays valid, what was not stays out."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import pytest

from rowgate.errors import KeySetUnavailable, RowgateError, TokenKeyUnknown, TokenSignatureInvalid
from rowgate.identity import fetcher as fetching
from rowgate.identity.fetcher import HttpFetcher
from rowgate.identity.key_cache import LONGEST_LIFE, LONGEST_STALE, UNKNOWN_KEY_PAUSE, KeySetCache
from rowgate.identity.provider import Provider
from rowgate.identity.verify import TokenVerifier
from tests.unit.identity.forge import Clock, claims, key_for, key_set_document, provider, public, sign

OLD = key_set_document(public(key_for("RS256"), "old"))
NEW = key_set_document(public(key_for("RS256", 1), "new"))
HANG: Final = 0.2

Answer = Callable[[asyncio.StreamWriter], None]


def http(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Outlet:
    """A server that answers as it is told, or not at all."""

    port: int = 0
    answer: bytes | None = field(default_factory=lambda: http("200 OK", OLD))
    asked: int = 0
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if self.answer is None:
                await asyncio.wait([asyncio.ensure_future(self._over.wait()), asyncio.ensure_future(reader.read())],
                                   return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            else:
                writer.write(self.answer)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@dataclass
class Scene:
    """A gateway's verifier in front of the outlet."""

    outlet: Outlet
    provider: Provider
    verifier: TokenVerifier
    key_sets: KeySetCache
    clock: Clock

    async def verdict(self, token: str) -> str:
        try:
            return (await self.verifier.verify(token)).subject
        except RowgateError as error:
            return error.code

    def token(self, kid: str = "old", which: int = 0, **changes: object) -> str:
        """A new token each time, so that none is answered from the cache."""
        payload = claims(
            iss=self.provider.issuer, exp=self.clock.now + 3600, iat=self.clock.now, jti=str(time.time_ns())
        )
        return sign(key=key_for("RS256", which), header={"alg": "RS256", "kid": kid}, payload={**payload, **changes})

    async def renewed(self) -> None:
        """Ask once for a key that is known, past its life, and wait until the fetch that this starts is over."""
        asked = self.outlet.asked
        await self.verdict(self.token())
        deadline = time.monotonic() + 10
        while self.outlet.asked == asked or self.key_sets._flights:
            assert time.monotonic() < deadline, "no renewal"
            await asyncio.sleep(0.005)


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(fetching, "TOTAL_TIMEOUT", HANG)
    outlet = Outlet()
    server = await asyncio.start_server(outlet.handle, "127.0.0.1", 0)
    outlet.port = server.sockets[0].getsockname()[1]
    clock = Clock()
    one = provider(issuer=f"http://127.0.0.1:{outlet.port}", jwks_url=f"http://127.0.0.1:{outlet.port}/jwks")
    async with HttpFetcher(allow_insecure_loopback=True) as fetcher:
        key_sets = KeySetCache(fetcher, clock)
        yield Scene(outlet, one, TokenVerifier([one], key_sets, clock), key_sets, clock)
        await key_sets.close()
    outlet._over.set()
    server.close()


FAULTS: dict[str, bytes | None] = {
    "500": http("500 Internal Server Error", b"oops"),
    "404": http("404 Not Found"),
    "hang": None,
    "redirect": http("302 Found", Location="http://169.254.169.254/jwks"),
    "redirect to other keys": http("308 Permanent Redirect", NEW, Location="/other"),
    "10 MB": http("200 OK", b'{"keys":[' + b" " * 10_000_000 + b"]}"),
    "garbage": http("200 OK", b"\x00\xff<html>" * 100),
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
    "another document": http("200 OK", b'{"error":"maintenance"}'),
    "half an answer": http("200 OK", OLD)[:-10],
    "compressed": http("200 OK", OLD, **{"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outage_changes_nothing_for_anyone(scene: Scene, fault: str) -> None:
    cached = scene.token()
    assert await scene.verdict(cached) == "user_alice"
    forged = scene.token(which=1)
    assert await scene.verdict(forged) == "token_signature_invalid"
    scene.outlet.answer = FAULTS[fault]
    scene.clock.now += 400
    await scene.renewed()
    assert await scene.verdict(cached) == "user_alice"
    assert await scene.verdict(scene.token()) == "user_alice"
    assert await scene.verdict(scene.token(which=1)) == "token_signature_invalid"
    assert await scene.verdict(scene.token(kid="new", which=1)) == "token_key_unknown"
    assert await scene.verdict(scene.token(exp=scene.clock.now - 3600)) == "token_expired"
    # It comes back with other keys: the new one counts within one pause, the old one is gone, cached tokens of it too.
    scene.outlet.answer = http("200 OK", NEW)
    scene.clock.now += UNKNOWN_KEY_PAUSE
    assert await scene.verdict(scene.token(kid="new", which=1)) == "user_alice"
    assert await scene.verdict(scene.token()) == "token_key_unknown"
    assert await scene.verdict(cached) == "token_key_unknown"
    assert await scene.verdict(scene.token(kid="old", which=1)) == "token_key_unknown"


@pytest.mark.parametrize("fault", ["500", "hang", "garbage", "redirect"])
async def test_a_provider_that_was_never_there_lets_nobody_in(scene: Scene, fault: str) -> None:
    scene.outlet.answer = FAULTS[fault]
    with pytest.raises(KeySetUnavailable):
        await scene.verifier.verify(scene.token())
    asked = scene.outlet.asked
    assert {await scene.verdict(scene.token()) for _ in range(20)} == {"key_set_unavailable"}
    assert scene.outlet.asked == asked
    scene.outlet.answer = http("200 OK", OLD)
    scene.clock.now += 1
    assert await scene.verdict(scene.token()) == "user_alice"


async def test_a_rotated_out_key_is_gone_in_time(scene: Scene) -> None:
    """No longer than the life of the set, however long the answer asks to be kept; a day where the provider is down."""
    scene.outlet.answer = http("200 OK", OLD, **{"Cache-Control": "max-age=999999999"})
    assert await scene.verdict(scene.token()) == "user_alice"
    scene.outlet.answer = http("200 OK", NEW)
    scene.clock.now += LONGEST_LIFE + 1
    with pytest.raises(TokenKeyUnknown):
        await scene.verifier.verify(scene.token())
    scene.outlet.answer = FAULTS["500"]
    scene.clock.now += LONGEST_LIFE + 1
    assert await scene.verdict(scene.token(kid="new", which=1)) == "user_alice"
    scene.clock.now += LONGEST_STALE
    assert await scene.verdict(scene.token(kid="new", which=1)) == "key_set_unavailable"


async def test_a_flood_of_unknown_keys_costs_one_fetch_in_an_interval(scene: Scene) -> None:
    assert await scene.verdict(scene.token()) == "user_alice"
    scene.clock.now += UNKNOWN_KEY_PAUSE
    asked = scene.outlet.asked
    told = await asyncio.gather(*(scene.verdict(scene.token(kid=f"k{number}")) for number in range(50)))
    assert set(told) == {"token_key_unknown"}
    assert scene.outlet.asked == asked + 1
    assert await scene.verdict(scene.token()) == "user_alice"


async def test_tokens_that_are_cached_do_not_wait_for_a_provider_that_hangs(scene: Scene) -> None:
    """Their times are the same beside an outage, while renewals and unknown keys hang for the whole timeout."""
    tokens = [scene.token() for _ in range(50)]
    for token in tokens:
        await scene.verifier.verify(token)

    async def slowest() -> float:
        times = []
        for _ in range(40):
            for token in tokens:
                started = time.perf_counter()
                await scene.verifier.verify(token)
                times.append(time.perf_counter() - started)
            await asyncio.sleep(0)
        return statistics.quantiles(times, n=100)[98]

    calm = await slowest()
    scene.outlet.answer = None
    scene.clock.now += UNKNOWN_KEY_PAUSE
    strangers = [asyncio.ensure_future(scene.verdict(scene.token(kid=f"k{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    hanging = await slowest()
    assert {await one for one in strangers} == {"token_key_unknown"}
    assert hanging < max(20 * calm, HANG / 20), (calm, hanging)


async def test_a_key_set_of_another_content_signs_for_nobody_else(scene: Scene) -> None:
    """Whoever can answer in the provider's place cannot make an old kid mean another key without its tokens failing."""
    assert await scene.verdict(scene.token()) == "user_alice"
    scene.outlet.answer = http("200 OK", key_set_document(public(key_for("RS256", 1), "old")))
    scene.clock.now += LONGEST_LIFE + 1
    with pytest.raises(TokenSignatureInvalid):
        await scene.verifier.verify(scene.token())
