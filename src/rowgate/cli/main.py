"""The command ``rowgate``: gathers the commands, and turns every error into a message and an exit status.

Exit status: 0 done; 1 refused (a token, a statement, the database); 2 something for the operator to mend (settings,
ports, set-up, usage); 3 done in part: somebody with more rights must do the rest.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from rowgate import __version__
from rowgate.errors import ConfigurationError, RowgateError

COMMANDS: Final = {
    "dev": "dev:dev",
    "serve": "serve:serve",
    "setup": "setup:setup",
    "doctor": "doctor:doctor",
    "gate": "gate:app",
    "provider": "provider_import:app",
    "revoke": "revocation:revoke",
    "revocation": "revocation:app",
    "webhook": "webhook:app",
    "admin-token": "admin_token:app",
    "allowlist": "allowlist:app",
    "audit": "audit:app",
    "token": "token:app",
    "template": "template:app",
    "issuer": "issuer:app",
    "query": "query:query",
    "connection-string": "connection_string:connection_string",
}
"""Each command's module in this package, and what of it the command is. A module is imported when its command is asked
for, because all of them together take longer than most commands."""


def assemble(names: Iterable[str]) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        name="rowgate",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        add_completion=False,
        help="Query Postgres directly with your user's JWT. Start with: `rowgate dev`",
    )
    app.callback()(main)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(import_module(f"rowgate.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def __getattr__(name: str) -> Any:
    """``app``: the command line with every command."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return assemble(COMMANDS)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Holds what stands before the command."""


def show_error(error: RowgateError) -> None:
    """Prints an error to standard error: what was wrong, what was expected, what to do next."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]error[/] [dim]({error.code})[/]: {_plain(error.message)}", soft_wrap=True)
    if error.detail:
        console.print(f"  {_plain(error.detail)}", soft_wrap=True)
    if error.hint:
        console.print(f"  [bold]next:[/] {_plain(error.hint)}", soft_wrap=True)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def _asked_for(arguments: Sequence[str]) -> typer.Typer:
    """The command line as far as these arguments need it."""
    gc.disable()  # what imports make stays; to look for garbage in it takes a tenth of their time
    try:
        return assemble(arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS)
    finally:
        gc.enable()


def run() -> None:
    """The entry point."""
    try:
        _asked_for(sys.argv[1:])()
    except RowgateError as error:
        show_error(error)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
