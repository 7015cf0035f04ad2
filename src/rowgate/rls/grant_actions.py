"""The steps about objects: the extension, the registry's tables, the key, and what exposed roles may do with tables.

The privileges are those of the guide's step "Setup Roles", for the tables that are there and for those to come.
"""

from __future__ import annotations

from collections.abc import Iterator

from rowgate.rls import extension
from rowgate.rls.actions import Action, CannotProceed, Database, identifier, identifiers

SCHEMA_VERSION = 3
TABLE_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")

# to_regclass() and its like raise an error for names in schemas that the connected role may not use.
_SCHEMA = "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s"

# Relations of extensions are their own affair: spatial_ref_sys or pg_stat_statements are not the users' tables.
_RELATIONS = """
SELECT n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner), c.relkind = 'S'
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS d
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
    AND EXISTS (
        SELECT FROM pg_catalog.pg_roles AS r
        WHERE r.rolname = ANY (%s) AND NOT CASE c.relkind
            WHEN 'S' THEN pg_catalog.has_sequence_privilege(r.oid, c.oid, 'USAGE')
            ELSE pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT')
                AND pg_catalog.has_table_privilege(r.oid, c.oid, 'INSERT')
                AND pg_catalog.has_table_privilege(r.oid, c.oid, 'UPDATE')
                AND pg_catalog.has_table_privilege(r.oid, c.oid, 'DELETE') END
    )
ORDER BY 3, 1, 2
"""

_CHANGED_TABLES = (
    "rowgate.provider",
    "rowgate.revocation",
    "rowgate.received_message",
    "rowgate.webhook",
    "rowgate.admin_token",
    "rowgate.gate_exemption",
)
_READ_TABLES = ("rowgate.exposed_role", "rowgate.schema_version", "rowgate.revocation_change", "auth.session_key")

_CONTROL_PRIVILEGES = (
    *((table, privilege) for table in _CHANGED_TABLES for privilege in TABLE_PRIVILEGES),
    *((table, "SELECT") for table in _READ_TABLES),
)


def extension_action(database: Database) -> Action:
    """pg_session_jwt by CREATE EXTENSION where the server knows ours, else by the same script as ordinary SQL."""
    available = database.one(
        "SELECT pg_catalog.bool_or(version = %s) FROM pg_catalog.pg_available_extension_versions WHERE name = %s",
        extension.EXTENSION_VERSION,
        extension.EXTENSION_NAME,
    )
    function = "SELECT FROM pg_catalog.pg_proc WHERE proname = %s AND pronamespace = (" + _SCHEMA + ")"
    installed = "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = %s"
    is_there = bool(database.rows(function, "rotate_session_key", "auth"))

    def missing(_: bool) -> str | None:
        version = database.one(installed, extension.EXTENSION_NAME)
        if database.rows(function, "rotate_session_key", "auth"):
            if database.rows(function, "has_permission", "auth"):
                return None
            return f"expected version {extension.EXTENSION_VERSION}, got an earlier one"
        if version is not None:
            raise CannotProceed(f"another pg_session_jwt (version {version}) is installed in this database")
        if database.rows(_SCHEMA, "auth"):
            raise CannotProceed("this database has a schema auth that is not Rowgate's")
        return "it is not installed"

    return Action(
        title="Extension pg_session_jwt" + ("" if available else " (as ordinary SQL)"),
        why="auth.user_id() and auth.session() for policies; the session key, which only their owner can read.",
        runner=f"a role with CREATE on the database {database.name} that may SET ROLE rowgate_owner",
        sql=_extension_sql(bool(available), is_there, bool(database.one(installed, extension.EXTENSION_NAME))),
        missing=missing,
    )


def _extension_sql(is_available: bool, is_there: bool, is_extension: bool) -> str:
    """Makes it or brings it up to date, in the way in which it is or can be there."""
    name, version = extension.EXTENSION_NAME, extension.EXTENSION_VERSION
    if is_there and is_extension:
        return f"ALTER EXTENSION {name} UPDATE TO '{version}';\n"
    if is_there:
        return extension.upgrade_script()
    return f"CREATE EXTENSION {name} VERSION '{version}';\n" if is_available else extension.script()


