"""``python -m examples``, the table in todos.sql, and the notebook, each as its reader uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from examples.__main__ import HERE

from tests.clients.stack import ROWGATE
from tests.ports import reserve

NOTEBOOK = HERE / "notebook" / "my-rows.ipynb"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the stack below a running example says of itself; Ctrl-C ends it all."""
    data_dir = tmp_path_factory.mktemp("example") / "data"
    port, gateway_port = reserve(), reserve(5)
    command = [
        *(sys.executable, "-m", "examples", "python-todos", "--data-dir", str(data_dir)),
        *("--port", str(port), "--gateway-port", str(gateway_port)),
    ]
    process = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        printed = next((line for line in process.stdout if line.strip()), "")
        assert f"python-todos: http://localhost:{port}" in printed
        yield {**json.loads((data_dir / "dev.json").read_text()), "application": f"http://localhost:{port}"}
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    for one in (port, gateway_port):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://localhost:{one}")


def token_of(ready: dict[str, Any], user: str) -> str:
    done = subprocess.run(
        [*ROWGATE, "token", user, "--data-dir", ready["data_dir"]], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_one_command_starts_an_example(ready: dict[str, Any]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            page = httpx.get(ready["application"])
            break
        except httpx.ConnectError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert page.status_code == 200
    assert "/sign-in" in page.text


def test_the_notebook_shows_ones_own_rows(ready: dict[str, Any], tmp_path: Path) -> None:
    """Its cells, one after the other, as Alice; Bob sees none of what it wrote."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells), "outputs are not committed"
    script = "\n\n".join("".join(cell["source"]) for cell in cells) + "\nprint(shares.to_dict(), list(todos.task))\n"
    environment = {
        **os.environ, "DATABASE_URL": ready["tcp_url"], "TOKEN": token_of(ready, "alice"), "MPLBACKEND": "Agg",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{'to do': 3, 'done': 2} ['milk', 'bread', 'call Bob', 'water the plants', 'read']"
    assert (tmp_path / "todos.png").read_bytes().startswith(b"\x89PNG")
    with psycopg.connect(ready["tcp_url"], password=token_of(ready, "bob")) as connection:
        assert connection.execute("select count(*) from todos").fetchone() == (0,)


def test_the_table_may_be_made_again(ready: dict[str, Any]) -> None:
    with psycopg.connect(ready["database_url"]) as connection:
        connection.execute((HERE / "todos.sql").read_bytes())
        policies = connection.execute("select policyname from pg_policies where tablename = 'todos'").fetchall()
    assert policies == [("own_todos",)]
