"""The extension's files: what must be so for Postgres to read them, and for the functions to be safe."""

import re
from pathlib import Path

import pytest

from rowgate.errors import SettingInvalid
from rowgate.rls import extension


def fake_pg_config(folder: Path, output: str) -> Path:
    program = folder / "pg_config"
    program.write_text(f"#!/bin/sh\necho '{output}'\n")
    program.chmod(0o755)
    return program


def test_the_control_file_names_the_script() -> None:
    control, script, upgrade = extension.files()
    text = control.read_text()
    assert f"default_version = '{extension.EXTENSION_VERSION}'" in text
    assert "trusted = true" in text
    assert "relocatable = false" in text
    assert script.name == "pg_session_jwt--rowgate_1.sql"
    assert upgrade.name == f"pg_session_jwt--rowgate_1--{extension.EXTENSION_VERSION}.sql"
    assert control.is_file()
    assert script.is_file()
    assert upgrade.is_file()


def test_the_plain_script_has_no_commands_of_psql() -> None:
    assert all(file.read_text().startswith("\\echo") for file in extension.files()[1:])
    assert not [line for line in extension.script().splitlines() if line.startswith("\\")]


def test_every_definer_function_pins_its_search_path() -> None:
    """With pg_temp left out it would be searched first for types."""
    functions = re.findall(
        r"^CREATE (?:OR REPLACE )?FUNCTION (.*?)^AS \$\$", extension.script(), re.MULTILINE | re.DOTALL
    )
    definers = [text for text in functions if "SECURITY DEFINER" in text]
    assert len(definers) == 8
    assert all("SET search_path = pg_catalog, pg_temp" in text for text in functions)


def test_every_function_is_handed_over_and_none_is_forgotten() -> None:
    script = extension.script()
    created = set(re.findall(r"^CREATE (?:OR REPLACE )?FUNCTION (auth\.\w+)\(", script, re.MULTILINE))
    assert created == set(re.findall(r"^ALTER FUNCTION (auth\.\w+)\(.*OWNER TO rowgate_owner;", script, re.MULTILINE))
    privileges = re.findall(r"^(?:REVOKE ALL|GRANT EXECUTE) ON FUNCTION[^;]*;", script, re.MULTILINE)
    assert created == set(re.findall(r"auth\.\w+", "".join(privileges)))


def test_installing(tmp_path: Path) -> None:
    (tmp_path / "share" / "extension").mkdir(parents=True)
    folder = extension.install(fake_pg_config(tmp_path, str(tmp_path / "share")))
    assert folder == tmp_path / "share" / "extension"
    assert sorted(file.name for file in folder.iterdir()) == sorted(file.name for file in extension.files())
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in folder.iterdir())


def test_installing_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid):
        extension.install(tmp_path / "pg_config")
    with pytest.raises(SettingInvalid):
        extension.install(fake_pg_config(tmp_path, str(tmp_path / "nowhere")))
