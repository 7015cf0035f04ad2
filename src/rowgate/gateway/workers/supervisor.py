"""The parent of several workers: forks them, replaces those that end, hands out clients, passes on cancel requests.

It has one thread and never an event loop, so that a fork copies nothing that another thread holds; a worker makes its
loop after it was forked. It reads nothing of what clients send, and never talks to Postgres.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec

from rowgate.errors import RowgateError, WorkersFailed, catalogue
from rowgate.gateway.workers.channel import (
    Cancel,
    Cancelled,
    Failed,
    Front,
    Leaving,
    Message,
    Ready,
    Seat,
    channel_pair,
    close_all,
    receive,
    send,
    worker_of,
)
from rowgate.gateway.workers.distribution import Distributor, close_listeners

SOUND_SECONDS: Final = 5.0
"""Whoever served for so long did not end at once: another one starts without a pause."""
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 10.0
MOST_FAILURES: Final = 5
"""So often in a row each may end at once before the supervisor gives up, where none is left that serves."""
CONGESTION_SECONDS: Final = 0.02
KILL_SECONDS: Final = 15.0
"""How long beyond ``shutdown_seconds`` a worker may take to end before it is killed."""
FAULT_STATUS: Final = 70
SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})

Serve = Callable[[Seat], int]

log = logging.getLogger("rowgate.workers")


@dataclass
class Worker:
    """One place of a worker, and the process that has it now."""

    number: int
    end: socket.socket
    """The supervisor's end of the channel."""
    far_end: socket.socket
    process_id: int | None = None
    is_ready: bool = False
    started_at: float = 0.0
    failures: int = 0
    start_at: float | None = 0.0
    """When the next process is due; None while there is one."""
    problem: RowgateError | None = None
    urls: dict[str, str] = field(default_factory=dict)


