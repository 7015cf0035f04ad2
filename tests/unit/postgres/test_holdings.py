"""Who may have one more connection: shares, and how few those have whose requests take long."""

from dataclasses import dataclass
from typing import Any

import pytest

from rowgate.postgres import holdings as module
from rowgate.postgres.holdings import CAREFUL_SECONDS, COMPANY_SECONDS, LONG_SECONDS, Holdings


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Held:
    """As much of a connection as is asked for."""

    party: str | None = None
    cut_short: bool = False
    busy_since: float | None = None
    longest: float | None = None


class House:
    """Holdings of one pool, and its connections."""

    def __init__(self, *, size: int = 10, share: int = 100, few: int | None = 2) -> None:
        self.clock = Clock()
        self.size = size
        self.held: list[Any] = []
        self.holdings = Holdings(self.clock, size=size, share=share, few=few)

    def take(self, party: str | None, most: int = 100) -> int:
        """As many as it may have, at most ``most``; how many that were."""
        count = 0
        while count < most and len(self.held) < self.size and (party is None or self._may(party)):
            connection: Any = Held()
            self.holdings.take(connection, party)
            connection.busy_since = self.clock.now
            self.held.append(connection)
            count += 1
        return count

    def _may(self, party: str) -> bool:
        return self.holdings.may_take(party, self.size - len(self.held))

    def give_back(self, party: str | None = None, most: int = 100) -> None:
        """Those of a party, or of all, the oldest first."""
        for one in [one for one in self.held if party is None or one.party == party][:most]:
            self.held.remove(one)
            self.idle(one)
            self.holdings.give_back(one)

    def idle(self, one: Any) -> None:
        """What ran on it has ended."""
        if one.busy_since is not None:
            one.longest, one.busy_since = max(one.longest or 0.0, self.clock.now - one.busy_since), None

    def run_all(self, party: str, seconds: float = 0.001) -> int:
        """Takes as many as it may have and gives them back after so long; how many that were."""
        count = self.take(party)
        self.clock.now += seconds
        self.give_back(party)
        return count


def test_whoever_is_quick_may_have_more_and_more() -> None:
    house = House()
    found = [house.run_all("a") for _ in range(10)]
    assert found[0] == 2
    assert found == sorted(found)
    assert found[-1] == 10


def test_one_that_was_held_long_takes_it_back_for_a_while() -> None:
    house = House()
    while house.run_all("a") < 10:
        pass
    assert house.take("a", 1) == 1
    house.clock.now += LONG_SECONDS * 2
    assert house.take("a") == 1, "while it still runs"
    house.give_back()
    for _ in range(5):
        assert house.run_all("a") == 2, "after it, and quick runs earn nothing"
    house.clock.now += CAREFUL_SECONDS
    assert house.run_all("a") == 2
    assert house.run_all("a") > 2


def test_a_transaction_that_waits_for_its_client_does_not_count() -> None:
    house = House()
    assert house.take("a") == 2
    for one in list(house.held):
        house.idle(one)
    house.clock.now += 100.0
    assert house.take("a") == 2, "two more, although four are held now"
    house.give_back()
    assert house.run_all("a") > 2, "and nothing on them had taken long"


def test_what_is_broken_off_counts_as_long() -> None:
    house = House()
    while house.run_all("a") < 10:
        pass
    house.take("a", 1)
    house.held[0].cut_short = True
    house.give_back()
    assert house.run_all("a") == 2


def test_others_lose_nothing_by_it() -> None:
    house = House()
    while house.run_all("quick") < 10:
        pass
    assert house.run_all("slow", 10.0) == 2
    assert house.run_all("quick") == 10


def test_a_share_is_of_what_no_other_party_holds() -> None:
    house = House(share=50, few=None)
    assert house.take("a") == 5
    assert house.take("b") == 2
    assert house.take("c", 1) == 1
    house.give_back("a", 5)
    assert house.take("a", 1) == 1


def test_requests_of_nobody_have_no_bound() -> None:
    house = House(share=10, few=1)
    assert house.take(None) == 10
    house.give_back()
    assert not house.holdings


@pytest.mark.parametrize("few", [None, 10, 11])
def test_without_a_bound_long_runs_cost_nothing(few: int | None) -> None:
    house = House(few=few)
    assert house.run_all("a", 10.0) == 10
    assert house.run_all("a") == 10


def test_only_who_holds_something_is_counted_and_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STANDINGS", 3)
    house = House()
    for number in range(10):
        house.run_all(str(number), 1.0)
    assert len(house.holdings) == 0
    assert len(house.holdings._standings) == 3


def test_company_is_who_was_served_of_late() -> None:
    house = House()
    assert not house.holdings.has_company()
    house.take("a", 1)
    house.clock.now += COMPANY_SECONDS + 1
    house.give_back()
    house.take("a", 1)
    house.take("a", 1)
    assert not house.holdings.has_company(), "its own connections are no company"
    house.take("b", 1)
    assert house.holdings.has_company()
    house.clock.now += COMPANY_SECONDS + 1
    assert not house.holdings.has_company()
    house.give_back("b")
    house.take("b", 1)
    house.give_back("b")
    assert house.holdings.has_company(), "beside somebody who has held theirs for long"
    house.clock.now += COMPANY_SECONDS + 1
    house.take(None, 1)
    assert house.holdings.has_company(), "nobody in particular is company as well"
