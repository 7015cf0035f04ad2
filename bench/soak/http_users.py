"""A user over HTTP: reads, writes, batches, large answers, slow and refused statements, wrong tokens; every answer is
held against what it must be."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.soak.http_client import BARE_END, Answer, BareEnd, HttpClient
from bench.soak.rows import FACTS, MOST_ROWS, UserRows, facts_of
from bench.soak.stack import DATABASE, STATEMENT_SECONDS, SoakStack
from bench.soak.tally import Tally

CONNECTION = f"postgresql://authenticated@localhost/{DATABASE}"
ANONYMOUS = f"postgresql://anonymous@localhost/{DATABASE}"
DEADLINE_SECONDS = 40.0
"""By when every answer must have come: above the sum of the gateway's time-outs on its way."""
LIFETIMES = (60, 180)
LARGE_ROWS = 2000
INTERRUPTING = frozenset({"08006", "connection_lost", "57P01", "57P02", "57P03", BARE_END})
"""After these a write may have been committed."""


class HttpUser:
    """One of them. ``run`` goes on until it is cancelled."""

    def __init__(self, user: str, stack: SoakStack, tally: Tally, chance: random.Random, pause: float) -> None:
        self.user = user
        self._stack = stack
        self._tally = tally
        self._chance = chance
        self._pause = pause
        self._rows = UserRows(user)
        self._client = HttpClient(stack.http_port, stack.tls if chance.random() < 0.5 else None)
        self._token = ""
        self._expires = 0.0
        self._minted = 0.0
        self._operations: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            (30, self._facts),
            (15, self._one_fact),
            (15, self._own_rows),
            (18, self._insert),
            (6, self._update),
            (8, self._delete),
            (6, self._batch),
            (4, self._failing_batch),
            (4, self._new_text),
            (2, self._large),
            (3, self._slow),
            (1, self._too_slow),
            (6, self._refused),
            (3, self._wrong_token),
            (2, self._nobody),
        )

    async def run(self) -> None:
        """Asks one thing after another."""
        weights = [weight for weight, _ in self._operations]
        try:
            while True:
                await asyncio.sleep(self._chance.expovariate(1 / self._pause))
                (operation,) = self._chance.choices(self._operations, weights)
                await operation[1]()
        finally:
            self._client.abort()

    # --- one request ------------------------------------------------------------------------------------------

    async def _ask(self, operation: str, body: Any, *, token: str | None = "", connection: str = CONNECTION,
                   expects: str | None = None) -> Answer | None:  # fmt: skip
        """The answer where it is a result; None where an error came, which has been judged and counted."""
        began = time.monotonic()
        if token == "":
            token = self._good_token()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                answer = await self._client.post(connection, token, body)
        except TimeoutError:
            self._tally.violation(f"http {operation} of {self.user}: no answer in {DEADLINE_SECONDS} s")
            return None
        except BareEnd as problem:
            self._tally.failed("http", operation, BARE_END, user=self.user, began=began, text=str(problem))
            return Answer(0, {})
        if answer.status == 200:
            if expects is not None:
                self._tally.violation(f"http {operation} of {self.user}: expected {expects}, got a result")
            return answer
        if answer.code == expects:
            self._tally.expected("http", operation, answer.code)
            return None
        if answer.code == "token_revoked":
            began = min(began, self._minted)  # whoever was idle hears of it with the first request after it
            self._expires = 0.0
            await asyncio.sleep(1.1)  # tokens of the same second are refused too
        text = f"status {answer.status}: {answer.body}"
        if answer.status == 500:
            self._tally.violation(f"http {operation} of {self.user}: {text[:300]}")
        else:
            self._tally.failed("http", operation, answer.code, user=self.user, began=began, text=text)
        return answer if answer.code in INTERRUPTING else None

    def _good_token(self) -> str:
        if time.time() > self._expires - 10:
            lifetime = self._chance.randint(*LIFETIMES)
            self._token, self._expires = self._stack.token(self.user, lifetime), time.time() + lifetime
            self._minted = time.monotonic()
        return self._token

    def _judge(self, operation: str, answer: Answer | None, right: Callable[[Any], bool]) -> bool:
        """Whether a result came and was right; a wrong one is a violation."""
        if answer is None or answer.status != 200:
            return False
        if not right(answer.body):
            self._tally.violation(f"http {operation} of {self.user}: wrong answer {str(answer.body)[:300]}")
            return False
        self._tally.right("http", operation)
        return True

    # --- what a user asks -------------------------------------------------------------------------------------

    async def _facts(self) -> None:
        answer = await self._ask("read", {"query": "select n, user_id from facts order by n"})
        self._judge(
            "read", answer, lambda body: [(row["n"], row["user_id"]) for row in body["rows"]] == facts_of(self.user)
        )

    async def _one_fact(self) -> None:
        number = self._chance.randrange(FACTS)
        answer = await self._ask("point", {"query": "select n, user_id from facts where n = $1", "params": [number]})
        self._judge("point", answer, lambda body: body["rows"] == [{"n": number, "user_id": self.user}])

    async def _own_rows(self) -> None:
        answer = await self._ask("own rows", {"query": "select key, value, user_id from todos"})
        if answer is not None and answer.status == 200:
            rows = [(row["key"], row["value"], row["user_id"]) for row in answer.body["rows"]]
            problem = self._rows.mismatch(rows)
            self._judge("own rows", answer, lambda body: problem is None)
            if problem is not None:
                self._tally.violation(f"http: {problem}")

    async def _insert(self) -> None:
        if len(self._rows.sure) >= MOST_ROWS:
            return await self._delete()
        key = self._rows.new_key()
        answer = await self._ask("insert", {
            "query": "insert into todos (key, value) values ($1, 1) returning key, user_id", "params": [key],
        })  # fmt: skip
        if self._judge("insert", answer, lambda body: body["rows"] == [{"key": key, "user_id": self.user}]):
            self._rows.has(key, 1)
        elif answer is not None:
            self._rows.doubt([key])
        return None

    async def _update(self) -> None:
        if not self._rows.sure:
            return
        key = self._chance.choice(list(self._rows.sure))
        value = self._chance.randrange(1000)
        answer = await self._ask("update", {
            "query": "update todos set value = $2 where key = $1 returning value, user_id", "params": [key, value],
        })  # fmt: skip
        if self._judge("update", answer, lambda body: body["rows"] == [{"value": value, "user_id": self.user}]):
            self._rows.has(key, value)
        elif answer is not None:
            self._rows.doubt([key])

    async def _delete(self) -> None:
        if not self._rows.sure:
            return
        key = self._chance.choice(list(self._rows.sure))
        answer = await self._ask("delete", {"query": "delete from todos where key = $1", "params": [key]})
        if self._judge("delete", answer, lambda body: body["rowCount"] == 1):
            self._rows.lacks(key)
        elif answer is not None:
            self._rows.doubt([key])

    async def _batch(self) -> None:
        keys = [self._rows.new_key(), self._rows.new_key()]
        insert = "insert into todos (key, value) values ($1, 2) returning user_id"
        answer = await self._ask("batch", {"queries": [
            *({"query": insert, "params": [key]} for key in keys),
            {"query": "select n, user_id from facts order by n"},
        ]})  # fmt: skip

        def right(body: Any) -> bool:
            first, second, third = (one["rows"] for one in body["results"])
            mine = [{"user_id": self.user}]
            return first == second == mine and [(row["n"], row["user_id"]) for row in third] == facts_of(self.user)

        if self._judge("batch", answer, right):
            for key in keys:
                self._rows.has(key, 2)
        elif answer is not None:
            self._rows.doubt(keys)

    async def _failing_batch(self) -> None:
        """Nothing of it may stay."""
        await self._ask("failing batch", {"queries": [
            {"query": "insert into todos (key, value) values ($1, 3)", "params": [self._rows.new_key()]},
            {"query": "select 1 / $1::int", "params": [0]},
        ]}, expects="22012")  # fmt: skip

    async def _new_text(self) -> None:
        number = self._chance.randrange(1 << 30)
        answer = await self._ask("new text", {"query": f"select {number} as n, auth.user_id() as me"})
        self._judge("new text", answer, lambda body: body["rows"] == [{"n": number, "me": self.user}])

    async def _large(self) -> None:
        query = f"select user_id, repeat('x', 500) as x from facts, generate_series(1, {LARGE_ROWS // FACTS})"
        answer = await self._ask("large", {"query": query})
        self._judge("large", answer, lambda body: len(body["rows"]) == LARGE_ROWS
                    and {row["user_id"] for row in body["rows"]} == {self.user})  # fmt: skip

    async def _slow(self) -> None:
        answer = await self._ask("slow", {"query": "select slowly($1) as me", "params": [0.3]})
        self._judge("slow", answer, lambda body: body["rows"] == [{"me": self.user}])

    async def _too_slow(self) -> None:
        await self._ask("too slow", {"query": "select slowly($1)", "params": [STATEMENT_SECONDS + 20]}, expects="57014")

    async def _refused(self) -> None:
        query, code = self._chance.choice((
            ("select pg_read_file('x')", "statement_refused"),
            ("drop table todos", "statement_refused"),
            ("set role postgres", "statement_refused"),
            ("select 1; select 2", "statement_refused"),
            ("select from where", "statement_refused"),
            ("select * from auth.session_key", "statement_refused"),
                ("select * from bare", "row_security_missing"),
            ("select * from nowhere", "42P01"),
            ("insert into todos (user_id, key, value) values ('user_0_', 'x', 1)", "42501"),
            ("select 1 / 0", "22012"),
        ))  # fmt: skip
        await self._ask("refused", {"query": query}, expects=code)

    async def _wrong_token(self) -> None:
        good = self._good_token()
        body, _, signature = good.rpartition(".")
        token, code = self._chance.choice((
            ("nonsense", "token_malformed"),
            (None, "credentials_missing"),
            (f"{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}", "token_signature_invalid"),
        ))  # fmt: skip
        await self._ask("wrong token", {"query": "select 1"}, token=token, expects=code)

    async def _nobody(self) -> None:
        answer = await self._ask("nobody", {"query": "select auth.user_id() as me"}, token=None, connection=ANONYMOUS)
        self._judge("nobody", answer, lambda body: body["rows"] == [{"me": None}])
