"""The gate of row-level security: what the catalog says, and what of it a statement names."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rowgate.guard import CLIENT, FunctionCatalog, Guard
from rowgate.guard.exposures import Flaw, read_exposures
from rowgate.guard.gate import Gate, missing_row_security

GUARD = Guard(CLIENT, FunctionCatalog.default())
ME, BOTH = ["authenticated"], ["anonymous", "authenticated"]


def relation(number: int, name: str, kind: str = "r", *, schema: str = "public", rls: bool = False, **more: Any) -> Any:
    invoker, roles, bypassing = more.get("invoker"), more.get("roles", ME), more.get("bypassing", [])
    return [number, schema, name, f"{schema}.{name}", kind, rls, invoker, roles, bypassing]


RELATIONS = [
    relation(1, "todos", rls=True),
    relation(2, "plain", roles=BOTH),
    relation(3, "hidden", roles=[]),
    relation(4, "mine", rls=True, bypassing=ME),
    relation(5, "of_owner", "v"),
    relation(6, "through", "v", invoker=True),
    relation(7, "twice", "v", invoker=True, roles=BOTH),
    relation(8, "harmless", "v", invoker=True),
    relation(9, "kept", "m"),
    relation(10, "far", "f"),
    relation(11, "todos_id_seq", "S"),
    relation(12, "parts", "p"),
    relation(13, "todos", schema="old"),
    relation(14, "a.b"),
    relation(15, "public_on_purpose"),
    relation(16, "over_exempt", "v", invoker=True),
]
DEFINERS = [[-1, "public", "as_owner", "public.as_owner(integer)", ME], [-2, "public", "closed", "public.closed()", []]]
DEPENDENCIES = [[6, 2], [7, 6], [8, 1], [16, 15], [5, 2]]
ROW = [RELATIONS, DEFINERS, DEPENDENCIES, [["public", "as_owner"], ["public", "closed"], ["public", "fine"]],
       [["public", "public_on_purpose"]]]  # fmt: skip
GATE = Gate(read_exposures(ROW))


def findings(sql: str, role: str = "authenticated") -> tuple[list[tuple[Flaw, str]], bool]:
    found = GATE.judge(role, GUARD.check(sql))
    return [(one.flaw, one.label) for one in found.exposures], found.unknown


@pytest.mark.parametrize(
    ("sql", "flaw", "label"),
    [
        ("select * from plain", Flaw.ROW_SECURITY_OFF, "public.plain"),
        ("select * from public.plain", Flaw.ROW_SECURITY_OFF, "public.plain"),
        ("select 1 where exists (select from plain)", Flaw.ROW_SECURITY_OFF, "public.plain"),
        ("with x as (select * from plain) select 1 from x", Flaw.ROW_SECURITY_OFF, "public.plain"),
        ("insert into plain values (1)", Flaw.ROW_SECURITY_OFF, "public.plain"),
        ("update plain set a = 1", Flaw.ROW_SECURITY_OFF, "public.plain"),
        ("delete from public.plain", Flaw.ROW_SECURITY_OFF, "public.plain"),
        ("merge into plain using (values (1)) v(a) on true when matched then delete", Flaw.ROW_SECURITY_OFF,
         "public.plain"),
        ("select * from mine", Flaw.OWNED_BY_ROLE, "public.mine"),
        ("select * from of_owner", Flaw.VIEW_OF_OWNER, "public.of_owner"),
        ("select * from through", Flaw.VIEW_OF_EXPOSED, "public.through"),
        ("select * from twice", Flaw.VIEW_OF_EXPOSED, "public.twice"),
        ("table kept", Flaw.MATERIALIZED_VIEW, "public.kept"),
        ("select * from far", Flaw.FOREIGN_TABLE, "public.far"),
        ("select * from parts", Flaw.ROW_SECURITY_OFF, "public.parts"),
        ("select * from old.todos", Flaw.ROW_SECURITY_OFF, "old.todos"),
        ("select * from todos", Flaw.ROW_SECURITY_OFF, "old.todos"),
        ('select * from "a.b"', Flaw.ROW_SECURITY_OFF, 'public."a.b"'),
        ("select * from a.b", Flaw.ROW_SECURITY_OFF, 'public."a.b"'),
        ("select as_owner(1)", Flaw.DEFINER_FUNCTION, "public.as_owner"),
        ("select public.as_owner(1)", Flaw.DEFINER_FUNCTION, "public.as_owner"),
        ("select t.as_owner from public.todos t", Flaw.DEFINER_FUNCTION, "public.as_owner"),
        ("select (t).as_owner from public.todos t", Flaw.DEFINER_FUNCTION, "public.as_owner"),
        ("select * from as_owner(1)", Flaw.DEFINER_FUNCTION, "public.as_owner"),
    ],
)  # fmt: skip
def test_what_is_exposed_is_found(sql: str, flaw: Flaw, label: str) -> None:
    assert findings(sql) == ([(flaw, label)], False)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from public.todos",
        "select * from harmless",
        "select * from hidden",
        "select * from public_on_purpose",
        "select * from over_exempt",
        "select last_value from todos_id_seq",
        "select closed()",
        "select fine(1)",
        "select lower('x'), count(*), auth.user_id()",
        "with plain as (select 1) select * from plain",
        "",
    ],
)
def test_what_is_not_exposed_passes_and_is_remembered(sql: str) -> None:
    gate, verdict = Gate(GATE.exposures), GUARD.check(sql)
    assert not gate.passes("authenticated", verdict)
    assert not gate.judge("authenticated", verdict).exposures
    assert gate.passes("authenticated", verdict)
    assert not gate.passes("anonymous", verdict)


@pytest.mark.parametrize("sql", ["select * from new", "select newer()", "select * from public.new", "select x.new(1)"])
def test_names_that_nobody_knew_are_not_remembered(sql: str) -> None:
    assert findings(sql) == ([], True)
    assert not GATE.passes("authenticated", GUARD.check(sql))


def test_a_role_that_cannot_reach_it_is_let_through() -> None:
    assert findings("select * from plain", "anonymous")[0] == [(Flaw.ROW_SECURITY_OFF, "public.plain")]
    assert findings("select * from kept", "anonymous") == ([], False)
    assert findings("select as_owner(1)", "anonymous") == ([], False)


def test_the_error_says_how_to_close_it() -> None:
    (exposure,) = GATE.judge("authenticated", GUARD.check("select * from through")).exposures
    error = missing_row_security(exposure)
    assert error.sqlstate == "42501"
    assert "public.through" in error.message
    assert "public.plain" in (error.detail or "")
    assert "ALTER TABLE public.plain ENABLE ROW LEVEL SECURITY;" in (error.hint or "")
    assert "rowgate gate allow 'public.through'" in (error.hint or "")


def test_a_known_statement_costs_less_than_a_microsecond() -> None:
    verdict = GUARD.check("select * from public.todos")
    GATE.judge("authenticated", verdict)
    passes, best = GATE.passes, float("inf")
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(1000):
            passes("authenticated", verdict)
        best = min(best, time.perf_counter() - started)
    assert best < 1000 * 1e-6
