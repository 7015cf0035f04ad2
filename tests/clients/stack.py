"""A running ``rowgate dev`` for tests, as a process of its own, and the Node driver to talk to it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.clients.commands import run_apart
from tests.plain_http import HTTP

HERE = Path(__file__).parent
READY_SECONDS = 60
ROWGATE = [sys.executable, "-m", "rowgate"]
SERVERLESS_DRIVERS = ("neon-0", "neon-1.0", "neon-1.1", "neon-1")
"""The serverless driver by its names in package.json: 0.10, 1.0, 1.1 and the newest."""


@dataclass
class Stack:
    """The process and what it printed when it was ready."""

    process: subprocess.Popen[str]
    data_dir: Path | None
    ready: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.ready[name]

    def cli(self, *arguments: str, check: bool = True, input: str = "") -> subprocess.CompletedProcess[str]:
        """Runs another ``rowgate`` command against this stack."""
        done = run_apart(*arguments, variables={**os.environ, "ROWGATE_DATA_DIR": str(self.data_dir)}, stdin=input)
        assert not check or done.status == 0, done.stdout + done.stderr
        return subprocess.CompletedProcess(arguments, done.status, done.stdout, done.stderr)

    def sql(self, query: str, params: list[Any] | None = None, *, url: str | None = None, token: str | None = None,
            headers: dict[str, str] | None = None) -> httpx.Response:  # fmt: skip
        """One statement over HTTP, without any driver."""
        sent = {"Neon-Connection-String": url or self.ready["authenticated_url"], **(headers or {})}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return HTTP.post(self.ready["sql_url"], json={"query": query, "params": params or []}, headers=sent, timeout=60)

    def owner(self, query: str, params: list[Any] | None = None) -> httpx.Response:
        """One statement as the owner."""
        return self.sql(query, params, url=self.ready["database_url"])

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ctrl-C, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


def until(holds: Callable[[], bool], seconds: float) -> None:
    """Waits until ``holds``, and fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def start(data_dir: Path, *arguments: str, program: Sequence[str] = ROWGATE, **settings: str) -> Stack:
    """Starts ``rowgate dev`` on free ports and waits until it is ready; ``settings`` are environment variables."""
    process = subprocess.Popen(
        [*program, "dev", "--json", "--port", "0", "--data-dir", str(data_dir), *arguments],
        stdout=subprocess.PIPE,
        stderr=(data_dir.parent / f"{data_dir.name}.log").open("a"),
        text=True,
        env={**os.environ, **settings},
    )
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        process.wait(READY_SECONDS)
        raise AssertionError("rowgate dev said nothing: " + (data_dir.parent / f"{data_dir.name}.log").read_text())
    return Stack(process, data_dir, json.loads(line))


def run_node(script: str, job: Any, **environment: str) -> Any:
    """What a script beside this file prints as JSON; ``job`` is its standard input."""
    done = subprocess.run(
        ["node", script], input=json.dumps(job), capture_output=True, text=True, cwd=HERE, timeout=60,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass
class Driver:
    """The serverless driver of one version, in Node."""

    name: str
    endpoint: str

    def run(self, url: str, token: str | None, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to a list of calls."""
        job = {"driver": self.name, "endpoint": self.endpoint, "url": url, "token": token, "calls": calls}
        answers: list[dict[str, Any]] = run_node("driver.mjs", job)
        return answers

    def one(
        self, url: str, token: str | None, sql: str, params: list[Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """The answer to one call."""
        return self.run(url, token, [{"sql": sql, "params": params, **more}])[0]
