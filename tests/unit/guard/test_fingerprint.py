"""A verdict's fingerprint is computed when it is read: the same as at once, and the text is gone then."""

from __future__ import annotations

import gc
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.guard import CLIENT, FunctionCatalog, Guard
from rowgate.guard.parser import fingerprint_here, fingerprint_of
from rowgate.guard.stack import INLINE_BYTES
from rowgate.guard.verdict import Fingerprint
from tests.unit.guard.honest import HONEST

GUARD = Guard(CLIENT, FunctionCatalog.default(), cache_size=0)
SMALL = tuple(sql for sql in HONEST if len(sql.encode()) <= INLINE_BYTES)


def is_kept(data: bytes, fingerprint: Fingerprint) -> bool:
    """Whether ``fingerprint`` keeps ``data``, by itself or in what it keeps."""
    pending: list[object] = [fingerprint]
    while pending:
        one = pending.pop()
        if one is data:
            return True
        if isinstance(one, Fingerprint | partial | tuple):
            pending += gc.get_referents(one)
    return False


def text_of(sql: str) -> bytes:
    """UTF-8 that no one else has."""
    return bytes(bytearray(sql.encode()))


def test_it_is_computed_once() -> None:
    calls: list[int] = []
    fingerprint = Fingerprint(lambda: f"{calls.append(1) or 7:016x}")
    assert calls == []
    assert fingerprint.text == fingerprint.text == "0000000000000007"
    assert calls == [1]


def test_values_are_compared_hashed_and_shown() -> None:
    known, lazy, other = Fingerprint("07"), Fingerprint(lambda: "07"), Fingerprint("08")
    assert known == lazy
    assert hash(known) == hash(lazy)
    assert known != other
    assert known != "07"
    assert repr(Fingerprint(lambda: "07")) == "Fingerprint('07')"


def test_an_error_comes_each_time_it_is_read() -> None:
    def fail() -> str:
        raise ValueError("no")

    fingerprint = Fingerprint(fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            _ = fingerprint.text


def test_the_text_is_kept_until_it_is_read() -> None:
    data = text_of("select a from t where b = 1")
    fingerprint = fingerprint_of(data)
    assert is_kept(data, fingerprint)
    assert fingerprint.text == fingerprint_here(data)
    assert not is_kept(data, fingerprint)


@pytest.mark.parametrize(
    "sql", ["select 1 /* auth.JWT_session_init('a.b.c') */", "select 1 -- " + "x" * INLINE_BYTES], ids=["token", "long"]
)
def test_a_text_that_is_long_or_may_hold_a_token_is_not_kept(sql: str) -> None:
    data = text_of(sql)
    fingerprint = fingerprint_of(data)
    assert not is_kept(data, fingerprint)
    assert fingerprint.text == fingerprint_here(b"select 1")


@given(st.sampled_from(SMALL), st.sampled_from(["", ";", " ;; ", "-- é"]), st.sampled_from(["", "/* é */ ", ";"]))
def test_it_is_the_same_over_http_in_a_session_and_alone(sql: str, after: str, before: str) -> None:
    expected = fingerprint_here(sql.encode())
    text = before + sql.rstrip(";") + after
    assert GUARD.check(text).fingerprint == expected
    (statement,) = GUARD.check_session(text)
    assert statement.verdict is not None
    assert statement.verdict.fingerprint == expected


@given(st.lists(st.sampled_from(SMALL), min_size=2, max_size=4))
def test_each_of_several_has_its_own(statements: list[str]) -> None:
    found = GUARD.check_session("\n;".join(sql.rstrip(";") for sql in statements))
    assert [one.verdict and one.verdict.fingerprint for one in found] == [
        fingerprint_here(sql.encode()) for sql in statements
    ]


def test_verdicts_differ_where_fingerprints_do() -> None:
    one, same = GUARD.check("select a from t where b = 1"), GUARD.check("select a from t where b = 2")
    assert one == same
    assert one != GUARD.check("select c from t where b = 1")
