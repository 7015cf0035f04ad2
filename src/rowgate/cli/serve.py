"""``rowgate serve``: the gateway in front of a Postgres that runs elsewhere, configured by environment or file."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from rowgate.gateway.gateway import Gateway
from rowgate.settings import Settings, describe, load


def _settings_help() -> str:
    rows = [f"- `{row.environment_variable}` ({row.kind}, default {row.default or 'none'}): {row.meaning}"
            for row in describe()]  # fmt: skip
    return "\n".join(rows)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="A rowgate.toml.", exists=True, dir_okay=False)
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one line of JSON once ready.")] = False,
) -> None:
    """Serve POST /sql in front of a Postgres that was set up."""
    settings = load(os.environ, file=settings_file, overrides={"host": host, "port": port})
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvloop.run(_serve(settings, json_output))


serve.__doc__ = f"""Serve POST /sql in front of a Postgres that `rowgate setup` has prepared.

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
    await gateway.start()
    address = f"http://{settings.host}:{gateway.port}"
    if json_output:
        typer.echo(json.dumps({"sql_url": f"{address}/sql", "health_url": f"{address}/healthz"}))
    else:
        typer.echo(f"Rowgate serves {address}/sql (Ctrl-C stops it)", err=True)
    await stop.wait()
    await gateway.stop()
