"""``rowgate serve``: the gateway in front of a Postgres that runs elsewhere, configured by environment or file."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop

from rowgate.cli import memory
from rowgate.errors import SettingInvalid
from rowgate.gateway.gateway import Gateway
from rowgate.settings import Settings, describe, load

if TYPE_CHECKING:
    from rowgate.console.server import ConsoleServer


def _settings_help() -> str:
    rows = [f"- `{row.environment_variable}` ({row.kind}, default {row.default or 'none'}): {row.meaning}"
            for row in describe()]  # fmt: skip
    return "\n".join(rows)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    tcp_port: Annotated[
        str | None, typer.Option(help="Port for clients of the Postgres protocol; 0 takes any free one, off has none.")
    ] = None,
    admin_port: Annotated[
        str | None,
        typer.Option(help="Port of the management API; 0 takes any free one. Default: none.", show_default=False),
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate chain (PEM); turns TLS on.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="The certificate's private key (PEM).")] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="A rowgate.toml.", exists=True, dir_okay=False)
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one line of JSON once ready.")] = False,
) -> None:
    """Serve POST /sql, WebSockets and clients of the Postgres protocol in front of a Postgres that was set up."""
    given = {"host": host, "port": port, "tcp_port": tcp_port, "tls_cert": tls_cert, "tls_key": tls_key}
    given["admin_port"] = admin_port
    settings = load(os.environ, file=settings_file, overrides=given)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvloop.run(_serve(settings, json_output))


serve.__doc__ = f"""Serve POST /sql, WebSockets (/v2) and clients of the Postgres protocol (TCP), in front of a Postgres
that `rowgate setup` has prepared.

Example:

    ROWGATE_DATABASE_URL=postgresql://rowgate_control:...@db.internal/app rowgate serve --port 4444

Every setting is an environment variable, or a key of the file without `ROWGATE_` and in small letters:

{_settings_help()}
"""


async def _serve(settings: Settings, json_output: bool) -> None:
    gateway = Gateway(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if gateway.journal is not None:
        loop.add_signal_handler(signal.SIGHUP, gateway.journal.reopen)
    await gateway.start()
    memory.settle()
    urls = _urls(settings, gateway)
    console = None if settings.admin_port is None else _console(gateway, settings)
    if console is not None:
        try:
            urls["admin_url"] = await console.start()
            urls["console_url"] = console.sign_in_url()
        except BaseException:
            await console.stop()
            await gateway.stop()
            raise
    if json_output:
        typer.echo(json.dumps(urls))
    else:
        shown = [
            urls["sql_url"],
            urls["ws_url"],
            *(urls[name] for name in ("tcp_url", "admin_url", "console_url") if name in urls),
        ]
        typer.echo(f"Rowgate serves {', '.join(shown)} (Ctrl-C stops it)", err=True)
    await stop.wait()
    if console is not None:
        await console.stop()
    await gateway.stop()


def _console(gateway: Gateway, settings: Settings) -> ConsoleServer:
    """Imported here, because only the extra ``console`` has what it needs."""
    try:
        from rowgate.console.server import ConsoleServer
    except ImportError as error:
        raise SettingInvalid(
            "The management API needs packages that are not installed.",
            detail=f"{error.name} is missing",
            hint="Install them with `pip install 'rowgate[console]'`, or set admin_port to off.",
        ) from error
    return ConsoleServer(gateway, settings)


def _urls(settings: Settings, gateway: Gateway) -> dict[str, str]:
    """Where it can be reached."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    secure = "s" if settings.tls_cert else ""
    address = f"{host}:{gateway.port}"
    urls = {
        "sql_url": f"http{secure}://{address}/sql",
        "health_url": f"http{secure}://{address}/healthz",
        "ws_url": f"ws{secure}://{address}/v2",
    }
    if gateway.tcp_port is not None:
        urls["tcp_url"] = f"postgresql://{host}:{gateway.tcp_port}"
    return urls
