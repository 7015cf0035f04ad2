"""The files of the extension pg_session_jwt: where they are, and how they get to where Postgres looks for them.

This module never talks to a database.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from rowgate.errors import SettingInvalid

EXTENSION_NAME: Final = "pg_session_jwt"
EXTENSION_VERSION: Final = "rowgate_1"
"""Told apart from the compiled original's versions, which are numbers."""

_FOLDER: Final = Path(__file__).parent / "sql"


def files() -> tuple[Path, ...]:
    """The control file and the script that CREATE EXTENSION reads (PostgreSQL 18, section 36.17)."""
    return (_FOLDER / f"{EXTENSION_NAME}.control", _FOLDER / f"{EXTENSION_NAME}--{EXTENSION_VERSION}.sql")


def script() -> str:
    """The extension's script as ordinary SQL, for servers whose extension folder cannot be written.

    The first line, which keeps psql from running the script by mistake, is left out. Must run in a transaction.
    """
    lines = files()[1].read_text("utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("\\"))


def registry_script() -> str:
    """The tables of the schema ``rowgate``, to be run as its owner."""
    return (_FOLDER / "registry.sql").read_text("utf-8")


def install(pg_config: Path) -> Path:
    """Copies the extension's files to the server that ``pg_config`` belongs to; returns the folder they are in now.

    Raises SettingInvalid where the program cannot be run or the folder not be written.
    """
    try:
        answer = subprocess.run(  # noqa: S603 (the operator names the program)
            [str(pg_config), "--sharedir"], check=True, capture_output=True, text=True, timeout=10
        )
        folder = Path(answer.stdout.strip()) / "extension"
        for file in files():
            shutil.copyfile(file, folder / file.name)
            (folder / file.name).chmod(0o644)
    except (OSError, subprocess.SubprocessError) as problem:
        raise SettingInvalid(
            f"The extension could not be installed with {pg_config}.",
            detail=str(problem),
            hint="Run it as a user who may write to the server's extension folder, or leave it out: "
            "set-up then creates the same objects by ordinary SQL.",
        ) from problem
    return folder
