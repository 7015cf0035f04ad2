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
EXTENSION_VERSION: Final = "rowgate_2"
"""Told apart from the compiled original's versions, which are numbers."""

_FIRST_VERSION: Final = "rowgate_1"

_FOLDER: Final = Path(__file__).parent / "sql"


def files() -> tuple[Path, ...]:
    """The control file and the scripts that CREATE EXTENSION and ALTER EXTENSION read (PostgreSQL 18, section 36.17).

    The first version's script and, one after the other, those from version to version.
    """
    return (
        _FOLDER / f"{EXTENSION_NAME}.control",
        _FOLDER / f"{EXTENSION_NAME}--{_FIRST_VERSION}.sql",
        _FOLDER / f"{EXTENSION_NAME}--{_FIRST_VERSION}--{EXTENSION_VERSION}.sql",
    )


def script() -> str:
    """The extension's scripts as ordinary SQL, for servers whose extension folder cannot be written.

    The first line of each, which keeps psql from running it by mistake, is left out. Must run in a transaction. The
    first script hands everything over to rowgate_owner, so the others run as that role: whoever is its member without
    INHERIT (what a role gives itself since PostgreSQL 16) may do nothing with it otherwise.
    """
    return _plain(files()[1]) + "\n" + upgrade_script()


def upgrade_script() -> str:
    """The same from the first version on, where that is there already."""
    return f"SET LOCAL ROLE rowgate_owner;\n{_plain(files()[2])}\nRESET ROLE;\n"


def _plain(file: Path) -> str:
    lines = file.read_text("utf-8").splitlines(keepends=True)
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
