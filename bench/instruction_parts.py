"""The parts of the hot path whose instructions ``make bench-check`` counts: each runs ``n`` times on fixed input.

Runs under valgrind: ``python -m bench.instruction_parts FOLDER``. It prepares everything, says ``ready``, waits for the
file ``FOLDER/counting`` (counting is on from then), and runs each part ``n`` and then ``2 n`` times between marks. A
mark is a call of getsid(), which nothing else here makes: valgrind writes down its counter there.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import sys
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from bench import in_memory
from bench.in_memory import extended_query, simple_query
from rowgate.gateway.http.connection import HttpConnection
from rowgate.gateway.http.message import AnswerWriter, HttpRequest
from rowgate.gateway.request import decode
from rowgate.gateway.response import Response
from rowgate.pgwire import messages
from rowgate.pgwire.fields import Field
from rowgate.pgwire.implementation import IS_COMPILED
from rowgate.pgwire.rows import RowEncoder
from rowgate.pgwire.stream import MessageStream
from rowgate.pgwire.types import BUILTIN_ARRAYS
from rowgate.postgres.exchange import Exchange, Prepared
from rowgate.postgres.identity_messages import IdentityMessages

REFERENCE: Final = "reference"
USERS: Final = 16
# An answer is as long as the point query's: one row.
ANSWER: Final = Response(200, b'{"fields":[],"rows":[["48213"]],"command":"SELECT","rowCount":1,"rowAsArray":true}')


@dataclass(frozen=True)
class Part:
    """``run(n)`` does the work ``n`` times; ``count`` is the ``n`` to measure with."""

    name: str
    run: Callable[[int], object]
    count: int


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still, because under valgrind everything is fifty times as slow.

    What the gateway does must not depend on that: a statement counts as quick by the time that it took.
    """

    def time(self) -> float:
        """The same moment, always; so no timer ever fires."""
        return 100.0


class AtOnce:
    """An event loop as far as an HTTP connection needs it, with one task, which runs where it is woken and waits for
    requests alone. It is its own task and its own future."""

    def create_task(self, work: Coroutine[Any, Any, None]) -> AtOnce:
        """Runs ``work`` until it waits for the next request."""
        self._work = work
        work.send(None)
        return self

    def create_future(self) -> AtOnce:
        """What the task waits for."""
        return self

    def __await__(self) -> Generator[None]:
        yield

    def done(self) -> bool:
        """Whether it waits no more."""
        return False

    def set_result(self, result: None) -> None:
        """Runs the task on until it waits again."""
        self._work.send(None)


def repeat(work: Callable[[int], object]) -> Callable[[int], None]:
    """Calls ``work`` with 0, 1, 2 and so on."""

    def run(count: int) -> None:
        for number in range(count):
            work(number)

    return run


def reference(count: int) -> None:
    """A fixed workload of the interpreter: what it takes is what all other parts are compared with."""
    kept: dict[bytes, int] = {}
    for number in range(count):
        text = b"%d:%s" % (number % 50, b"value")
        name, _, value = text.partition(b":")
        kept[name] = kept.get(name, 0) + len(value)
        parts = [value, name, text[2:]]
        kept[b"".join(parts)] = int(name) if name.isdigit() else 0


def http_part(requests: list[bytes]) -> Callable[[int], None]:
    """Bytes of a request to an HttpRequest, an answer to its bytes."""

    async def answer(request: HttpRequest) -> Response:
        return ANSWER

    server: Any = SimpleNamespace(
        certificates=None, now=0.0, connections=set(), max_body_bytes=1 << 20, stopping=False, loop=AtOnce(),
        answer=answer, writer=AnswerWriter(("*",)), sessions=None, forget=lambda _: None,
    )  # fmt: skip
    server.writer.tick(0.0)
    connection = HttpConnection(server)
    written = SimpleNamespace(write=lambda data: None, is_closing=lambda: False)
    connection.connection_made(written)  # type: ignore[arg-type]
    return repeat(lambda n: connection.data_received(requests[n % USERS]))


def decode_part(requests: list[bytes]) -> Callable[[int], None]:
    """Headers and body to what is asked."""
    given = []
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
        given.append(({name.lower(): value for name, _, value in lines}, body))
    return repeat(lambda n: decode(*given[n % USERS], max_batch_statements=100))


def guard_part(gateway: in_memory.MemoryGateway) -> Callable[[int], None]:
    """A text that is known, and whether its verdict passes the gate of row-level security."""
    guard, gate = gateway.database.guard, gateway.database.row_security

    def look_up(number: int) -> None:
        if not gate.passes(in_memory.ROLE, guard.check(in_memory.POINT)):
            raise SystemExit("the statement must be known")

    return repeat(look_up)


async def seal_parts(gateway: in_memory.MemoryGateway) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """A new seal; and the message of an identity whose seal is kept."""
    principal = await gateway.database.identify(in_memory.ROLE, gateway.tokens[0])
    if principal is None:
        raise SystemExit("the token must name somebody")
    identity = gateway.database.session_identity(principal, in_memory.ROLE)
    known = IdentityMessages(4711, lambda: 100.0, lambda: b"name")
    for _ in range(2):  # the first is a token, the second a seal
        parts: list[bytes] = []
        steps: list[Any] = []
        known.add(identity, parts, steps)
        for step in steps:
            known.learn(step)
    known.add(identity, [], [])
    return repeat(lambda n: identity.sealed(4711)), repeat(lambda n: known.add(identity, [], []))


