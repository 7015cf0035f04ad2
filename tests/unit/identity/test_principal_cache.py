"""The table of verified principals, and how the verifier uses it."""

import asyncio
import gc

from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import TokenIssuerUnknown, TokenKeyUnknown
from rowgate.identity.principal import Principal
from rowgate.identity.principal_cache import PrincipalCache
from rowgate.identity.revocation import RevocationSet
from rowgate.identity.verify import LONGEST_CACHED
from tests.unit.identity.forge import (
    JWKS_URL,
    NOW,
    bench,
    claims,
    key_for,
    key_set_document,
    provider,
    public,
    sign,
)
from tests.unit.identity.test_verify import refusal


def principal(subject: str = "a") -> Principal:
    return Principal(
        subject=subject, claims_json=b"{}", provider="p", issuer="i", roles=("authenticated",), expires_at=NOW
    )


def test_what_is_not_used_leaves_first() -> None:
    cache = PrincipalCache(2, RevocationSet(lambda: NOW))
    for name in ("a", "b"):
        cache.put(name, principal(name), now=0, until=10)
    assert cache.get("a", 1)
    cache.put("c", principal("c"), now=1, until=10)
    assert [bool(cache.get(name, 1)) for name in ("a", "b", "c")] == [True, False, True]


def test_an_entry_whose_time_is_over_is_gone() -> None:
    cache = PrincipalCache(9, RevocationSet(lambda: NOW))
    cache.put("a", principal(), now=0, until=10)
    assert cache.get("a", 9.999)
    assert cache.get("a", 10) is None
    assert len(cache) == 0


def test_entries_nobody_asks_for_leave_when_others_come() -> None:
    cache = PrincipalCache(9, RevocationSet(lambda: NOW))
    for name in ("a", "b", "c"):
        cache.put(name, principal(), now=0, until=10)
    cache.put("d", principal(), now=10, until=20)
    assert len(cache) == 1


def test_a_cache_of_size_zero_keeps_nothing() -> None:
    cache = PrincipalCache(0, RevocationSet(lambda: NOW))
    cache.put("a", principal(), now=0, until=10)
    assert cache.get("a", 0) is None


KEYS = st.sampled_from("abcdef")


@given(st.integers(0, 4), st.lists(st.tuples(KEYS, st.booleans(), st.integers(1, 5)), max_size=40))
def test_it_never_grows_and_never_gives_what_is_over(size: int, steps: list[tuple[str, bool, int]]) -> None:
    cache = PrincipalCache(size, RevocationSet(lambda: NOW))
    until: dict[str, int] = {}
    for now, (key, put, life) in enumerate(steps):
        if put:
            cache.put(key, principal(key), now=now, until=now + life)
            until[key] = now + life
        else:
            found = cache.get(key, now)
            assert found is None or (found.subject == key and now < until[key])
        assert len(cache) <= size


def test_no_token_stays_in_memory() -> None:
    cache = PrincipalCache(9, RevocationSet(lambda: NOW))
    cache.put("header.payload.signature", principal(), now=0, until=10)
    assert "header.payload.signature" not in [item for item in gc.get_referents(cache) if isinstance(item, str)]
    assert all(isinstance(key, bytes) and len(key) == 32 for key in cache._entries)


async def test_a_token_is_verified_once() -> None:
    tried = bench()
    token = sign()
    first = await tried.verifier.verify(token)
    assert await tried.verifier.verify(token) is first
    assert tried.verifier.cached(token) is first
    assert tried.documents.fetched == [JWKS_URL]


async def test_nothing_is_cached_past_the_expiry() -> None:
    tried = bench()
    token = sign(payload=claims(exp=NOW + 60))
    principal = await tried.verifier.verify(token)
    tried.clock.now = principal.expires_at - 0.001
    assert tried.verifier.cached(token)
    tried.clock.now = principal.expires_at
    assert tried.verifier.cached(token) is None


async def test_a_long_lived_token_is_verified_anew_now_and_then() -> None:
    tried = bench()
    token = sign(payload=claims(exp=NOW + 10_000_000))
    await tried.verifier.verify(token)
    tried.clock.now = NOW + LONGEST_CACHED
    assert tried.verifier.cached(token) is None
    assert await tried.verifier.verify(token)
    await tried.key_sets.close()


async def test_any_text_may_be_asked_for() -> None:
    tried = bench()
    assert [tried.verifier.cached(text) for text in ("", "\ud800", "\0", "x" * 10**6)] == [None] * 4


async def test_a_removed_provider_is_refused_at_once() -> None:
    tried = bench()
    token = sign()
    await tried.verifier.verify(token)
    tried.verifier.replace_providers([])
    assert tried.verifier.cached(token) is None
    assert type(await refusal(tried, token)) is TokenIssuerUnknown
    tried.verifier.replace_providers([provider(roles=("editor",))])
    assert (await tried.verifier.verify(token)).roles == ("editor",)
    assert tried.verifier.providers == (provider(roles=("editor",)),)


async def test_a_provider_removed_while_its_keys_are_on_their_way() -> None:
    tried = bench()
    tried.documents.gate = asyncio.Event()
    waiting = asyncio.ensure_future(refusal(tried, sign()))
    await asyncio.wait_for(tried.documents.asked.wait(), 5)
    tried.verifier.replace_providers([provider(name="other", issuer="https://other.example")])
    tried.documents.gate.set()
    assert type(await waiting) is TokenIssuerUnknown


async def test_a_withdrawn_key_ends_the_principals_it_signed() -> None:
    tried = bench()
    token = sign()
    await tried.verifier.verify(token)
    tried.documents.by_url[JWKS_URL] = key_set_document(public(key_for("ES256"), "ES256"))
    tried.clock.now += 20
    # A token with a kid that nobody has seen makes the set be fetched anew.
    assert type(await refusal(tried, sign(header={"alg": "RS256", "kid": "new"}))) is TokenKeyUnknown
    assert tried.verifier.cached(token) is None
    assert type(await refusal(tried, token)) is TokenKeyUnknown


async def test_cache_size() -> None:
    tried = bench(cache_size=1)
    first, second = sign(), sign(payload=claims(sub="user_bob"))
    await tried.verifier.verify(first)
    await tried.verifier.verify(second)
    assert tried.verifier.cached(first) is None
    assert tried.verifier.cached(second)
