"""``rowgate token``: a token of the local identity provider, for a named user."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from rowgate.cli.local import DEFAULT_DATA_DIR, DataDir, JsonOutput, require_state
from rowgate.issuer.issuer import LocalIssuer


def token(
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
