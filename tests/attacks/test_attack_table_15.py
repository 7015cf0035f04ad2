"""The attacks of the table on Postgres 15, in a file of its own so that both servers' can run at the same time."""

from __future__ import annotations

import pytest

from tests.attacks.table.attack import Attack, Way
from tests.attacks.table.rows import ATTACKS
from tests.attacks.test_attack_table import Outcomes, assert_it_gets_where_its_row_says, outcomes_of
from tests.servers import PlainPostgres


@pytest.fixture(scope="module")
def outcomes(postgres15: PlainPostgres, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes_of(postgres15, tmp_path_factory)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_an_attack_gets_where_its_row_says_and_no_further(outcomes: Outcomes, attack: Attack) -> None:
    assert_it_gets_where_its_row_says(outcomes, attack)


def test_every_way_was_gone(outcomes: Outcomes) -> None:
    version, seen = outcomes
    assert version == 15
    assert len(seen) == len(ATTACKS) * len(Way)
