"""``make soak``: 200 users on every front while one thing after another goes wrong around the gateway.

Every answer is held against what it must be. At the end the users go, and nothing of them may be left. The exit status
is 1 where anything was found that must not be.

    python -m bench.soak --seconds 1200 --users 200
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from bench.soak.bridge import Bridge
from bench.soak.faults import Faults
from bench.soak.http_users import HttpUser
from bench.soak.report import Report
from bench.soak.session_users import SessionUser
from bench.soak.stack import POOL_SIZE, SoakStack, start
from bench.soak.tally import Tally
from bench.soak.watch import (
    MOST_GROWTH,
    SHORTEST_JUDGED_SECONDS,
    Watch,
    backends,
    client_sockets,
    files_without_backends,
)

PROGRESS_SECONDS = 10
APART = 10
"""Users beside those that are asked for: one for the probes, the others for rude clients."""
MOST_FAULT_INTERVAL = 12.0
SETTLE_SECONDS = 20.0
CONTROL_CONNECTIONS = 2
"""Of a gateway, to each database: docs/operations.md. The second one is opened when it is needed."""
DEFECTS = ("a defect in Rowgate", "Traceback (most recent call last)", "Task exception was never retrieved")


def main() -> None:
    """Soaks, reports, and says by its exit status whether all was well."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=1200, help="how long")
    parser.add_argument("--users", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=None, help="for the users' choices; printed in the report")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object on standard output")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    report = asyncio.run(soak(options.seconds, options.users, seed))
    print(json.dumps(report.json()) if options.json else report.text())
    sys.exit(0 if report.is_good else 1)


async def soak(seconds: int, users: int, seed: int) -> Report:
    """Everything from the start of the processes to their end."""
    say("starting Postgres, the identity provider and the gateway")
    stack = await start(users + APART)
    try:
        return await _soak(stack, seconds, users, seed)
    finally:
        await asyncio.to_thread(stack.stop)


