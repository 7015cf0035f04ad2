"""Each attack of the table is refused by the guard alone, and by the wall that the table names."""

from __future__ import annotations

import pytest

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, DEVELOPMENT, FunctionCatalog, Guard
from tests.attacks.guard_cases import ATTACKS, Attack, sqlstate_of

GUARD = Guard(CLIENT, FunctionCatalog.default())
DEVELOPER = Guard(DEVELOPMENT, FunctionCatalog.default())

WORDS = {
    "statement": "is not available",
    "function": "function",
    "column": "may not follow a dot",
    "relation": "elation",
    "type": "type",
    "operator": "may not be used",
}


def refusal(guard: Guard, sql: str) -> StatementRefused:
    with pytest.raises(StatementRefused) as caught:
        guard.check(sql)
    return caught.value


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_the_attack_is_refused_by_its_wall(attack: Attack) -> None:
    error = refusal(GUARD, attack.sql)
    assert error.refused_sqlstate == sqlstate_of(attack), f"{error.message} would gain {attack.gain}"
    assert WORDS.get(attack.wall, "") in error.message or (attack.wall == "operator" and "parts" in error.message)
    assert error.detail
    assert error.hint
    if attack.wall in WORDS:
        assert error.position is not None
        assert 1 <= error.position <= len(attack.sql)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_the_second_attempt_meets_the_same_refusal(attack: Attack) -> None:
    first, second = refusal(GUARD, attack.sql), refusal(GUARD, attack.sql)
    assert (first.message, first.position, first.hint) == (second.message, second.position, second.hint)


@pytest.mark.parametrize(
    "attack", [each for each in ATTACKS if each.wall not in {"text", "syntax"}], ids=lambda a: a.id
)
def test_explain_is_no_way_around(attack: Attack) -> None:
    assert refusal(DEVELOPER, f"explain {attack.sql}").refused_sqlstate in {"42501", "42601"}


def test_the_table_is_not_thin_and_has_no_repetitions() -> None:
    assert len({attack.sql for attack in ATTACKS}) == len(ATTACKS) >= 350
    assert len({attack.id for attack in ATTACKS}) == len(ATTACKS)
    assert {attack.wall for attack in ATTACKS} == {*WORDS, "node", "syntax", "text"}
