"""``make bench``: Rowgate beside what bounds it and what people would write instead, in one run on one machine.

Over HTTP beside pgbench (the limit), Express, FastAPI and PostgREST; in sessions beside pgbouncer; a large result
beside COPY; the latency of a single client beside a direct connection; where the time of a request goes; verifications
of tokens beside PyJWT and jose; what a flood of one user costs another; several processes; starts; and what a request
costs as there is more of everything. Writes a report with pictures and the raw samples to bench/results.

    make bench
    make bench ARGS='--only http latency --rounds 5 --seconds 10'
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import postgrest
from bench.cases import Case, all_cases
from bench.fairness import LEAST_SECONDS, SETTINGS, fairness_table, measure_fairness
from bench.flat import flat_table, measure_flat
from bench.http_load import Samples, measure_http_cases
from bench.instruction_parts import build
from bench.instructions import read_baselines
from bench.latency import measure_latency
from bench.layers import IN_MEMORY, measure_in_memory, measure_served
from bench.report import Results, report
from bench.session_load import measure_fronts
from bench.sessions import IDLE, PGBOUNCER, idle_table, measure_idle, measure_sessions
from bench.sides import MANY, has_option
from bench.stack import HERE, TODOS, USERS, running, serving
from bench.start import measure_starts, start_table
from bench.tokens import measure_tokens, token_table
from bench.transfer import measure_transfer
from bench.workers import measure_workers, workers_table
from bench.wrk import WRK

RESULTS = HERE / "results"
PUBLISHED = HERE.parent / "docs"
STACK_KINDS = ("http", "sessions", "latency", "transfer", "layers")
KINDS = (*STACK_KINDS, "tokens", "fairness", "workers", "start", "flat")
QUICK_CASES = ("point read", "insert returning", "batch of 5 reads", "anonymous read")
TITLE = """\
# Benchmarks

