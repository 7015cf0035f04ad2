"""``rowgate template``: the JWT templates of the local identity provider."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rowgate.cli.local import DEFAULT_DATA_DIR, DataDir, JsonOutput
from rowgate.errors import SettingInvalid
from rowgate.issuer.templates import Templates, record_of, template_from

app = typer.Typer(no_args_is_help=True, help="The JWT templates of the local identity provider.")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The template's name.")],
    claims: Annotated[str, typer.Option(help="JSON object; texts may hold shortcodes such as {{user.email}}.")] = "{}",
    lifetime: Annotated[int, typer.Option(help="Seconds until its tokens expire.", min=1)] = 60,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Add a template, or replace the one of this name.

    Example:

        rowgate template add app --claims '{"email": "{{user.email}}"}' --lifetime 300
    """
    try:
        parsed = json.loads(claims)
    except ValueError as problem:
        raise SettingInvalid("--claims is not JSON", detail=str(problem)) from problem
    template = Templates(data_dir / "issuer").put(template_from({"name": name, "claims": parsed, "lifetime": lifetime}))
    typer.echo(f"Added {template.name}; try: rowgate token alice --template {template.name}")


@app.command("list")
def list_templates(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """List the templates.

    Example:

        rowgate template list
    """
    records = [record_of(one) for one in Templates(data_dir / "issuer").list()]
    if json_output:
        typer.echo(json.dumps(records))
        return
    table = Table(show_edge=False, pad_edge=False)
    for title in ("name", "lifetime", "claims"):
        table.add_column(title)
    for record in records:
        claims = json.dumps(record["claims"]).replace("[", "\\[")
        table.add_row(record["name"], f"{record['lifetime']} s", claims)
    Console(highlight=False).print(table)


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The template's name.")], data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Remove a template.

    Example:

        rowgate template remove app
    """
    Templates(data_dir / "issuer").remove(name)
    typer.echo(f"Removed {name}")
