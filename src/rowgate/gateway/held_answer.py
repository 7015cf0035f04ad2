"""A large result that is written as JSON while Postgres still sends it, and goes to the client when it is whole.

So Postgres and the gateway work at the same time, the rows are not kept beside their JSON, and no write is so long that
others wait for it. Until the end it can still become an error, or run once more. Never decides what may run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rowgate.gateway.answer_flow import AnswerFlow
from rowgate.gateway.answer_formats import FormatMaker
from rowgate.gateway.database import Database
from rowgate.gateway.request import SqlRequest
from rowgate.gateway.response import Response
from rowgate.postgres.exchange import Prepared, Result, RowSource

PIECE_BYTES: Final = 64 * 1024
"""So many bytes of rows are written in one go."""


class Pieces:
    """In place of the way to a client: keeps what is written."""

    def __init__(self) -> None:
        self.on_writable: Callable[[], None] | None = None
        self.head = Response(200, b"")
        self.written: list[bytes] = []

    def begin_body(self, head: Response) -> None:
        """The answer begins."""
        self.head = head

    def write_body(self, data: bytes) -> bool:
        """One piece more."""
        self.written.append(data)
        return True


class HeldAnswer:
    """Takes the rows of one request's large results (see ``exchange.Flow``). Made for every request, so it makes what
    it needs for one with large results when there are any."""

    __slots__ = ("_database", "_flow", "_make_format", "_pieces", "_request", "_source", "has_taken")

    threshold = PIECE_BYTES
    holds = True
    begun = False

    def __init__(self, request: SqlRequest, make_format: FormatMaker, database: Database) -> None:
        self._request = request
        self._make_format = make_format
        self._database = database
        self._flow: AnswerFlow | None = None
        self.has_taken = False
        """Whether rows have been taken, so that nothing else has the whole result."""

    def run_from(self, source: RowSource) -> None:
        """Rows come from ``source`` now; those of a run before it are forgotten."""
        self._source = source
        if self._flow is not None:
            self.close()

    def take(self, source: RowSource, ended: Sequence[Result], prepared: Prepared, regions: Sequence[bytes]) -> None:
        """Rows of the statement after those that have ``ended``."""
        if source is not self._source:
            return
        flow = self._flow
        if flow is None:
            flow = self._flow = self._begin(source)
            self.has_taken = True
        flow.take(source, ended, prepared, regions)

    def leave(self, source: RowSource) -> None:
        """The run on ``source`` has ended."""
        if self._flow is not None:
            self._flow.leave(source)

    async def finish(self, results: Sequence[Result]) -> Response:
        """The answer, once rows have been taken."""
        if self._flow is not None:
            await self._flow.finish(results)
        head = self._pieces.head
        return Response(200, b"", head.headers, head.content_type, rest=self._pieces.written)

    def close(self) -> None:
        """What has been taken is of no use any more, or has been given away."""
        flow, self._flow, self.has_taken = self._flow, None, False
        if flow is not None:
            flow.close()

    def _begin(self, source: RowSource) -> AnswerFlow:
        self._pieces = Pieces()
        headers = () if self._request.transaction is None else self._request.transaction.echo
        database = self._database
        flow = AnswerFlow(
            self._request,
            self._make_format,
            self._pieces,
            headers,
            PIECE_BYTES,
            database.known_array_types,
            database.read_array_types,
        )
        flow.run_from(source)
        return flow
