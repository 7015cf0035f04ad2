"""The gate of row-level security in front of real databases: over HTTP and in sessions, on Postgres 18 and 15."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.clients.two_gateways import Gateways, eventually, gateways_of
from tests.servers import Embedded18, PlainPostgres

CODE = "rowgate:row_security_missing"

TABLES = """
create table plain (id int, user_id text);
insert into plain values (1, 'alice'), (2, 'bob');
create table parent (id int, user_id text) partition by list (id);
create table child partition of parent for values in (1);
insert into parent values (1, 'bob');
alter table parent enable row level security;
create policy own on parent using ((select auth.user_id()) = user_id);
create view of_owner as select * from todos;
create view of_invoker with (security_invoker = true) as select * from todos;
create view of_exposed with (security_invoker = true) as select * from plain;
create materialized view kept as select * from todos;
create function as_owner() returns setof todos language sql security definer set search_path = public
    as 'select * from todos';
create function peek(anyelement) returns text language sql security definer set search_path = public
    as 'select task from todos where user_id = ''bob''';
create schema hidden_away;
create table hidden_away.todos (id int, user_id text, task text);
grant usage on schema hidden_away to authenticated;
grant select on hidden_away.todos to authenticated;
grant all on plain, parent, child, of_owner, of_invoker, of_exposed, kept to authenticated;
create table columns_only (id int, secret text);
grant select (id) on columns_only to authenticated;
"""

# (what is asked for, SQL that closes it)
EXPOSED = [
    ("select * from plain", "alter table plain enable row level security"),
    ("insert into plain values (3, 'bob')", None),
    ("select id from columns_only", "alter table columns_only enable row level security"),
    ("select * from child", "alter table child enable row level security"),
    ("select * from of_owner", "alter view of_owner set (security_invoker = true)"),
    ("select * from of_exposed", None),
    ("select * from kept", "revoke all on kept from public, authenticated, anonymous"),
    ("select * from as_owner()", "alter function as_owner() security invoker"),
    ("select t.peek from (select 1 as a) t", "revoke all on function peek(anyelement) from public"),
    ("select * from hidden_away.todos", "alter table hidden_away.todos enable row level security"),
    ("select * from todos", None),
]


@pytest.fixture(scope="module", params=["postgres18", "postgres15"])
def gateways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    server: Embedded18 | PlainPostgres = request.getfixturevalue(request.param)
    with gateways_of(1, server, tmp_path_factory.mktemp("gate")) as running:
        with running.prepared.admin() as admin:
            admin.execute(TABLES.encode())
        yield running


def http(gateways: Gateways, query: str) -> dict[str, Any]:
    return gateways.ask(0, gateways.token("alice"), query=query)


def session_refusal(session: psycopg.Connection[Any], query: str) -> str | None:
    """The code of the refusal in a session; it stands in the field that libpq calls the source function."""
    try:
        session.execute(query.encode())
    except psycopg.Error as problem:
        return problem.diag.source_function
    return None


def sql(gateways: Gateways, statement: str) -> None:
    with gateways.prepared.admin() as admin:
        admin.execute(statement.encode())


def test_what_is_exposed_is_refused_until_its_own_sql_has_closed_it(gateways: Gateways) -> None:
    assert eventually(lambda: http(gateways, "select * from todos").get("routine") == CODE) is not None
    with gateways.connect(0, gateways.token("alice")) as session:
        for query, _ in EXPOSED:
            answer = http(gateways, query)
            assert (answer.get("routine"), answer.get("code")) == (CODE, "42501"), (query, answer)
            assert answer["hint"].startswith("The owner closes it with: ")
            assert session_refusal(session, query) == CODE, query
            assert session_refusal(session, f"declare c cursor for {query}") in (CODE, "rowgate:statement_refused")
        assert session_refusal(session, "copy plain to stdout") == CODE
        assert session_refusal(session, "set search_path = hidden_away") is None
        assert session_refusal(session, "select * from todos") == CODE
        for query in ("select * from of_invoker", "select id, user_id from parent", "select * from public.todos"):
            assert http(gateways, query).get("routine") is None, query

        listed = json.loads(gateways.cli("gate", "list", "--json", status=1))["exposed"]
        assert len(listed) >= 9
        for statement in (fix for _, fix in EXPOSED if fix is not None):
            sql(gateways, statement)
        assert eventually(lambda: http(gateways, "select * from todos").get("routine") is None, 5) is not None
        for query, _ in EXPOSED:
            assert http(gateways, query).get("routine") != CODE, query
            assert session_refusal(session, query) != CODE
    assert gateways.cli("gate", "list") == "✓ Row-level security protects everything else that exposed roles reach.\n"


@pytest.mark.parametrize("watched", [True, False], ids=["event trigger", "no event trigger"])
def test_a_table_made_a_moment_ago_is_gated(gateways: Gateways, watched: bool) -> None:
    name = f"new_{watched}".lower()
    if not watched:
        sql(gateways, "alter event trigger rowgate_catalog disable")
    assert http(gateways, f"select * from {name}").get("code") == "42P01"
    sql(gateways, f"create table {name} (id int); grant select on {name} to authenticated")
    answer = http(gateways, f"select * from {name}")
    assert answer.get("routine") == CODE, answer
    sql(gateways, f"drop table {name}")
    sql(gateways, "alter event trigger rowgate_catalog enable")


def test_a_policy_that_goes_away_is_noticed_also_by_prepared_statements(gateways: Gateways) -> None:
    sql(gateways, "create table kept_up (id int); grant select on kept_up to authenticated; "
        "alter table kept_up enable row level security")  # fmt: skip
    with gateways.connect(0, gateways.token("alice")) as session:
        assert eventually(lambda: http(gateways, "select * from kept_up").get("rows") == [], 5) is not None
        for _ in range(20):  # often enough that quick reads share a connection, which must change nothing
            session.execute("select * from kept_up", prepare=True)
            session.execute("select * from kept_up")
        sql(gateways, "alter table kept_up disable row level security")
        assert eventually(lambda: session_refusal(session, "select * from kept_up") == CODE, 5) is not None
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("select * from kept_up", prepare=True)
    sql(gateways, "drop table kept_up")


def test_what_is_public_on_purpose_is_exempt_until_it_is_not(gateways: Gateways) -> None:
    sql(gateways, 'create table "Public Data" (id int); grant select on "Public Data" to authenticated')
    query, name = 'select * from "Public Data"', 'public."Public Data"'
    assert http(gateways, query).get("routine") == CODE
    gateways.cli("gate", "allow", name, "--reason", "the same for everybody")
    assert eventually(lambda: http(gateways, query).get("rows") == []) is not None
    assert "the same for everybody" in gateways.cli("gate", "list")
    gateways.cli("gate", "disallow", name)
    assert eventually(lambda: http(gateways, query).get("routine") == CODE) is not None
    assert "gate_object_unknown" in gateways.cli("gate", "disallow", name, status=2)
    assert "gate_object_unknown" in gateways.cli("gate", "allow", "public.nothing", status=2)
    assert "setting_invalid" in gateways.cli("gate", "allow", "nothing", status=2)
    sql(gateways, 'drop table "Public Data"')
