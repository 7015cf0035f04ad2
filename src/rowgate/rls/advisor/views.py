"""Rules about views, materialized views and foreign tables."""

from __future__ import annotations

from typing import Final

from rowgate.rls.advisor.finding import Rule, Severity

VIEWS: Final = (
    Rule(
        "view-without-invoker",
        Severity.ERROR,
        "Every view that exposed roles reach reads with their rights",
        "It reads with the rights of its owner, whom the policies of its tables may not hold for.",
        "SELECT c.ident, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 150000 "
        "THEN pg_catalog.format('ALTER VIEW %s SET (security_invoker = true);', c.ident) "
        "ELSE pg_catalog.format('REVOKE ALL ON TABLE %s FROM %s;', c.ident, o.roles) END "
        "FROM reached AS c, everyone AS o WHERE c.relkind = 'v' AND NOT EXISTS ("
        "SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) "
        "WHERE option_name = 'security_invoker' AND option_value::bool)",
    ),
    Rule(
        "materialized-view-granted",
        Severity.ERROR,
        "No exposed role reads a materialized view",
        "It keeps rows of everybody, and cannot have row-level security.",
        "SELECT c.ident, pg_catalog.format('REVOKE ALL ON TABLE %s FROM %s;', c.ident, o.roles) "
        "FROM reached AS c, everyone AS o WHERE c.relkind = 'm'",
    ),
    Rule(
        "foreign-table-granted",
        Severity.ERROR,
        "No exposed role reads a foreign table",
        "Its rows are another server's, and it cannot have row-level security.",
        "SELECT c.ident, pg_catalog.format('REVOKE ALL ON TABLE %s FROM %s;', c.ident, o.roles) "
        "FROM reached AS c, everyone AS o WHERE c.relkind = 'f'",
    ),
)
"""Rules about views."""
