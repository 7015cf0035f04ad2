"""Admission counts what is under way and what is spent, by subject, organization and endpoint, and forgets the rest."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import ConcurrencyExceeded, RateExceeded
from rowgate.gateway.limits import Limits, party_of
from rowgate.gateway.rates import TokenBuckets
from rowgate.identity.membership import Membership
from rowgate.identity.principal import Principal
from rowgate.settings import Settings


def principal(subject: str, organization: str | None = None, *, provider: str = "p") -> Principal:
    return Principal(
        subject=subject, claims_json=b"{}", provider=provider, issuer="i", roles=("authenticated",), expires_at=0.0,
        membership=Membership(organization=organization),
    )  # fmt: skip


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def nothing_under_way(limits: Limits) -> bool:
    places: list[Any] = [vars(limits)[name] for name in ("_subjects", "_organizations", "_endpoints")]
    return not any(one._under_way for one in places if one is not None)


def test_one_subject_cannot_take_more_than_its_share() -> None:
    limits = Limits(Settings(subject_concurrency=2))
    alice, bob, other = principal("alice"), principal("bob"), principal("alice", provider="other")
    limits.admit(alice, "")
    limits.admit(alice, "")
    with pytest.raises(ConcurrencyExceeded):
        limits.admit(alice, "")
    limits.admit(bob, "")
    limits.admit(other, "")  # the same name at another provider is somebody else
    limits.admit(None, "")
    limits.leave(alice, "")
    limits.admit(alice, "")
    for one in (alice, alice, bob, other, None):
        limits.leave(one, "")
    assert nothing_under_way(limits)


def test_an_organization_and_an_endpoint_have_places_too_and_a_refusal_takes_none() -> None:
    limits = Limits(Settings(organization_concurrency=1, endpoint_concurrency=2))
    first, second = principal("a", "org"), principal("b", "org")
    limits.admit(first, "one")
    with pytest.raises(ConcurrencyExceeded, match="organization"):
        limits.admit(second, "one")
    limits.admit(principal("c"), "one")
    with pytest.raises(ConcurrencyExceeded, match="endpoint"):
        limits.admit(None, "one")
    limits.leave(first, "one")
    limits.leave(principal("c"), "one")
    limits.admit(second, "one")
    limits.leave(second, "one")
    assert nothing_under_way(limits)


def test_rates_of_each_with_the_seconds_to_wait() -> None:
    clock = Clock()
    limits = Limits(Settings(subject_rate=2, organization_rate=3, rate_burst_seconds=10), clock)
    alice, bob = principal("alice", "org"), principal("bob", "org")
    for _ in range(20):
        limits.spend(alice, "")
    with pytest.raises(RateExceeded, match="subject") as refused:
        limits.spend(alice, "", 4)
    assert refused.value.retry_after == 2
    limits.spend(bob, "", 10)
    with pytest.raises(RateExceeded, match="organization"):
        limits.spend(bob, "")
    assert dict(limits.headers(bob, "")) == {
        b"RateLimit-Policy": b'"subject";q=20;w=10, "organization";q=30;w=10',
        b"RateLimit": b'"subject";r=9;t=6, "organization";r=0;t=10',
    }
    clock.now += 2
    limits.spend(alice, "", 4)
    assert limits.headers(None, "") == ()


def test_large_results_count_as_more_statements_and_may_be_owed() -> None:
    clock = Clock()
    limits = Limits(Settings(subject_rate=2, rate_burst_seconds=10), clock)
    alice = principal("alice")
    limits.spend(alice, "")
    limits.charge(alice, "", (1 << 14) - 1)
    assert dict(limits.headers(alice, ""))[b"RateLimit"] == b'"subject";r=19;t=1'
    limits.charge(alice, "", 3 << 14)
    limits.check_debt(alice, "")
    assert dict(limits.headers(alice, ""))[b"RateLimit"] == b'"subject";r=16;t=2'
    limits.charge(alice, "", 1000 << 20)
    with pytest.raises(RateExceeded) as refused:
        limits.spend(alice, "")
    assert refused.value.retry_after == 11, "a bucket's worth is the most that is owed"
    with pytest.raises(RateExceeded) as waited:
        limits.check_debt(alice, "")
    assert waited.value.retry_after == 10, "until it owes nothing"
    clock.now += 10
    limits.check_debt(alice, "")
    assert limits.headers(None, "") == ()
    limits.charge(None, "", 1000 << 20)
    limits.check_debt(None, "")


@given(
    st.integers(1, 1000), st.integers(1, 60), st.lists(st.tuples(st.integers(1, 2000), st.floats(0, 30)), max_size=60)
)
def test_nobody_gets_more_than_a_bucket_and_what_flows_in(
    rate: int, burst: int, steps: list[tuple[int, float]]
) -> None:
    buckets = TokenBuckets(rate, burst)
    now, spent, largest = 1e6, 0, 0
    for units, pause in steps:
        now += pause
        wait = buckets.spend("key", units, now)
        if not wait:
            spent, largest = spent + units, max(largest, units)
        else:
            assert buckets.spend("key", units, now + wait + 1e-6) == 0.0 or units > buckets.quota
            spent, largest, now = spent + units, max(largest, units), now + wait + 1e-6
        assert spent <= rate * burst + rate * (now - 1e6) + largest + 1
        remaining, full_in = buckets.remaining("key", now)
        assert 0 <= remaining <= buckets.quota
        assert full_in >= 0


def test_full_buckets_are_forgotten() -> None:
    buckets = TokenBuckets(10, 1)
    for number in range(50_000):
        buckets.spend(number, 1, 1000.0 + number)
    assert len(buckets) <= 10_001


def test_parties() -> None:
    assert party_of(None) is None
    assert party_of(principal("a")) == ("p", "a")
