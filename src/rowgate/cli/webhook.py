"""``rowgate webhook``: the addresses at which identity providers tell what they have ended."""

from __future__ import annotations

import json
import secrets
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rowgate.cli.local import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, JsonOutput, resolve_database_url
from rowgate.cli.with_registry import the_provider, with_registry
from rowgate.gateway.notices import WEBHOOK_PATH
from rowgate.identity.webhooks import Webhook
from rowgate.registry.registry import Registry

app = typer.Typer(no_args_is_help=True, help="Addresses at which identity providers tell what they have ended.")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Its name, the last part of the address.")],
    kind: Annotated[str, typer.Option(help="clerk (signed by Svix) or auth0 (Authorization header).")],
    provider: Annotated[str | None, typer.Option(help="The provider's name. Default: the only one there is.")] = None,
    secret_stdin: Annotated[
        bool,
        typer.Option(
            "--secret-stdin", help="Read the secret from standard input. Clerk's: the signing secret whsec_..."
        ),
    ] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Register a webhook. For auth0 a secret is made and shown once, unless one is given.

    Example:

        rowgate webhook add clerk-events --kind clerk --secret-stdin < signing-secret.txt
        rowgate webhook add auth0-logs --kind auth0 --provider auth0
    """
    given = sys.stdin.read(4096).strip() if secret_stdin or kind == "clerk" else secrets.token_urlsafe(32)

    async def work(registry: Registry) -> str:
        found = await the_provider(registry, provider)
        await registry.add_webhook(Webhook(name, found, kind, given))
        return found

    found = with_registry(resolve_database_url(database_url, data_dir), work)
    path = WEBHOOK_PATH.decode() + name
    shown = None if secret_stdin or kind == "clerk" else given
    if json_output:
        typer.echo(json.dumps({"name": name, "provider": found, "kind": kind, "path": path, "secret": shown}))
        return
    typer.echo(f"Added {name}: calls to {path} speak for {found}")
    if shown is not None:
        typer.echo(f"Authorization token, shown only now: {shown}")


@app.command("list")
def list_webhooks(
    database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False
) -> None:
    """List the webhooks; secrets are not shown.

    Example:

        rowgate webhook list
    """

    async def work(registry: Registry) -> tuple[Webhook, ...]:
        return (await registry.snapshot()).webhooks

    rows = with_registry(resolve_database_url(database_url, data_dir), work)
    if json_output:
        typer.echo(json.dumps([{"name": one.name, "provider": one.provider, "kind": one.kind} for one in rows]))
        return
    table = Table("name", "provider", "kind", "path", show_edge=False, pad_edge=False)
    for one in rows:
        table.add_row(one.name, one.provider, one.kind, WEBHOOK_PATH.decode() + one.name)
    Console(highlight=False, markup=False).print(table)


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Its name.")],
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Remove a webhook; calls of it are refused at once.

    Example:

        rowgate webhook remove clerk-events
    """

    async def work(registry: Registry) -> None:
        await registry.remove_webhook(name)

    with_registry(resolve_database_url(database_url, data_dir), work)
    typer.echo(f"Removed {name}")
