"""The steps about roles: the owner, the exposed roles, their logins, and the control role.

Roles belong to all databases of a server. Exposed roles, the owner and the control role are shared; a login role is
made for one database (its comment says which), because its password is kept in that database only. So set-up in a
second database leaves the first one's logins as they are, and a login that leaks opens one database.
Passwords are made inside the server and never stand in a statement's text.
"""

from __future__ import annotations

from rowgate.rls.actions import Action, CannotProceed, Database, identifier, literal

MAY_CREATE_ROLES = "a superuser or a role with CREATEROLE"

# 244 random bits of the server's strong random source; the text is safe in a connection string.
_RANDOM_TEXT = "pg_catalog.replace(pg_catalog.gen_random_uuid()::text || pg_catalog.gen_random_uuid()::text, '-', '')"


def owner_action(database: Database) -> Action:
    """rowgate_owner owns the functions that read the key. Whoever sets up must be able to hand objects over to it."""
    options = " WITH INHERIT FALSE, SET TRUE" if database.grants_have_options else ""
    membership = "" if database.is_superuser else f"GRANT rowgate_owner TO CURRENT_USER{options};\n"
    privilege = "SET" if database.grants_have_options else "MEMBER"

    def missing(_: bool) -> str | None:
        known = database.rows("SELECT rolsuper OR rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = 'rowgate_owner'")
        if not known:
            return "the role does not exist"
        if known[0][0]:
            raise CannotProceed(
                "rowgate_owner may log in or is a superuser; ALTER ROLE rowgate_owner NOSUPERUSER NOLOGIN"
            )
        may = database.one(f"SELECT pg_catalog.pg_has_role(CURRENT_USER, 'rowgate_owner', '{privilege}')")
        return None if may else f"{database.connected_role} may not hand objects to it"

    return Action(
        title="Role rowgate_owner",
        why="Owns the functions that read the session key; it cannot log in and is no superuser.",
        runner=MAY_CREATE_ROLES,
        sql=_create_role_unless_exists("rowgate_owner") + membership,
        missing=missing,
    )


def exposed_role_action(database: Database, role: str) -> Action:
    """The role that clients name in their connection string."""

    def missing(_: bool) -> str | None:
        known = database.rows(
            "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication FROM pg_catalog.pg_roles "
            "WHERE rolname = %s",
            role,
        )
        if not known:
            return "the role does not exist"
        if known[0][0]:
            raise CannotProceed(f"{role} is a superuser, bypasses row-level security, or may make roles or replicate")
        return None

    return Action(
        title=f"Role {role}",
        why="Clients name it in their connection string; policies and grants are written for it.",
        runner=MAY_CREATE_ROLES,
        sql=_create_role_unless_exists(role),
        missing=missing,
    )


def login_action(database: Database, role: str) -> Action:
    """The login role for one exposed role: a member of that role alone, so RESET ROLE leads nowhere."""
    fresh = database.options.rotate_passwords
    done = False

    def missing(probe: bool) -> str | None:
        nonlocal done
        if fresh and not done:
            done = True
            return "a new password was asked for"
        with database.as_owner():
            known = database.rows(
                "SELECT login_name, login_password FROM rowgate.exposed_role WHERE role_name = %s", role
            )
        if not known:
            return "the role has no login"
        login, password = known[0]
        flaw = _login_flaw(database, login, role)
        if flaw is None and probe and not database.accepts_login(login, password):
            return f"{login} cannot log in"
        return flaw

    return Action(
        title=f"Login role for {role}",
        why=f"The gateway connects with it; it is a member of {role} alone, so RESET ROLE leads nowhere.",
        runner=f"{MAY_CREATE_ROLES}, with ADMIN on {role} (PostgreSQL 16 and later), who may SET ROLE rowgate_owner",
        sql=_login_sql(database, role),
        missing=missing,
    )


def control_action(database: Database) -> Action:
    """The control role: the gateway reads providers, logins and the key with it; no client's statement runs on it."""
    wanted = database.options.control_password

    def missing(probe: bool) -> str | None:
        known = database.rows(
            "SELECT rolcanlogin AND NOT rolsuper FROM pg_catalog.pg_roles WHERE rolname = 'rowgate_control'"
        )
        if not known:
            return "the role does not exist"
        if not known[0][0]:
            raise CannotProceed("rowgate_control is a superuser or may not log in")
        if wanted is not None and probe and not database.accepts_login("rowgate_control", wanted):
            return "it cannot log in with the given password"
        return None

    return Action(
        title="Role rowgate_control",
        why="The gateway reads providers, logins and the session key with it. Its password is taken from the setting "
        "rowgate.control_password, or made; the last line shows it.",
        runner=MAY_CREATE_ROLES,
        sql=f"""
DO $$
DECLARE
    secret text := coalesce(
        pg_catalog.current_setting('rowgate.control_password', true), ''
    );
BEGIN
    IF secret = '' THEN
        secret := {_RANDOM_TEXT};
        PERFORM pg_catalog.set_config('rowgate.control_password', secret, true);
    END IF;
    IF pg_catalog.to_regrole('rowgate_control') IS NULL THEN
        CREATE ROLE rowgate_control LOGIN NOINHERIT;
    END IF;
    EXECUTE pg_catalog.format('ALTER ROLE rowgate_control LOGIN PASSWORD %L', secret);
END
$$;
SELECT pg_catalog.current_setting('rowgate.control_password') AS control_password;
""",
        missing=missing,
    )


