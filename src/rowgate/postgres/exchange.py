"""One exchange with a backend: a pipelined write, and the collection of its answer up to ReadyForQuery.

An exchange is a list of steps (open a transaction, set the identity, the statements, commit) that travel in one
write with one Sync (PostgreSQL 18, section 54.2.3 and 54.2.4). This module is pure: it takes messages and keeps
results. It never writes to a socket.

Values that are made for every request are msgspec structs: frozen like dataclasses, at a tenth of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from rowgate.errors import DatabaseError, ProtocolViolation
from rowgate.pgwire import messages
from rowgate.pgwire.fields import error_fields
from rowgate.pgwire.implementation import IS_COMPILED, compiled
from rowgate.pgwire.result_shape import NO_COLUMNS, ResultShape, shape_of
from rowgate.pgwire.stream import count_messages


class Statement(msgspec.Struct, frozen=True):
    """SQL text and bind parameters, both in UTF-8; a parameter is Postgres's text form or None for NULL."""

    sql: bytes
    parameters: Sequence[bytes | None]

    def __repr__(self) -> str:
        """What its repr shows: no parameter."""
        return f"Statement(sql={self.sql!r})"


class Prepared:
    """A statement that a backend has parsed: its name there, and what is known of its result columns."""

    __slots__ = ("bind_head", "name", "parameter_count", "shape", "step")

    def __init__(self, name: bytes, parameter_count: int = 0) -> None:
        self.name = name
        self.parameter_count = parameter_count
        self.bind_head = messages.bind_head(name, parameter_count)
        self.step = Step("statement", self)
        self.shape: ResultShape | None = None
        """Its result's columns; None before the backend has told them."""

    @property
    def columns(self) -> ResultShape:
        """The same, without columns where nothing was told."""
        return self.shape or NO_COLUMNS


class Result(msgspec.Struct, frozen=True):
    """What one statement gave: regions of DataRow messages, and the CommandComplete body (empty for an empty query)."""

    prepared: Prepared
    regions: list[bytes]
    tag: bytes

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return sum(map(count_messages, self.regions))

    def __repr__(self) -> str:
        """What its repr shows: no row."""
        return f"Result(tag={self.tag!r})"


class Step(msgspec.Struct, frozen=True):
    """One part of an exchange.

    ``kind`` is "statement" for the requester's statements, whose results are kept, and "begin", "context", "commit"
    or "own" for Rowgate's. ``parsed_here`` says that the exchange itself carries the Parse of ``sql``.
    """

    kind: str
    prepared: Prepared | None = None
    parsed_here: bool = False
    sql: bytes = b""


class Outcome(msgspec.Struct, frozen=True):
    """How an exchange ended. ``failed`` is the step that met ``error``; ``seconds`` is how long the backend took."""

    results: list[Result]
    error: DatabaseError | None
    failed: Step | None
    copied_out: bool = False
    seconds: float = 0.0


class RowSource(Protocol):
    """Where rows come from: a connection that can be told to wait."""

    def pause(self) -> None:
        """Reads nothing more for a while."""

    def resume(self) -> None:
        """Reads again."""


class Flow(Protocol):
    """Takes the rows of a large result while they come, instead of the exchange, which would keep them."""

    threshold: int
    """How many bytes of rows an exchange keeps before it hands them over."""

    @property
    def begun(self) -> bool:
        """Whether rows have gone on to the client, so that the request cannot run once more."""
        ...

    @property
    def holds(self) -> bool:
        """Whether what it takes stays in memory up to the end, so that the size of a result is bounded."""
        ...

    def run_from(self, source: RowSource) -> None:
        """Rows come from ``source`` from now on; those of another run are not wanted any more."""

    def take(self, source: RowSource, ended: Sequence[Result], prepared: Prepared, regions: Sequence[bytes]) -> None:
        """Rows of the statement that runs, after the results that have ``ended``. Raises RowgateError."""

    def leave(self, source: RowSource) -> None:
        """The run on ``source`` has ended; it is not to be paused any more."""


