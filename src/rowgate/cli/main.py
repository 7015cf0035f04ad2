"""The command ``rowgate``: gathers the commands, and turns every error into a message and an exit status.

Exit status: 0 done; 1 refused (a token, a statement, the database); 2 something for the operator to mend (settings,
ports, set-up, usage); 3 done in part: somebody with more rights must do the rest.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from rowgate import __version__
from rowgate.cli import (
    admin_token,
    allowlist,
    audit,
    connection_string,
    dev,
    doctor,
    gate,
    issuer,
    provider,
    provider_import,
    query,
    revocation,
    serve,
    setup,
    template,
    token,
    webhook,
)
from rowgate.errors import ConfigurationError, RowgateError

app = typer.Typer(
    name="rowgate",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Query Postgres directly with your user's JWT. Start with: `rowgate dev`",
)
app.command("dev")(dev.dev)
app.command("serve")(serve.serve)
app.command("setup")(setup.setup)
app.command("doctor")(doctor.doctor)
app.add_typer(gate.app, name="gate")
provider.app.command("import")(provider_import.import_list)
app.add_typer(provider.app, name="provider")
app.command("revoke")(revocation.revoke)
app.add_typer(revocation.app, name="revocation")
app.add_typer(webhook.app, name="webhook")
app.add_typer(admin_token.app, name="admin-token")
app.add_typer(allowlist.app, name="allowlist")
app.add_typer(audit.app, name="audit")
app.add_typer(token.app, name="token")
app.add_typer(template.app, name="template")
app.add_typer(issuer.app, name="issuer")
app.command("query")(query.query)
app.command("connection-string")(connection_string.connection_string)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Holds what stands before the command."""


def show_error(error: RowgateError) -> None:
    """Prints an error to standard error: what was wrong, what was expected, what to do next."""
    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]error[/] [dim]({error.code})[/]: {_plain(error.message)}", soft_wrap=True)
    if error.detail:
        console.print(f"  {_plain(error.detail)}", soft_wrap=True)
    if error.hint:
        console.print(f"  [bold]next:[/] {_plain(error.hint)}", soft_wrap=True)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def run() -> None:
    """The entry point."""
    try:
        app()
    except RowgateError as error:
        show_error(error)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
