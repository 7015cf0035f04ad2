"""``rowgate allowlist``: what was recorded beside what is approved, and approving or rejecting it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rowgate.cli.local import JsonOutput
from rowgate.gateway.allowlist_review import Entry, approve, approved, chosen, reject, unapproved

app = typer.Typer(no_args_is_help=True, help="The statements that an application may run.")

File = Annotated[
    Path,
    typer.Option("--file", help="The allow-list. Default: rowgate.allowlist.json.", envvar="ROWGATE_ALLOWLIST_FILE"),
]
Beginnings = Annotated[
    list[str] | None, typer.Argument(help="The beginning of a SHA-256, as `diff` shows it. Default: all.")
]
DEFAULT_FILE = Path("rowgate.allowlist.json")


@app.command("show")
def show(file: File = DEFAULT_FILE, json_output: JsonOutput = False) -> None:
    """Show the statements that are approved.

    Example:

        rowgate allowlist show --file rowgate.allowlist.json
    """
    _tell("", approved(file), json_output)


@app.command("diff")
def diff(file: File = DEFAULT_FILE, json_output: JsonOutput = False) -> None:
    """Show the statements that were recorded and are not approved yet: exit status 1 where there are any.

    Example:

        rowgate allowlist diff
    """
    new = unapproved(file)
    _tell("+ ", new, json_output)
    if new:
        raise typer.Exit(1)


@app.command("approve")
def approve_recorded(digests: Beginnings = None, file: File = DEFAULT_FILE, json_output: JsonOutput = False) -> None:
    """Put recorded statements on the allow-list.

    Example:

        rowgate allowlist approve 5f2c81d0
    """
    statements = chosen(unapproved(file), digests or ())
    approve(file, statements)
    _tell("+ ", statements, json_output)


@app.command("reject")
def reject_recorded(digests: Beginnings = None, file: File = DEFAULT_FILE, json_output: JsonOutput = False) -> None:
    """Take statements out of what was recorded. They are recorded again where they come again.

    Example:

        rowgate allowlist reject 5f2c81d0
    """
    statements = chosen(unapproved(file), digests or ())
    reject(file, statements)
    _tell("- ", statements, json_output)


def _tell(mark: str, statements: list[Entry], json_output: bool) -> None:
    if json_output:
        typer.echo(json.dumps([{"role": role, **msgspec.to_builtins(one)} for role, one in statements]))
        return
    for role, one in statements:
        typer.echo(f"{mark}{role} {one.sha256[:12]} {' '.join(one.text.split())}")
