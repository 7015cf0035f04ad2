"""Rules about roles and what is set for them."""

from __future__ import annotations

from typing import Final

from rowgate.rls.advisor.finding import Rule, Severity

ROLES: Final = (
    Rule(
        "exposed-role-privileged",
        Severity.ERROR,
        "Exposed roles have no attributes",
        "It bypasses policies, or makes and changes roles or databases.",
        "SELECT e.ident, pg_catalog.format('ALTER ROLE %s NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB "
        "NOREPLICATION;', e.ident) FROM exposed AS e JOIN pg_catalog.pg_roles AS r ON r.oid = e.oid "
        "WHERE r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication",
    ),
    Rule(
        "exposed-role-member",
        Severity.ERROR,
        "Exposed roles are members of no other role",
        "It has, or can take, the privileges of that role.",
        "SELECT e.ident || ' in ' || pg_catalog.quote_ident(r.rolname), "
        "pg_catalog.format('REVOKE %I FROM %s;', r.rolname, e.ident) FROM exposed AS e "
        "JOIN pg_catalog.pg_auth_members AS m ON m.member = e.oid JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid",
    ),
    Rule(
        "login-member",
        Severity.ERROR,
        "Logins of the gateway are members of their exposed role alone",
        "RESET ROLE and SET ROLE lead from it to that role.",
        "SELECT l.ident || ' in ' || pg_catalog.quote_ident(r.rolname), "
        "pg_catalog.format('REVOKE %I FROM %s;', r.rolname, l.ident) FROM login AS l "
        "JOIN pg_catalog.pg_auth_members AS m ON m.member = l.oid JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid "
        "WHERE (SELECT count(*) FROM pg_catalog.pg_auth_members AS o WHERE o.member = l.oid) > 1 "
        "AND NOT pg_catalog.starts_with(l.name, 'rowgate_' || r.rolname)",
    ),
    Rule(
        "login-privileged",
        Severity.ERROR,
        "Logins of the gateway have no attribute beside LOGIN",
        "Whoever gets past the guard has what the login has.",
        "SELECT l.ident, pg_catalog.format('ALTER ROLE %s NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB "
        "NOREPLICATION NOINHERIT;', l.ident) FROM login AS l JOIN pg_catalog.pg_roles AS r ON r.oid = l.oid "
        "WHERE r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolinherit",
    ),
    Rule(
        "secret-in-setting",
        Severity.WARNING,
        "No application keeps values in settings of roles or of the database",
        "Everybody may read pg_db_role_setting unless it is hardened, and a session reads its own settings.",
        "SELECT pg_catalog.split_part(one, '=', 1) || CASE WHEN s.setrole = 0 THEN '' "
        "ELSE ' of ' || s.setrole::regrole::text END, "
        "CASE WHEN s.setrole = 0 THEN pg_catalog.format('ALTER DATABASE %I RESET %s;', d.datname, "
        "pg_catalog.split_part(one, '=', 1)) WHEN s.setdatabase = 0 THEN "
        "pg_catalog.format('ALTER ROLE %s RESET %s;', s.setrole::regrole, pg_catalog.split_part(one, '=', 1)) "
        "ELSE pg_catalog.format('ALTER ROLE %s IN DATABASE %I RESET %s;', s.setrole::regrole, d.datname, "
        "pg_catalog.split_part(one, '=', 1)) END "
        "FROM pg_catalog.pg_db_role_setting AS s "
        "JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database(), "
        "pg_catalog.unnest(s.setconfig) AS one "
        "WHERE s.setdatabase IN (0, d.oid) AND pg_catalog.strpos(pg_catalog.split_part(one, '=', 1), '.') > 0 "
        "AND NOT EXISTS (SELECT FROM pg_catalog.pg_settings AS p WHERE p.name = pg_catalog.split_part(one, '=', 1))",
    ),
)
"""Rules about roles."""
