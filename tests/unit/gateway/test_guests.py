"""Sessions that are open on a database when something is revoked, and those that are just logging in."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from rowgate.errors import RowgateError, TokenRevoked
from rowgate.gateway.database import Database
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.principal import Principal
from rowgate.identity.revocation import Revocation, RevocationChanges
from rowgate.registry.registry import RegistrySnapshot
from rowgate.settings import Settings
from tests.unit.identity.forge import Clock, Documents, provider

ALICE = Principal(
    subject="alice", claims_json=b"{}", provider="example", issuer="i", roles=("authenticated",), expires_at=4e9
)


@dataclass(eq=False)
class Guest:
    """A session as far as a database knows it."""

    principal: Principal | None
    ended: list[RowgateError] = field(default_factory=list)

    def end(self, problem: RowgateError) -> None:
        self.ended.append(problem)


def database() -> Database:
    """One without a registry: what it says is applied by hand."""
    nothing: Any = None
    registry: Any = SimpleNamespace(rows=None)
    made = Database("app", Settings(), nothing, registry, KeySetCache(Documents(), Clock()), nothing)
    made._apply_identity(snapshot())
    return made


def snapshot(*revoked: Revocation, **changes: Any) -> RegistrySnapshot:
    providers = changes.pop("providers", (provider(),))
    return RegistrySnapshot(providers, (), (), "app", 180000, 0.0, revocations=RevocationChanges(revoked))


REVOKED = Revocation(provider="example", kind="subject", value="alice")


def test_only_those_who_are_meant_are_cut() -> None:
    tested = database()
    alice, bob, nobody = Guest(ALICE), Guest(replace(ALICE, subject="bob")), Guest(None)
    other = Guest(replace(ALICE, provider="other"))
    for guest in (alice, bob, nobody, other):
        tested.enter(guest, tested.providers)
    tested._apply_identity(snapshot(REVOKED))
    assert [len(guest.ended) for guest in (alice, bob, nobody, other)] == [1, 0, 0, 0]
    assert isinstance(alice.ended[0], TokenRevoked)


def test_who_has_left_is_left_alone() -> None:
    tested, alice = database(), Guest(ALICE)
    tested.enter(alice, tested.providers)
    tested.leave(alice)
    tested._apply_identity(snapshot(REVOKED, providers=()))
    assert alice.ended == []


@pytest.mark.parametrize(
    "providers",
    [(), (provider(audiences=("x",)),), (provider(roles=("anonymous",)),)],
    ids=["removed", "with an audience", "with other roles"],
)
def test_a_provider_that_is_gone_or_another_cuts_its_sessions(providers: Any) -> None:
    tested, alice, nobody = database(), Guest(ALICE), Guest(None)
    for guest in (alice, nobody):
        tested.enter(guest, tested.providers)
    tested._apply_identity(snapshot(providers=providers))
    assert (len(alice.ended), len(nobody.ended)) == (1, 0)


def test_another_provider_that_comes_cuts_nobody() -> None:
    tested, alice = database(), Guest(ALICE)
    tested.enter(alice, tested.providers)
    second, seen = provider(name="second", issuer="https://second.example"), tested.providers
    tested._apply_identity(snapshot(providers=(provider(), second)))
    assert alice.ended == []
    tested.enter(Guest(ALICE), seen)


def test_what_happens_between_the_token_and_the_session_is_not_missed() -> None:
    """The token was verified; until the session begins a backend is asked for its parameters."""
    tested = database()
    seen = tested.providers
    tested._apply_identity(snapshot(REVOKED))
    with pytest.raises(TokenRevoked):
        tested.enter(Guest(ALICE), seen)
    tested.enter(Guest(replace(ALICE, subject="bob")), seen)
    tested._apply_identity(snapshot(providers=(provider(roles=("anonymous",)),)))
    with pytest.raises(TokenRevoked):
        tested.enter(Guest(replace(ALICE, subject="bob")), seen)
    tested.enter(Guest(None), seen)
