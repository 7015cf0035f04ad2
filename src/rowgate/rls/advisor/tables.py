"""Rules about tables and sequences."""

from __future__ import annotations

from typing import Final

from rowgate.rls.advisor.finding import Rule, Severity

TABLES: Final = (
    Rule(
        "table-without-rls",
        Severity.ERROR,
        "Every table that exposed roles reach has row-level security",
        "Whoever may read it reads the rows of everybody.",
        "SELECT ident, pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', ident) FROM reached "
        "WHERE relkind IN ('r', 'p') AND NOT relrowsecurity AND NOT relispartition",
    ),
    Rule(
        "partition-without-rls",
        Severity.ERROR,
        "Every partition that exposed roles reach has row-level security of its own",
        "The policies of its parent hold for who asks the parent, not for who asks the partition.",
        "SELECT ident, pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', ident) FROM reached "
        "WHERE relkind IN ('r', 'p') AND NOT relrowsecurity AND relispartition",
    ),
    Rule(
        "owned-by-exposed-role",
        Severity.ERROR,
        "No exposed role owns a table that it could read past policies",
        "Row-level security does not hold for a table's owner, unless it is forced.",
        "SELECT DISTINCT c.ident, pg_catalog.format('ALTER TABLE %s FORCE ROW LEVEL SECURITY;', c.ident) "
        "FROM reached AS c JOIN exposed AS e ON pg_catalog.pg_has_role(e.oid, c.relowner, 'USAGE') "
        "WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND NOT c.relforcerowsecurity",
    ),
    Rule(
        "rls-not-forced",
        Severity.HINT,
        "Row-level security is forced for owners too",
        "Its owner, and every function and view with the owner's rights, sees all rows.",
        "SELECT ident, pg_catalog.format('ALTER TABLE %s FORCE ROW LEVEL SECURITY;', ident) FROM reached "
        "WHERE relkind IN ('r', 'p') AND relrowsecurity AND NOT relforcerowsecurity",
    ),
    Rule(
        "truncate-granted",
        Severity.ERROR,
        "No exposed role may TRUNCATE",
        "TRUNCATE asks no policy.",
        "SELECT DISTINCT c.ident, pg_catalog.format('REVOKE TRUNCATE ON TABLE %s FROM %s;', c.ident, o.roles) "
        "FROM relation AS c JOIN exposed AS e ON pg_catalog.has_table_privilege(e.oid, c.oid, 'TRUNCATE'), "
        "everyone AS o WHERE c.relkind IN ('r', 'p', 'f')",
    ),
    Rule(
        "trigger-granted",
        Severity.WARNING,
        "No exposed role may make triggers or foreign keys",
        "A trigger runs in other people's statements, and a foreign key tells which values exist.",
        "SELECT DISTINCT c.ident, "
        "pg_catalog.format('REVOKE TRIGGER, REFERENCES ON TABLE %s FROM %s;', c.ident, o.roles) "
        "FROM relation AS c JOIN exposed AS e "
        "ON pg_catalog.has_table_privilege(e.oid, c.oid, 'TRIGGER, REFERENCES'), everyone AS o "
        "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')",
    ),
    Rule(
        "cascade-across-owners",
        Severity.HINT,
        "No deletion reaches other users' rows by a foreign key",
        "ON DELETE CASCADE and SET NULL run as the table's owner and ask no policy.",
        "SELECT c.ident || '.' || pg_catalog.quote_ident(k.conname), pg_catalog.format("
        "'ALTER TABLE %s DROP CONSTRAINT %I, ADD CONSTRAINT %I %s;', c.ident, k.conname, k.conname, "
        "pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.pg_get_constraintdef(k.oid), "
        "' ON DELETE CASCADE', ''), ' ON DELETE SET NULL', ''), ' ON DELETE SET DEFAULT', '')) "
        "FROM pg_catalog.pg_constraint AS k JOIN relation AS c ON c.oid = k.conrelid "
        "WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd') AND c.relrowsecurity AND k.conparentid = 0 "
        "AND EXISTS (SELECT FROM exposed AS e WHERE pg_catalog.has_table_privilege(e.oid, k.confrelid, 'DELETE'))",
    ),
    Rule(
        "sequence-readable",
        Severity.WARNING,
        "No exposed role reads or sets sequences",
        "SELECT tells how many rows all have made, UPDATE lets setval() stop everybody's inserts. USAGE is enough.",
        "SELECT DISTINCT c.ident, "
        "pg_catalog.format('REVOKE SELECT, UPDATE ON SEQUENCE %s FROM %s;', c.ident, o.roles) "
        "FROM relation AS c JOIN exposed AS e "
        "ON pg_catalog.has_sequence_privilege(e.oid, c.oid, 'SELECT, UPDATE'), everyone AS o WHERE c.relkind = 'S'",
    ),
)
"""Rules about tables."""
