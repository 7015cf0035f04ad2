"""Every row of the wire's tables against a gateway with TLS before Postgres 18 and 15: over TCP, TLS and WebSocket.

The rows say what comes back; here each is held to it. After each, nobody else's rows or tokens have been told, and Bob,
whose session is open all the while, is served.
"""

from __future__ import annotations

import pytest

from tests.attacks.wire.attack import Stage
from tests.attacks.wire.fronts import expected, outcomes_on
from tests.attacks.wire.rows import TLS_ATTACKS, WEBSOCKET_ATTACKS, WIRE_ATTACKS


@pytest.fixture(scope="module", params=["postgres18", "postgres15"])
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return outcomes_on(request.getfixturevalue(request.param), tmp_path_factory.mktemp("wire"))


@pytest.mark.parametrize("attack", expected())
def test_what_comes_back_is_what_the_row_says(outcomes: dict[str, str], attack: str) -> None:
    assert outcomes[attack] == expected()[attack]


def test_the_tables_are_not_thin_and_have_no_repetitions() -> None:
    assert len({(attack.stage, str(attack.sent)) for attack in WIRE_ATTACKS}) == len(WIRE_ATTACKS) >= 140
    assert {attack.stage for attack in WIRE_ATTACKS} == set(Stage)
    assert len({attack.what for attack in TLS_ATTACKS}) == len(TLS_ATTACKS) >= 25
    assert len({attack.what for attack in WEBSOCKET_ATTACKS}) == len(WEBSOCKET_ATTACKS) >= 25
