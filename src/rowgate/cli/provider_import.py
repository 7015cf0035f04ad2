"""``rowgate provider import``: the list of key sets that the hosted original's API gave, registered here."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from rowgate.cli.local import (
    DEFAULT_DATA_DIR,
    DatabaseUrl,
    DataDir,
    JsonOutput,
    issuer_networks,
    read_state,
    resolve_database_url,
)
from rowgate.cli.provider import app
from rowgate.console.hosted_form import HostedKeySet, HostedList, given_of, is_same
from rowgate.errors import RowgateError, SettingInvalid
from rowgate.identity.fetcher import Fetcher, HttpFetcher
from rowgate.identity.recognition import recognise
from rowgate.registry.registry import Registry
from rowgate.rls.plan import EXIT_NOT_PERMITTED

LARGEST_LIST = 4 * 1024 * 1024


@app.command("import")
def import_list(
    file: Annotated[Path, typer.Argument(help="JSON that GET /projects/{id}/jwks returned, or the list in it.")],
    allow_http_loopback: Annotated[
        bool, typer.Option("--allow-http-loopback", help="Allow plain http for loopback addresses (development).")
    ] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Register the providers of an existing list. What is registered already stays; one that fails stops no other.

    Roles that are not exposed in this database are left out and named. Exit status 3 where some could not be added.

    Example:

        curl -H "Authorization: Bearer $NEON_API_KEY" https://console.neon.tech/api/v2/projects/ID/jwks > jwks.json
        rowgate provider import jwks.json
    """
    forms = _read(file)
    insecure = allow_http_loopback or read_state(data_dir) is not None
    results = asyncio.run(_import(forms, resolve_database_url(database_url, data_dir), insecure))
    if json_output:
        typer.echo(json.dumps(results))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for one in results:
            console.print(f"{one['result']:<8} {one['provider_name']} {one['jwks_url']}", markup=False)
            if one["says"]:
                console.print(f"         {one['says']}", markup=False)
    if any(one["result"] == "failed" for one in results):
        raise typer.Exit(EXIT_NOT_PERMITTED)


def _read(file: Path) -> tuple[HostedKeySet, ...]:
    try:
        with file.open("rb") as opened:
            text = opened.read(LARGEST_LIST + 1)
        if text.lstrip()[:1] == b"[":
            return msgspec.json.decode(text, type=tuple[HostedKeySet, ...])
        return msgspec.json.decode(text, type=HostedList).jwks
    except OSError as error:
        raise SettingInvalid("The list cannot be read.", detail=f"{file}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SettingInvalid(
            "The file is no list of key sets.",
            detail=str(error)[:300],
            hint='Give the JSON of GET /projects/{id}/jwks: {"jwks": [{"jwks_url": ..., "provider_name": ...}]}.',
        ) from error


async def _import(forms: tuple[HostedKeySet, ...], conninfo: str, insecure: bool) -> list[dict[str, Any]]:
    registry = await Registry.connect(conninfo)
    fetcher = HttpFetcher(allow_insecure_loopback=insecure, networks=issuer_networks())
    try:
        return [await _import_one(form, registry, fetcher, insecure) for form in forms]
    finally:
        await fetcher.close()
        await registry.close()


async def _import_one(form: HostedKeySet, registry: Registry, fetcher: Fetcher, insecure: bool) -> dict[str, Any]:
    said = {"provider_name": form.provider_name, "jwks_url": form.jwks_url}
    snapshot = await registry.snapshot()
    try:
        exposed = [one.role for one in snapshot.exposed_roles]
        given, missing = given_of(form, exposed, [one.name for one in snapshot.providers])
        notes = [f"roles that are not exposed are left out: {', '.join(missing)}"] if missing else []
        if form.branch_id:
            notes.append(f"it was for the branch {form.branch_id} alone; here it counts for this database")
        if any(is_same(form, one, given.roles) for one in snapshot.providers):
            return {**said, "result": "known", "says": "; ".join(notes)}
        found = await recognise(form.jwks_url, fetcher, given=given, allow_insecure_loopback=insecure)
        await registry.add_provider(found.provider, label=form.provider_name)
    except RowgateError as problem:
        says = " ".join(text for text in (problem.message, problem.detail, problem.hint) if text)
        return {**said, "result": "failed", "says": says}
    return {**said, "result": "added", "says": "; ".join(notes)}