class Exchange:
    """Collects the answer to the steps of one pipelined write. ``flow`` takes large results, from ``source``."""

    __slots__ = (
        "_flow",
        "_has_parsed",
        "_has_passed_on",
        "_held",
        "_index",
        "_parsed",
        "_regions",
        "_results",
        "_source",
        "_steps",
        "copied_out",
        "copy_refused",
        "discards",
        "error",
        "failed",
        "flows",
        "state_changed",
        "status",
    )

    def __init__(self, steps: Sequence[Step], flow: Flow | None = None, source: RowSource | None = None) -> None:
        self._steps = steps
        self._flow = flow
        self._source = source
        self._held = 0
        self._has_passed_on = False
        self._index = 0
        self._regions: list[bytes] = []
        self._results: list[Result] = []
        self._parsed = self._has_parsed = False
        self.error: DatabaseError | None = None
        self.failed: Step | None = None
        self.status = 0
        self.state_changed = False
        self.copy_refused = False
        self.copied_out = False
        self.discards = False
        self.flows = flow is not None and not flow.holds
        """Whether large results are passed on to the client, so that their size is no matter of memory."""

    def discard_rows(self) -> None:
        """The result is too large: what there is of it is forgotten, and what is still to come."""
        self.discards = True
        self._regions.clear()
        self._results.clear()

    def outcome(self, seconds: float = 0.0) -> Outcome:
        """The end of the exchange, once ``receive`` has returned True; ``seconds`` is how long it took."""
        return Outcome(self._results, self.error, self.failed, self.copied_out, seconds)

    @property
    def parsed_steps(self) -> Sequence[Step]:
        """The steps whose statement the backend has parsed in this exchange."""
        if not self._has_parsed:
            return ()
        last = self._index if self._parsed else self._index - 1
        return [step for step in self._steps[: last + 1] if step.parsed_here]

    def receive(self, kind: int, body: bytes) -> bool:
        """Takes one backend message; True when it was ReadyForQuery, the end.

        Raises ProtocolViolation for messages that do not belong here.
        """
        if kind == 0x44:  # DataRow, as a region
            if not self.discards:
                self._regions.append(body)
                if self._flow is not None:
                    self._pass_on(self._flow, len(body))
        elif kind == 0x32:  # BindComplete
            pass
        elif kind in (0x43, 0x49, 0x73):  # CommandComplete, EmptyQueryResponse, PortalSuspended
            self._complete(body if kind == 0x43 else b"")
        elif kind == 0x5A:  # ReadyForQuery
            if len(body) != 1:
                raise ProtocolViolation("ReadyForQuery must hold one byte")
            self.status = body[0]
            if self._flow is not None and self._source is not None:
                self._flow.leave(self._source)
            return True
        else:
            self._receive_rarer(kind, body)
        return False

    def receive_whole(self, data: bytes, position: int) -> int:
        """Takes the answer from ``position`` on if it is whole and nothing in it is unusual; gives where it ends.

        0 means that nothing was taken: the messages are to be received one by one.
        """
        begun = self._index or self._regions or self._has_passed_on or self.discards or self.error is not None
        if begun or not IS_COMPILED or self.flows:
            return 0
        found = compiled.read_answer(data, position)
        if found is None:
            return 0
        end, parts, status = found
        if len(parts) != len(self._steps):
            return 0
        for step, (region, tag) in zip(self._steps, parts, strict=True):
            if step.kind == "statement" and step.prepared is not None:
                self._results.append(Result(step.prepared, [region] if region else [], tag))
        self._index = len(self._steps)
        self.status = status
        return end

    def _pass_on(self, flow: Flow, size: int) -> None:
        self._held += size
        step = self._steps[min(self._index, len(self._steps) - 1)]
        if self._held < flow.threshold or step.kind != "statement" or step.prepared is None or self._source is None:
            return
        regions, self._regions, self._held, self._has_passed_on = self._regions, [], 0, True
        flow.take(self._source, self._results, step.prepared, regions)

    def _complete(self, tag: bytes) -> None:
        if self._index >= len(self._steps):
            raise ProtocolViolation("the server completed more statements than were sent")
        step = self._steps[self._index]
        if step.kind == "statement" and step.prepared is not None:
            self._results.append(Result(step.prepared, self._regions, tag))
        self._regions = []
        self._index += 1
        self._parsed = False

    def _receive_rarer(self, kind: int, body: bytes) -> None:
        if kind == 0x31:  # ParseComplete
            self._parsed = self._has_parsed = True
        elif kind in (0x54, 0x6E):  # RowDescription, NoData
            self._describe(shape_of(body) if kind == 0x54 else NO_COLUMNS)
        elif kind == 0x45:  # ErrorResponse: everything up to Sync is skipped by the server
            if self.error is None:
                self.error = DatabaseError(error_fields(body))
                self.failed = self._steps[min(self._index, len(self._steps) - 1)]
            self._regions = []
        elif kind in (0x53, 0x41):  # ParameterStatus, NotificationResponse: the session is not as it was
            self.state_changed = True
        elif kind in (0x47, 0x57):  # CopyInResponse, CopyBothResponse: the server waits for data we do not have
            self.copy_refused = True
        elif kind == 0x48:  # CopyOutResponse
            self.copied_out = True
        elif kind not in (0x74, 0x33, 0x4E, 0x64, 0x63):
            # Left alone: ParameterDescription, CloseComplete, NoticeResponse and the data of COPY TO STDOUT.
            raise ProtocolViolation(f"unexpected message {chr(kind)!r} from the server")

    def _describe(self, shape: ResultShape) -> None:
        step = self._steps[min(self._index, len(self._steps) - 1)]
        if step.prepared is not None and step.parsed_here:
            step.prepared.shape = shape
