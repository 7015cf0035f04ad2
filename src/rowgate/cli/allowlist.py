"""``rowgate allowlist``: what was recorded beside what is approved, and approving it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rowgate.cli.local import JsonOutput
from rowgate.errors import SettingInvalid
from rowgate.gateway.allowlist_file import ListedStatement, Lists, read_lists, recorded_path, write_lists

app = typer.Typer(no_args_is_help=True, help="The statements that an application may run.")

File = Annotated[
    Path,
    typer.Option("--file", help="The allow-list. Default: rowgate.allowlist.json.", envvar="ROWGATE_ALLOWLIST_FILE"),
]
DEFAULT_FILE = Path("rowgate.allowlist.json")


@app.command("show")
def show(file: File = DEFAULT_FILE, json_output: JsonOutput = False) -> None:
    """Show the statements that are approved.

    Example:

        rowgate allowlist show --file rowgate.allowlist.json
    """
    _tell("", _all(read_lists(file)), json_output)


@app.command("diff")
def diff(file: File = DEFAULT_FILE, json_output: JsonOutput = False) -> None:
    """Show the statements that were recorded and are not approved yet: exit status 1 where there are any.

    Example:

        rowgate allowlist diff
    """
    new = _new(file)
    _tell("+ ", new, json_output)
    if new:
        raise typer.Exit(1)


@app.command("approve")
def approve(
    digests: Annotated[
        list[str] | None, typer.Argument(help="The beginning of a SHA-256, as `diff` shows it. Default: all.")
    ] = None,
    file: File = DEFAULT_FILE,
    json_output: JsonOutput = False,
) -> None:
    """Put recorded statements on the allow-list.

    Example:

        rowgate allowlist approve 5f2c81d0
    """
    new = _new(file)
    chosen = [one for one in new if not digests or any(one[1].sha256.startswith(start) for start in digests)]
    unknown = [start for start in digests or () if not any(one.sha256.startswith(start) for _, one in new)]
    if unknown:
        raise SettingInvalid(f"no recorded statement begins with {unknown[0]}", hint="See `rowgate allowlist diff`.")
    lists = read_lists(file)
    for role, statement in chosen:
        lists.setdefault(role, {})[statement.sha256] = statement
    try:
        write_lists(file, lists)
    except OSError as problem:
        raise SettingInvalid(f"the allow-list {file} cannot be written", detail=problem.strerror) from problem
    _tell("+ ", chosen, json_output)


def _new(file: Path) -> list[tuple[str, ListedStatement]]:
    approved = read_lists(file)
    return [
        (role, one) for role, one in _all(read_lists(recorded_path(file))) if one.sha256 not in approved.get(role, {})
    ]


def _all(lists: Lists) -> list[tuple[str, ListedStatement]]:
    return [(role, one) for role in sorted(lists) for one in sorted(lists[role].values())]


def _tell(mark: str, statements: list[tuple[str, ListedStatement]], json_output: bool) -> None:
    if json_output:
        typer.echo(json.dumps([{"role": role, **msgspec.to_builtins(one)} for role, one in statements]))
        return
    for role, one in statements:
        typer.echo(f"{mark}{role} {one.sha256[:12]} {' '.join(one.text.split())}")
