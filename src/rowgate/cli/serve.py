"""``rowgate serve``: the gateway in front of a Postgres that runs elsewhere, configured by environment or file."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from rowgate.cli.serving import serve_alone, serve_by_workers
from rowgate.settings import Settings, describe, load


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
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the clients, the pool and the limits. Default: 1.")
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
    given |= {"workers": workers, "admin_port": admin_port}
    settings = load(os.environ, file=settings_file, overrides=given)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    serve_settings(settings, json_output)


serve.__doc__ = f"""Serve POST /sql, WebSockets (/v2) and clients of the Postgres protocol (TCP), in front of a Postgres
that `rowgate setup` has prepared.

Example:

    ROWGATE_DATABASE_URL=postgresql://rowgate_control:...@db.internal/app rowgate serve --port 4444

Every setting is an environment variable, or a key of the file without `ROWGATE_` and in small letters:

{_settings_help()}
"""


def serve_settings(settings: Settings, json_output: bool) -> None:
    """Serves until SIGTERM or SIGINT, in this process or in several."""

    def say(urls: dict[str, str]) -> None:
        if json_output:
            typer.echo(json.dumps(urls))
            return
        shown = [urls["sql_url"], urls["ws_url"]]
        shown += [urls[name] for name in ("tcp_url", "admin_url", "console_url") if name in urls]
        typer.echo(f"Rowgate serves {', '.join(shown)} (Ctrl-C stops it)", err=True)

    if settings.workers == 1:
        serve_alone(settings, say)
    else:
        serve_by_workers(settings, say)
