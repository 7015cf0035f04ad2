"""``rowgate admin-token``: who may use the management API."""

from __future__ import annotations

import json
import secrets
import time
from hashlib import sha256
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from rowgate.cli.local import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, JsonOutput, resolve_database_url
from rowgate.cli.times import iso, seconds_of
from rowgate.cli.with_registry import with_registry
from rowgate.registry.registry import AdminToken, Registry

app = typer.Typer(no_args_is_help=True, help="Tokens for the management API.")

PREFIX: Final = "rowgate_admin_"
"""So that scanners for leaked secrets can tell what they have found."""


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    keep: Annotated[str, typer.Option(help="How long it is good, such as 12h or 90d, or never to end.")] = "90d",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Make a token and show it, this once. Whoever has it can add providers: keep it like a password.

    Example:

        rowgate admin-token create terraform --keep 30d
    """
    token = PREFIX + secrets.token_urlsafe(32)
    lifetime = seconds_of("--keep", keep)
    expires_at = None if lifetime is None else time.time() + lifetime

    async def work(registry: Registry) -> None:
        await registry.add_admin_token(name, sha256(token.encode()).digest(), expires_at)

    with_registry(resolve_database_url(database_url, data_dir), work)
    typer.echo(json.dumps({"name": name, "token": token, "expires_at": expires_at}) if json_output else token)


@app.command("list")
def list_tokens(
    database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False
) -> None:
    """List the tokens by name; they themselves are kept nowhere.

    Example:

        rowgate admin-token list
    """

    async def work(registry: Registry) -> tuple[AdminToken, ...]:
        return (await registry.snapshot()).admin_tokens

    rows = with_registry(resolve_database_url(database_url, data_dir), work)
    if json_output:
        shown = [{"name": one.name, "created_at": one.created_at, "expires_at": one.expires_at} for one in rows]
        typer.echo(json.dumps(shown))
        return
    table = Table("name", "made", "good until", show_edge=False, pad_edge=False)
    for one in rows:
        table.add_row(one.name, iso(one.created_at), "for ever" if one.expires_at is None else iso(one.expires_at))
    Console(highlight=False, markup=False).print(table)


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="Its name.")],
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Take a token back; it is refused at once.

    Example:

        rowgate admin-token revoke terraform
    """

    async def work(registry: Registry) -> None:
        await registry.remove_admin_token(name)

    with_registry(resolve_database_url(database_url, data_dir), work)
    typer.echo(f"Revoked {name}")
