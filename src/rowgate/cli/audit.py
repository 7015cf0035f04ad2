"""``rowgate audit``: looking at audit files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rowgate.cli.local import JsonOutput
from rowgate.gateway.audit.chain import START
from rowgate.gateway.audit.chain import verify as verify_lines

app = typer.Typer(no_args_is_help=True, help="Look at audit files.")


@app.callback()
def audit() -> None:
    """Holds what stands before the command."""


@app.command("verify")
def verify(
    files: Annotated[list[Path], typer.Argument(help="Audit files, the oldest first.", exists=True, dir_okay=False)],
    expect: Annotated[str | None, typer.Option(help="The last hash, as it was kept elsewhere.")] = None,
    json_output: JsonOutput = False,
) -> None:
    """Check the hash chain of audit files: exit status 1 where a line was changed, moved, removed or put in.

    The end can only be checked against a hash that was kept elsewhere: see `--expect`. Files that go on from one which
    is not given are told, with the hash that it must end with.

    Example:

        rowgate audit verify audit.log.1 audit.log
    """
    found = verify_lines(_lines(files))
    problem = found.problem
    if problem is None and expect is not None and found.last != expect:
        problem = "the last hash is another one: lines are missing at the end, or were added"
    if json_output:
        typer.echo(json.dumps({**asdict(found), "problem": problem}))
    elif problem is None:
        begins = "from the first on" if found.before == START.decode() else f"going on from {found.before}"
        typer.echo(f"{found.lines} lines, unbroken, {begins}; the last hash is {found.last}")
    else:
        place = "" if found.line is None else f"line {found.line}: "
        typer.echo(f"{place}{problem}", err=True)
    if problem is not None:
        raise typer.Exit(1)


def _lines(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")
