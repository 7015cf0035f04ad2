"""``rowgate serve`` under measurement: a database that set-up has prepared, providers whose keys are at hand, load by
wrk, and what each side takes of the processor (proc(5), stat), which says more than rates where machines are shared.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from joserfc import jwt
from joserfc.jwk import OKPKey

from bench.wrk import WRK
from rowgate.identity.provider import Provider
from rowgate.registry.registry import Registry

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
ROWGATE = [sys.executable, "-m", "rowgate"]
CONNECTION = "postgresql://authenticated@any/neondb"
SELECT = "select 1"


@dataclass(frozen=True)
class Request:
    """Whose it is and what it asks."""

    token: str
    sql: str = SELECT


@dataclass(frozen=True)
class Cost:
    """Requests per second, and microseconds of the processor for each request: of the gateway's processes, of Postgres
    with its backends, and of the load generator."""

    rate: float
    gateway: float
    postgres: float
    load: float
    refused: int


@dataclass(frozen=True)
class Database:
    """What ``rowgate dev`` printed, and its Postgres."""

    ready: dict[str, Any]
    key: OKPKey

    @property
    def postmaster(self) -> psutil.Process:
        """The process whose children are the backends."""
        (file,) = Path(self.ready["data_dir"]).glob("*/postmaster.pid")
        return psutil.Process(int(file.read_text().split()[0]))


@contextmanager
def database(providers: int = 1) -> Iterator[Database]:
    """A Postgres of its own after set-up, with so many providers whose tokens ``token`` makes; all stops at the end."""
    folder = Path(tempfile.mkdtemp(prefix="rowgate-bench-"))
    process = subprocess.Popen(
        [*ROWGATE, "dev", "--json", "--port", "0", "--data-dir", str(folder / "data")],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise SystemExit("rowgate dev did not start")
        made = Database(json.loads(line), OKPKey.generate_key("Ed25519"))
        asyncio.run(_add_providers(made, providers))
        yield made
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


async def _add_providers(made: Database, number: int) -> None:
    key = {**made.key.as_dict(private=False), "kid": "bench", "alg": "EdDSA", "use": "sig"}
    registry = await Registry.connect(made.ready["control_url"])
    try:
        for each in range(number):
            own: dict[str, Any] = {
                "name": f"bench-{each}",
                "kind": "oidc",
                "issuer": _issuer(each),
                "algorithms": ("EdDSA",),
            }
            await registry.add_provider(Provider(**own, key_set=json.dumps({"keys": [key]})))
    finally:
        await registry.close()


def _issuer(number: int) -> str:
    return f"https://issuer-{number}.example"


def token(made: Database, user: int, provider: int = 0) -> str:
    """A token that is good for an hour, as large as Clerk's."""
    now = int(time.time())
    claims = {
        "iss": _issuer(provider), "sub": f"user_{user}", "sid": f"sess_{user}", "iat": now, "nbf": now - 5,
        "exp": now + 3600, "sts": "active", "v": 2, "jti": f"{provider:04x}{user:016x}",
    }  # fmt: skip
    return jwt.encode({"alg": "EdDSA", "kid": "bench", "typ": "JWT"}, claims, made.key, algorithms=["EdDSA"])


@dataclass(frozen=True)
class Gateway:
    """A running ``rowgate serve``."""

    url: str
    process: psutil.Process

    @property
    def processes(self) -> list[psutil.Process]:
        """The parent and its workers, or the one that there is."""
        return [self.process, *self.process.children()]


@contextmanager
def gateway(made: Database, *arguments: str, **settings: str) -> Iterator[Gateway]:
    """``rowgate serve`` in front of the database, with any settings; it stops at the end."""
    process = subprocess.Popen(
        [*ROWGATE, "serve", "--json", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment(made, **settings),
    )  # fmt: skip
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise SystemExit("rowgate serve did not start")
        yield Gateway(json.loads(line)["sql_url"], psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(30)


def environment(made: Database, **settings: str) -> dict[str, str]:
    """What ``rowgate serve`` finds in its environment."""
    own: dict[str, Any] = {f"ROWGATE_{name.upper()}": value for name, value in settings.items()}
    return {
        **os.environ, "ROWGATE_DATABASE_URL": made.ready["control_url"], "ROWGATE_PORT": "0", "ROWGATE_TCP_PORT": "off",
        "ROWGATE_TRUST_LOCAL_ISSUER": "true", "ROWGATE_SUBJECT_CONCURRENCY": "10000", "ROWGATE_RLS_GATE": "off", **own,
    }  # fmt: skip


def measure(
    made: Database, under: Gateway, requests: Sequence[Request], *, connections: int = 32, seconds: int = 3
) -> Cost:
    """Sends the requests in turn over so many connections, and takes account of what all sides needed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requests"
        file.write_text("".join(f"{CONNECTION}\t{one.token}\t{json.dumps({'query': one.sql})}\n" for one in requests))
        sides = (under.processes, [made.postmaster, *made.postmaster.children()])
        before = [sum(map(processor_seconds, side)) for side in sides]
        load = _children_seconds()
        done = subprocess.run(
            [WRK, "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s",
             "-s", str(HERE / "served.lua"), under.url],
            capture_output=True, text=True, check=True, env={**os.environ, "REQUESTS": str(file)},
        )  # fmt: skip
        load = _children_seconds() - load
        # Backends that came since then count from their start.
        sides = (under.processes, [made.postmaster, *made.postmaster.children()])
        spent = [sum(map(processor_seconds, side)) - early for side, early in zip(sides, before, strict=True)]
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if found is None or int(found[4]):
        raise SystemExit("wrk lost requests: " + done.stdout + done.stderr)
    count, microseconds, refused = int(found[1]), int(found[2]), int(found[3])
    each = [one / max(count, 1) * 1e6 for one in (*spent, load)]
    return Cost(count / microseconds * 1e6, each[0], each[1], each[2], refused)


def processor_seconds(process: psutil.Process) -> float:
    """What a process has taken of the processor; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:13])) / TICKS


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