def registry_action(database: Database) -> Action:
    """The schema ``rowgate`` and its tables."""

    def missing(_: bool) -> str | None:
        tables = "SELECT FROM pg_catalog.pg_class WHERE relname = 'schema_version' AND relnamespace = (" + _SCHEMA + ")"
        if not database.rows(tables, "rowgate"):
            return "the schema or its tables do not exist"
        with database.as_owner():
            version = database.one("SELECT version FROM rowgate.schema_version")
        return None if version == SCHEMA_VERSION else f"expected version {SCHEMA_VERSION}, got {version}"

    return Action(
        title="Schema rowgate",
        why="Providers, revocations, and the login roles' passwords, readable by the control role alone.",
        runner=f"a role with CREATE on the database {database.name} that may SET ROLE rowgate_owner",
        sql="CREATE SCHEMA IF NOT EXISTS rowgate AUTHORIZATION rowgate_owner;\nSET LOCAL ROLE rowgate_owner;\n\n"
        + extension.registry_script()
        + "\nRESET ROLE;\n",
        missing=missing,
    )


def catalog_trigger_action(database: Database) -> Action:
    """The event trigger that tells gateways of changes to tables, policies and privileges."""

    def missing(_: bool) -> str | None:
        present = database.rows(
            "SELECT FROM pg_catalog.pg_event_trigger AS t WHERE t.evtname = 'rowgate_catalog' AND t.evtenabled <> 'D'"
        )
        return None if present else "there is none, or it is disabled"

    return Action(
        title="Event trigger rowgate_catalog",
        why="Gateways learn of new tables and of policies at once; without it they look every 15 seconds.",
        runner="a superuser",
        sql="""
DROP EVENT TRIGGER IF EXISTS rowgate_catalog;
CREATE EVENT TRIGGER rowgate_catalog ON ddl_command_end EXECUTE FUNCTION rowgate.announce_catalog_change();
""",
        missing=missing,
    )


def key_action(database: Database) -> Action:
    """A session key, made inside the server. An existing one is replaced only when asked, and stays valid beside it."""
    asked = database.options.rotate_key

    def missing(_: bool) -> str | None:
        nonlocal asked
        if asked:
            asked = False
            return "a new key was asked for"
        with database.as_owner():
            present = database.one("SELECT EXISTS (SELECT FROM auth.session_key WHERE active)")
        return None if present else "there is no key"

    return Action(
        title="Session key",
        why="The gateway signs the verified claims with it, and the extension's functions verify them.",
        runner="a role that may SET ROLE rowgate_owner",
        sql="SET LOCAL ROLE rowgate_owner;\nSELECT auth.rotate_session_key();\nRESET ROLE;\n",
        missing=missing,
    )


def control_grants_action(database: Database) -> Action:
    """What the control role may do: change what is configured, read logins and the key, nothing else."""
    checks = " AND ".join(
        f"pg_catalog.has_table_privilege('rowgate_control', '{table}', '{privilege}')"
        for table, privilege in _CONTROL_PRIVILEGES
    )

    def missing(_: bool) -> str | None:
        schemas = database.one(
            "SELECT pg_catalog.has_schema_privilege('rowgate_control', 'rowgate', 'USAGE') "
            "AND pg_catalog.has_schema_privilege('rowgate_control', 'auth', 'USAGE')"
        )
        # Names in schemas that the connected role may not use cannot even be asked about.
        with database.as_owner():
            return None if schemas and database.one(f"SELECT {checks}") else "rowgate_control lacks some"

    return Action(
        title="Privileges of rowgate_control",
        why="It may change providers, revocations, webhooks and admin tokens, and read logins and the session key, "
        "nothing else.",
        runner="a role that may SET ROLE rowgate_owner",
        sql=f"""
SET LOCAL ROLE rowgate_owner;
GRANT USAGE ON SCHEMA rowgate, auth TO rowgate_control;
GRANT {", ".join(TABLE_PRIVILEGES)} ON {", ".join(_CHANGED_TABLES)} TO rowgate_control;
GRANT SELECT ON {", ".join(_READ_TABLES)} TO rowgate_control;
RESET ROLE;
""",
        missing=missing,
    )


