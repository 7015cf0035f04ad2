"""What a request costs the gateway while there is more of everything: connections, users, statements, providers.

The cost is the gateway's time of the processor for each request, as the kernel counts it, so what else the machine does
matters little. Each row changes one number and leaves the others as they are at its first.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.served import Cost, Database, Request, database, gateway, measure, token

USUAL = 32
"""Connections, where those are not what changes."""
STATEMENTS = 10
USERS = 100
MOST_PROVIDERS = 50
FIRST_ASKED_IN_A_SECOND = 2_000


@dataclass(frozen=True)
class Point:
    """One number of one kind, and the load that has it."""

    kind: str
    number: int
    connections: int
    requests: list[Request]


def points(made: Database) -> Iterator[Point]:
    """What is measured, the fewest first."""
    texts = [f"select {number} as column_{number}" for number in range(2_000)]
    tokens = [token(made, user) for user in range(10_000)]

    def load(users: int, statements: int) -> list[Request]:
        """Every user and every text comes up, and no two requests in a row are alike."""
        return [
            Request(tokens[number % users], texts[number * 7 % statements]) for number in range(max(users, statements))
        ]

    for connections in (1, 8, USUAL, 128, 512):
        yield Point("connections", connections, connections, load(USERS, STATEMENTS))
    for users in (1, 100, 1_000, 10_000):
        yield Point("users", users, USUAL, load(users, STATEMENTS))
    for statements in (10, 100, 500, 2_000):
        yield Point("statements", statements, USUAL, load(USERS, statements))
    for providers in (1, 10, MOST_PROVIDERS):
        of_them = [token(made, user, user % providers) for user in range(USERS)]
        yield Point("providers", providers, USUAL, [Request(each, texts[0]) for each in of_them])


def measure_flat(seconds: int, rounds: int, say: Callable[[str], None]) -> dict[tuple[str, int], list[Cost]]:
    """For each kind and number its rounds."""
    found: dict[tuple[str, int], list[Cost]] = {}
    with database(MOST_PROVIDERS) as made, gateway(made) as side:
        chosen = list(points(made))

        def ask(point: Point, for_seconds: int) -> Cost:
            return measure(made, side, point.requests, connections=point.connections, seconds=for_seconds)

        for point in chosen:  # every token is verified and every text known; what that costs is another case's
            ask(point, max(len(point.requests) // FIRST_ASKED_IN_A_SECOND, 1))
        for number in range(rounds):
            for point in chosen:
                say(f"cost, {point.number:,} {point.kind}, round {number + 1} of {rounds}")
                ask(point, 1)  # what was sealed and prepared for the last point has gone
                cost = ask(point, seconds)
                found.setdefault((point.kind, point.number), []).append(cost)
    return found


def flat_table(found: dict[tuple[str, int], list[Cost]]) -> str:
    """A table for people."""
    lines = [
        "Medians of rounds; microseconds of the processor for each request. The last column compares the gateway's",
        "with those of the fewest of the same kind, round by round. One connection costs more than several because the",
        "gateway sleeps and wakes twice for each of its requests.",
        "",
        "| how many | requests/s | gateway µs | Postgres µs | of the fewest |",
        "|---|---:|---:|---:|---:|",
    ]
    first: dict[str, list[Cost]] = {}
    for (kind, number), costs in found.items():
        fewest = first.setdefault(kind, costs)
        times = statistics.median(one.gateway / other.gateway for one, other in zip(costs, fewest, strict=True))
        rate, own, postgres = (statistics.median(getattr(one, name) for one in costs)
                               for name in ("rate", "gateway", "postgres"))  # fmt: skip
        lines.append(f"| {number:,} {kind} | {rate:,.0f} | {own:.1f} | {postgres:.1f} | {times:.2f} × |")
    return "\n".join(lines) + "\n"
