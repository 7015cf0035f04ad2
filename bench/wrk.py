"""Load over HTTP by wrk, with another user's token in each request; pgbench for what Postgres itself can do."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.stack import HERE, Stack, environment

CONNECTIONS = 32
WRK = "wrk"


@dataclass(frozen=True)
class Measurement:
    """Requests per second, and latencies in milliseconds."""

    rate: float
    median: float
    percentile_99: float
    errors: int


def measure_http(
    url: str, connection: str, tokens: Sequence[str], body: Callable[[int], str], seconds: int
) -> Measurement:
    """Sends POST requests for so many seconds; request ``n`` has the token of user ``n`` and ``body(n)``."""
    with tempfile.TemporaryDirectory() as folder:
        requests = Path(folder) / "requests"
        path = "/" + url.split("/", 3)[3]
        lines = [f"{path}\t{connection}\tBearer {token}\t{body(number)}\n" for number, token in enumerate(tokens)]
        requests.write_text("".join(lines))
        done = subprocess.run(
            [WRK, "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--timeout", "10s",
             "-s", str(HERE / "load.lua"), url],
            capture_output=True, text=True, check=True, env={**os.environ, "REQUESTS": str(requests)},
        )  # fmt: skip
    result = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if result is None:
        raise SystemExit("wrk gave no result: " + done.stdout + done.stderr)
    count, microseconds, median, high, errors = (int(number) for number in result.groups())
    return Measurement(count / microseconds * 1e6, median / 1000, high / 1000, errors)


# The client cannot seal, so a function of the benchmark does it once for each connection, with the database's own key.
SIGN = """
create schema if not exists bench;
create or replace function bench.seal(user_id text, claims text) returns text language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
  key record;
  until text := floor(extract(epoch from clock_timestamp())) + 600;
  rest text := encode(sha256(convert_to(claims, 'UTF8')), 'hex') || user_id;
begin
  select * into key from auth.session_key where active;
  return until || encode(sha256(key.outer_pad || sha256(key.inner_pad || convert_to(
    concat(pg_backend_pid(), E'\\nauthenticated\\n', until, rest), 'UTF8'))), 'hex') || rest;
end $$;
grant usage on schema bench to authenticated;
grant execute on function bench.seal(text, text) to authenticated;
"""

SCRIPT = """
\\set user random(0, {users} - 1)
\\if :signed = 0
select 'user_' || :user as subject, json_build_object('sub', 'user_' || :user)::text as claims \\gset
select bench.seal(:subject, :claims) as identity \\gset
\\set mine :user
\\set signed 1
\\endif
\\set row random(0, {rows} - 1)
\\set id :mine + {users} * :row
\\startpipeline
select auth.jwt_session_init(:identity, :claims);
{statement};
\\endpipeline
"""


def measure_pgbench(stack: Stack, statement: str, seconds: int, *, users: int, rows: int) -> Measurement:
    """The same two prepared statements without HTTP and without tokens of users: the limit."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.sql"
        script.write_text(SCRIPT.format(statement=statement, users=users, rows=rows))
        log = Path(folder) / "log"
        done = subprocess.run(
            ["pgbench", "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "1", "-T", str(seconds),
             "-D", "signed=0", "-f", str(script), "-l", "--sampling-rate=0.2", f"--log-prefix={log}"],
            capture_output=True, text=True, env=environment(stack), check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit("pgbench failed: " + done.stderr)
        times = sorted(int(line.split()[2]) for part in Path(folder).glob("log.*") for line in part.open())
    rate = re.search(r"tps = ([0-9.]+)", done.stdout)
    if rate is None or not times:
        raise SystemExit("pgbench gave no result: " + done.stdout)
    middle, high = times[len(times) // 2], times[len(times) * 99 // 100]
    return Measurement(float(rate[1]), middle / 1000, high / 1000, 0)
