"""Judging a text by the shape of another: never another verdict than from scratch, for any numbers and any attack."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, FunctionCatalog, Guard
from rowgate.guard.parser import tree_here
from rowgate.guard.shapes import LONGEST_SHAPE, MOST_SHAPES, ShapeCache, only_statement, shape_of
from tests.attacks.guard_cases import ATTACKS
from tests.attacks.guard_session_cases import SESSION_ATTACKS
from tests.unit.guard.honest import HONEST
from tests.unit.guard.test_session_texts import OPEN

CATALOG = FunctionCatalog.default()
WARM = Guard(CLIENT, CATALOG)
"""Keeps shapes from one test to the next, as a gateway does."""

TEXTS = [*HONEST, *(text.sql for text in OPEN), *(attack.sql for attack in (*ATTACKS, *SESSION_ATTACKS))]


def outcome(decide: Any, sql: str) -> object:
    try:
        return decide(sql)
    except StatementRefused as refusal:
        return (refusal.message, refusal.detail, refusal.refused_sqlstate, refusal.position)


def places(value: object, data: bytes) -> set[int]:
    """Where the whole-number constants of a tree begin, in bytes."""
    found: set[int] = set()
    if isinstance(value, dict):
        constant = value.get("A_Const")
        if isinstance(constant, dict) and "ival" in constant:
            place = constant.get("location", 0)
            found |= {place} if data[place : place + 1].isdigit() else set()
        for child in value.values():
            found |= places(child, data)
    elif isinstance(value, list):
        for child in value:
            found |= places(child, data)
    return found


def renumbered(sql: str, numbers: list[int]) -> str:
    """The text with other whole numbers in place of its own."""
    data = sql.encode("utf-8", "surrogatepass")
    try:
        tree = json.loads(tree_here(data)) if b"\0" not in data and len(data) < 3000 else {}
    except (StatementRefused, RecursionError):
        return sql
    for count, place in enumerate(sorted(places(tree, data), reverse=True)):
        end = place
        while data[end : end + 1].isdigit():
            end += 1
        if data[end : end + 1] not in (b".", b"_", b"x", b"e", b"E"):
            data = data[:place] + b"%d" % numbers[count % len(numbers)] + data[end:]
    return data.decode("utf-8", "surrogatepass")


@given(st.sampled_from(TEXTS), st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5))
def test_whole_numbers_change_no_verdict(sql: str, numbers: list[int]) -> None:
    other = renumbered(sql, numbers)
    for text in (sql, other):
        fresh = Guard(CLIENT, CATALOG)
        assert outcome(WARM.check, text) == outcome(fresh.check, text)
        assert outcome(WARM.check_session, text) == outcome(fresh.check_session, text)


@pytest.mark.parametrize("attack", [*ATTACKS, *SESSION_ATTACKS], ids=lambda attack: attack.id)
def test_an_attack_is_refused_in_the_company_of_honest_shapes(attack: Any) -> None:
    fresh = Guard(CLIENT, CATALOG)
    for _ in range(2):
        assert outcome(WARM.check, attack.sql) == outcome(fresh.check, attack.sql)
        assert outcome(WARM.check_session, attack.sql) == outcome(fresh.check_session, attack.sql)


def test_a_text_said_again_keeps_its_own_words_and_its_own_place() -> None:
    guard = Guard(CLIENT, CATALOG)
    first = guard.check_session("/* e */ select 1 + 2  from todos where id = 3;")
    (again,) = guard.check_session("/* é */  select 10 + 20  from todos where id = 30 ;")
    assert again.text == "select 10 + 20  from todos where id = 30"
    assert again.verdict is first[0].verdict
    assert (again.offset, Guard(CLIENT, CATALOG).check_session("/* é */  select 1")[0].offset) == (again.offset,) * 2
    assert outcome(guard.check_session, "select 1; select 2") == outcome(
        Guard(CLIENT, CATALOG).check_session, "select 1; select 2"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select 'a'", "select 'b'"),
        ("select 1", "select 1.5"),
        ("select 1", "select true"),
        ("select 1", "select null"),
        ("select 1", "select $1"),
        ("select $1", "select $2"),
        ("select 1", "select a"),
        ("select 1", "select 1, 1"),
        ("select f(1)", "select g(1)"),
        ("select 1; select 2", "select 1"),
        ("select '\"location\":1'", "select '\"location\":2'"),
        ('select \'"A_Const":{"ival":{"ival":1\'', 'select \'"A_Const":{"ival":{"ival":2\''),
        ('select a as """location"":1"', 'select a as """location"":2"'),
    ],
)
def test_what_is_not_a_whole_number_is_another_shape(one: str, other: str) -> None:
    assert shape_of(tree_here(one.encode())) != shape_of(tree_here(other.encode()))


@pytest.mark.parametrize("sql", ["select 1", "select $1, 'a';", "select array[1, 2] ;", "select a from t -- x"])
def test_where_a_statement_stands_is_no_part_of_its_shape(sql: str) -> None:
    assert shape_of(tree_here(b" " + sql.encode())) == shape_of(tree_here(b"/* x */     " + sql.encode()))


@pytest.mark.parametrize(
    "text", ["select 1", "  select 1 ;  ", "-- c\nselect 1;", "select 1 /* x */", "/* é */ select 2"]
)
def test_the_place_of_the_only_statement_is_the_parsers(text: str) -> None:
    tree = tree_here(text.encode())
    (raw,) = json.loads(tree)["stmts"]
    assert only_statement(tree) == {name: value for name, value in raw.items() if name != "stmt"}


def test_the_cache_is_bounded() -> None:
    cache = ShapeCache[int]()
    for number in range(MOST_SHAPES + 10):
        cache.put(b"%d" % number, number)
    assert len(cache) == MOST_SHAPES
    assert cache.get(b"0") is None
    cache.put(b"x" * (LONGEST_SHAPE + 1), 1)
    assert cache.get(b"x" * (LONGEST_SHAPE + 1)) is None
    assert shape_of(b"x" * (3 * LONGEST_SHAPE)) is None
