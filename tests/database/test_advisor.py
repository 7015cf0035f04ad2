"""The doctor: each mistake is made on a real database, found, mended by its own SQL, and not found again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from rowgate.errors import SetupIncomplete
from rowgate.rls.advisor.advisor import FAMILIES, advise
from rowgate.rls.advisor.finding import Finding, Severity
from rowgate.rls.advisor.policies import bare_calls
from rowgate.rls.hardening import TAKEN
from rowgate.rls.plan import SetupOptions
from rowgate.rls.setup import apply
from tests.clients.commands import run_command
from tests.database.conftest import Prepared, prepared_on
from tests.servers import TestServer


class Mistake(NamedTuple):
    """``sql`` makes it; the finding has ``rule`` and ``object``."""

    rule: str
    sql: str
    object: str


RLS = "ENABLE ROW LEVEL SECURITY"
MISTAKES = [
    Mistake("table-without-rls", "CREATE TABLE m1 (id int)", "public.m1"),
    Mistake("table-without-rls", 'CREATE TABLE "M 1" (id int)', 'public."M 1"'),
    Mistake("partition-without-rls",
            f"CREATE TABLE m2 (id int) PARTITION BY LIST (id); ALTER TABLE m2 {RLS}; "
            "CREATE TABLE m2_1 PARTITION OF m2 FOR VALUES IN (1)", "public.m2_1"),
    Mistake("owned-by-exposed-role", f"CREATE TABLE m3 (id int); ALTER TABLE m3 {RLS}; "
            "ALTER TABLE m3 OWNER TO authenticated", "public.m3"),
    Mistake("rls-not-forced", f"CREATE TABLE m4 (id int); ALTER TABLE m4 {RLS}", "public.m4"),
    Mistake("truncate-granted", "CREATE TABLE m5 (id int); GRANT TRUNCATE ON m5 TO anonymous", "public.m5"),
    Mistake("trigger-granted", "CREATE TABLE m6 (id int); GRANT TRIGGER ON m6 TO PUBLIC", "public.m6"),
    Mistake("cascade-across-owners", "CREATE TABLE m7 (id int PRIMARY KEY); CREATE TABLE m7_child (id int, "
            f"of int REFERENCES m7 ON DELETE CASCADE); ALTER TABLE m7_child {RLS}", "public.m7_child.m7_child_of_fkey"),
    Mistake("sequence-readable", "CREATE SEQUENCE m8; GRANT SELECT ON m8 TO authenticated", "public.m8"),
    Mistake("sequence-readable", "CREATE SEQUENCE m9; GRANT UPDATE ON m9 TO authenticated", "public.m9"),
    Mistake("view-without-invoker", "CREATE VIEW m10 AS SELECT 1 AS a", "public.m10"),
    Mistake("view-without-invoker", "CREATE VIEW m11 WITH (security_invoker = off) AS SELECT 1 AS a", "public.m11"),
    Mistake("materialized-view-granted", "CREATE MATERIALIZED VIEW m12 AS SELECT 1 AS a", "public.m12"),
    Mistake("foreign-table-granted", "CREATE FOREIGN DATA WRAPPER m13_w; CREATE SERVER m13_s FOREIGN DATA WRAPPER "
            "m13_w; CREATE FOREIGN TABLE m13 (id int) SERVER m13_s", "public.m13"),
    Mistake("policy-check-true", "CREATE POLICY m14 ON todos FOR INSERT WITH CHECK (true)", "public.todos.m14"),
    Mistake("policy-check-true", "CREATE POLICY m15 ON todos FOR UPDATE TO authenticated "
            "USING ((SELECT auth.user_id()) = user_id) WITH CHECK (true)", "public.todos.m15"),
    Mistake("policy-using-true", "CREATE POLICY m16 ON todos FOR SELECT TO anonymous USING (true)", "public.todos.m16"),
    Mistake("policy-to-public", "CREATE POLICY m17 ON todos USING ((SELECT auth.user_id()) = user_id)",
            "public.todos.m17"),
    Mistake("policy-reads-setting", "CREATE POLICY m18 ON todos TO authenticated "
            "USING (current_setting('request.jwt.claims', true)::json ->> 'sub' = user_id)", "public.todos.m18"),
    Mistake("policy-calls-per-row", "CREATE POLICY m19 ON todos TO authenticated USING (auth.user_id() = user_id "
            "AND task <> 'auth.user_id()')", "public.todos.m19"),
    Mistake("policy-calls-per-row", "CREATE POLICY m20 ON todos FOR INSERT TO authenticated "
            "WITH CHECK ((SELECT auth.user_id()) = user_id OR auth.session() ->> 'a' = task)", "public.todos.m20"),
    Mistake("definer-for-public", "CREATE FUNCTION m21() RETURNS int LANGUAGE sql SECURITY DEFINER "
            "SET search_path = pg_catalog, pg_temp AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION m21() TO PUBLIC",
            "public.m21()"),
    Mistake("definer-search-path", "CREATE FUNCTION m22() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
            "public.m22()"),
    Mistake("definer-search-path", "CREATE FUNCTION m23(int) RETURNS int LANGUAGE sql SECURITY DEFINER "
            "SET search_path = pg_temp, public AS 'SELECT 1'", "public.m23(integer)"),
    Mistake("exposed-role-privileged", "ALTER ROLE anonymous BYPASSRLS", "anonymous"),
    Mistake("exposed-role-member", "GRANT pg_read_all_data TO authenticated", "authenticated in pg_read_all_data"),
    Mistake("login-member", "GRANT pg_monitor TO {login}", "{login} in pg_monitor"),
    Mistake("login-privileged", "ALTER ROLE {login} CREATEDB", "{login}"),
    Mistake("secret-in-setting", "ALTER ROLE authenticated SET app.secret = 'x'", "app.secret of authenticated"),
    Mistake("secret-in-setting", "ALTER DATABASE {database} SET app.jwt_secret = 'x'", "app.jwt_secret"),
    Mistake("session-key-readable", "GRANT SELECT ON auth.session_key TO authenticated",
            "auth.session_key for authenticated"),
    Mistake("session-key-readable", "GRANT SELECT ON auth.session_key TO PUBLIC", "auth.session_key for PUBLIC"),
    Mistake("identity-function-changed", "ALTER FUNCTION auth.user_id() SET search_path = public", "auth.user_id()"),
    Mistake("identity-function-changed", "ALTER FUNCTION auth.jwt() OWNER TO CURRENT_USER", "auth.jwt()"),
    Mistake("owner-privileged", "ALTER ROLE rowgate_owner CREATEDB", "rowgate_owner"),
    Mistake("catalog-not-watched", "ALTER EVENT TRIGGER rowgate_catalog DISABLE", "event trigger rowgate_catalog"),
]  # fmt: skip


class Patient(NamedTuple):
    """A hardened database without findings but those of its table ``todos``, and its superuser."""

    prepared: Prepared
    admin: psycopg.Connection[Any]
    login: str


@pytest.fixture(scope="module", params=["postgres18", "postgres15"])
def patient(request: pytest.FixtureRequest) -> Iterator[Patient]:
    server: TestServer = request.getfixturevalue(request.param)
    with prepared_on(server) as prepared, psycopg.connect(server.conninfo(prepared.name), autocommit=True) as admin:
        assert apply(admin, SetupOptions(harden=True)).plan.is_complete
        admin.execute(
            "DROP POLICY own ON todos; CREATE POLICY own ON todos TO authenticated "
            "USING ((SELECT auth.user_id()) = user_id); ALTER TABLE todos FORCE ROW LEVEL SECURITY"
        )
        row = admin.execute("SELECT login_name FROM rowgate.exposed_role WHERE role_name = 'authenticated'").fetchone()
        assert row is not None
        yield Patient(prepared, admin, row[0])


def found(patient: Patient, rule: str) -> dict[str, Finding]:
    return {one.object: one for one in advise(patient.admin).findings if one.id == rule}


def test_a_sound_database_has_nothing(patient: Patient) -> None:
    assert advise(patient.admin).findings == ()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.rule}-{mistake.object}")
def test_a_mistake_is_found_mended_and_not_found_again(patient: Patient, mistake: Mistake) -> None:
    names = {"login": patient.login, "database": patient.prepared.name}
    name = mistake.object.format(**names)
    with patient.admin.transaction(force_rollback=True):
        patient.admin.execute(mistake.sql.format(**names).encode())
        finding = found(patient, mistake.rule)[name]
        assert finding.why
        patient.admin.execute(finding.fix_sql.encode())
        assert name not in found(patient, mistake.rule)


def test_every_rule_has_its_mistake() -> None:
    rules = [rule for _, rules in FAMILIES for rule in rules]
    assert len({rule.id for rule in rules}) == len(rules)
    tried = {mistake.rule for mistake in MISTAKES}
    assert {rule.id for rule in rules} == tried | {
        f"open-to-public-{number:02d}" for number in range(1, len(TAKEN) + 1)
    }


def test_what_public_may_do_is_found_and_mended_by_its_own_sql(patient: Patient) -> None:
    with patient.admin.transaction(force_rollback=True):
        apply_undo(patient)
        findings = [one for one in advise(patient.admin).findings if one.id.startswith("open-to-public-")]
        assert len(findings) >= len(TAKEN) - 2  # 15 and later have taken CREATE on public and on databases themselves
        assert {one.severity for one in findings} == {Severity.WARNING}
        for one in findings:
            patient.admin.execute(one.fix_sql.encode())
        assert advise(patient.admin).findings == ()


def apply_undo(patient: Patient) -> None:
    """As ``--unharden`` does it, inside the test's transaction."""
    from rowgate.rls.hardening import _UNDO

    patient.admin.execute("SET LOCAL search_path = pg_catalog, pg_temp")
    patient.admin.execute(_UNDO.encode())
    patient.admin.execute("SET LOCAL search_path = public")


