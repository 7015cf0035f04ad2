"""``rowgate revoke`` and ``rowgate revocation``: tokens, sessions and users that are refused before their time."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rowgate.cli.local import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, JsonOutput, resolve_database_url
from rowgate.cli.times import iso, moment_of, seconds_of
from rowgate.cli.with_registry import the_provider, with_registry
from rowgate.errors import SettingInvalid
from rowgate.identity.revocation import KEPT_SECONDS, Revocation, RevocationKind
from rowgate.registry.registry import Registry

app = typer.Typer(no_args_is_help=True, help="What was revoked, and is refused everywhere.")


def revoke(
    subject: Annotated[str | None, typer.Option(help="User whose tokens are refused.")] = None,
    token_id: Annotated[str | None, typer.Option(help="The jti of one token.")] = None,
    session_id: Annotated[str | None, typer.Option(help="The session (sid) whose tokens are refused.")] = None,
    issued_before: Annotated[
        str | None,
        typer.Option(
            help="Only tokens issued before: now, 2026-01-31T12:00:00Z, or seconds since 1970. Alone: all users."
        ),
    ] = None,
    provider: Annotated[str | None, typer.Option(help="The provider's name. Default: the only one there is.")] = None,
    reason: Annotated[str, typer.Option(help="For whoever reads the list.")] = "",
    keep: Annotated[
        str | None,
        typer.Option(
            help="How long it counts, such as 12h or 30d, or never to end. It must outlast the longest-lived token. "
            "Default: 90d; a user without --issued-before: never.",
            show_default=False,
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Refuse tokens before their time, on every gateway at once; open sessions are cut.

    Example:

        rowgate revoke --subject user_2abc --issued-before now --reason "lost laptop"
        rowgate revoke --session-id sess_2abc
        rowgate revoke --issued-before now --provider clerk
    """
    moment = None if issued_before is None else moment_of("--issued-before", issued_before)
    kind, value = _target(subject, token_id, session_id, moment)
    usual = None if kind == "subject" and moment is None else KEPT_SECONDS
    kept = usual if keep is None else seconds_of("--keep", keep)

    async def work(registry: Registry) -> Revocation:
        row = Revocation(
            provider=await the_provider(registry, provider),
            kind=kind,
            value=value,
            issued_before=moment,
            expires_at=None if kept is None else time.time() + kept,
            reason=reason,
        )
        done = await registry.revoke([row])
        return (done or [row])[0]

    row = with_registry(resolve_database_url(database_url, data_dir), work)
    if json_output:
        typer.echo(json.dumps(asdict(row)))
    else:
        typer.echo(f"Revoked {_shown(row)} of {row.provider} (id {row.id}, counts {_until(row)})")


@app.command("list")
def list_revocations(
    after: Annotated[int, typer.Option(help="Only those with a greater id.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 1000,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """List the revocations in force.

    Example:

        rowgate revocation list --limit 20
    """

    async def work(registry: Registry) -> list[Revocation]:
        return await registry.revocations(after=after, limit=limit)

    rows = with_registry(resolve_database_url(database_url, data_dir), work)
    if json_output:
        typer.echo(json.dumps([asdict(row) for row in rows]))
        return
    table = Table(show_edge=False, pad_edge=False)
    for title in ("id", "provider", "what", "counts", "by", "at", "reason"):
        table.add_column(title, overflow="fold")
    for row in rows:
        at = "" if row.revoked_at is None else iso(row.revoked_at)
        table.add_row(str(row.id), row.provider, _shown(row), _until(row), row.revoked_by, at, row.reason)
    Console(highlight=False, markup=False).print(table)


@app.command("remove")
def remove(
    revocation_id: Annotated[int, typer.Argument(help="Its id in the list.")],
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Take a revocation back; tokens that have not expired are accepted again.

    Example:

        rowgate revocation remove 17
    """

    async def work(registry: Registry) -> None:
        await registry.remove_revocation(revocation_id)

    with_registry(resolve_database_url(database_url, data_dir), work)
    typer.echo(f"Removed revocation {revocation_id}")


@app.command("prune")
def prune(
    database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False
) -> None:
    """Delete revocations that have expired. Gateways do it by themselves once an hour.

    Example:

        rowgate revocation prune
    """

    async def work(registry: Registry) -> int:
        return await registry.prune_revocations()

    pruned = with_registry(resolve_database_url(database_url, data_dir), work)
    typer.echo(json.dumps({"pruned": pruned}) if json_output else f"Pruned {pruned} revocations")


def _target(
    subject: str | None, token_id: str | None, session_id: str | None, moment: float | None
) -> tuple[RevocationKind, str]:
    kinds: dict[RevocationKind, str | None] = {"subject": subject, "token": token_id, "session": session_id}
    given = [(kind, value) for kind, value in kinds.items() if value is not None]
    if len(given) > 1 or (not given and moment is None) or (given and given[0][0] != "subject" and moment is not None):
        raise SettingInvalid(
            "It is not clear what is to be revoked.",
            detail="expected one of --subject, --token-id and --session-id, or --issued-before for all users; "
            "--issued-before goes with --subject alone",
        )
    return given[0] if given else ("provider", "")


def _shown(row: Revocation) -> str:
    what: dict[Any, str] = {
        "token": f"token {row.value}",
        "session": f"session {row.value}",
        "subject": f"user {row.value}",
        "sessionless": f"tokens without a session of user {row.value}",
        "provider": "all tokens",
    }
    bound = "" if row.issued_before is None else f" issued before {iso(row.issued_before)}"
    return f"{what[row.kind]}{bound}"


def _until(row: Revocation) -> str:
    return "for ever" if row.expires_at is None else f"until {iso(row.expires_at)}"
