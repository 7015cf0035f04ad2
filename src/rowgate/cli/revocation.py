"""``rowgate revoke`` and ``rowgate revocation``: tokens, sessions and users that are refused before their time."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from rowgate.cli.local import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, JsonOutput, resolve_database_url
from rowgate.errors import ProviderUnknown, SettingInvalid
from rowgate.identity.revocation import KEPT_SECONDS, Revocation, RevocationKind
from rowgate.registry.registry import Registry

app = typer.Typer(no_args_is_help=True, help="What was revoked, and is refused everywhere.")

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_Result = TypeVar("_Result")


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
    moment = None if issued_before is None else _moment(issued_before)
    kind, value = _target(subject, token_id, session_id, moment)
    kept = _duration(keep, None if kind == "subject" and moment is None else KEPT_SECONDS)

    async def work(registry: Registry) -> Revocation:
        row = Revocation(
            provider=await _provider(registry, provider),
            kind=kind,
            value=value,
            issued_before=moment,
            expires_at=None if kept is None else time.time() + kept,
            reason=reason,
        )
        done = await registry.revoke([row])
        return (done or [row])[0]

    row = _with_registry(resolve_database_url(database_url, data_dir), work)
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

    rows = _with_registry(resolve_database_url(database_url, data_dir), work)
    if json_output:
        typer.echo(json.dumps([asdict(row) for row in rows]))
        return
    table = Table(show_edge=False, pad_edge=False)
    for title in ("id", "provider", "what", "counts", "by", "at", "reason"):
        table.add_column(title, overflow="fold")
    for row in rows:
        at = "" if row.revoked_at is None else _iso(row.revoked_at)
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

    _with_registry(resolve_database_url(database_url, data_dir), work)
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

    pruned = _with_registry(resolve_database_url(database_url, data_dir), work)
    typer.echo(json.dumps({"pruned": pruned}) if json_output else f"Pruned {pruned} revocations")


def _with_registry(conninfo: str, work: Callable[[Registry], Awaitable[_Result]]) -> _Result:
    async def run() -> _Result:
        registry = await Registry.connect(conninfo)
        try:
            return await work(registry)
        finally:
            await registry.close()

    return asyncio.run(run())


async def _provider(registry: Registry, name: str | None) -> str:
    known = [one.name for one in await registry.list_providers()]
    if name is not None and name not in known:
        raise ProviderUnknown("No provider has this name.", detail=f"got {name!r}")
    if name is not None:
        return name
    if len(known) == 1:
        return known[0]
    raise SettingInvalid(
        "It is not said whose tokens are meant.",
        detail=f"expected --provider with one of {', '.join(known[:8]) or 'none, because none is registered'}",
    )


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


def _moment(text: str) -> float:
    """``now``, Unix seconds, or ISO 8601 with its zone."""
    try:
        moment = time.time() if text == "now" else float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else _parsed(text)
    except ValueError as error:
        raise SettingInvalid(
            "The moment cannot be read.",
            detail=f"expected now, seconds since 1970, or a text such as 2026-01-31T12:00:00Z, got {text[:40]!r}",
        ) from error
    if moment > time.time() + 1:
        raise SettingInvalid(
            "The moment lies in the future.", detail=f"got {text[:40]!r}", hint="Give --issued-before now."
        )
    return moment


def _parsed(text: str) -> float:
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(text)
    return parsed.timestamp()


def _duration(text: str | None, default: float | None) -> float | None:
    if text is None:
        return default
    if text == "never":
        return None
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if found is None:
        raise SettingInvalid(
            "--keep cannot be read.", detail=f"expected a text such as 12h, 30d or never, got {text[:40]!r}"
        )
    return float(found[1]) * UNITS[found[2]]


def _shown(row: Revocation) -> str:
    what: dict[Any, str] = {
        "token": f"token {row.value}",
        "session": f"session {row.value}",
        "subject": f"user {row.value}",
        "sessionless": f"tokens without a session of user {row.value}",
        "provider": "all tokens",
    }
    bound = "" if row.issued_before is None else f" issued before {_iso(row.issued_before)}"
    return f"{what[row.kind]}{bound}"


def _until(row: Revocation) -> str:
    return "for ever" if row.expires_at is None else f"until {_iso(row.expires_at)}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
