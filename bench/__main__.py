"""``make bench``: requests per second and latency of Rowgate and of its peers, in one run on one machine: over HTTP
beside pgbench (the limit) and Express, over TCP beside pgbouncer; verifications of tokens beside PyJWT and jose; and
what a flood of one user costs another.

Absolute figures say little on a shared machine; the ratios of one run count. Each case runs in rounds, every side once
a round, and the median round is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.fairness import RATE, fairness_table, measure_fairness
from bench.flat import flat_table, measure_flat
from bench.sessions import PGBOUNCER, idle_table, measure_idle, measure_sessions
from bench.stack import HERE, TODOS, USERS, Stack, running
from bench.start import measure_starts, start_table
from bench.tokens import measure_tokens, token_table
from bench.workers import measure_workers, workers_table
from bench.wrk import SIGN, WRK, Measurement, measure_http, measure_pgbench

RESULTS = HERE / "results"
KINDS = ("http", "sessions", "tokens", "fairness", "workers", "start", "flat")
ROWS = TODOS // USERS
POINT = "select id, user_id, task, done from {table} where id = $1"
HUNDRED = "select id, user_id, task, done, created from {table} limit 100"
INSERT = "insert into {table} (user_id, task) values ($1, 'measured') returning id"


def say(text: str) -> None:
    """Progress, for a person who waits."""
    print(f"  {text} ...", file=sys.stderr, flush=True)


def request_body(sql: str, parameter: Callable[[int], list[str]]) -> Callable[[int], str]:
    """The body of request ``n``."""
    return lambda number: json.dumps({"query": sql, "params": parameter(number)})


def cases() -> Iterator[tuple[str, str, Callable[[int], list[str]], str]]:
    """Name, SQL, parameters of request ``n``, and the same statement for pgbench."""
    yield "point", POINT, lambda n: [str(n + USERS * (n * 7 % ROWS) or USERS)], POINT.replace("$1", ":id")
    yield "hundred rows", HUNDRED, lambda n: [], HUNDRED
    yield "insert", INSERT, lambda n: [f"user_{n}"], INSERT.replace("$1", "'user_' || :mine")


@contextmanager
def express(stack: Stack) -> Iterator[str]:
    """The peer, listening."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host, database_port = stack.postgres
    process = subprocess.Popen(
        ["node", "peers/express.mjs"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "NODE_ENV": "production",
            "PORT": str(port),
            "JWKS_URL": stack.ready["jwks_url"],
            "ISSUER": stack.ready["issuer_url"],
            "PGHOST": host,
            "PGPORT": str(database_port),
            "PGDATABASE": "neondb",
            "PGUSER": stack.login,
            "PGPASSWORD": stack.password,
            "PGOPTIONS": "-c role=authenticated",
        },
    )
    try:
        if not process.stdout or process.stdout.readline().strip() != "ready":
            raise SystemExit("the Express peer did not start")
        yield f"http://127.0.0.1:{port}/sql"
    finally:
        process.terminate()
        process.wait(10)


def measure(stack: Stack, seconds: int, rounds: int) -> dict[str, dict[str, list[Measurement]]]:
    """All cases, all sides, all rounds."""
    samples: dict[str, dict[str, list[Measurement]]] = {}
    with express(stack) as express_url:
        for name, sql, parameter, statement in cases():
            sides = samples[name] = {"pgbench": [], "rowgate": [], "express": []}
            for number in range(1, rounds + 1):
                say(f"{name}, round {number} of {rounds}")
                sides["pgbench"].append(
                    measure_pgbench(stack, statement.format(table="todos"), seconds, users=USERS, rows=ROWS)
                )
                for side, url, table in (
                    ("rowgate", stack.ready["sql_url"], "todos"),
                    ("express", express_url, "todos_by_setting"),
                ):
                    body = request_body(sql.format(table=table), parameter)
                    address = url.replace("localhost", "127.0.0.1")
                    sides[side].append(
                        measure_http(address, stack.ready["authenticated_url"], stack.tokens, body, seconds)
                    )
    return samples