What `make bench` found when it was last published (`make bench ARGS=--publish`). Run it on your own machine: it needs
wrk, PostgreSQL's client programs, pgbouncer, curl and Node, and writes a report like this one with pictures and all raw
samples to `bench/results`. PostgREST is the one that npm installs for Linux on x86-64; name another with
`--postgrest PATH` or the variable `POSTGREST`. `make bench-check` counts the instructions of the hot path, and fails
where a part takes 10 % more than it did.
"""


def say(text: str) -> None:
    """Progress, for a person who waits."""
    print(f"  {text} ...", file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m bench", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side")
    parser.add_argument("--only", choices=KINDS, nargs="+", help="default: all; with --quick those of one stack")
    parser.add_argument(
        "--postgrest", metavar="PATH", default=postgrest.program(),
        help=f"PostgREST's program (default: the variable {postgrest.VARIABLE}, or the one that npm has installed)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="whether everything works, in seconds; figures mean nothing"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the report and the raw samples")
    parser.add_argument("--publish", action="store_true", help="also make docs/benchmarks.md of the report")
    parser.add_argument("--json", action="store_true", help="print all that was measured as JSON, and no report")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 0.1, 1
    options.only = options.only or (STACK_KINDS if options.quick else KINDS)
    return options


def require_programs(kinds: set[str]) -> None:
    """Says what is missing before anything starts."""
    needed = [("http", WRK, "wrk"), ("http", "pgbench", "postgresql"), ("http", "node", "nodejs"),
              ("layers", WRK, "wrk"), ("sessions", PGBOUNCER, "pgbouncer"), ("sessions", "pgbench", "postgresql"),
              ("transfer", "psql", "postgresql-client"), ("transfer", "curl", "curl")]  # fmt: skip
    for kind, program, package in needed:
        if kind in kinds and shutil.which(program) is None:
            raise SystemExit(f"make bench needs {program}; on Debian: apt-get install {package}")


def measure(options: argparse.Namespace) -> Results:
    """All that was asked for."""
    kinds = set(options.only)
    require_programs(kinds)
    results = Results(options.seconds, options.rounds)
    measure_apart(options, kinds, results)
    if "layers" in kinds:
        for kind in IN_MEMORY[:1] if options.quick else IN_MEMORY:
            say(f"layers, {kind}")
            results.layers[kind] = measure_in_memory(kind, 1600 if options.quick else 8_000)
        results.instructions = read_baselines().get(build(), {})
    if kinds & set(STACK_KINDS):
        measure_stack(options, kinds, results)
    return results


def measure_apart(options: argparse.Namespace, kinds: set[str], results: Results) -> None:
    """What starts all that it needs itself."""
    seconds = max(round(options.seconds), 1)
    if "tokens" in kinds:
        say("tokens")
        rates, memory = measure_tokens(HERE)
        results.add("Verifying tokens", token_table(rates, memory), {"rates": rates, "memory": memory})
    if "fairness" in kinds:
        with running(say, **SETTINGS) as stack:
            long = seconds if options.quick else max(seconds, LEAST_SECONDS)
            found = measure_fairness(stack, long, options.rounds, say)
        results.add("A flood of one user, beside another", fairness_table(found, long, options.rounds), found)
    if "workers" in kinds:
        results.workers = measure_workers(seconds, options.rounds, say)
        results.add("Several processes", workers_table(results.workers), None)
    if "flat" in kinds:
        flat = measure_flat(seconds, options.rounds, say)
        for (kind, number), costs in flat.items():
            results.flat.setdefault(kind, {})[number] = costs
        results.add("More of everything", flat_table(flat), None)
    if "start" in kinds:
        starts = measure_starts(options.rounds, say)
        results.add("Starts", start_table(starts), starts)


def measure_stack(options: argparse.Namespace, kinds: set[str], results: Results) -> None:
    """What needs a running stack."""
    seconds, rounds, quick = options.seconds, options.rounds, options.quick
    todos, users = (10_000, 20) if quick else (TODOS, USERS)
    with running(say, todos=todos, users=users) as stack:
        results.notes.append(
            f"{todos:,} todos of {users} users; 32 connections and {users} users where a case says nothing else."
        )
        if "http" in kinds:
            if not has_option("--workers"):
                results.notes.append(f"Left out: {MANY}, because rowgate serve has no option for it here.")
            if options.postgrest is None:
                results.notes.append("Left out: PostgREST, because no program is installed or named (--postgrest).")
            results.http = measure_http_cases(
                stack, seconds, rounds, say, postgrest_path=options.postgrest,
                only=_is_quick if quick else lambda case: True,
            )  # fmt: skip
        if kinds & set(STACK_KINDS) == {"http"}:
            return
        with serving(stack) as gateway:
            if "latency" in kinds:
                say("latency of a single client")
                results.latency = measure_latency(stack, gateway, seconds, rounds)
            if "transfer" in kinds:
                say("a large result to a file")
                case = next(case for case in all_cases(stack, ()) if case.name == "10,000 rows × 10")
                results.transfer = measure_transfer(stack, gateway, case, rounds, 1 if quick else 20)
            if "layers" in kinds and not quick:
                say("layers, served")
                results.layers["served"] = measure_served(stack, gateway, seconds)
            if "sessions" in kinds:
                say("sessions")
                results.sessions = measure_sessions(stack, gateway, seconds, rounds)
                results.fronts = measure_fronts(stack, gateway, seconds, rounds)
                say("idle sessions")
                results.idle = idle_table(measure_idle(stack, gateway, seconds, IDLE[1:2] if quick else IDLE))


def _is_quick(case: Case) -> bool:
    return case.name in QUICK_CASES


def sample_lines(results: Results) -> Iterator[str]:
    """Every measurement as one line of JSON, with the histogram of its latencies."""
    kinds: dict[str, Samples] = {"http": results.http, "sessions": results.sessions, "fronts": results.fronts}
    for kind, samples in kinds.items():
        for case, sides in samples.items():
            for side, rounds in sides.items():
                for number, one in enumerate(rounds, start=1):
                    yield json.dumps({"kind": kind, "case": case, "side": side, "round": number, **asdict(one)})
    rest: dict[str, Any] = {
        "latency": results.latency, "transfer": results.transfer, "layers": results.layers, "workers": results.workers,
        "flat": results.flat, **results.others_raw,
    }  # fmt: skip
    yield from (json.dumps({"kind": kind, "found": found}, default=vars) for kind, found in rest.items() if found)


def keep(results: Results, folder: Path, *, publish: bool) -> str:
    """Writes report, pictures and samples to ``folder``; gives the report."""
    from bench.plots import draw  # matplotlib takes a second

    folder.mkdir(parents=True, exist_ok=True)
    text = report(results)
    pictures = draw(results, folder)
    samples = folder / f"samples-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    samples.write_text("".join(line + "\n" for line in sample_lines(results)))
    (folder / "report.md").write_text(TITLE + "\n" + text + _shown(pictures, ""))
    if publish:
        (PUBLISHED / "images").mkdir(exist_ok=True)
        for picture in pictures:
            shutil.copy(folder / picture, PUBLISHED / "images" / picture)
        (PUBLISHED / "benchmarks.md").write_text(TITLE + "\n" + text + _shown(pictures, "images/"))
    return f"{text}\nRaw samples: {samples}\n"


def _shown(pictures: list[str], folder: str) -> str:
    names = ((picture, picture.removeprefix("benchmark-").removesuffix(".svg")) for picture in pictures)
    return "".join(f"\n![{name.capitalize()}]({folder}{picture})\n" for picture, name in names)


def main() -> None:
    """Measures, writes and shows."""
    options = parse()
    results = measure(options)
    text = keep(results, options.results, publish=options.publish)
    print(json.dumps(asdict(results)) if options.json else "\n" + text)


if __name__ == "__main__":
    main()
