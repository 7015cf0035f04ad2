"""The set of revocations: what it covers, what it forgets, and how it reaches tokens that were verified before."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import SettingInvalid, TokenRevoked
from rowgate.identity.principal import Principal
from rowgate.identity.principal_cache import PrincipalCache
from rowgate.identity.revocation import KINDS, Revocation, RevocationChanges, RevocationSet
from tests.unit.identity.forge import NOW, Clock, bench, claims, sign
from tests.unit.identity.test_verify import refusal

SOMEONE = Principal(
    subject="user", claims_json=b"{}", provider="p", issuer="i", roles=("authenticated",), expires_at=NOW + 60,
    issued_at=NOW - 10, token_id="token", session_id="session",
)  # fmt: skip
NO_SESSION = replace(SOMEONE, session_id=None)


def row(kind: str, value: str = "", **more: Any) -> Revocation:
    return Revocation(provider=more.pop("provider", "p"), kind=kind, value=value, **more)  # type: ignore[arg-type]


def revoked(principal: Principal, *rows: Revocation, clock: Clock | None = None) -> bool:
    revocations = RevocationSet(clock or Clock())
    revocations.apply(RevocationChanges(rows))
    try:
        revocations.check(principal)
    except TokenRevoked:
        return True
    return False


# (what is revoked, whose token comes, whether it is refused)
COVERAGE: list[tuple[Revocation, Principal, bool]] = [
    (row("token", "token"), SOMEONE, True),
    (row("token", "other"), SOMEONE, False),
    (row("token", "user"), SOMEONE, False),
    (row("token", "token"), replace(SOMEONE, token_id=None), False),
    (row("session", "session"), SOMEONE, True),
    (row("session", "session"), NO_SESSION, False),
    (row("subject", "user"), SOMEONE, True),
    (row("subject", "USER"), SOMEONE, False),
    (row("subject", "user"), replace(SOMEONE, issued_at=None), True),
    (row("subject", "user", issued_before=NOW), SOMEONE, True),
    (row("subject", "user", issued_before=NOW - 10), SOMEONE, False),
    (row("subject", "user", issued_before=NOW - 9.9), SOMEONE, True),
    (row("subject", "user", issued_before=NOW - 20), replace(SOMEONE, issued_at=None), True),
    (row("sessionless", "user", issued_before=NOW), SOMEONE, False),
    (row("sessionless", "user", issued_before=NOW), NO_SESSION, True),
    (row("provider", issued_before=NOW), SOMEONE, True),
    (row("provider", issued_before=NOW - 20), SOMEONE, False),
    (row("provider", issued_before=NOW, provider="q"), SOMEONE, False),
    (row("token", "token", provider="q"), SOMEONE, False),
    (row("subject", "user", expires_at=NOW + 1), SOMEONE, True),
    (row("subject", "user", expires_at=NOW), SOMEONE, False),
]


@pytest.mark.parametrize(("revocation", "principal", "expected"), COVERAGE)
def test_what_is_covered(revocation: Revocation, principal: Principal, expected: bool) -> None:
    assert revoked(principal, revocation) is expected


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "subject"}, {"kind": "token"}, {"kind": "provider"},
        {"kind": "provider", "value": "x", "issued_before": 1.0}, {"kind": "subject", "value": "a\0b"},
        {"kind": "nonsense", "value": "x"}, {"kind": "subject", "value": "x" * 1025},
        {"kind": "subject", "value": "\ud800"}, {"kind": "subject", "value": "x", "provider": ""},
        {"kind": "subject", "value": "x", "reason": "r" * 1025},
        {"kind": "subject", "value": "x", "issued_before": 1e300},
        {"kind": "subject", "value": "x", "expires_at": -1.0},
        {"kind": "subject", "value": "x", "expires_at": math.nan},
    ],
)  # fmt: skip
def test_unsound_rows_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SettingInvalid):
        Revocation(**{"provider": "p", **fields})


def test_a_complete_reading_takes_the_place_of_everything() -> None:
    revocations = RevocationSet(Clock())
    revocations.apply(RevocationChanges((row("subject", "user"),)))
    assert not revocations.apply(RevocationChanges((), (), is_complete=True))
    revocations.check(SOMEONE)
    revocations.apply(RevocationChanges((row("subject", "user"),)))
    revocations.apply(RevocationChanges((), (row("subject", "user"),)))
    revocations.check(SOMEONE)


def test_nothing_new_leaves_the_edition() -> None:
    revocations = RevocationSet(Clock())
    before = revocations.edition
    assert not revocations.apply(RevocationChanges())
    assert revocations.edition is before
    assert revocations.apply(RevocationChanges((row("subject", "x"),)))
    assert revocations.edition is not before


def test_expired_rows_leave_memory() -> None:
    clock = Clock()
    revocations = RevocationSet(clock)
    revocations.apply(RevocationChanges(tuple(row("token", f"t{n}", expires_at=NOW + 10) for n in range(1000))))
    assert len(revocations) == 1000
    clock.now += 100
    revocations.apply(RevocationChanges((row("token", "last", expires_at=NOW + 500),)))
    assert len(revocations) == 1


VALUES = st.sampled_from(["user", "token", "session", "x"])
ROWS = st.builds(
    lambda kind, value, before: row(
        kind, "" if kind == "provider" else value, issued_before=NOW if kind == "provider" else before
    ),
    st.sampled_from(KINDS), VALUES, st.none() | st.sampled_from([NOW - 20, NOW]),
)  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), ROWS), max_size=20))
def test_changes_one_by_one_are_the_same_as_at_once(steps: list[tuple[bool, Revocation]]) -> None:
    """Whatever comes and goes: what counts is what is in force at the end, and the cache says the same."""
    revocations = RevocationSet(Clock())
    cache = PrincipalCache(10, revocations)
    in_force: dict[tuple[str, str, str, bool], Revocation] = {}
    for is_added, one in steps:
        key = (one.provider, one.kind, one.value, one.issued_before is not None)
        if is_added:
            in_force[key] = one
            revocations.apply(RevocationChanges((one,)))
        else:
            in_force.pop(key, None)
            revocations.apply(RevocationChanges((), (one,)))
        expected = revoked(SOMEONE, *in_force.values())
        if not expected:
            cache.put("t", SOMEONE, now=NOW, until=NOW + 10)
        assert (cache.get("t", NOW) is None) is expected


async def test_a_cached_token_is_refused_at_once() -> None:
    tools = bench()
    token = sign(payload=claims(jti="j1"))
    assert (await tools.verifier.verify(token)).token_id == "j1"
    assert tools.verifier.cached(token)
    tools.verifier.revocations.apply(RevocationChanges((row("token", "j1", provider="example"),)))
    assert tools.verifier.cached(token) is None
    found = await refusal(tools, token)
    assert isinstance(found, TokenRevoked)
    assert "j1" not in f"{found.message}{found.detail}{found.hint}"
    fresh = sign(payload=claims(jti="j2"))
    assert await tools.verifier.verify(fresh)
    tools.verifier.revocations.apply(RevocationChanges((), (row("token", "j1", provider="example"),)))
    assert await tools.verifier.verify(token)


async def test_a_token_about_an_event_is_nobodys_credential() -> None:
    tools = bench()
    event = {"http://schemas.openid.net/event/backchannel-logout": {}}
    found = await refusal(tools, sign(payload=claims(events=event, sid="s")))
    assert found.code == "token_claim_invalid"
    header = {"alg": "RS256", "kid": "RS256", "typ": "logout+jwt"}
    assert (await refusal(tools, sign(header=header, payload=claims()))).code == "token_malformed"


def test_a_hundred_thousand_cost_little() -> None:
    revocations = RevocationSet(Clock())
    revocations.apply(RevocationChanges(tuple(row("token", f"t{n}") for n in range(100_000)), (), is_complete=True))
    started = time.perf_counter()
    for _ in range(1000):
        revocations.check(SOMEONE)
    assert time.perf_counter() - started < 0.5, "a check does not depend on how many there are"


def test_whether_a_row_is_known() -> None:
    known = RevocationSet(lambda: 1000.0)
    assert not known.knows(row("provider", issued_before=500.0))
    known.apply(RevocationChanges(added=(row("provider", issued_before=500.0), row("subject", "alice"))))
    for earlier in (
        row("provider", issued_before=400.0),
        row("provider", issued_before=500.0),
        row("subject", "alice"),
    ):
        assert known.knows(earlier)
    for other in (row("provider", issued_before=501.0), row("subject", "bob"), row("session", "alice")):
        assert not known.knows(other)
