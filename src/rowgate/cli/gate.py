"""``rowgate gate``: what row-level security does not protect, and what is public on purpose."""

from __future__ import annotations

import json
import re
from typing import Annotated, Final

import typer
from rich.console import Console

from rowgate.cli.local import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, JsonOutput, resolve_database_url
from rowgate.cli.with_registry import with_registry
from rowgate.errors import SettingInvalid
from rowgate.guard.exposures import EXPOSURES_QUERY, Exposures, read_exposures
from rowgate.registry.exemptions import Exemption
from rowgate.registry.registry import Registry

app = typer.Typer(no_args_is_help=True, help="What row-level security does not protect.")

EXPOSED_STATUS: Final = 1
_PART: Final = r'(?:"((?:[^"]|"")+)"|([^".]+))'
_NAME: Final = re.compile(rf"{_PART}\.{_PART}")

ObjectName = Annotated[str, typer.Argument(metavar="NAME", help="Table, view or function, as SCHEMA.NAME.")]


@app.command("list")
def list_exposed(
    database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False
) -> None:
    """List what the exposed roles can reach past row-level security, each with the SQL that closes it, and what is
    exempt. Exit status 1 where something is exposed.

    Example:

        rowgate gate list
    """

    async def work(registry: Registry) -> tuple[Exposures, tuple[Exemption, ...]]:
        (row,) = await registry.rows(EXPOSURES_QUERY)
        return read_exposures(row), await registry.exemptions()

    exposures, exemptions = with_registry(resolve_database_url(database_url, data_dir), work)
    if json_output:
        typer.echo(_json(exposures, exemptions))
    else:
        _show(exposures, exemptions)
    raise typer.Exit(EXPOSED_STATUS if exposures.all else 0)


@app.command("allow")
def allow(
    name: ObjectName,
    reason: Annotated[str, typer.Option(help="Why it is public; for whoever reads the list.")] = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Let a table, a view or the functions of a name through the gate, because it is public on purpose.

    Example:

        rowgate gate allow public.countries --reason 'the same for everybody'
    """
    schema, bare = _parts(name)

    async def work(registry: Registry) -> None:
        await registry.add_exemption(schema, bare, reason)

    with_registry(resolve_database_url(database_url, data_dir), work)
    typer.echo(f"Exempt: {name}")


@app.command("disallow")
def disallow(name: ObjectName, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Take an exemption back; gateways refuse it at once where row-level security does not protect it.

    Example:

        rowgate gate disallow public.countries
    """
    schema, bare = _parts(name)

    async def work(registry: Registry) -> None:
        await registry.remove_exemption(schema, bare)

    with_registry(resolve_database_url(database_url, data_dir), work)
    typer.echo(f"No longer exempt: {name}")


def _parts(name: str) -> tuple[str, str]:
    """Schema and name as SQL reads them: small letters unless in quotation marks."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise SettingInvalid("This is not a name with its schema.", detail=f"expected SCHEMA.NAME, got {name[:200]!r}")
    marked_schema, schema, marked, bare = found.groups()
    return (
        schema.lower() if schema else marked_schema.replace('""', '"'),
        bare.lower() if bare else marked.replace('""', '"'),
    )


def _json(exposures: Exposures, exemptions: tuple[Exemption, ...]) -> str:
    return json.dumps({
        "exposed": [
            {"name": one.label, "kind": one.kind, "flaw": one.flaw, "roles": sorted(one.roles), "why": one.why,
             "fix_sql": one.fix_sql}
            for one in exposures.all
        ],
        "exempt": [{"schema": one.schema, "name": one.name, "reason": one.reason} for one in exemptions],
    })  # fmt: skip


def _show(exposures: Exposures, exemptions: tuple[Exemption, ...]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for one in exposures.all:
        console.print(f"✗ {one.kind} {one.label}, reached by {', '.join(sorted(one.roles))}")
        console.print(f"    {one.why}", style="dim")
        console.print(f"    {one.fix_sql}")
    for exemption in exemptions:
        console.print(f"- {exemption.schema}.{exemption.name} is exempt. {exemption.reason}")
    if not exposures.all:
        console.print("✓ Row-level security protects everything else that exposed roles reach.")
