"""pgbench with the statements that the gateway sends, without HTTP and without tokens of users: the limit."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.measurement import Measurement, from_histogram, histogram_of

CONNECTIONS = 32
SAMPLED = 0.2
LONGEST_SECONDS = 30.0

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

SEAL = """\\set user random(0, {users} - 1)
\\if :signed = 0
select 'user_' || :user as subject, json_build_object('sub', 'user_' || :user)::text as claims \\gset
select bench.seal(:subject, :claims) as identity \\gset
\\set mine :user
\\set signed 1
\\endif
"""
SHOW_IDENTITY = "select auth.jwt_session_init(:identity, :claims);"


def script(statement: str, *, users: int, rows: int, batch: int = 1, anonymous: bool = False) -> str:
    """What one transaction is: the identity and the statement, as often as a batch has it; nothing else for nobody.

    ``statement`` may use ``:id``, the id of one of the user's ``rows`` rows, and ``:mine``, the user's number.
    """
    own = f"\\set row random(0, {rows} - 1)\n\\set id :mine + {users} * :row\n"
    identity = "" if anonymous else SEAL.format(users=users) + own
    if anonymous:
        identity = f"\\set id random(1, {rows})\n"
    body = [] if anonymous else [SHOW_IDENTITY]
    body += [f"{statement};"] * batch
    if batch > 1:
        body = ["begin;", *body, "commit;"]
    return "\n".join((identity + "\\startpipeline", *body, "\\endpipeline", ""))


def measure_pgbench(
    text: str,
    seconds: float,
    *,
    clients: int = CONNECTIONS,
    mode: str = "prepared",
    url: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Measurement:
    """Runs the script ``text``; ``url`` or the variables of ``environment`` say where.

    pgbench counts in whole seconds: under one, its transactions are counted instead. Where a busy machine had it done
    none, it runs for longer.
    """
    while True:
        found = _run(text, seconds, ["-c", str(clients), "-M", mode, *url], environment)
        if found.requests or seconds > LONGEST_SECONDS:
            return found
        seconds *= 2


def _run(text: str, seconds: float, options: Sequence[str], environment: Mapping[str, str] | None) -> Measurement:
    length = ["-T", str(round(seconds))] if seconds >= 1 else ["-t", str(max(round(seconds * 100), 10))]
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "script.sql", Path(folder) / "log"
        file.write_text(text)
        done = subprocess.run(
            ["pgbench", "-n", "-j", "1", *length, "-D", "signed=0", "-f", str(file), "-l", f"--log-prefix={log}",
             f"--sampling-rate={SAMPLED if seconds >= 1 else 1}", *options],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        times = histogram_of(int(line.split()[2]) for part in Path(folder).glob("log.*") for line in part.open())
    rate = re.search(r"tps = ([0-9.]+)", done.stdout)
    count = re.search(r"transactions actually processed: (\d+)", done.stdout)
    if done.returncode != 0 or count is None or "number of failed transactions: 0 " not in done.stdout:
        raise SystemExit("pgbench failed: " + done.stdout + done.stderr)
    return replace(from_histogram(times, 1.0), rate=float(rate[1]) if rate else 0.0, requests=int(count[1]))
