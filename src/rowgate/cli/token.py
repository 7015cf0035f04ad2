"""``rowgate token``: a token of the local identity provider, and every check of any token."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from rowgate.cli.local import (
    DEFAULT_DATA_DIR,
    DatabaseUrl,
    DataDir,
    JsonOutput,
    issuer_networks,
    read_state,
    require_state,
    resolve_database_url,
)
from rowgate.errors import ProviderUnknown, SettingInvalid, TokenMalformed
from rowgate.identity.compact import LARGEST_TOKEN, take_apart
from rowgate.identity.fetcher import HttpFetcher
from rowgate.identity.inspection import Inspection, KeySource, Outcome, inspect
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.provider import ALGORITHMS, Provider
from rowgate.identity.recognition import Given, recognise, static_provider
from rowgate.identity.revocation import RevocationSet
from rowgate.identity.static_keys import LARGEST_FILE, from_jwks, from_pem
from rowgate.identity.verify import DEFAULT_LEEWAY, by_issuer
from rowgate.issuer.issuer import LocalIssuer
from rowgate.registry.registry import Registry

MINT: Final = "mint"
_CORRECT_PATH: Final = "Correct the path."


class MintByDefault(TyperGroup):
    """``rowgate token alice`` is ``rowgate token mint alice``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command before arguments that name none."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [MINT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=MintByDefault,
    help="""Print a token of the local identity provider, or inspect any token.

    Example:

        TOKEN=$(rowgate token alice)
        rowgate token inspect --file token.txt
    """,
)


