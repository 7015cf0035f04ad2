"""What is asked over HTTP, and of whom: one row for each case."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.stack import USERS, WIDE, Stack
from bench.wrk import CONNECTIONS, Request, sql_request

POINT = "select id, user_id, task, done from {table} where id = $1"
HUNDRED = "select id, user_id, task, done, created from {table} limit 100"
TEN_THOUSAND = "select id, user_id, task, done, created, amount, ratio, note, kind, tag from {table}"
INSERT = "insert into {table} (user_id, task) values ($1, 'measured') returning id"
ANNOUNCEMENT = "select id, task from announcements where id = $1"
BATCH = 5
MANY_CONNECTIONS = 512

Parameters = Callable[[int], list[int | str]]


@dataclass(frozen=True)
class Case:
    """One case.

    ``sql`` has ``{table}`` where the peers read another table, with ``{table}_by_setting`` policies. ``parameters`` are
    those of request ``n``, the request of user ``n``. ``statement`` is the same for pgbench; without one there is no
    limit to compare with. ``gateways`` are those of ``sides.GATEWAYS`` that are asked.
    """

    name: str
    sql: str
    rows: int
    parameters: Parameters = lambda number: []
    statement: str = ""
    table: str = "todos"
    gateways: tuple[str, ...] = ("rowgate",)
    has_peers: bool = False
    connections: int = CONNECTIONS
    users: int = USERS
    batch: int = 1
    typed: bool = False
    anonymous: bool = False

    def limit(self) -> str:
        """The statement for pgbench."""
        return self.statement.format(table=self.table)

    def requests(self, stack: Stack, url: str) -> list[Request]:
        """What a gateway is asked."""
        connection = stack.ready["anonymous_url" if self.anonymous else "authenticated_url"]
        return [
            sql_request(url, connection, None if self.anonymous else token, self._body(number), typed=self.typed)
            for number, token in enumerate(stack.tokens[: self.users])
        ]

    def peer_requests(self, stack: Stack, url: str) -> list[Request]:
        """What a peer is asked: numbers as numbers, because drivers take them so."""
        sql = self.sql.format(table=f"{self.table}_by_setting")
        return [
            sql_request(url, "", token, json.dumps({"query": sql, "params": self.parameters(number)}))
            for number, token in enumerate(stack.tokens[: self.users])
        ]

    def _body(self, number: int) -> str:
        sql = self.sql.format(table=self.table)
        one = {"query": sql, "params": [str(value) for value in self.parameters(number)]}
        return json.dumps(one if self.batch == 1 else {"queries": [one] * self.batch})


def own_row(stack: Stack) -> Parameters:
    """The id of one of the user's rows."""
    users = len(stack.tokens)
    return lambda user: [user + users * (user * 7 % stack.rows_each) or users]


def all_cases(stack: Stack, many: Sequence[str]) -> Iterator[Case]:
    """Every case; ``many`` names the gateways of several processes that there are."""
    own = own_row(stack)
    point = POINT.replace("$1", ":id")
    yield Case("point read", POINT, 1, own, point, gateways=("rowgate", *many), has_peers=True)
    yield Case("100 rows × 5", HUNDRED, 100, statement=HUNDRED, has_peers=True)
    yield Case("10,000 rows × 10", TEN_THOUSAND, WIDE, statement=TEN_THOUSAND, table="wide", has_peers=True)
    yield Case(
        "insert returning", INSERT, 1, lambda user: [f"user_{user}"], INSERT.replace("$1", "'user_' || :mine"),
        has_peers=True,
    )  # fmt: skip
    yield Case("batch of 5 reads", POINT, 1, own, point, batch=BATCH)
    yield Case(
        "anonymous read", ANNOUNCEMENT, 1, lambda user: [user + 1], ANNOUNCEMENT.replace("$1", ":id"), anonymous=True
    )
    yield Case("cold token", POINT, 1, own, gateways=("rowgate", "rowgate, cold"))
    yield Case("one user", POINT, 1, own, users=1)
    yield Case("1 connection", POINT, 1, own, connections=1)
    yield Case("512 connections", POINT, 1, own, connections=MANY_CONNECTIONS)
    yield Case("100 rows × 5, typed", HUNDRED, 100, typed=True)
    yield Case("10,000 rows × 10, typed", TEN_THOUSAND, WIDE, table="wide", typed=True)