def schema_action(database: Database, schema: str) -> Action:
    """USAGE on one of the users' schemas."""
    roles = database.options.roles

    def missing(_: bool) -> str | None:
        if not database.rows(_SCHEMA, schema):
            raise CannotProceed(f"there is no schema {schema}")
        lacking = [
            role for role in roles
            if not database.one("SELECT pg_catalog.has_schema_privilege(%s, %s, 'USAGE')", role, schema)
        ]  # fmt: skip
        return f"{', '.join(lacking)} lack it" if lacking else None

    return Action(
        title=f"USAGE on the schema {schema}",
        why="Without it no name in the schema can be used.",
        runner="the owner of the schema or a superuser",
        sql=f"GRANT USAGE ON SCHEMA {identifier(schema)} TO {identifiers(*roles)};\n",
        missing=missing,
    )


def table_actions(database: Database) -> Iterator[Action]:
    """One step for each owner of tables or sequences that the exposed roles cannot use yet, or one that is done."""
    found = database.rows(_RELATIONS, [*database.options.schemas], [*database.options.roles])
    where = "the schema " + ", ".join(database.options.schemas)
    owners = sorted({owner for _, _, owner, _ in found})
    for owner in owners:
        names = [
            (f"{identifiers(schema)}.{identifiers(name)}", is_sequence)
            for schema, name, by, is_sequence in found
            if by == owner
        ]
        yield _tables_of(database, owner, where, names)
    if not owners:
        yield Action(
            title=f"Privileges on the tables of {where}",
            why="Exposed roles may read and write them, as far as policies let them.",
            runner="the owner of the tables or a superuser",
            sql="",
            missing=lambda _: None,
        )


def default_privileges_action(database: Database, owner: str, schema: str) -> Action:
    """The same privileges for tables and sequences that ``owner`` will make."""
    to = identifiers(*database.options.roles)
    target = f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(owner)} IN SCHEMA {identifier(schema)}"

    def missing(_: bool) -> str | None:
        found = database.rows(
            "SELECT d.defaclobjtype::text || ' ' || r.rolname || ' ' || a.privilege_type "
            "FROM pg_catalog.pg_default_acl AS d, pg_catalog.aclexplode(d.defaclacl) AS a "
            "JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee "
            "WHERE d.defaclrole = pg_catalog.to_regrole(%s) AND d.defaclnamespace = pg_catalog.to_regnamespace(%s)",
            identifier(owner),
            identifier(schema),
        )
        expected = {f"r {role} {privilege}" for role in database.options.roles for privilege in TABLE_PRIVILEGES}
        expected |= {f"S {role} USAGE" for role in database.options.roles}
        return "future tables would not be granted" if expected - {entry for (entry,) in found} else None

    return Action(
        title=f"Default privileges for the tables of {owner} in the schema {schema}",
        why="Tables that are made later are granted like those that are there now.",
        runner=f"{owner}, a member of it, or a superuser",
        sql=f"{target} GRANT {', '.join(TABLE_PRIVILEGES)} ON TABLES TO {to};\n"
        f"{target} GRANT USAGE ON SEQUENCES TO {to};\n",
        missing=missing,
    )


def _tables_of(database: Database, owner: str, where: str, names: list[tuple[str, bool]]) -> Action:
    to = identifiers(*database.options.roles)
    tables = ", ".join(name for name, is_sequence in names if not is_sequence)
    sequences = ", ".join(name for name, is_sequence in names if is_sequence)
    statements = []
    if tables:
        statements.append(f"GRANT {', '.join(TABLE_PRIVILEGES)} ON TABLE {tables} TO {to};\n")
    if sequences:
        # A serial column takes its value from a sequence, as the role that inserts.
        statements.append(f"GRANT USAGE ON SEQUENCE {sequences} TO {to};\n")

    def missing(_: bool) -> str | None:
        left = [
            row for row in database.rows(_RELATIONS, [*database.options.schemas], [*database.options.roles])
            if row[2] == owner
        ]  # fmt: skip
        return f"{len(left)} tables or sequences are not granted" if left else None

    return Action(
        title=f"Privileges on the tables of {owner} in {where}",
        why="Exposed roles may read and write them, as far as policies let them.",
        runner=f"{owner} or a superuser",
        sql="".join(statements),
        missing=missing,
    )
