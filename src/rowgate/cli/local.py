"""What the commands share: where the database is, and what a running ``rowgate dev`` said about itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from rowgate.dev import STATE_FILE
from rowgate.errors import SettingInvalid
from rowgate.settings import load

DEFAULT_DATA_DIR: Final = Path(".rowgate")

DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder of `rowgate dev`.", envvar="ROWGATE_DATA_DIR")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="Connection string of the control role or the owner. Default: ROWGATE_DATABASE_URL, "
        "then the database of a running `rowgate dev`.",
        show_default=False,
    ),
]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def issuer_networks() -> tuple[str, ...]:
    """The private networks in which providers may be, as the environment says it for gateways."""
    return load(
        {name: value for name, value in os.environ.items() if name == "ROWGATE_ISSUER_NETWORKS"}
    ).issuer_networks


def read_state(data_dir: Path) -> dict[str, Any] | None:
    """What the ``rowgate dev`` that runs on this folder printed when it was ready; None where none runs."""
    try:
        state = json.loads((data_dir / STATE_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def require_state(data_dir: Path) -> dict[str, Any]:
    """The same, or SettingInvalid."""
    state = read_state(data_dir)
    if state is None:
        raise SettingInvalid(
            f"no `rowgate dev` runs on the folder {data_dir}",
            hint="Start it with `rowgate dev`, or name its folder with --data-dir.",
        )
    return state


def resolve_database_url(given: str | None, data_dir: Path) -> str:
    """The connection string to use: given, from the environment, or of a running ``rowgate dev``."""
    if given:
        return given
    from_environment = os.environ.get("ROWGATE_DATABASE_URL")
    if from_environment:
        return from_environment
    state = read_state(data_dir)
    if state is not None:
        return str(state["control_url"])
    raise SettingInvalid(
        "it is not said which database to use",
        hint="Give --database-url, set ROWGATE_DATABASE_URL, or start `rowgate dev`.",
    )