def test_anybody_may_look_and_what_is_exempt_is_left_out(patient: Patient) -> None:
    patient.admin.execute("CREATE TABLE public_on_purpose (id int)")
    patient.admin.execute("INSERT INTO rowgate.gate_exemption VALUES ('public', 'public_on_purpose')")
    try:
        with psycopg.connect(patient.prepared.control_conninfo(), autocommit=True) as control:
            report = advise(control)
            assert (report.findings, report.unread) == ((), ("secret-in-setting",))
        patient.admin.execute("DELETE FROM rowgate.gate_exemption")
        with psycopg.connect(patient.prepared.control_conninfo(), autocommit=True) as control:
            assert {one.id for one in advise(control).findings} == {"table-without-rls"}
    finally:
        patient.admin.execute("DROP TABLE public_on_purpose")


def test_the_command(patient: Patient) -> None:
    url = patient.prepared.control_conninfo()
    assert run_command("doctor", "--database-url", url, variables={}).status == 0
    patient.admin.execute("CREATE TABLE forgotten (id int)")
    try:
        shown = run_command("doctor", "--database-url", url, variables={})
        assert shown.status == 1
        assert "✗ Every table that exposed roles reach has row-level security" in shown.stdout
        assert "✓ No exposed role may TRUNCATE" in shown.stdout
        answer = json.loads(run_command("doctor", "--json", "--database-url", url, variables={}).stdout)
        assert [one["object"] for one in answer["findings"]] == ["public.forgotten"]
        sql = run_command("doctor", "--sql", "--database-url", url, variables={}).stdout
        assert sql.splitlines()[1:] == ["ALTER TABLE public.forgotten ENABLE ROW LEVEL SECURITY;"]
    finally:
        patient.admin.execute("DROP TABLE forgotten")


def test_a_database_without_set_up_is_named(database: str, postgres: TestServer) -> None:
    with psycopg.connect(postgres.conninfo(database), autocommit=True) as connection, pytest.raises(SetupIncomplete):
        advise(connection)


def test_calls_in_sub_selects_are_told_from_those_for_each_row() -> None:
    call = "{FUNCEXPR :funcid 42 :args <>}"
    assert bare_calls(f"{{OPEXPR :args ({call})}}", frozenset({"42"}))
    assert not bare_calls(f"{{OPEXPR :args ({{SUBLINK :subselect {{QUERY :x {call}}}}})}}", frozenset({"42"}))
    assert bare_calls(f"{{BOOLEXPR :args ({{SUBLINK :s {{Q {call}}}}} {call})}}", frozenset({"42"}))
    assert not bare_calls(r"{CONST :name a\}\{b :funcid 43 }", frozenset({"42"}))