def connect_action(database: Database) -> Action:
    """CONNECT for the logins and the control role, which PUBLIC has by default and hardened databases take away."""

    def missing(_: bool) -> str | None:
        with database.as_owner():
            logins = database.rows(
                "SELECT login_name FROM rowgate.exposed_role WHERE role_name = ANY (%s)", [*database.options.roles]
            )
        expected = {"rowgate_control", *(login for (login,) in logins)}
        granted = database.rows(
            "SELECT r.rolname FROM pg_catalog.pg_database AS d, pg_catalog.aclexplode(d.datacl) AS a "
            "JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee "
            "WHERE d.datname = pg_catalog.current_database() AND a.privilege_type = 'CONNECT'"
        )
        lacking = sorted(expected - {name for (name,) in granted})
        return f"{', '.join(lacking)} lack it" if lacking else None

    return Action(
        title=f"CONNECT on the database {database.name}",
        why="For the login roles and the control role, also where PUBLIC has lost it.",
        runner=f"the owner of the database ({database.owner}) or a superuser",
        sql="""
DO $$
DECLARE
    logins text[];
    login text;
BEGIN
    SET LOCAL ROLE rowgate_owner;
    SELECT pg_catalog.array_agg(login_name) INTO logins FROM rowgate.exposed_role;
    RESET ROLE;
    FOREACH login IN ARRAY pg_catalog.array_append(logins, 'rowgate_control') LOOP
        EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I', pg_catalog.current_database(), login);
    END LOOP;
END
$$;
""",
        missing=missing,
    )


def _create_role_unless_exists(role: str) -> str:
    return f"""
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal(role)}) THEN
        CREATE ROLE {identifier(role)} NOLOGIN NOINHERIT;
    END IF;
END
$$;
"""


def _login_flaw(database: Database, login: str, role: str) -> str | None:
    attributes = database.rows(
        "SELECT rolcanlogin, rolsuper OR rolinherit OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication "
        "FROM pg_catalog.pg_roles WHERE rolname = %s",
        login,
    )
    if not attributes or not attributes[0][0]:
        return f"{login} does not exist, or may not log in"
    if attributes[0][1]:
        raise CannotProceed(f"{login} inherits privileges or has more than LOGIN; DROP ROLE {login} and set up again")
    memberships = {
        name
        for (name,) in database.rows(
            "SELECT r.rolname FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid "
            "JOIN pg_catalog.pg_roles AS l ON l.oid = m.member WHERE l.rolname = %s",
            login,
        )
    }
    if memberships - {role}:
        raise CannotProceed(f"{login} is a member of {', '.join(sorted(memberships - {role}))}; revoke that")
    return None if memberships else f"{login} is no member of {role}"


def _login_sql(database: Database, role: str) -> str:
    """One block, because the password must not leave it: the role gets it, and the owner's table keeps it."""
    options = " WITH INHERIT FALSE, SET TRUE" if database.grants_have_options else ""
    # S608: role is quoted and free of dollar signs (plan.py), everything else is text of ours.
    return f"""
DO $$
DECLARE
    exposed text := {literal(role)};
    login text;
    secret text := {_RANDOM_TEXT};
    purpose text := (
        SELECT pg_catalog.format('Rowgate login for the database with oid %s', oid)
        FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
    );
BEGIN
    SET LOCAL ROLE rowgate_owner;
    SELECT login_name INTO login FROM rowgate.exposed_role WHERE role_name = exposed;
    RESET ROLE;
    login := coalesce(login, 'rowgate_' || exposed);
    -- A login that was made for another database stays that database's, as long as there is one.
    IF EXISTS (
        SELECT FROM pg_catalog.pg_roles AS r
        LEFT JOIN pg_catalog.pg_database AS d
            ON pg_catalog.shobj_description(r.oid, 'pg_authid') = 'Rowgate login for the database with oid ' || d.oid
        WHERE r.rolname = login
            AND (d.datname <> pg_catalog.current_database() OR pg_catalog.shobj_description(r.oid, 'pg_authid') IS NULL)
    ) THEN
        login := 'rowgate_' || exposed || '_'
            || (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database());
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = login) THEN
        EXECUTE pg_catalog.format('CREATE ROLE %I LOGIN NOINHERIT', login);
    END IF;
    EXECUTE pg_catalog.format('ALTER ROLE %I LOGIN PASSWORD %L', login, secret);
    EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', login, purpose);
    EXECUTE pg_catalog.format('GRANT %I TO %I{options}', exposed, login);
    SET LOCAL ROLE rowgate_owner;
    INSERT INTO rowgate.exposed_role (role_name, login_name, login_password) VALUES (exposed, login, secret)
    ON CONFLICT (role_name) DO UPDATE
        SET login_name = EXCLUDED.login_name, login_password = EXCLUDED.login_password;
    RESET ROLE;
END
$$;
"""  # noqa: S608
