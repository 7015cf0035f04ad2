"""``rowgate connection-string``: what to put into an application's environment."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from rowgate.cli.local import DEFAULT_DATA_DIR, DataDir, JsonOutput, require_state
from rowgate.errors import SettingInvalid


def connection_string(
    role: Annotated[str, typer.Option(help="authenticated, anonymous, or owner.")] = "authenticated",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Print a connection string of the running `rowgate dev`.

    Example:

        echo "DATABASE_AUTHENTICATED_URL='$(rowgate connection-string)'" >> .env
    """
    state = require_state(data_dir)
    urls = {
        "authenticated": state["authenticated_url"],
        "anonymous": state["anonymous_url"],
        "owner": state["database_url"],
    }
    if role not in urls:
        raise SettingInvalid(f"there is no connection string for {role!r}", detail="expected one of " + ", ".join(urls))
    typer.echo(json.dumps({"role": role, "url": urls[role]}) if json_output else urls[role])
