"""A thread with a stack big enough for libpg_query, and the measured numbers that say when it is needed.

libpg_query writes its tree by recursion and never looks at the stack's depth; on a stack that is too small it
kills the process. Its JSON route was measured at 65 bytes of stack for each byte of SQL in the worst of 42 nesting
shapes (``1+1+1…``, arrays, subscripts; Linux x86-64, libpg_query 18.0), its fingerprint at 5.

This module never looks at the work it is given.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, ParamSpec, TypeVar

WORST_STACK_PER_BYTE: Final = 65
"""Bytes of stack that one byte of SQL may cost libpg_query."""

INLINE_BYTES: Final = 3072
"""Texts up to this size (bytes) are parsed on the caller's own stack: 195 KiB at worst, of at least 512 KiB."""

BIG_STACK_BYTES: Final = 128 << 20
"""The worker's stack. Address space only: pages become memory when they are touched."""

LARGEST_STATEMENT_BYTES: Final = 1 << 20
"""The largest text (bytes) that the worker's stack carries: 65 MiB at worst, half of what it has."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

# ``threading.stack_size`` is one setting for the whole process, so only one thread at a time may change it.
_stack_size_lock = threading.Lock()


class BigStackWorker:
    """One daemon thread with :data:`BIG_STACK_BYTES` of stack, started at the first call, doing one call at a time.

    A fork leaves threads behind: the child starts its own.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run ``call`` on the big stack; its result or its exception comes through the future.

        From the worker thread itself the call runs at once, because waiting for oneself never ends. Raises nothing
        of its own.
        """
        future: Future[_T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = call(*args, **kwargs)
            except BaseException as error:  # it belongs to whoever waits, whatever it is
                future.set_exception(error)
            else:
                future.set_result(result)

        if threading.current_thread() is self._thread:
            run()
        else:
            self._start()
            self._calls.put(run)
        return future

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._serve, args=(self._calls,), name="rowgate-guard", daemon=True)
            with _stack_size_lock:
                before = threading.stack_size(BIG_STACK_BYTES)
                try:
                    thread.start()
                finally:
                    threading.stack_size(before)
            self._thread = thread

    @staticmethod
    def _serve(calls: queue.SimpleQueue[Callable[[], Any]]) -> None:
        while True:
            calls.get()()


BIG_STACK: Final = BigStackWorker()
"""The process's worker; every guard shares it."""
