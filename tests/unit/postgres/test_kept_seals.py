"""For how long a sealed message is used again, for whom, and how much of them there may be."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.postgres import kept_seals
from rowgate.postgres.kept_seals import MOST_BYTES, REUSE_SECONDS, KeptSeals
from rowgate.postgres.session_context import ContextSigner, SessionIdentity

SIGNER = ContextSigner("key", bytes(32), clock=lambda: 0.0)


def identity(name: bytes, *, signer: ContextSigner = SIGNER, membership: bytes = b"") -> SessionIdentity:
    return SessionIdentity(signer, b"authenticated", name, b'{"sub":"%b"}' % name, 1e9, membership)


def held(seals: KeptSeals) -> int:
    return sum(len(entry[4]) for kept in (seals._younger, seals._older) for entry in kept.values())


def test_it_is_used_until_it_is_old_also_from_the_older_generation() -> None:
    seals = KeptSeals()
    seals.keep(identity(b"early"), 1000.0, b"first")
    seals.keep(identity(b"alice"), 1000.0 + REUSE_SECONDS - 1, b"second")
    seals.keep(identity(b"bob"), 1001.0 + REUSE_SECONDS, b"third")
    assert seals.get(identity(b"early"), 1001.0 + REUSE_SECONDS) is None
    assert seals.get(identity(b"alice"), 1000.0 + 2 * REUSE_SECONDS - 1.1) == b"second"
    assert seals.get(identity(b"alice"), 1000.0 + 2 * REUSE_SECONDS - 1) is None
    assert seals.get(identity(b"bob"), 1001.0 + REUSE_SECONDS) == b"third"


def test_it_is_nobody_elses() -> None:
    seals = KeptSeals()
    seals.keep(identity(b"alice"), 0.0, b"hers")
    other = ContextSigner("key", bytes(32), clock=lambda: 0.0)
    assert seals.get(identity(b"alice"), 1.0) == b"hers"
    assert seals.get(identity(b"bob"), 1.0) is None
    assert seals.get(identity(b"alice", signer=other), 1.0) is None
    assert seals.get(identity(b"alice", membership=b"{}"), 1.0) is None
    impostor = SessionIdentity(SIGNER, b"authenticated", b"bob", identity(b"alice").claims, 1e9)
    assert seals.get(impostor, 1.0) is None


def test_users_who_ask_no_more_are_forgotten() -> None:
    seals = KeptSeals()
    for number in range(1000):
        seals.keep(identity(b"%d" % number), 0.0, b"message")
    for turn in (1, 2):
        seals.keep(identity(b"last"), turn * (REUSE_SECONDS + 1), b"message")
    assert held(seals) == 2 * len(b"message")


def test_ten_thousand_users_fit() -> None:
    seals, message = KeptSeals(), bytes(400)
    for number in range(10_000):
        seals.keep(identity(b"user_%d" % number), 1.0, message)
    assert all(seals.get(identity(b"user_%d" % number), 2.0) for number in range(10_000))


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 30)), max_size=60))
def test_there_is_never_more_than_two_generations(steps: list[tuple[int, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_seals, "MOST_BYTES", 20_000)
        seals, now, names = KeptSeals(), 1000.0, count()
        for size, pause in steps:
            now += pause
            one = identity(b"%d" % next(names))
            seals.keep(one, now, bytes(size))
            assert seals.get(one, now) == bytes(size)
            assert held(seals) <= 2 * 20_000
    assert MOST_BYTES > 20_000
    seals.forget_all()
    assert held(seals) == 0
