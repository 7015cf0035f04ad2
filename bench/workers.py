"""Two workers beside one: requests per second, and what each request takes of the processor.

The load generator and Postgres take cores too, so a rate says how well workers scale only where these are no limit. So
the first case gives each worker a part of a core and no more. In the others they have what there is: the one request is
refused by the gateway alone, after it has verified the token and judged the text, and is the same each time, so that
wrk has little to do. What a second worker can add where all share these cores is in the column before the last. The
last one is what cores of their own would allow: twice what one worker's time for a request is of two workers'. Two that
stood in each other's way would take more time for each request, and that column would fall.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

from bench.core_share import limited
from bench.served import Cost, Request, database, gateway, measure, token

CORES = len(os.sched_getaffinity(0))
CASES = {"refused by the gateway": ("create table t (x int)", 1), "select 1": ("select 1", 500)}
"""The statement, and how many users send it."""
SHARE = min(CORES / 5, 1.0)
"""Of a core for each worker, where that is limited: Postgres and the load generator have more than they need then."""
LIMITED = f"select 1, {SHARE:.1f} of a core for each"


def measure_workers(seconds: int, rounds: int, say: Callable[[str], None]) -> dict[str, dict[int, list[Cost]]]:
    """For each case the rounds with one and with two workers."""
    found: dict[str, dict[int, list[Cost]]] = {}
    with database() as made, gateway(made, "--workers", "1") as one, gateway(made, "--workers", "2") as two:
        tokens = [token(made, user) for user in range(max(users for _, users in CASES.values()))]

        def compare(name: str, statement: str) -> None:
            sql, users = CASES[statement]
            requests = [Request(each, sql) for each in tokens[:users]]
            for side in (one, two):
                measure(made, side, requests, seconds=1)  # tokens and texts are known from here on
            found[name] = {1: [], 2: []}
            for number in range(rounds):
                say(f"workers: {name}, round {number + 1} of {rounds}")
                for workers, side in ((1, one), (2, two)):
                    found[name][workers].append(measure(made, side, requests, seconds=seconds))

        with limited([one.process], SHARE) as can, limited(two.process.children(), SHARE) as can_both:
            if can and can_both:
                compare(LIMITED, "select 1")
        for name in CASES:
            compare(name, name)
    return found


def workers_table(found: dict[str, dict[int, list[Cost]]]) -> str:
    """A table for people."""
    lines = [
        "Medians of rounds, 32 connections; microseconds of the processor for each request. Ratios are of rounds that",
        "belong together.",
        "",
        f"| statement | workers | requests/s | gateway µs | Postgres µs | load µs | rate, of one worker's "
        f"| most on {CORES} cores | with cores of their own |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, sides in found.items():
        pairs = list(zip(sides[1], sides[2], strict=True))
        rates = statistics.median(two.rate / one.rate for one, two in pairs)
        most = statistics.median(
            min(2, CORES * two.gateway / (two.gateway + two.postgres + two.load)) for _, two in pairs
        )
        alone = statistics.median(2 * one.gateway / two.gateway for one, two in pairs)
        for workers, costs in sides.items():
            values = [statistics.median(getattr(one, field) for one in costs)
                      for field in ("rate", "gateway", "postgres", "load")]  # fmt: skip
            bound = "" if name == LIMITED else f"{most:.2f} ×"
            ratios = "1 × | | 1 ×" if workers == 1 else f"{rates:.2f} × | {bound} | {alone:.2f} ×"
            lines.append(f"| {name} | {workers} | {values[0]:,.0f} | " + " | ".join(f"{one:.1f}" for one in values[1:])
                         + f" | {ratios} |")  # fmt: skip
    return "\n".join(lines) + "\n"
