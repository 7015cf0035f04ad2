"""Texts of every nesting shape, at exactly the limit, on small stacks: a refusal or a verdict, never a crash.

The shapes run in a process of their own, because a stack that is too small kills the whole process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, FunctionCatalog, Guard, Verdict
from rowgate.guard.parser import StatementParser
from rowgate.guard.stack import (
    BIG_STACK_BYTES,
    INLINE_BYTES,
    LARGEST_STATEMENT_BYTES,
    WORST_STACK_PER_BYTE,
    BigStackWorker,
)
from tests.unit.guard.shapes import SHAPES, nest

_PROGRAM = """
import sys, threading
from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, FunctionCatalog, Guard
from tests.unit.guard.shapes import SHAPES, fill, nest

size, stack, depth = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
names = sys.argv[4:] or list(SHAPES)

def run():
    guard = Guard(CLIENT, FunctionCatalog.default(), max_statement_bytes=max(size, 1))
    for name in names:
        text = nest(SHAPES[name], depth, size) if depth else fill(SHAPES[name], size)
        try:
            outcome = guard.check(text).kind
        except StatementRefused as error:
            outcome = error.refused_sqlstate
        try:
            guard.check_session(text)
        except StatementRefused:
            pass
        print(name, len(text), outcome, flush=True)

if stack:
    threading.stack_size(stack)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
else:
    run()
"""


def outcomes(
    size: int, *, stack: int = 0, depth: int = 0, limit: str = "ulimit -s 2048; ", names: str = ""
) -> list[str]:
    """Lines of ``shape size outcome``; ``stack`` is a thread's in bytes, ``limit`` a shell command for the process."""
    command = f'{limit}exec "$@"'
    arguments = [sys.executable, "-c", _PROGRAM, str(size), str(stack), str(depth), *names.split()]
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", *arguments], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-200:]}{done.stderr[-500:]}"
    return done.stdout.splitlines()


def test_every_shape_at_the_limit_on_a_process_with_two_megabytes() -> None:
    lines = outcomes(64 << 10)
    assert len(lines) == len(SHAPES)
    for line in lines:
        name, size, outcome = line.split()
        assert int(size) == 64 << 10, name
        assert outcome in {"select", "42601", "42501", "54001"}, line


def test_the_deepest_texts_that_the_grammar_takes() -> None:
    for line in outcomes(64 << 10, depth=3_000):
        assert line.split()[2] in {"select", "42601", "42501", "54001"}


def test_small_texts_are_safe_inline_on_half_a_megabyte() -> None:
    lines = outcomes(INLINE_BYTES, stack=512 << 10)
    assert len(lines) == len(SHAPES)
    assert {line.split()[1] for line in lines} == {str(INLINE_BYTES)}


def test_the_largest_statement_that_can_be_set() -> None:
    (line,) = outcomes(LARGEST_STATEMENT_BYTES, names="plus")
    assert line == f"plus {LARGEST_STATEMENT_BYTES} 54001"


def test_the_margins_are_twice_the_worst_case() -> None:
    assert INLINE_BYTES * WORST_STACK_PER_BYTE * 2 <= 512 << 10
    assert LARGEST_STATEMENT_BYTES * WORST_STACK_PER_BYTE * 1.9 <= BIG_STACK_BYTES


def test_the_shapes_reach_the_parser() -> None:
    """Short forms of the shapes are statements; else the tests above would show nothing."""
    guard = Guard(CLIENT, FunctionCatalog.default())
    for name, shape in SHAPES.items():
        try:
            kind = guard.check(nest(shape, 3, 0)).kind
        except StatementRefused as error:
            kind = error.message
        assert kind in {"select", "EXPLAIN is not available."}, name


def test_a_large_text_is_decided_on_the_worker() -> None:
    guard = Guard(CLIENT, FunctionCatalog.default())
    sql = "select " + ", ".join(f"a{number}" for number in range(5_000))
    future = guard.submit(sql)
    assert future.result(timeout=60) is guard.check(sql)
    refused = guard.submit(sql + ", pg_sleep(1)")
    with pytest.raises(StatementRefused, match="pg_sleep"):
        refused.result(timeout=60)


@pytest.mark.parametrize(
    ("sql", "allowed"), [("select 1", True), ("commit", False), ("x" * 70_000, False), ("select '\0'", False)]
)
def test_what_needs_no_worker_is_done_at_once(sql: str, allowed: bool) -> None:
    future: Future[Verdict] = Guard(CLIENT, FunctionCatalog.default()).submit(sql)
    assert future.done()
    assert (future.exception() is None) is allowed


def test_checking_from_the_worker_itself_does_not_wait_for_itself() -> None:
    guard = Guard(CLIENT, FunctionCatalog.default())
    texts = [f"select {number}" + ",1" * 3_000 for number in range(2)]
    kinds: list[str] = []
    done = threading.Event()

    def again(_: Future[Verdict]) -> None:
        kinds.append(guard.check(texts[1]).kind)
        done.set()

    guard.submit(texts[0]).add_done_callback(again)
    assert done.wait(timeout=60)
    assert kinds == ["select"]


def test_the_worker_hands_results_and_errors_over_and_lives_on() -> None:
    worker = BigStackWorker()
    assert worker.submit(divmod, 7, 2).result(timeout=60) == (3, 1)
    assert isinstance(worker.submit(divmod, 7, 0).exception(timeout=60), ZeroDivisionError)
    first, second = (worker.submit(threading.get_ident).result(timeout=60) for _ in range(2))
    assert first == second != threading.get_ident()


def test_the_worker_leaves_other_threads_stack_size_alone() -> None:
    before = threading.stack_size()
    BigStackWorker().submit(int).result(timeout=60)
    assert threading.stack_size() == before


def test_a_forked_child_has_a_worker_of_its_own() -> None:
    program = (
        "import os\n"
        "from rowgate.guard.stack import BIG_STACK\n"
        "assert BIG_STACK.submit(int, '1').result(10) == 1\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(BIG_STACK.submit(int, '7').result(10))\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=60, check=False).returncode == 7


def test_the_parser_by_itself_sync_and_through_a_future() -> None:
    parser = StatementParser()
    for text in ("select 1", "select 1" + ",1" * 5_000):
        parsed = parser.parse(text)
        assert parsed == parser.submit(text).result(timeout=60)
        assert parsed.position(7) == 8
        assert parsed.position(-1) is None
    with pytest.raises(StatementRefused):
        parser.submit("x" * 70_000)
