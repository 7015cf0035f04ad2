"""``python -m examples NAME``: one example with everything it needs, in the foreground, until Ctrl-C.

It installs the example's packages where they are missing, starts ``rowgate dev`` with a data folder of the example's,
makes the table and runs the example, which finds all it has to know in its environment. Writes into none of its files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

HERE = Path(__file__).parent
TABLE = HERE / "todos.sql"

Ready = dict[str, Any]
"""What ``rowgate dev --json`` prints."""


@dataclass(frozen=True, slots=True)
class Example:
    """How an example is started. ``environment`` gets what the stack said, the Backend API's secret, and the port."""

    name: str
    command: Callable[[int], list[str]]
    environment: Callable[[Ready, str, int], dict[str, str]]
    migrates_by: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Its files."""
        return HERE / self.name

    def is_for_node(self) -> bool:
        """Whether npm installs its packages."""
        return (self.folder / "package.json").exists()


def nextjs_environment(ready: Ready, secret: str, port: int) -> dict[str, str]:
    """See ``nextjs-todos/.env.example``."""
    return {
        "ROWGATE_SQL_URL": ready["sql_url"],
        "DATABASE_AUTHENTICATED_URL": ready["authenticated_url"],
        "DATABASE_OWNER_URL": ready["database_url"],
        "APP_URL": f"http://localhost:{port}",
        "LOCAL_ISSUER_URL": ready["issuer_url"],
        "LOCAL_ISSUER_SECRET_KEY": secret,
        "NEXT_TELEMETRY_DISABLED": "1",
    }


def vite_environment(ready: Ready, secret: str, port: int) -> dict[str, str]:
    """See ``vite-react/.env.example``. The secret is not for a page."""
    return {
        "VITE_SQL_URL": ready["sql_url"],
        "VITE_DATABASE_URL": ready["authenticated_url"],
        "VITE_ISSUER": ready["issuer_url"],
        "VITE_CLIENT_ID": "vite-react-todos",
    }


def python_environment(ready: Ready, secret: str, port: int) -> dict[str, str]:
    """See ``python-todos/README.md``."""
    return {
        "DATABASE_URL": ready["tcp_url"],
        "ROWGATE_SQL_URL": ready["sql_url"],
        "DATABASE_AUTHENTICATED_URL": ready["authenticated_url"],
        "ISSUER_URL": ready["issuer_url"],
        "ISSUER_SECRET_KEY": secret,
    }


EXAMPLES = {
    example.name: example
    for example in (
        Example(
            "nextjs-todos",
            lambda port: ["npm", "run", "dev", "--", "--port", str(port)],
            nextjs_environment,
            migrates_by=("npm", "run", "migrate"),
        ),
        Example(
            "vite-react",
            lambda port: ["npm", "run", "dev", "--", "--port", str(port), "--strictPort"],
            vite_environment,
        ),
        Example(
            "python-todos",
            lambda port: [sys.executable, "-m", "uvicorn", "todos:app", "--port", str(port), "--log-level", "warning"],
            python_environment,
        ),
    )
}


def make_table(example: Example, ready: Ready, environment: dict[str, str]) -> None:
    """The table ``todos``: by the example's own migrations, or from ``todos.sql``."""
    if example.migrates_by:
        done = subprocess.run(
            example.migrates_by,
            cwd=example.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return
    with psycopg.connect(ready["database_url"]) as connection:
        connection.execute(TABLE.read_bytes())


def secret_of(data_dir: Path) -> str:
    """The secret of the local provider's Backend API."""
    command = [sys.executable, "-m", "rowgate", "issuer", "secret-key", "--data-dir", str(data_dir)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, which is ended with all its children."""
    process = subprocess.Popen(command, start_new_session=True, text=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run(example: Example, port: int, gateway_port: int, data_dir: Path) -> int:
    """Everything, until Ctrl-C or until one of the two ends. Gives the exit status."""
    if example.is_for_node() and not (example.folder / "node_modules").exists():
        print("Installing the example's packages ...", flush=True)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=example.folder, check=True)
    rowgate = [sys.executable, "-m", "rowgate", "dev", "--json", "--port", str(gateway_port)]
    with running([*rowgate, "--data-dir", str(data_dir)], stdout=subprocess.PIPE) as stack:
        line = stack.stdout.readline() if stack.stdout else ""
        if not line:
            return stack.wait() or 2
        ready = json.loads(line)
        environment = example.environment(ready, secret_of(data_dir), port)
        make_table(example, ready, environment)
        with running(example.command(port), cwd=example.folder, env={**os.environ, **environment}) as application:
            print(
                f"\n{example.name}: http://localhost:{port}  (sign in as Alice or Bob; Ctrl-C stops it)\n", flush=True
            )
            # An interrupt that comes as an exception can be lost in a destructor; a flag cannot.
            stop = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            while stack.poll() is None and application.poll() is None:
                if stop.wait(0.2):
                    return 0
            return stack.returncode or application.returncode or 0


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples", description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=EXAMPLES, nargs="?", default="nextjs-todos")
    parser.add_argument("--port", type=int, default=3000, help="port of the application (default: 3000)")
    parser.add_argument("--gateway-port", type=int, default=4444, help="first port of rowgate dev (default: 4444)")
    parser.add_argument(
        "--data-dir", type=Path, help="folder of rowgate dev (default: .rowgate in the example's folder)"
    )
    asked = parser.parse_args()
    example = EXAMPLES[asked.name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(example, asked.port, asked.gateway_port, asked.data_dir or example.folder / ".rowgate")
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
