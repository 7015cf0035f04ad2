"""The gateway's process from outside: memory, files, sockets; and what Postgres says of its backends."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import statistics
import sys
import termios
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from bench.soak.stack import SoakStack
from bench.soak.tally import Tally

TCP_STATES = {1: "ESTABLISHED", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 7: "CLOSED", 8: "CLOSE-WAIT", 9: "LAST-ACK"}
"""As Linux numbers them (netinet/tcp.h)."""
SAMPLE_SECONDS = 1.0
SOCKETS_EVERY = 3
LONGEST_CLOSE_WAIT = 30.0
"""Seconds after which a socket of the gateway, whose client has closed, must be closed as well: above the time-outs for
stalled clients and slow readers."""
WARM_UP_PART = 0.3
WINDOW_PART = 0.15
MOST_GROWTH = 1.05
SHORTEST_JUDGED_SECONDS = 600
ACTIVITY = """
select usename, state, xact_start is not null, wait_event from pg_stat_activity
where usename like 'rowgate%' and backend_type = 'client backend'
"""


@dataclass(frozen=True)
class Sockets:
    """Open TCP sockets of the gateway's clients, by state."""

    established: int
    close_wait: int
    other: int


@dataclass
class Watch:
    """Samples while the soak runs."""

    stack: SoakStack
    tally: Tally
    samples: list[tuple[float, int]] = field(default_factory=list)
    """Time and resident bytes of the gateway."""
    most_close_wait: int = 0
    longest_close_wait: float = 0.0
    most_own_close_wait: int = 0
    _waiting: dict[tuple[object, object], float] = field(default_factory=dict)

    async def run(self) -> None:
        """Samples until it is cancelled."""
        gateway = psutil.Process(self.stack.gateway.pid)
        own = psutil.Process(os.getpid())
        turn = 0
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            if self.stack.gateway.poll() is not None:
                self.tally.violation(f"the gateway has ended with status {self.stack.gateway.returncode}")
                return
            self.samples.append((time.monotonic(), gateway.memory_info().rss))
            turn += 1
            if turn % SOCKETS_EVERY == 0:
                await asyncio.to_thread(self._look_for_close_wait, gateway, own)

    def _look_for_close_wait(self, gateway: psutil.Process, own: psutil.Process) -> None:
        """A client has closed, and the gateway holds its socket still; and the same the other way round."""
        ports = {self.stack.http_port, self.stack.tcp_port}
        now = time.monotonic()
        waiting = {
            (one.laddr, one.raddr)
            for one in gateway.net_connections("tcp")
            if one.status == psutil.CONN_CLOSE_WAIT and one.laddr.port in ports
        }
        self._waiting = {pair: self._waiting.get(pair, now) for pair in waiting}
        self.most_close_wait = max(self.most_close_wait, len(waiting))
        for pair, since in self._waiting.items():
            self.longest_close_wait = max(self.longest_close_wait, now - since)
            if now - since > LONGEST_CLOSE_WAIT:
                self.tally.violation(f"the gateway leaves a socket in CLOSE-WAIT: {pair}")
        ours = sum(
            one.status == psutil.CONN_CLOSE_WAIT and bool(one.raddr) and one.raddr.port in ports
            for one in own.net_connections("tcp")
        )
        self.most_own_close_wait = max(self.most_own_close_wait, ours)

    def growth(self, began: float, ended: float) -> tuple[float, float, float]:
        """Median resident MB in a window after warming up and in one of the same length at the end, and their ratio."""
        length = ended - began
        early = self._median(began + WARM_UP_PART * length, began + (WARM_UP_PART + WINDOW_PART) * length)
        late = self._median(ended - WINDOW_PART * length, ended)
        return early / 1e6, late / 1e6, late / early

    def _median(self, first: float, last: float) -> float:
        return statistics.median(size for moment, size in self.samples if first <= moment <= last)


def client_sockets(stack: SoakStack) -> Sockets:
    """Those of the gateway's fronts now."""
    ports = {stack.http_port, stack.tcp_port}
    found = [
        one.status
        for one in psutil.Process(stack.gateway.pid).net_connections("tcp")
        if one.laddr.port in ports and one.status != psutil.CONN_LISTEN
    ]
    established, waiting = found.count(psutil.CONN_ESTABLISHED), found.count(psutil.CONN_CLOSE_WAIT)
    return Sockets(established, waiting, len(found) - established - waiting)


def files_without_backends(stack: SoakStack) -> int:
    """Open files of the gateway, its connections to Postgres apart."""
    gateway = psutil.Process(stack.gateway.pid)
    backends = sum(bool(one.raddr) and one.raddr.port == stack.postgres.port for one in gateway.net_connections("tcp"))
    return gateway.num_fds() - backends


def backends(stack: SoakStack) -> Iterable[tuple[str, str, bool, str]]:
    """Role, state, whether a transaction is open, and wait event of each backend of the gateway."""
    with stack.superuser() as connection:
        return connection.execute(ACTIVITY.encode()).fetchall()


def is_served(client: socket.socket, stack: SoakStack) -> bool:
    """Whether the gateway has a socket for this client's."""
    return bool(_other_end(client, stack))


def both_ends(client: socket.socket, stack: SoakStack) -> str:
    """The states of a connection's two sockets, so that it can be told which end waits for the other: the client's own,
    and what the gateway has of it."""
    state = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    unread = int.from_bytes(fcntl.ioctl(client, termios.FIONREAD, b"\0" * 4), sys.byteorder)
    theirs = _other_end(client, stack) or "has closed it"
    return f"client: {TCP_STATES.get(state, state)} with {unread} bytes unread; gateway: {theirs}"


def _other_end(client: socket.socket, stack: SoakStack) -> list[str]:
    own, peer = client.getsockname(), client.getpeername()
    return [
        one.status
        for one in psutil.Process(stack.gateway.pid).net_connections("tcp")
        if one.laddr.port == peer[1] and one.raddr and one.raddr.port == own[1]
    ]
