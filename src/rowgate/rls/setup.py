"""Set-up: brings a database to what the gateway needs, step by step, and says what it may not do.

``plan`` runs every step that is missing in a transaction that is rolled back: whether a role may do something differs
between Postgres versions and providers, and only the server knows. ``apply`` does the same and commits. A step counts
as done when the server says that its result is there, never by a command tag: a GRANT without the right only warns.
Set-up never drops anything, and takes privileges away only where it is asked to harden.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from rowgate.errors import ConnectFailed, SettingInvalid, SetupIncomplete
from rowgate.rls import grant_actions, hardening, role_actions
from rowgate.rls.actions import Action, CannotProceed, Database
from rowgate.rls.plan import Outcome, Plan, SetupOptions, Step, StepState

OLDEST_SERVER = 140000

# Two set-ups of one server would trip over each other's roles; the number is arbitrary and ours.
_LOCK = "SELECT pg_catalog.pg_advisory_xact_lock(7083521)"


def plan(connection: psycopg.Connection[Any], options: SetupOptions | None = None) -> Plan:
    """How each step stands. Changes nothing: what it runs is rolled back.

    ``connection`` must not be in a transaction. Raises SetupIncomplete for a server older than PostgreSQL 14,
    SettingInvalid for a connection that is in a transaction, ConnectFailed where it breaks.
    """
    return _run(connection, options or SetupOptions(), keep=False).plan


def apply(connection: psycopg.Connection[Any], options: SetupOptions | None = None) -> Outcome:
    """Does every missing step that the connected role may do, commits, and looks again.

    The outcome's plan says how the steps stand afterwards. Doing it twice changes nothing the second time. Raises like
    ``plan``.
    """
    options = options or SetupOptions()
    outcome = _run(connection, options, keep=True)
    again = replace(options, rotate_key=False, rotate_passwords=False)
    return replace(outcome, plan=_run(connection, again, keep=False).plan)


def _run(connection: psycopg.Connection[Any], options: SetupOptions, *, keep: bool) -> Outcome:
    if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
        raise SettingInvalid("Set-up needs a connection that is not in a transaction.")
    earlier_factory, connection.row_factory = connection.row_factory, tuple_row
    try:
        with connection.transaction(force_rollback=not keep):
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute("SET LOCAL client_min_messages = 'warning'")
            # Names and operators in what follows are the server's own, whatever others put into schema public.
            connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
            connection.execute(_LOCK)
            database = _look(connection, options)
            if options.control_password is not None:
                # As a bind parameter, so that it stands in no statement's text.
                database.one("SELECT set_config('rowgate.control_password', %s, true)", options.control_password)
            steps, applied = _run_actions(database)
            password = database.one("SELECT pg_catalog.current_setting('rowgate.control_password', true)")
    except psycopg.errors.LockNotAvailable as problem:
        raise SetupIncomplete(
            "Another set-up, or a long transaction, is in the way.",
            detail=_words(problem),
            hint="Try again in a moment.",
        ) from problem
    except psycopg.OperationalError as problem:
        raise ConnectFailed("The database went away during set-up.", detail=str(problem)) from problem
    finally:
        connection.row_factory = earlier_factory
    shown = password if "Role rowgate_control" in applied and keep else None
    found = Plan(database.name, database.connected_role, database.server_version, tuple(steps))
    return Outcome(found, tuple(applied), shown)


def _look(connection: psycopg.Connection[Any], options: SetupOptions) -> Database:
    row = connection.execute(
        "SELECT d.datname, pg_catalog.pg_get_userbyid(d.datdba), CURRENT_USER, r.rolsuper "
        "FROM pg_catalog.pg_database AS d, pg_catalog.pg_roles AS r "
        "WHERE d.datname = pg_catalog.current_database() AND r.rolname = CURRENT_USER"
    ).fetchone()
    if row is None:
        raise SetupIncomplete("The connected role or database does not exist any more.")
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise SetupIncomplete(
            "The server is too old.",
            detail=f"expected PostgreSQL 14 or later, got {version // 10000}",
            hint="Upgrade the server.",
        )
    return Database(connection, options, row[0], row[1], row[2], row[3], version)


def _actions(database: Database) -> Iterator[Action]:
    """Every step, in the order in which each finds what it needs. Later ones look at what earlier ones have done."""
    options = database.options
    yield role_actions.owner_action(database)
    # Before the extension, which would make them as a superuser: since PostgreSQL 16 only who made a role may grant it.
    for role in options.roles:
        yield role_actions.exposed_role_action(database, role)
    yield grant_actions.extension_action(database)
    yield grant_actions.registry_action(database)
    if database.is_superuser:
        yield grant_actions.catalog_trigger_action(database)
    for role in options.roles:
        yield role_actions.login_action(database, role)
    yield role_actions.control_action(database)
    yield role_actions.connect_action(database)
    yield grant_actions.control_grants_action(database)
    yield grant_actions.key_action(database)
    if options.grant_tables:
        yield from _table_actions(database)
    if options.harden:
        yield from hardening.hardening_actions(database)
    elif options.unharden:
        yield hardening.undo_action(database)


def _table_actions(database: Database) -> Iterator[Action]:
    """What exposed roles may do with tables, those that are there and those to come."""
    options = database.options
    for schema in options.schemas:
        yield grant_actions.schema_action(database, schema)
    yield from grant_actions.table_actions(database)
    owners = options.owners or tuple(
        dict.fromkeys(
            (database.connected_role, database.owner) if database.is_superuser else (database.connected_role,)
        )
    )
    for owner in owners:
        for schema in options.schemas:
            yield grant_actions.default_privileges_action(database, owner, schema)


def _run_actions(database: Database) -> tuple[list[Step], list[str]]:
    steps: list[Step] = []
    applied: list[str] = []
    blocked: str | None = None
    for action in _actions(database):
        step = _run_action(database, action, blocked)
        steps.append(step)
        if step.state is StepState.NEEDED:
            applied.append(step.title)
        elif step.state is StepState.NOT_PERMITTED and blocked is None:
            blocked = step.title
    return steps, applied


def _run_action(database: Database, action: Action, blocked: str | None) -> Step:
    """Looks whether the step is missing and tries it; a failure undoes this step alone."""
    state, missing, problem = StepState.NEEDED, None, None
    try:
        with database.connection.transaction():
            missing = action.missing(True)
    except CannotProceed as refusal:
        state, problem = StepState.NOT_PERMITTED, str(refusal)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as refusal:
        # What it would look at is not there, or may not be read; trying it tells more.
        missing = _words(refusal)
    if state is StepState.NEEDED and missing is None:
        state = StepState.PRESENT
    if state is StepState.NEEDED:
        problem = _try(database, action)
        if problem is not None:
            state = StepState.NOT_PERMITTED
            if blocked is not None:
                problem += f" (an earlier step is not done: {blocked})"
    return Step(action.title, action.why, action.runner, action.sql, state, missing, problem)


def _try(database: Database, action: Action) -> str | None:
    """Runs the step and looks again; returns what went wrong, after undoing it, or None."""
    try:
        with database.connection.transaction():
            database.connection.execute(action.sql.encode())
            left = action.missing(False)
            if left is not None:
                raise CannotProceed(f"it had no effect: {left}")
    except CannotProceed as refusal:
        return str(refusal)
    except psycopg.errors.LockNotAvailable as refusal:
        return _words(refusal)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as refusal:
        return _words(refusal)
    return None


def _words(problem: psycopg.Error) -> str:
    """Postgres's own message, without the statement, and its SQLSTATE."""
    return f"{problem.diag.message_primary or type(problem).__name__} ({problem.sqlstate})"