@app.command(MINT)
def mint(
    user: Annotated[str, typer.Argument(help="Name, e-mail or id of the user.")] = "alice",
    template: Annotated[str | None, typer.Option(help="JWT template to fill in.")] = None,
    lifetime: Annotated[int | None, typer.Option(help="Seconds until the token expires.", min=1)] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Print a token that the local identity provider signs.

    Example:

        TOKEN=$(rowgate token alice)
    """
    state = require_state(data_dir)
    issuer = LocalIssuer(data_dir / "issuer", state["issuer_url"])
    signed = issuer.mint(user, template, lifetime=lifetime)
    typer.echo(json.dumps({"token": signed}) if json_output else signed)


@app.command("inspect")
def inspect_token(
    token: Annotated[
        str | None, typer.Argument(help="The token; without it (or for -) it is read from standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="File with the token.")] = None,
    provider: Annotated[
        str | None, typer.Option(help="Registered provider to check against, where iss names another.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Check against the provider of this URL instead of registered ones.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="With --url: its kind in `rowgate provider catalogue`.")] = None,
    audience: Annotated[
        list[str] | None, typer.Option(help="With --url or a key file: value that aud must hold; repeatable.")
    ] = None,
    jwks_file: Annotated[Path | None, typer.Option(help="Keys from a JWKS document: nothing is fetched.")] = None,
    pem_file: Annotated[
        list[Path] | None, typer.Option(help="Key from a PEM file: nothing is fetched; repeatable.")
    ] = None,
    issuer: Annotated[str | None, typer.Option(help="With a key file: what iss must be. Default: as it is.")] = None,
    role: Annotated[str | None, typer.Option(help="Role that the token is to be used for.")] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    allow_http_loopback: Annotated[
        bool, typer.Option("--allow-http-loopback", help="Allow plain http for loopback addresses (development).")
    ] = False,
    json_output: JsonOutput = False,
) -> None:
    """Show every check that a gateway makes of a token, passed or failed. Exit status 1: it would be refused.

    Nothing of the token is kept or logged. Arguments can be seen by other users of the machine; a file or standard
    input cannot.

    Example:

        rowgate token alice | rowgate token inspect
        rowgate token inspect --file token.txt --url https://your-app.clerk.accounts.dev
        rowgate token inspect --file token.txt --jwks-file keys.json --audience api
    """
    text = _token_text(token, file)
    static = _static_keys(jwks_file, pem_file or [])
    insecure = allow_http_loopback or read_state(data_dir) is not None
    given = Given(kind=preset, issuer=issuer, audiences=tuple(audience or ()), algorithms=ALGORITHMS if static else ())

    async def work() -> Inspection:
        fetcher = HttpFetcher(allow_insecure_loopback=insecure, networks=issuer_networks())
        key_sets = KeySetCache(fetcher, time.time)
        revocations = RevocationSet(time.time)
        try:
            if url is not None:
                recognition = await recognise(url, fetcher, allow_insecure_loopback=insecure, given=given)
                known: list[Provider] = [recognition.provider]
            elif static is not None and provider is None:
                known = [_offline_provider(static, given, text)]
            else:
                known = await _registered(resolve_database_url(database_url, data_dir), revocations)
            assumed = _assumed(known, provider, whole=url is not None or static is not None)
            if static is not None and assumed is not None:
                assumed = replace(assumed, jwks_url="", key_set=static)
                known = [assumed]
            return await inspect(
                text,
                by_issuer(known),
                KeySource(key_sets.key, key_sets.only_key_id),
                now=time.time(),
                leeway=DEFAULT_LEEWAY,
                assumed=assumed,
                role=role,
                revocations=None if url is not None or static is not None else revocations,
            )
        finally:
            await key_sets.close()
            await fetcher.close()

    found = asyncio.run(work())
    if json_output:
        typer.echo(json.dumps(_as_json(found)))
    else:
        _show(found)
    if not found.accepted:
        raise typer.Exit(1)


def _token_text(token: str | None, file: Path | None) -> str:
    """The token, from one of three places. Raises SettingInvalid, and never says what it read."""
    if token not in (None, "-") and file is not None:
        raise SettingInvalid("the token was given twice", hint="Give it as argument or by --file.")
    if file is not None:
        try:
            with file.open(encoding="ascii", errors="replace") as opened:
                return opened.read(2 * LARGEST_TOKEN).strip()
        except OSError as problem:
            raise SettingInvalid(
                "the file with the token cannot be read", detail=f"{file}: {problem.strerror}", hint=_CORRECT_PATH
            ) from None
    if token not in (None, "-"):
        return str(token).strip()
    return sys.stdin.buffer.read(2 * LARGEST_TOKEN).decode("ascii", "replace").strip()


def _static_keys(jwks_file: Path | None, pem_files: list[Path]) -> str | None:
    if jwks_file is not None and pem_files:
        raise SettingInvalid("the keys were given twice", hint="Give --jwks-file or --pem-file.")
    if jwks_file is not None:
        return from_jwks(_content(jwks_file))[0]
    return from_pem([_content(path) for path in pem_files])[0] if pem_files else None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 1)
    except OSError as problem:
        raise SettingInvalid(
            "the key file cannot be read", detail=f"{path}: {problem.strerror}", hint=_CORRECT_PATH
        ) from None


def _offline_provider(static: str, given: Given, token: str) -> Provider:
    """A provider of just these keys. Without --issuer whatever the token says is right: its keys are the operator's."""
    issuer = given.issuer or _claimed_issuer(token)
    return static_provider(*from_jwks(static.encode()), replace(given, issuer=issuer, name="file")).provider


def _claimed_issuer(token: str) -> str:
    try:
        claimed = take_apart(token).claims.get("iss")
    except TokenMalformed:
        claimed = None
    return claimed if isinstance(claimed, str) and claimed and claimed.isprintable() else "unknown"


async def _registered(conninfo: str, revocations: RevocationSet) -> list[Provider]:
    """The providers of the registry; what is revoked there is added to ``revocations``."""
    registry = await Registry.connect(conninfo)
    try:
        revocations.apply(await registry.revocation_changes())
        return list((await registry.snapshot()).providers)
    finally:
        await registry.close()


def _assumed(known: list[Provider], name: str | None, *, whole: bool) -> Provider | None:
    """The provider that the token is checked against whatever its issuer: named, or the only one."""
    if name is not None:
        for one in known:
            if one.name == name:
                return one
        raise ProviderUnknown(f"there is no provider {name!r}")
    return known[0] if whole or len(known) == 1 else None


def _as_json(found: Inspection) -> dict[str, Any]:
    principal = found.principal
    return {
        "accepted": found.accepted,
        "provider": found.provider.name if found.provider else None,
        "subject": principal.subject if principal else None,
        "roles": list(principal.roles) if principal else [],
        "organization": principal.membership.organization if principal else None,
        "checks": [_outcome_json(outcome) for outcome in found.outcomes],
    }


def _outcome_json(outcome: Outcome) -> Mapping[str, Any]:
    refusal = outcome.refusal
    told: dict[str, Any] = {"check": outcome.check, "verdict": outcome.verdict, "seen": outcome.seen}
    if refusal is not None:
        told |= {"code": refusal.code, "message": refusal.message, "detail": refusal.detail, "hint": refusal.hint}
    return told


_MARKS: Final = {"passed": "[green]✓[/]", "failed": "[red]✗[/]", "unchecked": "[dim]–[/]"}


def _show(found: Inspection) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for outcome in found.outcomes:
        seen = f"[dim]{escape(outcome.seen)}[/]" if outcome.seen else ""
        console.print(f"{_MARKS[outcome.verdict]} {outcome.check:<26} {seen}")
        refusal = outcome.refusal
        if refusal is not None:
            console.print(f"    [bold]{escape(refusal.message)}[/] [dim]({refusal.code})[/]")
            if refusal.detail:
                console.print(f"    {escape(refusal.detail)}")
            if refusal.hint:
                console.print(f"    [bold]next:[/] {escape(refusal.hint)}")
    if found.principal is not None:
        roles = ", ".join(found.principal.roles)
        console.print(f"\n[green]Accepted[/] as {escape(found.principal.subject)}, for the roles {escape(roles)}")
    elif not found.accepted:
        console.print("\n[red]Refused[/]")