class Supervisor:
    """Runs ``workers`` processes that call ``serve``, which gives their exit status.

    ``listeners`` are bound and do not block. ``ready`` is called when all workers serve, with the URLs that the first
    one told, and again when another one has taken its place and told others. ``reopens``: SIGHUP means the workers'
    files, and not the end.
    """

    def __init__(
        self,
        workers: int,
        listeners: Mapping[Front, socket.socket],
        serve: Serve,
        ready: Callable[[dict[str, str]], None],
        *,
        shutdown_seconds: float,
        reopens: bool,
    ) -> None:
        """Raises SettingInvalid where the system lacks what it needs."""
        self._workers = [Worker(number, *channel_pair()) for number in range(1, workers + 1)]
        self._listeners = dict(listeners)
        self._serve = serve
        self._ready = ready
        self._shutdown_seconds = shutdown_seconds
        self._reopens = reopens
        self._distributor = Distributor()
        self._selector = selectors.DefaultSelector()
        self._bell, self._bell_end = socket.socketpair()
        self._process_id = os.getpid()
        self._has_served = False
        self._is_stopping = False
        self._is_listening = False
        self._listen_at = 0.0
        self._kill_at = float("inf")

    def run(self) -> None:
        """Until SIGTERM or SIGINT, and until all workers have ended then.

        Raises what the workers' first start failed with, or WorkersFailed.
        """
        self._take_signals()
        for worker in self._workers:
            self._selector.register(worker.end, selectors.EVENT_READ, partial(self._hear, worker))
        try:
            while not self._is_stopping or any(worker.process_id for worker in self._workers):
                self._start_those_due()
                self._listen_or_not()
                for key, _ in self._selector.select(self._patience()):
                    key.data()
                self._kill_overdue()
        except BaseException:
            self._end_all()
            raise

    # --- processes --------------------------------------------------------------------------------------------

    def _start_those_due(self) -> None:
        for worker in self._workers:
            if not self._is_stopping and worker.start_at is not None and worker.start_at <= time.monotonic():
                self._start(worker)

    def _start(self, worker: Worker) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has handlers of its own, a signal to it would ring the bell that it shares with its parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            process_id = os.fork()
        except OSError as problem:
            log.error("worker %d cannot be started: %s", worker.number, problem.strerror)
            worker.start_at = time.monotonic() + LONGEST_PAUSE_SECONDS
            return
        finally:
            # The child goes on with them blocked.
            if os.getpid() == self._process_id:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if process_id == 0:
            os._exit(self._become(worker))
        worker.process_id, worker.start_at = process_id, None
        worker.started_at, worker.problem, worker.is_ready = time.monotonic(), None, False

    def _become(self, worker: Worker) -> int:
        """The child's way: it keeps its end of the channel and nothing else of its parent's."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent says when to end
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._selector.close()
            close_all(self._bell, self._bell_end, *self._listeners.values())
            close_all(*(one.end for one in self._workers), *(one.far_end for one in self._workers if one is not worker))
            return self._serve(Seat(worker.number, len(self._workers), worker.far_end))
        except BaseException:
            traceback.print_exc()
            return FAULT_STATUS
        finally:
            logging.shutdown()
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()

    def _reap(self) -> None:
        for worker in self._workers:
            if worker.process_id is None:
                continue
            process_id, status = os.waitpid(worker.process_id, os.WNOHANG)
            if process_id:
                self._hear(worker)  # what it said last, before another one speaks in its place
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, status: int) -> None:
        """A worker's process is gone: another one takes its place, at once or after a pause."""
        was_sound = time.monotonic() - worker.started_at >= SOUND_SECONDS and worker.problem is None
        process_id, worker.process_id, worker.is_ready = worker.process_id, None, False
        if self._is_stopping:
            return
        how = f"status {status}" if status >= 0 else f"signal {-status}"
        worker.failures = 0 if was_sound or status == 0 else worker.failures + 1
        if not self._has_served and worker.problem is not None:
            raise worker.problem
        if worker.failures >= MOST_FAILURES and not any(one.is_ready for one in self._workers):
            problem = worker.problem
            raise WorkersFailed(
                "the workers end as soon as they start",
                detail=f"worker {worker.number} ended with {how}"
                + (f": {problem.message}" if problem is not None else ""),
                hint=None if problem is None else problem.hint,
            )
        pause = FIRST_PAUSE_SECONDS * 2 ** (worker.failures - 1) if worker.failures else 0.0
        # Standing still would be worse than starting over at once, for the first time it happens.
        pause = 0.0 if worker.failures == 1 else min(pause, LONGEST_PAUSE_SECONDS)
        worker.start_at = time.monotonic() + pause
        why = "" if worker.problem is None else f" ({worker.problem.code}: {worker.problem.message})"
        log.error(
            "worker %d (process %d) ended with %s%s; another one starts in %.1f s",
            worker.number, process_id, how, why, pause,
        )  # fmt: skip

    def _end_all(self) -> None:
        """After an error: nobody is left behind."""
        close_listeners(list(self._listeners.values()))
        for worker in self._workers:
            if worker.process_id is not None:
                _signal(worker, signal.SIGTERM)
        for worker in self._workers:
            if worker.process_id is not None:
                _wait_or_kill(worker, self._shutdown_seconds + KILL_SECONDS)

    def _kill_overdue(self) -> None:
        if time.monotonic() < self._kill_at:
            return
        self._kill_at = float("inf")
        for worker in self._workers:
            if worker.process_id is not None:
                log.error("worker %d (process %d) does not end, and is killed", worker.number, worker.process_id)
                _signal(worker, signal.SIGKILL)

    # --- what comes -------------------------------------------------------------------------------------------

    def _hear(self, worker: Worker) -> None:
        while True:
            try:
                received = receive(worker.end)
            except BlockingIOError:
                return
            except msgspec.MsgspecError:
                log.error("worker %d said what is no message", worker.number)
                continue
            if received is None:
                return
            self._handle(worker, received[0])

    def _handle(self, worker: Worker, message: Message) -> None:
        if isinstance(message, Ready):
            worker.is_ready, worker.urls = True, message.urls
            if self._has_served and message.urls:
                self._ready(message.urls)
            elif not self._has_served and all(one.is_ready for one in self._workers):
                self._has_served = True
                self._ready(self._workers[0].urls)
        elif isinstance(message, Failed):
            worker.problem = _problem_of(message)
        elif isinstance(message, Leaving):
            worker.is_ready = False
        elif isinstance(message, Cancel):
            owner = self._workers[worker_of(message.process_id, len(self._workers)) - 1]
            if not owner.is_ready or not send(owner.end, message):
                send(worker.end, Cancelled(message.sender, message.ticket))
        elif isinstance(message, Cancelled) and 0 < message.sender <= len(self._workers):
            send(self._workers[message.sender - 1].end, message)

    def _listen_or_not(self) -> None:
        """Clients wait in the kernel's queue while nobody can take them."""
        wanted = not self._is_stopping and time.monotonic() >= self._listen_at and bool(self._channels())
        if wanted == self._is_listening:
            return
        self._is_listening = wanted
        for front, listener in self._listeners.items():
            if wanted:
                self._selector.register(listener, selectors.EVENT_READ, partial(self._deal, front))
            else:
                self._selector.unregister(listener)

    def _channels(self) -> list[socket.socket]:
        return [worker.end for worker in self._workers if worker.is_ready]

    def _deal(self, front: Front) -> None:
        channels = self._channels()
        if self._is_listening and not (channels and self._distributor.deal(self._listeners[front], front, channels)):
            self._listen_at = time.monotonic() + CONGESTION_SECONDS

    def _patience(self) -> float | None:
        """How long nothing needs to be done unless something comes."""
        due = [worker.start_at for worker in self._workers if worker.start_at is not None and not self._is_stopping]
        due += [self._listen_at] if self._listen_at > time.monotonic() else []
        due += [self._kill_at] if self._kill_at != float("inf") else []
        return max(min(due) - time.monotonic(), 0.0) if due else None

    # --- signals ----------------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        for end in (self._bell, self._bell_end):
            end.setblocking(False)
        signal.set_wakeup_fd(self._bell_end.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._bell, selectors.EVENT_READ, self._answer_bell)
        taken = [signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, *([signal.SIGHUP] if self._reopens else [])]
        for number in taken:
            signal.signal(number, lambda number, frame: None)  # the bell tells which one it was

    def _answer_bell(self) -> None:
        for number in self._bell.recv(256):
            if number == signal.SIGHUP:
                for worker in self._workers:
                    _signal(worker, signal.SIGHUP)
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._stop()
        self._reap()

    def _stop(self) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        self._listen_or_not()
        close_listeners(list(self._listeners.values()))
        self._kill_at = time.monotonic() + self._shutdown_seconds + KILL_SECONDS
        for worker in self._workers:
            worker.is_ready = False
            _signal(worker, signal.SIGTERM)


def _signal(worker: Worker, number: signal.Signals) -> None:
    """Not reaped yet, so the process id is nobody else's."""
    if worker.process_id is not None:
        with suppress(ProcessLookupError):
            os.kill(worker.process_id, number)


def _wait_or_kill(worker: Worker, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while worker.process_id is not None:
        if os.waitpid(worker.process_id, os.WNOHANG)[0]:
            worker.process_id = None
        elif time.monotonic() > deadline:
            _signal(worker, signal.SIGKILL)
        else:
            time.sleep(0.01)


def _problem_of(failed: Failed) -> RowgateError:
    """The error that a worker told of, as one of this process."""
    kind = next((one for one in catalogue() if one.code == failed.code), WorkersFailed)
    problem = RowgateError.__new__(kind)
    RowgateError.__init__(problem, failed.message, detail=failed.detail, hint=failed.hint)
    return problem
