"""The allow-list of nodes against libpg_query's own description of its tree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, FunctionCatalog
from rowgate.guard.nodes import NODE, NODES, STATEMENTS
from rowgate.guard.parser import ParsedText, StatementParser
from rowgate.guard.walk import Walk
from tests.unit.guard.honest import HONEST


def walk(tree: dict[str, Any]) -> None:
    Walk(CLIENT, FunctionCatalog.default(), ParsedText(b"", ())).run(tree)


def test_every_child_names_a_node_of_the_list() -> None:
    for node, fields in NODES.items():
        for name, child in fields.items():
            assert child is None or child == NODE or child in NODES, f"{node}.{name}"


def test_no_node_that_defines_or_sets_anything_is_on_the_list() -> None:
    assert [name for name in NODES if name.endswith("Stmt")] == list(STATEMENTS)
    assert not {"IntoClause", "CurrentOfExpr", "DefElem", "Constraint", "RawStmt"} & NODES.keys()


def test_an_unknown_node_is_refused() -> None:
    with pytest.raises(StatementRefused, match="syntax that is not available"):
        walk({"SelectStmt": {"targetList": [{"NodeOfTheFuture": {}}]}})


def test_an_unknown_field_is_refused() -> None:
    for tree in (
        {"SelectStmt": {"fieldOfTheFuture": True}},
        {"SelectStmt": {"withClause": {"ctes": [], "fieldOfTheFuture": 1}}},
        {"SelectStmt": {"targetList": [{"ResTarget": {"val": {"A_Const": {"future": 1}}}}]}},
    ):
        with pytest.raises(StatementRefused, match="syntax that is not available"):
            walk(tree)


def wrapped_nodes(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every wrapped node in a tree."""
    found: list[tuple[Any, ...]] = []
    if isinstance(tree, dict):
        if len(tree) == 1 and next(iter(tree))[:1].isupper():
            found.append(path)
        for key, value in tree.items():
            found += wrapped_nodes(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            found += wrapped_nodes(value, (*path, index))
    return found


# The walk takes these lists of names as they are; what it reads from them it judges by name.
_READ_AS_NAMES = {
    *("String", "A_Star", "Integer"),
}


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    """What stands at a path."""
    for step in path:
        tree = tree[step]
    return tree


def judged_nodes(tree: Any) -> list[tuple[Any, ...]]:
    """The path of every wrapped node below the statement that the walk judges as a node."""
    paths = []
    for path in filter(None, wrapped_nodes(tree)):
        inside_names = {"lockedRels", "withClause"} & set(path) and path[-1] != "ctequery"
        if next(iter(at(tree, path))) not in _READ_AS_NAMES and not inside_names:
            paths.append(path)
    return paths


@given(st.sampled_from(HONEST), st.data())
def test_a_strange_node_anywhere_in_an_honest_tree_is_refused(sql: str, data: st.DataObject) -> None:
    tree = StatementParser().parse(sql).statements[0]["stmt"]
    walk(tree)
    paths = judged_nodes(tree)
    if not paths:
        return
    *steps, last = data.draw(st.sampled_from(paths))
    at(tree, tuple(steps))[last] = {"NodeOfTheFuture": {}}
    with pytest.raises(StatementRefused):
        walk(tree)


@given(st.sampled_from(HONEST), st.data())
def test_a_strange_field_anywhere_in_an_honest_tree_is_refused(sql: str, data: st.DataObject) -> None:
    tree = StatementParser().parse(sql).statements[0]["stmt"]
    path = data.draw(st.sampled_from([(), *judged_nodes(tree)]))
    ((kind, node),) = at(tree, path).items()
    node["fieldOfTheFuture"] = 1
    with pytest.raises(StatementRefused, match="syntax that is not available") as refused:
        walk(tree)
    assert f"{kind}.fieldOfTheFuture" in str(refused.value.detail)
