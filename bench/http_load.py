"""All cases over HTTP, every side of a case once a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench import pgbench
from bench.cases import Case, all_cases
from bench.measurement import Measurement
from bench.processes import accounted, postmaster
from bench.sides import MANY, PEERS, POSTGREST, Side, all_sides, check
from bench.stack import ANONYMOUS, AUTHENTICATED, Stack, environment
from bench.wrk import Request, send

LIMIT = "pgbench"
ANNOUNCEMENTS = 1000
WARM_SECONDS = 0.5

Samples = dict[str, dict[str, list[Measurement]]]
"""Measurements of all rounds, by case and side."""


def measure_http_cases(
    stack: Stack,
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
    *,
    postgrest_path: str | None = None,
    only: Callable[[Case], bool] = lambda case: True,
) -> Samples:
    """Every case that ``only`` takes, every side, every round."""
    samples: Samples = {}
    server = postmaster(stack)
    with all_sides(stack, postgrest_path) as sides:
        many = [side.name for side in sides if side.name == MANY]
        for case in filter(only, all_cases(stack, many)):
            runs = _runs(stack, case, sides, server)
            found = samples[case.name] = {name: [] for name in runs}
            for run in runs.values():
                if seconds > WARM_SECONDS:
                    run(WARM_SECONDS)
            for number in range(1, rounds + 1):
                say(f"{case.name}, round {number} of {rounds}")
                for name, run in runs.items():
                    found[name].append(run(seconds))
    return samples


def _runs(stack: Stack, case: Case, sides: list[Side], server: int) -> dict[str, Callable[[float], Measurement]]:
    """For each side of a case, what measures it for so many seconds."""
    runs: dict[str, Callable[[float], Measurement]] = {}
    if case.statement:
        rows = ANNOUNCEMENTS if case.anonymous else stack.rows_each
        text = pgbench.script(
            case.limit(), users=len(stack.tokens), rows=rows, batch=case.batch, anonymous=case.anonymous
        )
        where = environment(stack, ANONYMOUS if case.anonymous else AUTHENTICATED)
        runs[LIMIT] = lambda seconds: accounted(
            None, server, lambda: pgbench.measure_pgbench(text, seconds, environment=where)
        )
    for side in sides:
        if side.name not in case.gateways and not (case.has_peers and (side.name in PEERS or side.name == POSTGREST)):
            continue
        requests = side.requests(case, stack, side.url)
        if requests:
            check(side, case, requests)
            runs[side.name] = _side_run(side, case, requests, server)
    return runs


def _side_run(side: Side, case: Case, requests: Sequence[Request], server: int) -> Callable[[float], Measurement]:
    return lambda seconds: accounted(
        side.process_id, server, lambda: send(side.url, requests, seconds, case.connections)
    )
