"""Verifications of tokens per second: cold (each token for the first time) and cached, beside PyJWT and jose for Node,
which verify each time; and what a hundred thousand live tokens take of memory.

Every side has its keys at hand and checks signature, issuer and times.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from rowgate.identity.fetcher import FetchedDocument
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.provider import Provider
from rowgate.identity.verify import TokenVerifier

ISSUER: Final = "https://issuer.example"
JWKS_URL: Final = f"{ISSUER}/jwks"
LIVE_TOKENS: Final = 100_000
_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")

Key = RSAKey | ECKey | OKPKey


@dataclass(frozen=True)
class Rates:
    """Verifications per second, and microseconds of a cached look-up: the median and the 99th percentile."""

    algorithm: str
    cold: float
    cached_microseconds: float
    cached_99: float
    pyjwt: float | None
    jose: float | None


@dataclass(frozen=True)
class Memory:
    """What ``LIVE_TOKENS`` different tokens take in the cache, and after as many others."""

    tokens: int
    megabytes: float
    bytes_each: float
    megabytes_after_as_many: float


class Documents:
    """A key set at hand."""

    def __init__(self, keys: Sequence[dict[str, Any]]) -> None:
        self._body = json.dumps({"keys": keys}).encode()

    async def fetch(self, url: str) -> FetchedDocument:
        """The key set."""
        return FetchedDocument(self._body, max_age=3600)


def make_key(algorithm: str) -> Key:
    """A private key."""
    if algorithm == "RS256":
        return RSAKey.generate_key(2048)
    return ECKey.generate_key("P-256") if algorithm == "ES256" else OKPKey.generate_key("Ed25519")


def make_tokens(algorithm: str, key: Key, how_many: int) -> list[str]:
    """So many different tokens, as large as Clerk's."""
    now = int(time.time())
    header = {"alg": algorithm, "kid": algorithm, "typ": "JWT"}
    claims = {"iss": ISSUER, "iat": now, "nbf": now - 5, "exp": now + 3600, "sts": "active", "v": 2}
    return [
        jwt.encode(
            header, {**claims, "sub": f"user_{number}", "sid": f"sess_{number}", "jti": f"{number:020x}"}, key,
            algorithms=[algorithm],
        )
        for number in range(how_many)
    ]  # fmt: skip


def verifier_for(keys: dict[str, Key], cache_size: int = LIVE_TOKENS) -> TokenVerifier:
    """Rowgate's verifier with these keys."""
    published = [{**key.as_dict(private=False), "kid": name, "alg": name, "use": "sig"} for name, key in keys.items()]
    one = Provider(name="bench", kind="oidc", issuer=ISSUER, jwks_url=JWKS_URL, algorithms=_ALGORITHMS)
    return TokenVerifier([one], KeySetCache(Documents(published), time.time), time.time, cache_size=cache_size)


async def measure_rowgate(keys: dict[str, Key], algorithm: str, tokens: list[str]) -> tuple[float, float, float]:
    """Cold verifications per second; microseconds of a cached look-up, as median and 99th percentile."""
    verifier = verifier_for(keys)
    await verifier.verify(tokens[0])
    started = time.perf_counter()
    for token in tokens[1:]:
        await verifier.verify(token)
    cold = (len(tokens) - 1) / (time.perf_counter() - started)
    # In portions of a hundred, so that reading the clock does not count.
    portions = []
    for _ in range(20):
        for first in range(0, len(tokens) - 99, 100):
            portion = tokens[first : first + 100]
            started = time.perf_counter()
            for token in portion:
                verifier.cached(token)
            portions.append((time.perf_counter() - started) / 100 * 1e6)
    return cold, statistics.median(portions), statistics.quantiles(portions, n=100)[98]


def measure_pyjwt(key: Key, algorithm: str, tokens: list[str]) -> float | None:
    """PyJWT's verifications per second; None where it is not installed."""
    try:
        import jwt as pyjwt
    except ImportError:
        return None
    public = pyjwt.PyJWK({**key.as_dict(private=False), "alg": algorithm})
    started = time.perf_counter()
    for token in tokens:
        pyjwt.decode(token, public, algorithms=[algorithm], issuer=ISSUER)
    return len(tokens) / (time.perf_counter() - started)