def middle(samples: list[Measurement]) -> Measurement:
    """The round with the median rate."""
    rate = statistics.median_low([sample.rate for sample in samples])
    return next(sample for sample in samples if sample.rate == rate)


def report(samples: dict[str, dict[str, list[Measurement]]], seconds: int, rounds: int) -> str:
    """A table for people."""
    lines = [
        f"{os.cpu_count()} cores, {rounds} rounds of {seconds} s, 32 connections, {USERS} users, {TODOS:,} rows; "
        "medians. Load generator, gateway and Postgres share the cores.",
        "",
        "| case | side | requests/s | p50 ms | p99 ms | errors | of the limit | Rowgate is |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, sides in samples.items():
        limit, ours = middle(sides.get("pgbench") or sides["pgbouncer"]), middle(sides["rowgate"])
        for side, rounds_of_side in sides.items():
            one = middle(rounds_of_side)
            lines.append(
                f"| {name} | {side} | {one.rate:,.0f} | {one.median:.2f} | {one.percentile_99:.2f} | {one.errors} "
                f"| {one.rate / limit.rate:.0%} | {ours.rate / one.rate:.1f} × |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs everything and writes ``bench/results/``."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench")
    parser.add_argument("--seconds", type=int, default=8, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=KINDS)
    options = parser.parse_args()
    if "tokens" in options.only:
        say("tokens")
        rates, memory = measure_tokens(HERE)
        keep("tokens", token_table(rates, memory), {"rates": list(map(vars, rates)), "memory": vars(memory)})
    if "fairness" in options.only:
        with running(say, ROWGATE_SUBJECT_RATE=str(RATE)) as stack:
            found = measure_fairness(stack, options.seconds, options.rounds, say)
        keep("fairness", fairness_table(found, options.seconds, options.rounds), {"fairness": list(map(vars, found))})
    if "start" in options.only:
        starts = measure_starts(options.rounds, say)
        keep("start", start_table(starts), {name: list(map(vars, each)) for name, each in starts.items()})
    if "workers" in options.only:
        workers = measure_workers(options.seconds, options.rounds, say)
        raw = {name: {n: list(map(vars, each)) for n, each in sides.items()} for name, sides in workers.items()}
        keep("workers", workers_table(workers), raw)
    if "flat" in options.only:
        flat = measure_flat(options.seconds, options.rounds, say)
        keep("flat", flat_table(flat), {f"{n} {kind}": list(map(vars, each)) for (kind, n), each in flat.items()})
    if {"http", "sessions"} & set(options.only):
        measure_requests(options)


def measure_requests(options: argparse.Namespace) -> None:
    """What needs a running stack."""
    for program, package in (
        (WRK, "wrk"),
        ("pgbench", "postgresql-contrib or postgresql"),
        ("node", "nodejs"),
        (PGBOUNCER, "pgbouncer"),
    ):
        if shutil.which(program) is None:
            raise SystemExit(f"make bench needs {program}; on Debian: apt-get install {package}")
    with running(say, ROWGATE_SUBJECT_CONCURRENCY="10000") as stack:
        with psycopg.connect(stack.ready["superuser_url"], autocommit=True) as connection:
            connection.execute(SIGN)
        samples = measure(stack, options.seconds, options.rounds) if "http" in options.only else {}
        idle = ""
        if "sessions" in options.only:
            say("sessions")
            samples |= measure_sessions(stack, options.seconds, options.rounds)
            say("idle sessions")
            idle = idle_table(measure_idle(stack, options.seconds))
    raw: dict[str, Any] = {
        name: {side: [vars(one) for one in rounds] for side, rounds in sides.items()} for name, sides in samples.items()
    }
    keep("report", report(samples, options.seconds, options.rounds) + "\n" + idle, raw)


def keep(name: str, text: str, raw: dict[str, Any]) -> None:
    """Shows the table, and writes it and the raw samples to ``bench/results/``."""
    RESULTS.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    Path(RESULTS / f"{name}-{stamp}.json").write_text(json.dumps(raw, indent=1))
    Path(RESULTS / f"{name}.md").write_text(text)
    print("\n" + text + f"\nRaw samples: {RESULTS.name}/{name}-{stamp}.json")


if __name__ == "__main__":
    main()
