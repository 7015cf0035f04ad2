"""What goes wrong around the gateway, one thing after another, and how soon the service is well again after each."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import psutil
import psycopg

from bench.soak.http_client import BareEnd, HttpClient
from bench.soak.http_users import CONNECTION
from bench.soak.rude import RudeClients
from bench.soak.session_users import SECOND_RESULT, UNREAD_WORD, conninfo
from bench.soak.stack import SoakStack
from bench.soak.tally import Fault, Tally

RECOVERY_SECONDS: Final = 20.0
"""The bound: within so many seconds after the end of a fault a new request and a new session must have had answers."""
REVOKED_WITHIN_SECONDS: Final = 5.0
SHUT_DOWN: Final = frozenset({"57P01", "connection_lost", "08006", SECOND_RESULT, UNREAD_WORD})
AWAY: Final = SHUT_DOWN | {
    "57P02", "57P03", "connect_failed", "08001", "server_starting", "queue_timeout", "queue_full", "login_refused",
}  # fmt: skip
REVOKED: Final = frozenset({"token_revoked", "login_refused", UNREAD_WORD})
NEW_KEY: Final = frozenset({"token_key_unknown", "login_refused"})
VICTIMS: Final = 3
RUDE_AT_ONCE: Final = 3


class Faults:
    """All of them. ``victim`` names a user whose tokens may be revoked; ``prober`` and ``rude`` are users apart."""

    def __init__(self, stack: SoakStack, tally: Tally, chance: random.Random, *, prober: str, rude: list[str],
                 victims: list[str]) -> None:  # fmt: skip
        self._stack = stack
        self._tally = tally
        self._chance = chance
        self._prober = prober
        self._victims = victims
        self._rude = RudeClients(stack, rude)
        self.all: tuple[Callable[[], Awaitable[None]], ...] = (
            self.clients_vanish,
            self.backends_terminated,
            self.key_rotated,
            self.postgres_restarted,
            self.clients_read_slowly,
            self.provider_down,
            self.user_revoked,
            self.backend_killed,
            self.postgres_killed,
        )

    async def run(self, interval: float, until: float) -> None:
        """One after the other, ``interval`` seconds apart at least, none begun after ``until`` (monotonic); each of
        them once in any case."""
        turn = 0
        while turn < len(self.all) or time.monotonic() < until:
            next_at = time.monotonic() + interval
            await self.all[turn % len(self.all)]()
            turn += 1
            await asyncio.sleep(max(next_at - time.monotonic(), 0.0))

    # --- Postgres ---------------------------------------------------------------------------------------------

    async def backends_terminated(self) -> None:
        """pg_terminate_backend() hits some of the gateway's connections, busy ones first."""
        with self._tally.fault("backends terminated", SHUT_DOWN) as fault:
            await asyncio.to_thread(self._terminate)
            await self._recover(fault)

    def _terminate(self) -> None:
        with self._stack.superuser() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from (select pid from pg_stat_activity "
                "where usename = 'rowgate_authenticated' order by state = 'active' desc, random() limit %s) one",
                (VICTIMS,),
            )

    async def postgres_restarted(self) -> None:
        """A fast shutdown and a start."""
        with self._tally.fault("Postgres restarted", AWAY) as fault:
            await asyncio.to_thread(self._stack.postgres.restart)
            await self._recover(fault)

    async def backend_killed(self) -> None:
        """SIGKILL to one backend: Postgres ends all others and recovers."""
        with self._tally.fault("backend killed", AWAY) as fault:
            await asyncio.to_thread(self._kill_one)
            await self._recover(fault)

    def _kill_one(self) -> None:
        with self._stack.superuser() as connection:
            row = connection.execute(
                "select pid from pg_stat_activity where usename = 'rowgate_authenticated' limit 1"
            ).fetchone()
        if row is not None:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(row[0]).kill()

    async def postgres_killed(self) -> None:
        """SIGKILL to the server, and a start with recovery."""
        with self._tally.fault("Postgres killed", AWAY) as fault:
            await asyncio.to_thread(self._stack.postgres.kill)
            await asyncio.sleep(1.0)
            await asyncio.to_thread(self._stack.postgres.start)
            await self._recover(fault)

    # --- the identity provider --------------------------------------------------------------------------------

    async def provider_down(self) -> None:
        """Nobody answers at the key set's address; tokens that the gateway has never seen must be good all the same."""
        with self._tally.fault("provider down") as fault:
            self._stack.provider.kill()
            self._stack.provider.wait()
            await self._recover(fault)  # while it is down
            await asyncio.to_thread(self._stack.start_provider)

    async def key_rotated(self) -> None:
        """Tokens are signed by a new key, whose id the gateway meets for the first time; old ones stay good.

        Where the gateway has asked for the keys a moment before, it waits a little before it asks again.
        """
        with self._tally.fault("key rotated", NEW_KEY) as fault:
            await asyncio.to_thread(self._stack.issuer.keys.rotate)
            await self._recover(fault)

    async def user_revoked(self) -> None:
        """A user is signed out everywhere; the old token and the open session must end, a new token must work."""
        user = self._chance.choice(self._victims)
        client = HttpClient(self._stack.http_port)
        token = self._stack.token(user, 60)
        with self._tally.fault("user revoked", REVOKED, user) as fault:
            await client.post(CONNECTION, token, {"query": "select 1"})
            session = await psycopg.AsyncConnection.connect(
                conninfo(self._stack, self._stack.tcp_port, token, tls=True), autocommit=True
            )
            answer = await self._stack.admin("POST", "/api/v1/revocations", {
                "provider": "soak", "kind": "subject", "value": user, "issued_before": time.time(), "reason": "soak",
            })  # fmt: skip
            if answer.status_code != 201:
                self._tally.violation(f"a revocation was refused: {answer.text[:300]}")
            began = time.monotonic()
            while (await client.post(CONNECTION, token, {"query": "select 1"})).code != "token_revoked":
                if time.monotonic() - began > REVOKED_WITHIN_SECONDS:
                    self._tally.violation(f"a revoked token of {user} is good for more than {REVOKED_WITHIN_SECONDS} s")
                    break
                await asyncio.sleep(0.02)
            try:
                await session.execute("select 1")
                self._tally.violation(f"a session of {user} outlives the revocation")
            except psycopg.Error:
                pass
            session.pgconn.finish()
            client.close()
            await asyncio.sleep(1.1)  # a token of the same second is refused too
            await self._recover(fault)

    # --- clients ----------------------------------------------------------------------------------------------

    async def clients_vanish(self) -> None:
        """In the middle of heads, bodies, answers, handshakes, logins, messages, frames, transactions."""
        with self._tally.fault("clients vanish") as fault:
            await self._all_at_once(self._rude.vanishing)
            await self._recover(fault)

    async def clients_read_slowly(self) -> None:
        """They ask for megabytes and read nothing, or never end their transaction. Others must not wait for them."""
        with self._tally.fault("clients read slowly") as fault:
            harm = asyncio.get_running_loop().create_task(self._all_at_once(self._rude.slow))
            await asyncio.sleep(0.5)
            await self._recover(fault)  # while they are at it
            await harm

    async def _all_at_once(self, clients: tuple[Callable[[], Awaitable[None]], ...]) -> None:
        outcomes = await asyncio.gather(
            *(client() for client in clients for _ in range(RUDE_AT_ONCE)), return_exceptions=True
        )
        for problem in outcomes:
            if isinstance(problem, BaseException) and not isinstance(problem, OSError):
                self._tally.violation(f"a rude client could not be: {problem!r}")

    # --- recovery ---------------------------------------------------------------------------------------------

    async def _recover(self, fault: Fault) -> None:
        """Waits until a new request and a new session have good answers, and notes how long that took."""
        began = time.monotonic()
        problem = "no answer"
        while time.monotonic() - began < RECOVERY_SECONDS:
            try:
                async with asyncio.timeout(RECOVERY_SECONDS):
                    problem = await self._probe()
            except (TimeoutError, BareEnd, OSError, psycopg.Error) as found:
                problem = repr(found)
            if not problem:
                fault.recovery = time.monotonic() - began
                return
            await asyncio.sleep(0.05)
        self._tally.violation(f"no recovery within {RECOVERY_SECONDS} s after: {fault.kind}: {problem}")

    async def _probe(self) -> str:
        """What is wrong; empty where nothing is."""
        token = self._stack.token(self._prober, 60)
        client = HttpClient(self._stack.http_port, self._stack.tls)
        try:
            answer = await client.post(CONNECTION, token, {"query": "select auth.user_id() as me"})
        finally:
            client.abort()
        if answer.status != 200 or answer.body["rows"] != [{"me": self._prober}]:
            return str(answer)
        session = await psycopg.AsyncConnection.connect(
            conninfo(self._stack, self._stack.tcp_port, token, tls=True), autocommit=True
        )
        async with session:
            cursor = await session.execute("select auth.user_id()")
            found = await cursor.fetchone()
        return "" if found == (self._prober,) else str(found)
