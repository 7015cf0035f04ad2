"""What a start loads, so that it stays quick: the packages that it does without are not imported by the way."""

import json
import subprocess
import sys
from importlib.metadata import requires

import pytest

SHOW = "; import json, sys; print(json.dumps(sorted(sys.modules)))"
NEEDED_LATER = {
    "cryptography", "google", "httpx", "jinja2", "joserfc", "markdown_it", "postgast", "pydantic",
    "pygments", "rich", "scramp", "starlette", "tomllib", "uvicorn", "websockets",
}  # fmt: skip
"""What a gateway that has no client yet has no use for, and what takes long to import."""


def loaded(code: str) -> set[str]:
    """The modules that are there after ``code`` in a new process."""
    done = subprocess.run([sys.executable, "-c", code + SHOW], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout))


def test_the_package_alone_loads_nothing() -> None:
    bare = loaded("pass")
    assert {name for name in loaded("import rowgate") - bare if not name.startswith("__")} == {"rowgate"}


@pytest.mark.parametrize(
    ("code", "own_needed_later"),
    [
        (
            "from rowgate.cli.main import assemble; assemble(['serve'])",
            {"cli.dev", "console", "dev", "gateway.dev_certificates", "gateway.websocket", "issuer", "rls"},
        ),
        (
            "import rowgate.dev",
            {"cli", "console", "gateway.dev_certificates", "gateway.gateway", "guard.guard", "issuer"},
        ),
    ],
    ids=["serve", "dev"],
)
def test_a_start_loads_what_it_needs(code: str, own_needed_later: set[str]) -> None:
    modules = loaded(code)
    assert not modules & NEEDED_LATER
    assert not modules & {f"rowgate.{name}" for name in own_needed_later}


def test_no_command_loads_pydantic() -> None:
    """As typer does from 0.29 on, with every command."""
    assert not [one for one in requires("typer") or [] if one.startswith("pydantic")]


def test_the_rest_is_all_that_first_requests_need() -> None:
    """Nothing of it is left for a request to wait for, and nothing comes with it that nobody needs."""
    code = "import rowgate.cli.serving; from rowgate.cli import memory; memory.import_rest()"
    modules = loaded(code)
    assert {"httpx", "joserfc.jwk", "joserfc.jws", "scramp", "websockets.server", "cryptography.exceptions"} <= modules
    assert not {name for name in ("google", "jinja2", "postgast", "starlette", "uvicorn") if name in modules}
