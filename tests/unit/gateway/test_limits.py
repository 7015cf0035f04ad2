"""Admission counts what is under way, per subject, and forgets those who have nothing under way."""

import pytest

from rowgate.errors import ConcurrencyExceeded
from rowgate.gateway.limits import SubjectLimits


def test_one_subject_cannot_take_more_than_its_share() -> None:
    limits = SubjectLimits(2)
    limits.admit("alice")
    limits.admit("alice")
    with pytest.raises(ConcurrencyExceeded):
        limits.admit("alice")
    limits.admit("bob")
    limits.leave("alice")
    limits.admit("alice")
    for subject in ("alice", "alice", "bob"):
        limits.leave(subject)
    assert not vars(limits)["_under_way"]
