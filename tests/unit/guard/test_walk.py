"""Judging a node where it is met: never another outcome than judging every node in its turn."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, FunctionCatalog
from rowgate.guard.parser import ParsedText, parse_here
from rowgate.guard.sessions.functions import session_catalog
from rowgate.guard.sessions.walk import SessionWalk
from rowgate.guard.verdict import Refusal
from rowgate.guard.walk import InPlace, Walk
from tests.unit.guard.honest import HONEST
from tests.unit.guard.test_mutations import EXPRESSIONS, OVER_HTTP, mutant
from tests.unit.guard.test_nodes import at, judged_nodes

CATALOG = FunctionCatalog.default()
SESSION_CATALOG = session_catalog(CATALOG)
NOWHERE: Mapping[str, InPlace] = MappingProxyType({})


class InTurn(Walk):
    """Every node waits for its turn."""

    in_place: ClassVar[Mapping[str, InPlace]] = NOWHERE


class SessionInTurn(SessionWalk):
    """The same for sessions."""

    in_place: ClassVar[Mapping[str, InPlace]] = NOWHERE


def outcome(walk: Walk, tree: dict[str, Any]) -> object:
    """What the walk found, or its refusal with the place."""
    try:
        walk.run(tree)
    except StatementRefused as refused:
        return Refusal.of(refused)
    return walk.tables, walk.functions, walk.dotted, walk.writes


def assert_same(parsed: ParsedText, tree: dict[str, Any]) -> None:
    assert outcome(Walk(CLIENT, CATALOG, parsed), tree) == outcome(InTurn(CLIENT, CATALOG, parsed), tree)
    assert outcome(SessionWalk(CLIENT, SESSION_CATALOG, parsed), tree) == outcome(
        SessionInTurn(CLIENT, SESSION_CATALOG, parsed), tree
    )


@given(st.lists(mutant((*EXPRESSIONS, *OVER_HTTP)), min_size=1, max_size=3))
@example([("select t.pg_ls_dir, pg_sleep(1), t.lo_get, ('a'::regclass).b from t where t.a = t.pg_sleep", True)])
@example([("select p.prosrc, p.*, p, (p).oid, p.oid from pg_proc p natural join pg_class", True)])
@example([("select 1 from pg_database d join pg_proc p using (oid, prosrc) where d.datname = p.proname", True)])
def test_mutants_end_as_they_do_in_turn(made: list[tuple[str, bool]]) -> None:
    data = "\n;".join(sql for sql, _ in made).encode()
    parsed = parse_here(data)
    for statement in parsed.statements:
        assert_same(parsed, statement["stmt"])


STRANGE = (
    *({"A_Const": {"future": 1}}, {"ParamRef": {"number": 1, "future": 2}}, {"A_Star": {"future": {}}}),
    *({"ColumnRef": {"fields": [{"String": {"sval": "a"}}], "future": 1}}, {"NodeOfTheFuture": {}}),
    *({"ColumnRef": {"fields": [{"String": {"sval": "a"}}, {"String": {"sval": "pg_sleep"}}]}},),
    *({"A_Const": {"ival": {"ival": 1}, "location": 3}}, {"SetToDefault": {}}, {"String": {"sval": "a"}}),
)


@given(st.sampled_from(HONEST), st.lists(st.sampled_from(STRANGE), min_size=1, max_size=3), st.data())
def test_strange_trees_end_as_they_do_in_turn(sql: str, strange: list[dict[str, Any]], data: st.DataObject) -> None:
    parsed = parse_here(sql.encode())
    tree = parsed.statements[0]["stmt"]
    for node in strange:
        paths = judged_nodes(tree)
        if paths:
            *steps, last = data.draw(st.sampled_from(paths))
            at(tree, tuple(steps))[last] = node
    assert_same(parsed, tree)


@pytest.mark.parametrize("kind", sorted(Walk.in_place))
def test_what_is_judged_in_place_has_no_unknown_field(kind: str) -> None:
    walk = Walk(CLIENT, CATALOG, ParsedText(b"", ()))
    known = {"fields": [{"String": {"sval": "a"}}]} if kind == "ColumnRef" else {}
    assert Walk.in_place[kind](walk, known)
    assert not Walk.in_place[kind](walk, {**known, "fieldOfTheFuture": 1})
    with pytest.raises(StatementRefused, match="syntax that is not available"):
        walk.run({"SelectStmt": {"targetList": [{kind: {**known, "fieldOfTheFuture": 1}}]}})
