"""Rules about the walls themselves: the signed identity, what PUBLIC may do, and the gate's eye on the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from rowgate.rls.advisor.finding import Row, Rule, Severity
from rowgate.rls.hardening import TAKEN, Taken, taken_sql, trusted_sql

IDENTITY: Final = (
    Rule(
        "session-key-readable",
        Severity.ERROR,
        "Nobody but its owner and the gateway reads the session key",
        "Whoever reads it is whoever they like.",
        "SELECT 'auth.session_key for ' || CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE r.rolname::text END, "
        "pg_catalog.format('REVOKE ALL ON TABLE auth.session_key FROM %s;', "
        "CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END) "
        "FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace, "
        "pg_catalog.aclexplode(c.relacl) AS a LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee "
        "WHERE n.nspname = 'auth' AND c.relname = 'session_key' AND a.grantee <> c.relowner "
        "AND coalesce(r.rolname, '') <> 'rowgate_control' GROUP BY 1, 2",
    ),
    Rule(
        "identity-function-changed",
        Severity.ERROR,
        "The functions of the identity are as set-up has made them",
        "They must belong to rowgate_owner, and search pg_temp last.",
        "SELECT p.oid::regprocedure::text, CASE WHEN r.rolname <> 'rowgate_owner' "
        "THEN pg_catalog.format('ALTER FUNCTION %s OWNER TO rowgate_owner;', p.oid::regprocedure) ELSE '' END "
        "|| CASE WHEN p.prosecdef THEN pg_catalog.format("
        "'ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp;', p.oid::regprocedure) ELSE '' END "
        "FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace "
        "JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner WHERE n.nspname IN ('auth', 'rowgate') "
        "AND (r.rolname <> 'rowgate_owner' OR (p.prosecdef AND p.proconfig IS DISTINCT FROM "
        "ARRAY['search_path=pg_catalog, pg_temp']))",
    ),
    Rule(
        "owner-privileged",
        Severity.ERROR,
        "rowgate_owner cannot log in and has no attributes",
        "The functions that read the key run as it.",
        "SELECT 'rowgate_owner', 'ALTER ROLE rowgate_owner NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB;' "
        "FROM pg_catalog.pg_roles WHERE rolname = 'rowgate_owner' "
        "AND (rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)",
    ),
    Rule(
        "catalog-not-watched",
        Severity.HINT,
        "Gateways are told of changes to the catalog",
        "Without the event trigger they look every 15 seconds. A superuser makes it.",
        "SELECT 'event trigger rowgate_catalog', 'DROP EVENT TRIGGER IF EXISTS rowgate_catalog; "
        "CREATE EVENT TRIGGER rowgate_catalog ON ddl_command_end EXECUTE FUNCTION rowgate.announce_catalog_change();' "
        "WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger "
        "WHERE evtname = 'rowgate_catalog' AND evtenabled <> 'D')",
    ),
)
"""Rules about the signed identity."""


def _hardened(taken: Taken, rows: Sequence[Row]) -> Sequence[Row]:
    """One finding for a whole group: names of hundreds of functions help nobody."""
    if not rows:
        return ()
    names = sorted(str(name) for name, _ in rows)
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return ((shown, trusted_sql(rows[0][1]) + taken_sql(taken)),)


def _rule(number: int, taken: Taken) -> Rule:
    return Rule(
        f"open-to-public-{number:02d}",
        Severity.WARNING,
        f"{taken.title}: not for PUBLIC",
        f"{taken.why} `rowgate setup --harden` closes all of these.",
        "SELECT found.name, pg_catalog.current_setting('server_version_num')::int >= 160000 "
        f"FROM ({taken.open_objects.strip()}) AS found (name)",
        partial(_hardened, taken),
    )


HARDENING: Final = tuple(_rule(number, taken) for number, taken in enumerate(TAKEN, start=1))
"""Rules about what PUBLIC may do by default."""
