"""``rowgate setup``: brings a database to what the gateway needs, or says what somebody else must do."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console

from rowgate.cli.database_connection import connect
from rowgate.rls import extension
from rowgate.rls.plan import Outcome, Plan, SetupOptions, StepState
from rowgate.rls.setup import apply, plan

MARKS = {
    StepState.PRESENT: "[green]✓[/] ",
    StepState.NEEDED: "[yellow]+[/] ",
    StepState.NOT_PERMITTED: "[red]✗[/] ",
}


def setup(
    database_url: Annotated[
        str, typer.Option("--database-url", help="Superuser or owner of the database.", envvar="ROWGATE_ADMIN_URL")
    ],
    role: Annotated[
        list[str] | None, typer.Option(help="Role to expose; repeatable. Default: authenticated and anonymous.")
    ] = None,
    schema: Annotated[
        list[str] | None, typer.Option(help="Schema whose tables they may use; repeatable. Default: public.")
    ] = None,
    owner: Annotated[
        list[str] | None,
        typer.Option(
            help="Role whose future tables they may use; repeatable. Default: the connected role and, "
            "as superuser, the database's owner."
        ),
    ] = None,
    table_grants: Annotated[
        bool, typer.Option("--table-grants/--no-table-grants", help="Grant privileges on tables and sequences.")
    ] = True,
    pg_config: Annotated[
        Path | None,
        typer.Option("--pg-config", help="Install the extension's files for this pg_config first.", exists=True),
    ] = None,
    rotate_key: Annotated[
        bool, typer.Option("--rotate-key", help="Make a new session key; the old one stays valid until the next time.")
    ] = False,
    rotate_passwords: Annotated[
        bool, typer.Option("--rotate-passwords", help="New passwords for the login roles.")
    ] = False,
    harden: Annotated[
        bool,
        typer.Option("--harden", help="Take from PUBLIC what exposed roles must not do; other logins keep it."),
    ] = False,
    unharden: Annotated[
        bool, typer.Option("--unharden", help="Give back exactly what --harden took in this database.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done as SQL, and do nothing.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Prepare a database: extension, exposed roles and their logins, session key, registry, grants.

    Run it as superuser, or as the owner role of a managed service; what that role may not do is printed for the one
    who may (exit status 3). Running it again changes nothing. The password of the gateway's control role is taken
    from ROWGATE_CONTROL_PASSWORD, else made at random and printed once.

    Example:

        rowgate setup --database-url postgresql://postgres:...@db.internal/app --dry-run
    """  # fmt: skip
    options = SetupOptions(
        roles=tuple(role or ("authenticated", "anonymous")),
        schemas=tuple(schema or ("public",)),
        owners=tuple(owner or ()),
        grant_tables=table_grants,
        control_password=os.environ.get("ROWGATE_CONTROL_PASSWORD") or None,
        rotate_key=rotate_key,
        rotate_passwords=rotate_passwords,
        harden=harden,
        unharden=unharden,
    )
    with connect(database_url, "setup") as connection:
        if pg_config is not None and not dry_run:
            folder = extension.install(pg_config)
            typer.echo(f"Installed the extension's files in {folder}", err=True)
        outcome = Outcome(plan(connection, options), ()) if dry_run else apply(connection, options)
    if json_output:
        typer.echo(_json(outcome))
    elif dry_run:
        _show_script(outcome.plan)
    else:
        _show(outcome, database_url)
    raise typer.Exit(outcome.plan.exit_code)


def _json(outcome: Outcome) -> str:
    return json.dumps({
        "database": outcome.plan.database,
        "applied": outcome.applied,
        "complete": outcome.plan.is_complete,
        "steps": [asdict(step) for step in outcome.plan.steps],
        "control_password": outcome.control_password,
    })  # fmt: skip


def _show_script(found: Plan) -> None:
    """On standard output only what can be pasted into psql."""
    if found.is_complete:
        typer.echo(f"-- Database {found.database}: nothing to do.")
    else:
        typer.echo(f"-- Database {found.database}, as {found.connected_role}: this is what set-up would do.")
        typer.echo(found.script())
    for step in found.in_state(StepState.NOT_PERMITTED):
        typer.echo(f"-- {found.connected_role} may not do: {step.title}: {step.problem}")


def _show(outcome: Outcome, database_url: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for step in outcome.plan.steps:
        mark = "[yellow]+[/] " if step.title in outcome.applied else MARKS[step.state]
        console.print(mark + step.title.replace("[", "\\["))
        if step.state is StepState.NOT_PERMITTED:
            console.print(f"    {step.problem}", style="dim", markup=False)
    if outcome.plan.is_complete:
        done = "Nothing had to be done." if not outcome.applied else f"{len(outcome.applied)} steps done."
        console.print(f"\n[bold green]The database {outcome.plan.database} is ready.[/] {done}")
    else:
        console.print(f"\n[bold]What {outcome.plan.connected_role} may not do.[/] Have a superuser run this:\n")
        console.print(outcome.plan.script(StepState.NOT_PERMITTED), markup=False)
    if outcome.plan.is_complete:
        _show_address(outcome, database_url)


def _show_address(outcome: Outcome, database_url: str) -> None:
    """The line that the gateway needs; with the control role's password where this run set one."""
    parts = conninfo_to_dict(database_url)
    where = f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{outcome.plan.database}"
    if outcome.control_password is not None and not os.environ.get("ROWGATE_CONTROL_PASSWORD"):
        heading, password = "For the gateway; shown this once, keep it as a secret:", outcome.control_password
    else:
        heading, password = "For the gateway, with the password that the role rowgate_control has:", "PASSWORD"
    typer.echo(f"\n{heading}\n  ROWGATE_DATABASE_URL=postgresql://rowgate_control:{password}@{where}")
    if outcome.control_password is None:
        typer.echo("To give it another password: ROWGATE_CONTROL_PASSWORD=... rowgate setup ...")
