"""``rowgate dev``: the whole stack on this machine, and what to paste to try it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from rowgate.cli import memory
from rowgate.cli.local import DEFAULT_DATA_DIR
from rowgate.dev import GATEWAY_PORT, DevelopmentStack, Ports, Ready, Tls

JAVASCRIPT = """\
// npm install @neondatabase/serverless, save this as try.mjs, then: node try.mjs
import {{ neon, neonConfig }} from '@neondatabase/serverless';

neonConfig.fetchEndpoint = () => '{sql_url}';
const sql = neon('{authenticated_url}', {{
  authToken: async () => '{token}',
}});

const rows = await sql`select auth.user_id() as me, current_user as role`;
console.log(rows);"""

CURL = """\
curl -s {sql_url} \\
  -H 'Neon-Connection-String: {authenticated_url}' \\
  -H 'Authorization: Bearer {token}' \\
  -d '{{"query": "select auth.user_id() as me"}}'"""

PSQL = """\
PGPASSWORD='{token}' \\
  psql '{tcp_url}' -c 'select auth.user_id() as me'"""

TRUST = """\
  psql, libpq    ?sslmode=verify-full&sslrootcert={ca_file}
  Node           NODE_EXTRA_CA_CERTS={ca_file}
  Python, curl   SSL_CERT_FILE={ca_file}, curl --cacert
  browsers       import that file as an authority; Chromium and Firefox: settings, certificates, authorities"""


def dev(
    port: Annotated[
        int,
        typer.Option(
            help="Port of the gateway; the issuer and Postgres take the next two, the management API the fourth after "
            "it. 0: any free ones."
        ),
    ] = GATEWAY_PORT,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Where the data is kept.", envvar="ROWGATE_DATA_DIR")
    ] = DEFAULT_DATA_DIR,
    tcp_port: Annotated[
        str | None,
        typer.Option(
            help="Port for clients of the Postgres protocol; 0: any free one; off: none. Default: 5433, or three after "
            "--port.",
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(help="Certificate chain (PEM) to show in place of the development authority's.")
    ] = None,
    tls_key: Annotated[str | None, typer.Option(help="The certificate's private key (PEM).")] = None,
    tls_name: Annotated[
        list[str] | None,
        typer.Option(help="Further host name of the development certificate, such as *.db.localhost; repeatable."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one line of JSON once ready.")] = False,
    no_fsync: Annotated[
        bool, typer.Option("--no-fsync", help="Trade safety of the data for speed (for tests).")
    ] = False,
) -> None:
    """Run Postgres, an identity provider with Alice and Bob, and the gateway on this machine.

    Example:

        rowgate dev --port 4444 --data-dir .rowgate
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    tls = Tls(tls_cert, tls_key, tuple(tls_name or ()))
    uvloop.run(_dev(data_dir, Ports(port, tcp_port), tls, not no_fsync, json_output))


async def _dev(data_dir: Path, ports: Ports, tls: Tls, fsync: bool, json_output: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    console = Console(stderr=True, highlight=False)
    with contextlib.ExitStack() as shown:
        if json_output or not console.is_terminal:
            progress = None
        else:
            status = shown.enter_context(console.status("starting"))
            progress = status.update
        starting = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _interrupt, stop, starting)
        stack = DevelopmentStack(data_dir, ports, tls=tls, fsync=fsync, progress=progress)
        try:
            await stack.__aenter__()
        except asyncio.CancelledError:
            raise typer.Exit(130) from None
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        memory.settle()
        if json_output:
            print(stack.ready.json(), flush=True)
        else:
            _show(stack.ready)
        await stop.wait()
        if not json_output:
            console.print("stopping ...", style="dim")
    finally:
        await stack.__aexit__()


def _interrupt(stop: asyncio.Event, starting: asyncio.Task[None] | None) -> None:
    """Ctrl-C while the stack starts: what was started is stopped again."""
    stop.set()
    if starting is not None:
        starting.cancel()


def _show(ready: Ready) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for notice in ready.notices:
        console.print(f"note: {notice}", style="yellow", markup=False)
    values = {"sql_url": ready.sql_url, "authenticated_url": ready.authenticated_url, "token": ready.tokens["alice"]}
    console.print("\n[bold green]Rowgate is ready.[/] Ctrl-C stops it; the data stays in", ready.data_dir)
    console.print("\n[bold]Connection strings[/]")
    for name, value in (
        ("owner", ready.database_url),
        ("authenticated", ready.authenticated_url),
        ("anonymous", ready.anonymous_url),
    ):
        console.print(f"  {name:<14} {value}", markup=False)
    console.print("\n[bold]HTTP[/]")
    console.print(f"  {'sql':<14} {ready.sql_url}", markup=False)
    console.print(f"  {'WebSocket':<14} {ready.ws_url}", markup=False)
    console.print(f"  {'sign-in page':<14} {ready.issuer_url} (development only: no passwords)", markup=False)
    console.print(f"  {'JWKS':<14} {ready.jwks_url}", markup=False)
    console.print(f"  {'console':<14} {ready.console_url} (signs you in, once)", markup=False)
    console.print(f"  {'management':<14} {ready.admin_url}/api/v1 (Bearer {ready.admin_token})", markup=False)
    console.print("\n[bold]Alice's token[/] (an hour; `rowgate token bob` makes one for Bob)")
    console.print(f"{ready.tokens['alice']}", markup=False)
    console.print("\n[bold]Try it with curl[/]")
    console.print(CURL.format(**values), markup=False)
    if ready.tcp_url:
        console.print("\n[bold]Try it with psql[/]")
        console.print(PSQL.format(tcp_url=ready.tcp_url, token=ready.tokens["alice"]), markup=False)
    if ready.ca_file:
        console.print("\n[bold]Trust its certificate[/] (https and wss are served on the same port)")
        console.print(TRUST.format(ca_file=ready.ca_file), markup=False)
    console.print("\n[bold]Try it with JavaScript[/]")
    console.print(JAVASCRIPT.format(**values), markup=False)
