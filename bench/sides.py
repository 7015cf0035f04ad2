"""Who is measured over HTTP: gateways, and what people would write or run instead."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import httpx

from bench import postgrest
from bench.cases import Case
from bench.stack import HERE, Stack, environment, has_option, serving
from bench.wrk import Request

WORKERS = 2
GATEWAYS: dict[str, dict[str, str]] = {"rowgate": {}, "rowgate, cold": {"token_cache_size": "0"}}
"""Gateways by name, with settings of their own: without a cache each token is verified as if it came first."""
POSTGREST = "postgrest"
MANY = f"rowgate, {WORKERS} workers"
PEERS = {"express": ("node", "peers/express.mjs"), "fastapi": (sys.executable, "peers/fastapi_peer.py")}


@dataclass(frozen=True)
class Side:
    """A server that listens at ``url``; ``requests`` are what it is asked in a case."""

    name: str
    url: str
    process_id: int
    requests: Callable[[Case, Stack, str], list[Request]]


@contextmanager
def all_sides(stack: Stack, postgrest_path: str | None) -> Iterator[list[Side]]:
    """Every side, listening; they start at the same time."""
    gateways = {name: serving(stack, **settings) for name, settings in GATEWAYS.items()}
    if has_option("--workers"):
        gateways[MANY] = serving(stack, "--workers", str(WORKERS))
    peers = {name: _peer(stack, command) for name, command in PEERS.items()}
    if postgrest_path is not None:
        peers[POSTGREST] = postgrest.serving(stack, postgrest_path, free_port())
    managers: list[AbstractContextManager[Any]] = [*gateways.values(), *peers.values()]
    with ExitStack() as exit_stack:
        with ThreadPoolExecutor(len(managers)) as threads:
            entered = [threads.submit(manager.__enter__) for manager in managers]
        for manager, one in zip(managers, entered, strict=True):
            if one.exception() is None:
                exit_stack.push(manager)
        ready = [one.result() for one in entered]
        found = [
            Side(name, gateway.urls["sql_url"], gateway.process_id, Case.requests)
            for name, gateway in zip(gateways, ready, strict=False)
        ]
        for name, (url, process_id) in zip(peers, ready[len(gateways) :], strict=True):
            found.append(Side(name, url, process_id, postgrest.requests if name == POSTGREST else Case.peer_requests))
        yield found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _peer(stack: Stack, command: Sequence[str]) -> Iterator[tuple[str, int]]:
    port = free_port()
    process = subprocess.Popen(
        command,
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **environment(stack),
            "NODE_ENV": "production",
            "PORT": str(port),
            "JWKS_URL": stack.ready["jwks_url"],
            "ISSUER": stack.ready["issuer_url"],
        },
    )
    try:
        if not process.stdout or process.stdout.readline().strip() != "ready":
            raise SystemExit(f"the peer {command[-1]} did not start")
        yield f"http://127.0.0.1:{port}/sql", process.pid
    finally:
        process.terminate()
        process.wait(10)


def check(side: Side, case: Case, requests: Sequence[Request]) -> None:
    """One request is answered as it should be, before many are counted."""
    one = requests[-1]
    address = urljoin(side.url, one.path)
    answer = httpx.request(one.method, address, headers=dict(one.headers), content=one.body.encode(), timeout=60)
    if answer.status_code >= 400:
        raise SystemExit(f"{side.name}, {case.name}: status {answer.status_code}: {answer.text[:500]}")
    body = answer.json()
    results = body.get("results", [body]) if isinstance(body, dict) else [{"rows": body}]
    found = [len(result["rows"]) for result in results]
    if found != [case.rows] * case.batch:
        raise SystemExit(f"{side.name}, {case.name}: {found} rows instead of {case.batch} × {case.rows}")
