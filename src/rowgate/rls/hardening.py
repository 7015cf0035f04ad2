"""The steps of hardening: what PUBLIC may do by default and exposed roles must not.

What is taken from PUBLIC is given to the role ``rowgate_trusted``, and that to everybody who may log in and is no login
of the gateway's, so nobody else loses anything; who is made later needs ``GRANT rowgate_trusted TO name``. Each change
is written to ``rowgate.hardening``, from which it is undone. Privileges belong to one database and do not come with a
restored dump or a new major version: run it again there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rowgate.rls.actions import Action, Database, identifier, literal
from rowgate.rls.hardened_objects import FUNCTIONS, LANGUAGES, LOGIN_SETTINGS, VIEWS

SUPERUSER = "a superuser"
COVERED = "Where the service does not allow it, the guard alone stands before it."

# Who may log in on their own account: neither a login of the gateway's nor the role behind one.
_TRUSTED = """
SELECT r.rolname::text FROM pg_catalog.pg_roles AS r
WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT pg_catalog.starts_with(r.rolname::text, 'rowgate_')
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS l ON l.oid = m.member
        WHERE m.roleid = r.oid AND pg_catalog.starts_with(l.rolname::text, 'rowgate_')
            AND l.rolname NOT IN ('rowgate_owner', 'rowgate_control')
    )
"""
_OPEN_FUNCTIONS = """
SELECT 'pg_catalog.' || p.oid::regprocedure::text FROM pg_catalog.pg_proc AS p
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY ({names}::name[])
    AND pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE')
"""
_OPEN_VIEWS = """
SELECT 'pg_catalog.' || c.oid::regclass::text FROM pg_catalog.pg_class AS c
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relname = ANY ({names}::name[])
    AND pg_catalog.has_table_privilege('public', c.oid, 'SELECT')
"""
_OPEN_LANGUAGES = """
SELECT pg_catalog.quote_ident(l.lanname) FROM pg_catalog.pg_language AS l
WHERE l.lanname = ANY ({names}::name[]) AND pg_catalog.has_language_privilege('public', l.oid, 'USAGE')
"""
_OPEN_DATABASE = """
SELECT pg_catalog.quote_ident(pg_catalog.current_database())
WHERE pg_catalog.has_database_privilege('public', pg_catalog.current_database(), '{privilege}')
"""
_OPEN_SCHEMA = """
SELECT 'public' FROM pg_catalog.pg_namespace AS n
WHERE n.nspname = 'public' AND pg_catalog.has_schema_privilege('public', n.oid, 'CREATE')
"""


def _array(names: Sequence[str]) -> str:
    return literal("{" + ",".join(names) + "}")


@dataclass(frozen=True, slots=True)
class Taken:
    """What is taken from PUBLIC: a privilege on objects of one kind. ``open_objects`` is a query for the names of those
    that PUBLIC still has it on, written as SQL wants them."""

    kind: str
    privilege: str
    open_objects: str
    title: str
    why: str
    runner: str


TAKEN: Final[tuple[Taken, ...]] = (
    Taken(
        "database",
        "TEMPORARY",
        _OPEN_DATABASE.format(privilege="TEMPORARY"),
        "Temporary tables and types",
        "A type in pg_temp can stand before Postgres's own, and a table in it outlives the request.",
        "the owner of the database or a superuser",
    ),
    Taken(
        "database",
        "CREATE",
        _OPEN_DATABASE.format(privilege="CREATE"),
        "New schemas in the database",
        "Nobody but owners makes schemas.",
        "the owner of the database or a superuser",
    ),
    Taken(
        "schema",
        "CREATE",
        _OPEN_SCHEMA,
        "New objects in the schema public",
        "What stands there is found by other people's statements.",
        "the owner of the schema or a superuser",
    ),
    *(
        Taken(
            "function",
            "EXECUTE",
            _OPEN_FUNCTIONS.format(names=_array(names)),
            f"Execution of {title}",
            f"{why} {COVERED}",
            SUPERUSER,
        )
        for title, why, names in FUNCTIONS
    ),
    Taken(
        "table",
        "SELECT",
        _OPEN_VIEWS.format(names=_array(VIEWS)),
        "Views of other sessions",
        f"They tell what others do, and settings of roles. {COVERED}",
        SUPERUSER,
    ),
    Taken(
        "language",
        "USAGE",
        _OPEN_LANGUAGES.format(names=_array(LANGUAGES)),
        "Languages for functions",
        f"Without one nobody makes a function. {COVERED}",
        SUPERUSER,
    ),
)


def hardening_actions(database: Database) -> Iterator[Action]:
    """Every step, in order."""
    yield _trusted_action(database)
    for one in TAKEN:
        yield _taken(database, one)
    owners = database.options.owners or tuple(dict.fromkeys((database.connected_role, database.owner)))
    for owner in owners:
        yield _default_action(database, owner)
    yield _login_settings_action(database)


def undo_action(database: Database) -> Action:
    """Gives back exactly what hardening has taken, and takes what it has given in its place."""

    def missing(_: bool) -> str | None:
        with database.as_owner():
            left = database.one("SELECT count(*) FROM rowgate.hardening")
        return f"{left} changes are to be undone" if left else None

    return Action(
        title="Undo hardening",
        why="Gives back to PUBLIC exactly what was taken; the role rowgate_trusted stays, for other databases.",
        runner="who has hardened it, or a superuser",
        sql=_UNDO,
        missing=missing,
    )


def _trusted_action(database: Database) -> Action:
    """The role that keeps what PUBLIC loses."""
    without, _ = _without_trust(database.grants_have_options)

    def missing(_: bool) -> str | None:
        if not database.rows("SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rowgate_trusted'"):
            return "the role does not exist"
        lacking = [name for (name,) in database.rows(without)]
        return f"{', '.join(lacking)} would lose what PUBLIC loses" if lacking else None

    return Action(
        title="Role rowgate_trusted",
        why="Keeps what PUBLIC loses, for everybody who may log in and is no login of the gateway's.",
        runner="a superuser or a role with CREATEROLE",
        sql=trusted_sql(database.grants_have_options),
        missing=missing,
    )


def _without_trust(grants_have_options: bool) -> tuple[str, str]:
    """The query for those who lack it, and the options of the grant. Since PostgreSQL 16 whoever makes a role is a
    member of it who inherits nothing."""
    privilege, options = ("USAGE", " WITH INHERIT TRUE") if grants_have_options else ("MEMBER", "")
    return f"{_TRUSTED.strip()}\n    AND NOT pg_catalog.pg_has_role(r.oid, 'rowgate_trusted', '{privilege}')", options


def trusted_sql(grants_have_options: bool) -> str:
    """Makes the role rowgate_trusted, and its members."""
    without, options = _without_trust(grants_have_options)
    return f"""
