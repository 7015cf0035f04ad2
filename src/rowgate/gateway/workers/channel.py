"""What the supervisor and a worker tell each other, over a pair of sockets that keeps the bounds of messages.

Clients' connections travel as open files (unix(7), SCM_RIGHTS). The supervisor keeps both ends of every pair, so that
what a worker has not taken when it dies is there for the one that takes its seat. Holds no state of the gateway.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from itertools import count
from typing import Final

import msgspec

from rowgate.errors import RowgateError, SettingInvalid

LARGEST_MESSAGE: Final = 32 * 1024
LONGEST_DETAIL: Final = 4096
MOST_AT_ONCE: Final = 32
"""So many messages are taken before the event loop does something else."""

log = logging.getLogger("rowgate.workers")


class Front(StrEnum):
    """The front that a client connected to."""

    HTTP = "http"
    TCP = "tcp"


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    """To a worker, with an open file: a client that has connected."""

    front: Front


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """From a worker: it serves. ``urls`` are those of the management port, where it has it."""

    urls: dict[str, str]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """From a worker: it could not start, with the parts of the error."""

    code: str
    message: str
    detail: str | None
    hint: str | None


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """From a worker: it takes no new clients and will end."""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """A cancel request for a session of another worker, passed on by the supervisor to the one that has it.

    ``sender`` is the worker's number and ``ticket`` its own count of such requests.
    """

    sender: int
    ticket: int
    process_id: int
    key: bytes

    def __repr__(self) -> str:
        """Without the key."""
        return f"Cancel(sender={self.sender}, ticket={self.ticket}, process_id={self.process_id})"


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """The request was acted on, or meant nobody: which of the two is not told."""

    sender: int
    ticket: int


Message = Accepted | Ready | Failed | Leaving | Cancel | Cancelled
_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end and the worker's, neither of which blocks. Raises SettingInvalid where there are none."""
    try:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as problem:
        raise SettingInvalid(
            "several workers need sockets that this system does not have",
            detail=f"SOCK_SEQPACKET: {problem.strerror}",
            hint="Run one gateway for each core instead, behind a proxy.",
        ) from problem
    for end in ends:
        end.setblocking(False)
    return ends


def send(end: socket.socket, message: Message, file: int | None = None) -> bool:
    """Sends one message, with an open file; False where the other side is too far behind, or there is none."""
    data = msgspec.json.encode(message)
    try:
        if file is None:
            end.send(data)
        else:
            socket.send_fds(end, [data], [file])
    except OSError:
        return False
    return True


def receive(end: socket.socket) -> tuple[Message, socket.socket | None] | None:
    """The next message with its connection; None at the end.

    Raises BlockingIOError where there is none yet, and msgspec.MsgspecError for what is no message.
    """
    data, files, _, _ = socket.recv_fds(end, LARGEST_MESSAGE, 1)
    if not data:
        return None
    client = socket.socket(fileno=files[0]) if files else None
    return _decoder.decode(data), client


def worker_of(process_id: int, workers: int) -> int:
    """The number of the worker whose session has ``process_id``: cancel requests name no more than that."""
    return process_id % workers + 1


class Seat:
    """A worker's end: what it tells the supervisor, and what comes. Made before the event loop, opened inside it."""

    def __init__(self, number: int, workers: int, end: socket.socket) -> None:
        self.number = number
        self.workers = workers
        self._end = end
        self._tickets = count(os.getpid() << 32)  # so that no answer to an earlier process is taken for one
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._take: Callable[[Front, socket.socket], None]
        self._cancel: Callable[[int, bytes], Awaitable[None]]
        self.stop = asyncio.Event()
        """It is to end: set from outside, and where the supervisor has gone."""

    def open(
        self,
        take: Callable[[Front, socket.socket], None],
        cancel: Callable[[int, bytes], Awaitable[None]],
    ) -> None:
        """From now on clients go to ``take``, and cancel requests that reached other workers to ``cancel``."""
        self._take, self._cancel = take, cancel
        asyncio.get_running_loop().add_reader(self._end.fileno(), self._readable)

    def tell_ready(self, urls: dict[str, str]) -> None:
        """The worker serves."""
        send(self._end, Ready(urls))

    def tell_failed(self, problem: RowgateError) -> None:
        """The worker could not start."""
        detail = problem.detail and problem.detail[:LONGEST_DETAIL]
        send(self._end, Failed(problem.code, problem.message, detail, problem.hint))

    def leave(self) -> None:
        """Takes nothing more: what comes now is for the next one in this seat."""
        asyncio.get_running_loop().remove_reader(self._end.fileno())
        send(self._end, Leaving())

    def is_own(self, process_id: int) -> bool:
        """Whether a session of this worker may have such a process id."""
        return worker_of(process_id, self.workers) == self.number

    async def cancel(self, process_id: int, key: bytes) -> None:
        """Has another worker cancel what one of its sessions runs, and waits until it has."""
        ticket = next(self._tickets)
        answer = self._asked[ticket] = asyncio.get_running_loop().create_future()
        try:
            if send(self._end, Cancel(self.number, ticket, process_id, key)):
                await answer
        finally:
            del self._asked[ticket]

    def _readable(self) -> None:
        with suppress(BlockingIOError):
            for _ in range(MOST_AT_ONCE):
                received = receive(self._end)
                if received is None:
                    asyncio.get_running_loop().remove_reader(self._end.fileno())
                    self.stop.set()
                    return
                self._handle(*received)

    def _handle(self, message: Message, client: socket.socket | None) -> None:
        if isinstance(message, Accepted):
            if client is not None:  # none where this process has no place for another open file
                self._take(message.front, client)
        elif isinstance(message, Cancel):
            task = asyncio.get_running_loop().create_task(self._serve_cancel(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(message, Cancelled):
            answer = self._asked.get(message.ticket)
            if answer is not None and not answer.done():
                answer.set_result(None)

    async def _serve_cancel(self, message: Cancel) -> None:
        try:
            await self._cancel(message.process_id, message.key)
        except Exception:
            log.exception("a defect in Rowgate: please report it")
        send(self._end, Cancelled(message.sender, message.ticket))


def unread_bytes(end: socket.socket) -> int:
    """What was sent into ``end`` and not taken yet, in bytes of the kernel's memory (SIOCOUTQ)."""
    (unread,) = struct.unpack("i", fcntl.ioctl(end.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    return int(unread)


def close_all(*ends: socket.socket) -> None:
    """Closes this process's copies."""
    for end in ends:
        with suppress(OSError):
            os.close(end.detach())
