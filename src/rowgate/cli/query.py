"""``rowgate query``: one statement over HTTP, as a user, as anonymous or as the owner."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from rowgate.cli.local import DEFAULT_DATA_DIR, DataDir, JsonOutput, read_state, require_state
from rowgate.errors import ConnectFailed, SettingInvalid
from rowgate.issuer.issuer import LocalIssuer


def query(
    sql: Annotated[str, typer.Argument(help="The statement; - reads standard input.")],
    parameters: Annotated[list[str] | None, typer.Argument(help="Values of $1, $2 ...")] = None,
    user: Annotated[str | None, typer.Option(help="A user of the local identity provider.")] = None,
    token: Annotated[str | None, typer.Option(help="A token. Default: ROWGATE_TOKEN.", envvar="ROWGATE_TOKEN")] = None,
    owner: Annotated[bool, typer.Option("--owner", help="Run as the owner of `rowgate dev`.")] = False,
    url: Annotated[
        str | None, typer.Option(help="The gateway's /sql. Default: that of a running `rowgate dev`.")
    ] = None,
    connection: Annotated[
        str | None, typer.Option("--connection-string", help="Default: by who asks, on a running `rowgate dev`.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Run one statement through the gateway and print its rows.

    Example:

        rowgate query 'select * from todos where done = $1' false --user alice
    """
    text = sys.stdin.read() if sql == "-" else sql
    if user is not None:
        state = require_state(data_dir)
        token = LocalIssuer(data_dir / "issuer", state["issuer_url"]).mint(user)
    headers = {"Neon-Connection-String": connection or _connection(data_dir, token, owner)}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    address = url or os.environ.get("ROWGATE_SQL_URL") or require_state(data_dir)["sql_url"]
    try:
        answer = httpx.post(address, headers=headers, json={"query": text, "params": parameters or []}, timeout=60)
    except httpx.HTTPError as problem:
        raise ConnectFailed(f"the gateway at {address} cannot be reached", hint="Is it running?") from problem
    _show(answer, json_output)


def _connection(data_dir: Any, token: str | None, owner: bool) -> str:
    state = read_state(data_dir)
    if state is None:
        raise SettingInvalid(
            "it is not said where to connect", hint="Start `rowgate dev`, or give --connection-string and --url."
        )
    kind = "database_url" if owner else "anonymous_url" if token is None else "authenticated_url"
    return str(state[kind])


def _show(answer: httpx.Response, json_output: bool) -> None:
    try:
        body = answer.json()
    except ValueError:
        body = {"message": answer.text}
    if json_output:
        typer.echo(json.dumps(body))
        if answer.status_code != 200:
            raise typer.Exit(1)
        return
    console = Console(highlight=False)
    if answer.status_code != 200:
        _show_error(body if isinstance(body, dict) else {"message": str(body)})
        raise typer.Exit(1)
    if body["fields"]:
        table = Table(show_edge=False, pad_edge=False)
        for column in body["fields"]:
            table.add_column(column["name"])
        for row in body["rows"]:
            table.add_row(*(_cell(row[column["name"]]) for column in body["fields"]))
        console.print(table)
    console.print(f"{body['command']} {body['rowCount'] if body['rowCount'] is not None else ''}".strip(), style="dim")


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]null[/]"
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("[", "\\[")


def _show_error(body: dict[str, Any]) -> None:
    console = Console(stderr=True, highlight=False, markup=False)
    console.print(f"error {body.get('code') or ''}: {body.get('message')}", soft_wrap=True)
    for key in ("detail", "hint"):
        if body.get(key):
            console.print(f"  {key}: {body[key]}", soft_wrap=True)