def wire_parts() -> tuple[Callable[[int], None], Callable[[int], None]]:
    """The messages of a statement that is prepared; and what Postgres answers, to a result."""
    prepared = Prepared(b"rowgate_0123456789abcdef_1", 1)
    answer = b"".join(
        (messages.raw(b"2", b""), in_memory.VOID, messages.raw(b"C", b"SELECT 1\0"), messages.raw(b"2", b""),
         in_memory.ROW, messages.raw(b"C", b"SELECT 1\0"), in_memory.READY)
    )  # fmt: skip
    stream = MessageStream(1 << 20, group_rows=True)
    steps = [prepared.step, prepared.step]

    def send(number: int) -> bytes:
        return messages.bind_to(prepared.bind_head, (b"48213",)) + messages.execute(b"") + messages.SYNC

    def receive(number: int) -> None:
        exchange = Exchange(steps)
        if not [exchange.receive(kind, body) for kind, body in stream.feed(answer)][-1]:
            raise SystemExit("the answer must be whole")

    return repeat(send), repeat(receive)


def row_part(*, typed: bool) -> Callable[[int], None]:
    """A hundred rows of five columns to JSON: raw texts in lists, or JSON values in objects."""
    columns = (("id", 20), ("user_id", 25), ("task", 25), ("done", 16), ("created", 1184))
    fields = [Field(name, 16386, number, oid, -1, -1) for number, (name, oid) in enumerate(columns)]
    encoder = RowEncoder(fields, raw_text=not typed, array_mode=not typed, array_types=BUILTIN_ARRAYS)
    row = in_memory.data_row(b"48213", b"user_213", b"task number 48213", b"f", b"2026-01-02 03:04:05.678901+00")
    region = [row * 100]
    return repeat(lambda n: encoder.encode(region))


async def prepare() -> list[Part]:
    """All parts, warm: tokens verified, statements judged and prepared."""
    loop = asyncio.get_running_loop()
    one, hundred = in_memory.MemoryGateway(users=USERS), in_memory.MemoryGateway(users=USERS, rows=100)
    requests = in_memory.http_requests(one.tokens)
    for gateway in (one, hundred):
        await gateway.database.start()
        await gateway.run_requests(in_memory.http_requests(gateway.tokens), 4 * USERS, 4)
    seal, kept = await seal_parts(one)
    send, receive = wire_parts()
    find, many = one.database.known_principal, in_memory.http_requests(hundred.tokens)

    def in_loop(work: Callable[[int], Coroutine[Any, Any, bytes]]) -> Callable[[int], object]:
        return lambda count: loop.run_until_complete(work(count))

    return [
        Part(REFERENCE, reference, 2000),
        Part("HTTP request and answer", http_part(requests), 100),
        Part("request to statement", decode_part(requests), 100),
        Part("token look-up", repeat(lambda n: find(in_memory.ROLE, one.tokens[n % USERS])), 200),
        Part("guard and gate look-up", guard_part(one), 200),
        Part("new seal", seal, 100),
        Part("kept seal", kept, 200),
        Part("messages to Postgres", send, 200),
        Part("answer of Postgres", receive, 100),
        Part("100 rows, raw text", row_part(typed=False), 60),
        Part("100 rows, typed", row_part(typed=True), 60),
        Part("whole request", in_loop(lambda n: one.run_requests(requests, n, 4)), 100),
        Part("whole request, 100 rows", in_loop(lambda n: hundred.run_requests(many, n, 4)), 60),
        Part("session, simple query", in_loop(lambda n: one.run_session_requests(simple_query, n, 4)), 60),
        Part("session, extended query", in_loop(lambda n: one.run_session_requests(extended_query, n, 4)), 60),
    ]  # fmt: skip


def mark() -> None:
    """The counter is written down here."""
    os.getsid(0)


def build() -> str:
    """What instruction counts depend on: the interpreter, its compiler, and whether Rowgate's module is compiled."""
    words = [
        platform.python_implementation(),
        platform.python_version(),
        platform.python_compiler(),
        platform.machine(),
    ]
    return " ".join((*words, "compiled" if IS_COMPILED else "Python alone"))


def main() -> None:
    """Counts, for the valgrind around it."""
    folder = Path(sys.argv[1])
    loop = StillLoop()
    asyncio.set_event_loop(loop)
    parts = loop.run_until_complete(prepare())
    for part in parts:
        part.run(part.count)
    gc.collect()
    gc.freeze()
    gc.disable()
    counting = str(folder / "counting")
    print("\n".join((build(), *(f"{part.count}\t{part.name}" for part in parts), "ready")), flush=True)
    while not os.path.exists(counting):  # valgrind is told more surely while the program is running
        pass
    for part in parts:
        mark()
        part.run(part.count)
        mark()
        part.run(2 * part.count)
    mark()
    os._exit(0)


if __name__ == "__main__":
    main()