async def _soak(stack: SoakStack, seconds: int, users: int, seed: int) -> Report:
    chance = random.Random(seed)
    tally = Tally()
    report = Report(seconds, users, tally, {"seed": seed})
    watch = Watch(stack, tally)
    bridge = Bridge(stack.urls["ws_url"].replace("127.0.0.1", "localhost"), stack.tls)
    await bridge.start()
    before = files_without_backends(stack)
    faults = Faults(
        stack,
        tally,
        chance,
        prober=stack.users[-1],
        rude=stack.users[-APART:-1],
        victims=stack.users[: max(users // 4, 1)],
    )
    began = time.monotonic()
    interval = min(MOST_FAULT_INTERVAL, seconds * 0.6 / len(faults.all))
    async with asyncio.TaskGroup() as group:
        people = [group.create_task(one) for one in _people(stack, bridge, tally, chance, users, seconds)]
        watching = group.create_task(watch.run())
        saying = group.create_task(_say_progress(tally, watch, began, seconds))
        await asyncio.sleep(min(seconds * 0.1, 10.0))
        await faults.run(interval, began + seconds * 0.9)
        await asyncio.sleep(max(began + seconds - time.monotonic(), 0.0))
        ended = time.monotonic()
        for task in (*people, watching, saying):
            task.cancel()
    await bridge.stop()
    report.seconds = ended - began
    say("the users have gone; looking for what they have left")
    await _judge_end(stack, tally, report, before)
    _judge_memory(watch, report, began, ended)
    report.checks["sockets in CLOSE-WAIT"] = (
        f"gateway: at most {watch.most_close_wait} at once, the longest for {watch.longest_close_wait:.0f} s; "
        f"the soak's own: at most {watch.most_own_close_wait}"
    )
    return report


def _people(
    stack: SoakStack, bridge: Bridge, tally: Tally, chance: random.Random, users: int, seconds: int
) -> list[Coroutine[Any, Any, None]]:
    """Two in five over HTTP, as many over TCP with TLS, the others over WebSocket."""
    pause = max(users / 200, 0.1)
    people: list[Coroutine[Any, Any, None]] = []
    for number, user in enumerate(stack.users[:users]):
        own = random.Random(chance.random())
        match number % 5:
            case 0 | 2:
                people.append(HttpUser(user, stack, tally, own, pause).run())
            case 1 | 3:
                people.append(SessionUser("tcp", stack.tcp_port, user, stack, tally, own, pause).run())
            case _:
                people.append(SessionUser("websocket", bridge.port, user, stack, tally, own, pause).run())
    return [_late(one, chance.random() * min(seconds * 0.1, 10.0)) for one in people]


async def _late(person: Coroutine[Any, Any, None], seconds: float) -> None:
    """They come one after the other."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        person.close()
        raise
    await person


async def _say_progress(tally: Tally, watch: Watch, began: float, seconds: int) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        memory = watch.samples[-1][1] / 1e6 if watch.samples else 0.0
        fault = tally.faults[-1].kind if tally.faults else "none"
        say(
            f"{time.monotonic() - began:5.0f} of {seconds} s: {tally.answers:,} answers, {tally.violation_count} "
            f"violations, gateway {memory:.0f} MB, {len(tally.faults)} faults, the last: {fault}"
        )


# --- the end ------------------------------------------------------------------------------------------------------


async def _judge_end(stack: SoakStack, tally: Tally, report: Report, files_before: int) -> None:
    """Nothing of the users may be left a short while after they have gone."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        left = await asyncio.to_thread(_left_behind, stack, files_before)
        if not left or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    for one in left:
        tally.violation(f"left behind: {one}")
    report.checks["left behind"] = left or "nothing"
    verified = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "rowgate", "audit", "verify", str(stack.audit_file), "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    if verified.returncode != 0:
        tally.violation(f"the audit chain does not hold: {verified.stdout}{verified.stderr}")
    audit = stack.audit_file.read_bytes()
    verdict = "BROKEN" if verified.returncode else "holds"
    report.checks["audit"] = f"{len(audit.splitlines()):,} lines, the chain {verdict}"
    if b'"internal_fault"' in audit or b'"event":"dropped"' in audit:
        tally.violation("the audit file tells of internal faults or of dropped records")
    log = stack.log_file.read_text()
    for mark in DEFECTS:
        if mark in log:
            tally.violation(f"the gateway's log has {mark!r}: {log[log.index(mark) :][:1500]}")


def _left_behind(stack: SoakStack, files_before: int) -> list[str]:
    """What is there still, as sentences."""
    left: list[str] = []
    sockets = client_sockets(stack)
    if sockets.established or sockets.close_wait:
        left.append(f"sockets of clients: {sockets}")
    files = files_without_backends(stack)
    if files > files_before:
        left.append(f"files of the gateway: {files}, and {files_before} before the first user")
    found = list(backends(stack))
    for role in {role for role, *_ in found}:
        own = [one for one in found if one[0] == role]
        most = CONTROL_CONNECTIONS if role == "rowgate_control" else POOL_SIZE
        if len(own) > most:
            left.append(f"{len(own)} backends of {role}, at most {most} are meant to be")
    left += [f"a backend that is not idle: {one}" for one in found if one[1] != "idle" or one[2]]
    with stack.superuser() as connection:
        row = connection.execute("select count(*) from todos where key = 'uncommitted'").fetchone()
    if row is None or row[0]:
        left.append(f"rows that nobody has committed: {row}")
    return left


def _judge_memory(watch: Watch, report: Report, began: float, ended: float) -> None:
    """Flat within five per cent, where the run is long enough for caches to have filled before the first window."""
    early, late, ratio = watch.growth(began, ended)
    is_judged = ended - began >= SHORTEST_JUDGED_SECONDS
    report.checks["resident memory of the gateway"] = (
        f"{early:.1f} MB, at the end {late:.1f} MB ({ratio - 1:+.1%}; medians of two windows of 15 % of the run, "
        f"from 30 % of it on and at its end; {'judged' if is_judged else 'too short to be judged'})"
    )
    if is_judged and ratio > MOST_GROWTH:
        watch.tally.violation(f"memory has grown from {early:.1f} to {late:.1f} MB")


def say(text: str) -> None:
    """Progress, for a person who waits."""
    with suppress(BrokenPipeError):
        print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
