"""``rowgate provider``: the identity providers whose tokens a database takes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rowgate.cli.local import (
    DEFAULT_DATA_DIR,
    DatabaseUrl,
    DataDir,
    JsonOutput,
    issuer_networks,
    read_state,
    resolve_database_url,
)
from rowgate.errors import ProviderUnknown, RowgateError, SettingInvalid
from rowgate.identity.catalogue import CATALOGUE, preset_of
from rowgate.identity.fetcher import HttpFetcher
from rowgate.identity.keyset import parse_key_set
from rowgate.identity.provider import DEFAULT_ROLES, Provider
from rowgate.identity.recognition import Given, Recognition, custom_rules, keys_of, recognise, static_provider
from rowgate.identity.static_keys import LARGEST_FILE, from_jwks, from_pem
from rowgate.registry.registry import Registry

app = typer.Typer(no_args_is_help=True, help="The identity providers whose tokens a database takes.")

Insecure = Annotated[
    bool, typer.Option("--allow-http-loopback", help="Allow plain http for loopback addresses (development).")
]


Repeated = list[str] | None


@app.command("add")
def add(
    url: Annotated[
        str | None, typer.Argument(help="JWKS URL, issuer URL or discovery URL; the provider is recognised.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it. Default: from the URL.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Its kind in `rowgate provider catalogue`, where the URL does not show it.")
    ] = None,
    issuer: Annotated[str | None, typer.Option(help="Only where the URL does not tell it.")] = None,
    audience: Annotated[Repeated, typer.Option(help="Value that aud must hold; repeatable.")] = None,
    client_id: Annotated[Repeated, typer.Option(help="Client that the token must be made for; repeatable.")] = None,
    tenant: Annotated[Repeated, typer.Option(help="Tenant whose users may sign in; repeatable.")] = None,
    project: Annotated[str | None, typer.Option(help="Project, app or repository where the keys are shared.")] = None,
    party: Annotated[Repeated, typer.Option("--authorized-party", help="Value that azp may have; repeatable.")] = None,
    jwks_file: Annotated[
        Path | None, typer.Option(help="Keys from a JWKS document instead of a URL; they are kept in the registry.")
    ] = None,
    pem_file: Annotated[
        list[Path] | None, typer.Option(help="Key from a PEM file, a public key or certificate; repeatable.")
    ] = None,
    key_id: Annotated[str | None, typer.Option(help="The kid of the key of --pem-file.")] = None,
    algorithm: Annotated[Repeated, typer.Option(help="Algorithm it signs with; repeatable.")] = None,
    user_claim: Annotated[
        str, typer.Option(help="Claim that names the user; the catalogue knows its providers' own.")
    ] = "sub",
    require: Annotated[
        Repeated, typer.Option(help="CLAIM=VALUE that tokens must have; /a/b is a claim within a claim; repeatable.")
    ] = None,
    role: Annotated[Repeated, typer.Option(help="Role its tokens may be used for; repeatable.")] = None,
    role_from: Annotated[
        Repeated,
        typer.Option(help="CLAIM=VALUE:ROLE: a role for the tokens alone that have this value; repeatable."),
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    allow_http_loopback: Insecure = False,
    json_output: JsonOutput = False,
) -> None:
    """Register a provider; gateways use it at once.

    Example:

        rowgate provider add https://your-app.clerk.accounts.dev/.well-known/jwks.json
        rowgate provider add https://accounts.google.com --audience 1234.apps.googleusercontent.com
        rowgate provider add --pem-file public.pem --issuer https://app.example.com --audience api
        rowgate provider add https://your-app.clerk.accounts.dev --role-from /o/rol=admin:app_admin
    """
    insecure = allow_http_loopback or read_state(data_dir) is not None
    rules = custom_rules(user_claim, tuple(require or ()), tuple(role_from or ()))
    given = Given(
        kind=preset,
        name=name,
        issuer=issuer,
        audiences=tuple(audience or ()),
        authorized_parties=tuple(party or ()),
        client_ids=tuple(client_id or ()),
        tenants=tuple(tenant or ()),
        project=project,
        algorithms=tuple(algorithm or ()),
        roles=tuple(dict.fromkeys([*(role or DEFAULT_ROLES), *(grant.role for grant in rules.role_grants)])),
        rules=rules,
    )

    async def work() -> Recognition:
        if url is None or jwks_file or pem_file:
            recognition = _from_files(url, jwks_file, pem_file or [], key_id, given)
        else:
            recognition = await _recognise(url, insecure, given=given)
        registry = await Registry.connect(resolve_database_url(database_url, data_dir))
        try:
            await registry.add_provider(recognition.provider)
        finally:
            await registry.close()
        return recognition

    recognition = asyncio.run(work())
    if json_output:
        typer.echo(json.dumps({**asdict(recognition.provider), "key_ids": recognition.key_ids}))
    else:
        _show_added(recognition)


def _from_files(
    url: str | None, jwks_file: Path | None, pem_files: list[Path], key_id: str | None, given: Given
) -> Recognition:
    """The provider whose keys are in files. Raises SettingInvalid where not exactly one source was given."""
    if (url is not None) + (jwks_file is not None) + bool(pem_files) != 1:
        raise SettingInvalid(
            "The provider needs one source of its keys.",
            detail="expected a URL, --jwks-file or --pem-file, and no two of them",
            hint="Give the URL of the provider; files are for providers that publish no keys.",
        )
    if given.kind not in (None, "custom"):
        raise SettingInvalid(
            "A provider of the catalogue publishes its keys.",
            detail=f"expected no --preset beside a key file, got {given.kind!r}",
            hint="Give the URL instead of the file, or leave --preset out.",
        )
    if jwks_file is not None:
        return static_provider(*from_jwks(_content(jwks_file)), given)
    return static_provider(*from_pem([_content(path) for path in pem_files], key_id), given)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise SettingInvalid(
            "The key file cannot be read.", detail=f"{path}: {error.strerror}", hint="Correct the path."
        ) from error


def _show_added(recognition: Recognition) -> None:
    provider = recognition.provider
    preset = preset_of(provider.kind)
    console = Console(highlight=False)
    console.print(f"Added [bold]{provider.name}[/] ({preset.label if preset else provider.kind})")
    for issuer in provider.issuers:
        console.print(f"  issuer      {issuer}", soft_wrap=True)
    source = provider.jwks_url or "kept in the registry"
    console.print(f"  keys        {source} ({len(recognition.key_ids)} usable)", soft_wrap=True)
    console.print(f"  algorithms  {', '.join(provider.algorithms)}")
    console.print(f"  user        {provider.claim_rules.user}")
    console.print(f"  roles       {', '.join(_roles(provider))}", soft_wrap=True, markup=False)
    if provider.audiences:
        console.print(f"  audiences   {', '.join(provider.audiences)}", soft_wrap=True)
    if provider.client_ids:
        console.print(f"  clients     {', '.join(provider.client_ids)}", soft_wrap=True)
    for reason in recognition.skipped:
        console.print(f"  skipped key {reason}", style="yellow", soft_wrap=True, markup=False)
    if preset and preset.note:
        console.print(f"  note        {preset.note}", style="dim", soft_wrap=True, markup=False)
    if provider.audiences or provider.client_ids:
        return
    if preset and preset.audience == "recommended":
        what = preset.audience_hint or "your own audience"
        console.print(
            f"  Other applications of yours may share these keys, and aud is not checked; add --audience ({what}).",
            style="yellow",
            soft_wrap=True,
            markup=False,
        )
    elif preset is None:
        console.print("  aud is not checked; add --audience where other parties share these keys", style="dim")


@app.command("catalogue")
def catalogue(json_output: JsonOutput = False) -> None:
    """List the providers that are recognised from a URL, and what each needs.

    Example:

        rowgate provider catalogue
    """
    rows = [
        {
            "kind": one.kind,
            "label": one.label,
            "key_set": one.key_set,
            "audience": one.audience,
            "options": sorted({given.option for given in one.inputs}),
            "documentation": one.documentation,
        }
        for one in CATALOGUE
    ]
    if json_output:
        typer.echo(json.dumps(rows))
        return
    table = Table(show_edge=False, pad_edge=False)
    for title in ("kind", "provider", "audience", "key set"):
        table.add_column(title, overflow="fold")
    for one in CATALOGUE:
        table.add_row(one.kind, one.label, one.audience, one.key_set)
    Console(highlight=False).print(table)


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
    for title in ("name", "kind", "issuer", "audiences", "clients", "user", "roles"):
        table.add_column(title, overflow="fold")
    for one in providers:
        table.add_row(
            one.name,
            one.kind,
            "\n".join(one.issuers),
            ", ".join(one.audiences) or "any",
            ", ".join((*one.client_ids, *one.authorized_parties)) or "any",
            one.claim_rules.user,
            ", ".join(_roles(one)),
        )
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
    fetcher = HttpFetcher(allow_insecure_loopback=insecure, networks=issuer_networks())
    try:
        keys = parse_key_set(provider.key_set.encode()) if provider.key_set else await keys_of(provider, fetcher)
    except RowgateError as problem:
        says = " ".join(text for text in (problem.message, problem.detail, problem.hint) if text)
        return {"name": provider.name, "jwks_url": provider.jwks_url, "ok": False, "says": says}
    finally:
        await fetcher.close()
    granted = {"roles": list(provider.roles), "role_grants": [asdict(one) for one in provider.claim_rules.role_grants]}
    usable = [key.key_id for key in keys.keys.values() if set(key.algorithms) & set(provider.algorithms)]
    says = f"{len(usable)} usable keys: {', '.join(usable)}\n  roles: {', '.join(_roles(provider))}"
    return {"name": provider.name, "jwks_url": provider.jwks_url, "ok": True, "says": says, **granted}


def _roles(provider: Provider) -> list[str]:
    """The roles as people read them, each with what it asks for."""
    grants = provider.claim_rules.role_grants
    asking = {grant.role for grant in grants}
    return [*(role for role in provider.roles if role not in asking), *map(str, grants)]


async def _recognise(url: str, insecure: bool, **more: Any) -> Recognition:
    fetcher = HttpFetcher(allow_insecure_loopback=insecure, networks=issuer_networks())
    try:
        return await recognise(url, fetcher, allow_insecure_loopback=insecure, **more)
    finally:
        await fetcher.close()
