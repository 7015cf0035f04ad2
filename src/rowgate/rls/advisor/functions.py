"""Rules about functions that run with the rights of their owner."""

from __future__ import annotations

from typing import Final

from rowgate.rls.advisor.finding import Rule, Severity

FUNCTIONS: Final = (
    Rule(
        "definer-for-public",
        Severity.ERROR,
        "SECURITY DEFINER functions are for whom they are granted to",
        "PUBLIC may execute it, and it runs with the rights of its owner. Grant it to the roles that need it.",
        "SELECT ident, pg_catalog.format('REVOKE EXECUTE ON %s %s FROM PUBLIC;', "
        "CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, ident) FROM called "
        "WHERE pg_catalog.has_function_privilege('public', oid, 'EXECUTE')",
    ),
    Rule(
        "definer-search-path",
        Severity.ERROR,
        "SECURITY DEFINER functions search pg_temp last",
        "Without a search_path that ends with pg_temp, a caller's types and tables stand before those that it means.",
        "SELECT ident, pg_catalog.format('ALTER %s %s SET search_path = pg_catalog, %I, pg_temp;', "
        "CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, ident, schema_name) FROM called "
        "WHERE NOT EXISTS (SELECT FROM pg_catalog.unnest(proconfig) AS one "
        "WHERE one = 'search_path=pg_temp' OR (pg_catalog.starts_with(one, 'search_path=') "
        "AND pg_catalog.right(one, 9) = ', pg_temp'))",
    ),
)
"""Rules about functions."""
