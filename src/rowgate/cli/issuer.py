"""``rowgate issuer``: what one does with the local identity provider from a terminal."""

from __future__ import annotations

import json
import time

import typer

from rowgate.cli.local import DEFAULT_DATA_DIR, DataDir, JsonOutput, require_state
from rowgate.issuer.issuer import LocalIssuer
from rowgate.issuer.keys import KeyRing

app = typer.Typer(no_args_is_help=True, help="The local identity provider of `rowgate dev`.")


@app.command("rotate-key")
def rotate_key(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """Have it sign with a new key; the old one is published until its last token is over.

    Example:

        rowgate issuer rotate-key
    """
    require_state(data_dir)
    key = KeyRing(data_dir / "issuer", time.time).rotate()
    typer.echo(json.dumps({"key_id": key.key_id}) if json_output else f"Signs with {key.key_id} from now on")


@app.command("secret-key")
def secret_key(data_dir: DataDir = DEFAULT_DATA_DIR, json_output: JsonOutput = False) -> None:
    """Print the secret of its Backend API and where that is, for Clerk's SDKs.

    Example:

        CLERK_SECRET_KEY=$(rowgate issuer secret-key)
    """
    issuer = LocalIssuer(data_dir / "issuer", require_state(data_dir)["issuer_url"])
    told = {"secret_key": issuer.secret_key, "publishable_key": issuer.publishable_key, "api_url": issuer.url}
    typer.echo(json.dumps(told) if json_output else issuer.secret_key)
