"""Every attack of the table, through the gateway over HTTP and in sessions over TCP and WebSocket, without the guard,
and on the usual design.

The rows say what gets through; here each is held to it on Postgres 18, in the file beside this one on 15. What leads
through the gateway must have its reason.
"""

from __future__ import annotations

import pytest

from tests.attacks.table.__main__ import outcomes_on
from tests.attacks.table.attack import Attack, Way
from tests.attacks.table.rows import ATTACKS
from tests.servers import Embedded18, TestServer

Outcomes = tuple[int, dict[tuple[str, Way], bool]]


def outcomes_of(server: TestServer, folders: pytest.TempPathFactory) -> Outcomes:
    """The server's major version, and what every attack gained there."""
    return server.major_version, outcomes_on(server, folders.mktemp("attacks"))


def assert_it_gets_where_its_row_says(outcomes: Outcomes, attack: Attack) -> None:
    version, seen = outcomes
    assert {way: seen[attack.id, way] for way in Way} == {way: attack.gets_through(way, version) for way in Way}


@pytest.fixture(scope="module")
def outcomes(postgres18: Embedded18, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes_of(postgres18, tmp_path_factory)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_an_attack_gets_where_its_row_says_and_no_further(outcomes: Outcomes, attack: Attack) -> None:
    assert_it_gets_where_its_row_says(outcomes, attack)


def test_the_table_is_not_thin_and_what_leads_through_the_gateway_has_a_reason() -> None:
    assert len({attack.steps for attack in ATTACKS}) >= 250
    assert len({attack.id for attack in ATTACKS}) == len(ATTACKS)
    for attack in ATTACKS:
        ways = {one[0] for one in attack.through.split()}
        assert ways <= {"H", "S", "N", "B"}
        assert bool(ways & {"H", "S"}) == bool(attack.reason), attack


def test_only_an_owners_own_policy_lets_anything_through_over_http() -> None:
    assert [attack.id for attack in ATTACKS if "H" in attack.through] == ["owner-11"]
