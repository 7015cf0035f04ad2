"""Admission counts what is under way, per subject, and forgets those who have nothing under way."""

import pytest

from rowgate.errors import ConcurrencyExceeded
from rowgate.gateway.limits import SubjectLimits


def test_one_subject_cannot_take_more_than_its_share() -> None:
    limits = SubjectLimits(2)
    with limits.admit("alice"), limits.admit("alice"):
        with pytest.raises(ConcurrencyExceeded):
            limits.admit("alice")
        with limits.admit("bob"):
            pass
    with limits.admit("alice"):
        pass
    assert not vars(limits)["_under_way"]


def test_a_place_comes_back_after_an_error() -> None:
    limits = SubjectLimits(1)
    with pytest.raises(ZeroDivisionError), limits.admit("alice"):
        raise ZeroDivisionError
    with limits.admit("alice"):
        pass