DO $$
DECLARE
    name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rowgate_trusted') THEN
        CREATE ROLE rowgate_trusted NOLOGIN;
    END IF;
    FOR name IN {without} LOOP
        EXECUTE pg_catalog.format('GRANT rowgate_trusted TO %I{options}', name);
    END LOOP;
END
$$;
"""


def _taken(database: Database, taken: Taken) -> Action:
    """Takes a privilege from PUBLIC."""

    def missing(_: bool) -> str | None:
        found = [name for (name,) in database.rows(taken.open_objects)]
        return f"PUBLIC has {taken.privilege} on {_some(found)}" if found else None

    return Action(
        title=f"{taken.title}: not for PUBLIC",
        why=taken.why,
        runner=taken.runner,
        sql=taken_sql(taken),
        missing=missing,
    )


def taken_sql(taken: Taken) -> str:
    """Takes the privilege from PUBLIC, gives it to rowgate_trusted, and keeps account of it."""
    kind, privilege = taken.kind, taken.privilege
    # rowgate_owner inherits nothing, and its functions keep the identity with set_config.
    owner = ", rowgate_owner" if kind == "function" else ""
    return f"""
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN {taken.open_objects.strip()} LOOP
        EXECUTE pg_catalog.format('GRANT {privilege} ON {kind.upper()} %s TO rowgate_trusted{owner}', name);
        EXECUTE pg_catalog.format('REVOKE {privilege} ON {kind.upper()} %s FROM PUBLIC', name);
        SET LOCAL ROLE rowgate_owner;
        INSERT INTO rowgate.hardening (kind, name, privilege) VALUES ('{kind}', name, '{privilege}')
        ON CONFLICT DO NOTHING;
        RESET ROLE;
    END LOOP;