def measure_jose(keys: dict[str, Key], tokens: dict[str, list[str]], here: Path) -> dict[str, float]:
    """jose's verifications per second; nothing where Node is not there."""
    if shutil.which("node") is None:
        return {}
    given = {
        name: {
            "key": {**key.as_dict(private=False), "kid": name, "alg": name},
            "issuer": ISSUER,
            "tokens": tokens[name],
        }
        for name, key in keys.items()
    }
    done = subprocess.run(
        ["node", "peers/tokens.mjs"], cwd=here, input=json.dumps(given), capture_output=True, text=True, check=True
    )
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


async def measure_memory() -> Memory:
    """The growth of the process while the cache fills, and while as many others push the first ones out."""
    keys = {"EdDSA": make_key("EdDSA")}
    verifier = verifier_for(keys)
    # Made in portions and let go of, so that only what the cache keeps is left.
    await _verify_portions(verifier, keys["EdDSA"], 1)
    gc.collect()
    before = resident_bytes()
    await _verify_portions(verifier, keys["EdDSA"], LIVE_TOKENS // 1000)
    gc.collect()
    filled = resident_bytes() - before
    await _verify_portions(verifier, keys["EdDSA"], LIVE_TOKENS // 1000, offset="again")
    gc.collect()
    after = resident_bytes() - before
    return Memory(LIVE_TOKENS, filled / 2**20, filled / LIVE_TOKENS, after / 2**20)


def resident_bytes() -> int:
    """The memory of this process that is in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _verify_portions(verifier: TokenVerifier, key: Key, portions: int, offset: str = "first") -> None:
    now = int(time.time())
    for portion in range(portions):
        for number in range(1000):
            name = f"{offset}-{portion}-{number}"
            claims = {"iss": ISSUER, "iat": now, "exp": now + 3600, "sub": f"user_{name}", "sid": f"sess_{name}",
                      "jti": name, "sts": "active", "v": 2}  # fmt: skip
            await verifier.verify(jwt.encode({"alg": "EdDSA", "kid": "EdDSA"}, claims, key, algorithms=["EdDSA"]))


def measure_tokens(here: Path, how_many: int = 3000) -> tuple[list[Rates], Memory]:
    """Everything. ``here`` is the folder of the benchmarks."""
    keys = {name: make_key(name) for name in _ALGORITHMS}
    tokens = {name: make_tokens(name, key, how_many) for name, key in keys.items()}
    jose = measure_jose(keys, tokens, here)
    rates = []
    for name, key in keys.items():
        cold, cached, cached_99 = asyncio.run(measure_rowgate(keys, name, tokens[name]))
        rates.append(Rates(name, cold, cached, cached_99, measure_pyjwt(key, name, tokens[name]), jose.get(name)))
    return rates, asyncio.run(measure_memory())


def token_table(rates: list[Rates], memory: Memory) -> str:
    """A table for people."""
    lines = [
        "Verifications of different tokens per second on one core, keys at hand; medians.",
        "",
        "| algorithm | Rowgate, first time | Rowgate, cached: µs each | p99 | PyJWT | jose (Node) |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {one.algorithm} | {one.cold:,.0f} | {one.cached_microseconds:.2f} | {one.cached_99:.2f} "
            f"| {_number(one.pyjwt)} | {_number(one.jose)} |"
            for one in rates
        ),
        "",
        f"{memory.tokens:,} live tokens in the cache: {memory.megabytes:.0f} MiB, {memory.bytes_each:.0f} bytes each; "
        f"{memory.megabytes_after_as_many:.0f} MiB after as many others.",
    ]
    return "\n".join(lines) + "\n"


def _number(rate: float | None) -> str:
    return "not installed" if rate is None else f"{rate:,.0f}"
