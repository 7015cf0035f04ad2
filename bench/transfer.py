"""A large result to a file: 10,000 rows of ten columns as raw text by curl, and by psql with COPY TO STDOUT.

Both programs fetch several times in one process, over one connection, and what a process with a single fetch takes is
subtracted, so that their start does not count.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.cases import Case
from bench.stack import WIDE, ServedGateway, Stack, environment

FETCHES = 20
COPY, HTTP = "psql, COPY TO STDOUT", "curl, raw text"
SEAL = """\\o /dev/null
select '{"sub": "user_1"}' as claims \\gset
select bench.seal('user_1', :'claims') as identity \\gset
"""
FETCH = """begin;
select auth.jwt_session_init(:'identity', :'claims');
copy (%s) to stdout \\g %s
commit;
"""


def measure_transfer(
    stack: Stack, gateway: ServedGateway, case: Case, rounds: int, fetches: int = FETCHES
) -> dict[str, list[float]]:
    """Milliseconds of one fetch of ``case`` each way, for each round; the ways take turns."""
    found: dict[str, list[float]] = {COPY: [], HTTP: []}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        _seconds(_psql(stack, case, target, 1), environment(stack))
        _seconds(_curl(stack, gateway, case, target, 1), {})
        _check(target)
        for _ in range(rounds):
            for name, command in (
                (COPY, lambda count: (_psql(stack, case, target, count), environment(stack))),
                (HTTP, lambda count: (_curl(stack, gateway, case, target, count), {})),
            ):
                one, many = (_seconds(*command(count)) for count in (1, 1 + fetches))
                found[name].append((many - one) / fetches * 1000)
    return found


def _psql(stack: Stack, case: Case, folder: Path, count: int) -> Sequence[str]:
    script = folder / "script.sql"
    script.write_text(SEAL + FETCH % (case.sql.format(table=case.table), folder / "copied") * count)
    return ("psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-f", str(script))


def _curl(stack: Stack, gateway: ServedGateway, case: Case, folder: Path, count: int) -> Sequence[str]:
    url = gateway.urls["sql_url"]
    request = case.requests(stack, url)[1]
    (folder / "body").write_text(request.body)
    headers = folder / "headers"
    headers.write_text("".join(f"{name}: {value}\n" for name, value in request.headers))
    fetch = (url, "-o", str(folder / "fetched"))
    return ("curl", "-sS", "--fail", "-H", f"@{headers}", "--data-binary", f"@{folder / 'body'}", *fetch * count)


def _seconds(command: Sequence[str], where: dict[str, str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, env=where or None, capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed: {done.stderr}")
    return took


def _check(folder: Path) -> None:
    copied = (folder / "copied").read_bytes().count(b"\n")
    fetched = (folder / "fetched").read_bytes()
    if copied != WIDE or b'"rowCount":%d' % WIDE not in fetched:
        raise SystemExit(f"not the rows that were expected: {copied}, {fetched[-100:]!r}")
