"""``rowgate provider``: the identity providers whose tokens a database takes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rowgate.cli.local import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, JsonOutput, read_state, resolve_database_url
from rowgate.errors import ProviderUnknown, RowgateError
from rowgate.identity.fetcher import HttpFetcher
from rowgate.identity.provider import DEFAULT_ROLES, Provider
from rowgate.identity.recognition import Recognition, recognise
from rowgate.registry.registry import Registry

app = typer.Typer(no_args_is_help=True, help="The identity providers whose tokens a database takes.")

Insecure = Annotated[
    bool, typer.Option("--allow-http-loopback", help="Allow plain http for loopback addresses (development).")
]


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(help="JWKS URL, issuer URL or discovery URL; the provider is recognised.")],
    name: Annotated[str | None, typer.Option(help="What to call it. Default: from the URL.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Only where the URL does not tell it.")] = None,
    audience: Annotated[list[str] | None, typer.Option(help="Value that aud must hold; repeatable.")] = None,
    party: Annotated[
        list[str] | None, typer.Option("--authorized-party", help="Value that azp may have; repeatable.")
    ] = None,
    role: Annotated[list[str] | None, typer.Option(help="Role its tokens may be used for; repeatable.")] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    allow_http_loopback: Insecure = False,
    json_output: JsonOutput = False,
) -> None:
    """Register a provider; gateways use it at once.

    Example:

        rowgate provider add https://your-app.clerk.accounts.dev/.well-known/jwks.json
    """
    insecure = allow_http_loopback or read_state(data_dir) is not None

    async def work() -> Recognition:
        recognition = await _recognise(
            url,
            insecure,
            name=name,
            issuer=issuer,
            audiences=audience or (),
            authorized_parties=party or (),
            roles=role or DEFAULT_ROLES,
        )
        registry = await Registry.connect(resolve_database_url(database_url, data_dir))
        try:
            await registry.add_provider(recognition.provider)
        finally:
            await registry.close()
        return recognition

    recognition = asyncio.run(work())
    if json_output:
        typer.echo(json.dumps({**asdict(recognition.provider), "key_ids": recognition.key_ids}))
        return
    provider = recognition.provider
    console = Console(highlight=False)
    console.print(f"Added [bold]{provider.name}[/] ({provider.kind})")
    console.print(f"  issuer      {provider.issuer}", soft_wrap=True)
    console.print(f"  keys        {provider.jwks_url} ({len(recognition.key_ids)} usable)", soft_wrap=True)
    console.print(f"  algorithms  {', '.join(provider.algorithms)}")
    console.print(f"  roles       {', '.join(provider.roles)}")
    for reason in recognition.skipped:
        console.print(f"  skipped key {reason}", style="yellow", soft_wrap=True, markup=False)
    if not provider.audiences:
        console.print("  aud is not checked; add --audience where other parties share these keys", style="dim")


@app.command("list")
def list_providers(
    database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False
) -> None:
    """List the registered providers.

    Example:

        rowgate provider list
    """
    providers = asyncio.run(_providers(resolve_database_url(database_url, data_dir)))
    if json_output:
        typer.echo(json.dumps([asdict(one) for one in providers]))
        return
    table = Table(show_edge=False, pad_edge=False)
    for title in ("name", "kind", "issuer", "audiences", "roles"):
        table.add_column(title)
    for one in providers:
        table.add_row(one.name, one.kind, one.issuer, ", ".join(one.audiences) or "any", ", ".join(one.roles))
    Console(highlight=False).print(table)


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The provider's name.")],
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Remove a provider; its tokens are refused at once.

    Example:

        rowgate provider remove your-app
    """

    async def work() -> None:
        registry = await Registry.connect(resolve_database_url(database_url, data_dir))
        try:
            await registry.remove_provider(name)
        finally:
            await registry.close()

    asyncio.run(work())
    typer.echo(f"Removed {name}")


@app.command("check")
def check(
    name: Annotated[str | None, typer.Argument(help="The provider's name. Default: all.")] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    allow_http_loopback: Insecure = False,
    json_output: JsonOutput = False,
) -> None:
    """Fetch the keys of the registered providers, from this machine, and say what is there.

    Example:

        rowgate provider check
    """
    insecure = allow_http_loopback or read_state(data_dir) is not None

    async def work() -> list[dict[str, Any]]:
        providers = await _providers(resolve_database_url(database_url, data_dir))
        chosen = [one for one in providers if name in (None, one.name)]
        if name is not None and not chosen:
            raise ProviderUnknown(f"there is no provider {name!r}")
        return [await _check(one, insecure) for one in chosen]

    findings = asyncio.run(work())
    if json_output:
        typer.echo(json.dumps(findings))
    else:
        console = Console(highlight=False)
        for found in findings:
            mark = "[green]✓[/]" if found["ok"] else "[red]✗[/]"
            console.print(f"{mark} [bold]{found['name']}[/] {found['jwks_url']}", soft_wrap=True)
            console.print(f"  {found['says']}", soft_wrap=True, markup=False)
    if not all(found["ok"] for found in findings):
        raise typer.Exit(1)


async def _providers(conninfo: str) -> list[Provider]:
    registry = await Registry.connect(conninfo)
    try:
        return list((await registry.snapshot()).providers)
    finally:
        await registry.close()


async def _check(provider: Provider, insecure: bool) -> dict[str, Any]:
    try:
        found = await _recognise(
            provider.jwks_url,
            insecure,
            name=provider.name,
            issuer=provider.issuer,
            audiences=provider.audiences,
            roles=provider.roles,
        )
    except RowgateError as problem:
        says = " ".join(text for text in (problem.message, problem.detail, problem.hint) if text)
        return {"name": provider.name, "jwks_url": provider.jwks_url, "ok": False, "says": says}
    says = f"{len(found.key_ids)} usable keys: {', '.join(found.key_ids)}"
    return {"name": provider.name, "jwks_url": provider.jwks_url, "ok": True, "says": says}


async def _recognise(url: str, insecure: bool, **more: Any) -> Recognition:
    fetcher = HttpFetcher(allow_insecure_loopback=insecure)
    try:
        return await recognise(url, fetcher, allow_insecure_loopback=insecure, **more)
    finally:
        await fetcher.close()
