"""Accepts clients and hands each to a worker: to the one that lags behind least, in turn where they are alike.

The kernel's own ways leave the share of each worker to chance: a shared listener wakes whoever comes first, and with
SO_REUSEPORT a worker that is stuck keeps the clients that were dealt to it. Reads nothing of what clients send.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Final

from rowgate.gateway.workers.channel import Accepted, Front, send, unread_bytes

MOST_AT_ONCE: Final = 64
"""So many clients are taken from a listener before its supervisor looks at anything else."""
MOST_UNREAD_BYTES: Final = 64 * 1024
"""A worker that left so much in its channel (some eighty clients) gets no more; a channel takes about 200 kB."""


class Distributor:
    """Deals clients to channels, which are the supervisor's ends."""

    def __init__(self) -> None:
        self._turn = 0

    def deal(self, listener: socket.socket, front: Front, channels: Sequence[socket.socket]) -> bool:
        """Takes who waits at the listener; False where nobody can take more now, and the rest waits there."""
        for _ in range(MOST_AT_ONCE):
            in_turn = self._in_turn(channels)
            if not in_turn:
                return False
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return True
            except OSError:  # no place for another open file
                return False
            self._turn += 1
            with client:
                if not any(send(channel, Accepted(front), client.fileno()) for channel in in_turn):
                    return False
        return True

    def _in_turn(self, channels: Sequence[socket.socket]) -> list[socket.socket]:
        """Those that have a place, whoever lags behind least first."""
        first = self._turn % len(channels)
        behind = [(unread_bytes(channel), channel) for channel in (*channels[first:], *channels[:first])]
        behind.sort(key=itemgetter(0))  # it keeps the order of those that are alike
        return [channel for unread, channel in behind if unread < MOST_UNREAD_BYTES]


def close_listeners(listeners: Sequence[socket.socket]) -> None:
    """From now on clients are refused by the kernel; those that wait there too."""
    for listener in listeners:
        with suppress(OSError):
            listener.close()