END
$$;
"""  # noqa: S608 (names are quoted, everything else is text of ours)


def _default_action(database: Database, owner: str) -> Action:
    """Functions that ``owner`` makes later are for those alone whom they are granted to."""

    def missing(_: bool) -> str | None:
        done = database.rows(
            "SELECT FROM pg_catalog.pg_default_acl AS d JOIN pg_catalog.pg_roles AS r ON r.oid = d.defaclrole "
            "WHERE r.rolname = %s AND d.defaclnamespace = 0 AND d.defaclobjtype = 'f' "
            "AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(d.defaclacl) AS a WHERE a.grantee = 0)",
            owner,
        )
        return None if done else "PUBLIC would have EXECUTE on them"

    return Action(
        title=f"Functions that {owner} makes later: not for PUBLIC",
        why="A SECURITY DEFINER function is for whom it is granted to. Grant what policies and clients call.",
        runner=f"{owner}, a member of it, or a superuser",
        sql=f"""
ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(owner)} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
SET LOCAL ROLE rowgate_owner;
INSERT INTO rowgate.hardening (kind, name, privilege) VALUES ('default', {literal(owner)}, 'EXECUTE')
ON CONFLICT DO NOTHING;
RESET ROLE;
""",  # noqa: S608 (names are quoted, everything else is text of ours)
        missing=missing,
    )


def _login_settings_action(database: Database) -> Action:
    """Defaults for the login roles in this database."""
    own = {name for name, _ in LOGIN_SETTINGS}
    settings = [row for row in LOGIN_SETTINGS if database.is_superuser or row[0] in _USER_SETTINGS]
    statements = "\n        ".join(
        "EXECUTE pg_catalog.format('ALTER ROLE %I IN DATABASE %I SET "
        f"{name} = %L', login, pg_catalog.current_database(), {literal(value)});"
        for name, value in settings
    )

    def missing(_: bool) -> str | None:
        with database.as_owner():
            logins = [name for (name,) in database.rows("SELECT login_name FROM rowgate.exposed_role")]
        found = database.rows(
            "SELECT r.rolname::text, pg_catalog.split_part(one, '=', 1) FROM pg_catalog.pg_db_role_setting AS s "
            "JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole "
            "JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase AND d.datname = pg_catalog.current_database(), "
            "pg_catalog.unnest(s.setconfig) AS one WHERE r.rolname = ANY (%s)",
            logins,
        )
        present = {(login, name) for login, name in found if name in own}
        lacking = [login for login in logins if any((login, name) not in present for name, _ in settings)]
        return f"{', '.join(lacking)} have none" if lacking else None

    return Action(
        title="Defaults of the login roles",
        why="Time-outs, a bound on temporary files, and no parameters in the log, for whoever uses a login directly.",
        runner="a superuser, or a role with CREATEROLE and ADMIN on the login roles",
        sql=f"""
DO $$
DECLARE
    logins text[];
    login text;
BEGIN
    SET LOCAL ROLE rowgate_owner;
    SELECT pg_catalog.array_agg(login_name) INTO logins FROM rowgate.exposed_role;
    INSERT INTO rowgate.hardening (kind, name, privilege)
    SELECT 'login', one, 'SET' FROM pg_catalog.unnest(logins) AS one ON CONFLICT DO NOTHING;
    RESET ROLE;
    FOREACH login IN ARRAY logins LOOP
        {statements}
    END LOOP;
END
$$;
""",  # noqa: S608 (names are quoted, everything else is text of ours)
        missing=missing,
    )


_USER_SETTINGS = frozenset({"statement_timeout", "idle_in_transaction_session_timeout"})
"""Those that may be set without being a superuser."""

# Names become objects of the catalog again before they stand in SQL, so the table cannot smuggle any in. What is not
# there any more is passed over.
_UNDO = """
DO $$
DECLARE
    kinds text[];
    names text[];
    privileges text[];
    object text;
BEGIN
    SET LOCAL ROLE rowgate_owner;
    SELECT pg_catalog.array_agg(h.kind ORDER BY h.kind, h.name, h.privilege),
        pg_catalog.array_agg(h.name ORDER BY h.kind, h.name, h.privilege),
        pg_catalog.array_agg(h.privilege ORDER BY h.kind, h.name, h.privilege)
    INTO kinds, names, privileges FROM rowgate.hardening AS h;
    DELETE FROM rowgate.hardening;
    RESET ROLE;
    FOR i IN 1 .. coalesce(pg_catalog.cardinality(kinds), 0) LOOP
        object := CASE kinds[i]
            WHEN 'function' THEN pg_catalog.to_regprocedure(names[i])::text
            WHEN 'table' THEN pg_catalog.to_regclass(names[i])::text
            WHEN 'language' THEN (
                SELECT pg_catalog.quote_ident(l.lanname) FROM pg_catalog.pg_language AS l
                WHERE pg_catalog.quote_ident(l.lanname) = names[i]
            )
            WHEN 'database' THEN pg_catalog.quote_ident(pg_catalog.current_database())
            WHEN 'schema' THEN (SELECT 'public' FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'public')
            ELSE (SELECT pg_catalog.quote_ident(r.rolname) FROM pg_catalog.pg_roles AS r WHERE r.rolname = names[i])
        END;
        CONTINUE WHEN object IS NULL
            OR privileges[i] NOT IN ('EXECUTE', 'SELECT', 'USAGE', 'TEMPORARY', 'CREATE', 'SET');
        IF kinds[i] = 'default' THEN
            EXECUTE 'ALTER DEFAULT PRIVILEGES FOR ROLE ' || object || ' GRANT EXECUTE ON FUNCTIONS TO PUBLIC';
        ELSIF kinds[i] = 'login' THEN
            EXECUTE pg_catalog.format('ALTER ROLE %s IN DATABASE %I RESET ALL', object, pg_catalog.current_database());
        ELSE
            EXECUTE pg_catalog.format('GRANT %s ON %s %s TO PUBLIC', privileges[i], kinds[i], object);
            EXECUTE pg_catalog.format('REVOKE %s ON %s %s FROM rowgate_trusted', privileges[i], kinds[i], object);
            IF kinds[i] = 'function' THEN
                EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM rowgate_owner', object);
            END IF;
        END IF;
    END LOOP;
END
$$;
"""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
