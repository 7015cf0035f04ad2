"""A large result on its way to the client while Postgres still sends it.

Rows are kept until there are more than a threshold; then the answer begins, and what comes from there on is written as
it comes. A client that reads slowly makes the connection to Postgres pause, so that memory stays bounded whatever the
size of the result. What has begun cannot become an error any more: the client's connection is cut instead. Never
decides what may run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from rowgate.errors import RowgateError
from rowgate.gateway.answer_formats import AnswerFormat, ArrayTypes, FormatMaker
from rowgate.gateway.http.message import Channel
from rowgate.gateway.request import SqlRequest
from rowgate.gateway.response import Response
from rowgate.postgres.exchange import Prepared, Result, RowSource


class AnswerFlow:
    """The flow of one request's results. Give it to the order that runs the statements, and ``finish`` or ``close`` it.

    ``known_types`` gives the array types that columns need, None where they must be read with ``read_types`` first.
    """

    def __init__(
        self,
        request: SqlRequest,
        make_format: FormatMaker,
        channel: Channel,
        headers: Sequence[tuple[bytes, bytes]],
        threshold: int,
        known_types: Callable[[Sequence[Prepared]], ArrayTypes | None],
        read_types: Callable[[Sequence[Prepared]], Awaitable[ArrayTypes]],
    ) -> None:
        self._request = request
        self._make_format = make_format
        self._channel = channel
        self._headers = headers
        self.threshold = threshold
        self._known_types = known_types
        self._read_types = read_types
        self._format: AnswerFormat | None = None
        self._source: RowSource | None = None
        self._waiting: list[tuple[Sequence[Result], Prepared, Sequence[bytes]]] = []
        self._reading: asyncio.Task[None] | None = None
        self._closed = self._paused = False
        self._position = 0  # of the result that is being written
        self._is_open = self._has_rows = False
        self.has_taken = False
        """Whether rows have been taken, so that nothing else has the whole result."""
        self.size = 0
        """Bytes of the body so far."""

    # --- for the exchange -------------------------------------------------------------------------------------

    holds = False

    @property
    def begun(self) -> bool:
        """Whether rows have gone on, so that the request cannot run once more."""
        return self.has_taken

    def run_from(self, source: RowSource) -> None:
        """Rows come from ``source`` now, and from no other any more."""
        self._source = source

    def take(self, source: RowSource, ended: Sequence[Result], prepared: Prepared, regions: Sequence[bytes]) -> None:
        """Rows of the statement after those that have ``ended``."""
        if self._closed or source is not self._source:
            return  # of a run that was given up
        self.threshold = 0
        self.has_taken = True
        if self._format is not None:
            self._write_rows(ended, prepared, regions)
            return
        types = self._known_types([*(result.prepared for result in ended), prepared])
        if types is not None and not self._waiting:
            self._begin(types)
            self._write_rows(ended, prepared, regions)
            return
        self._waiting.append((list(ended), prepared, regions))
        if self._reading is None:
            self._pause()
            self._reading = asyncio.get_running_loop().create_task(self._read_then_begin())

    def leave(self, source: RowSource) -> None:
        """The run on ``source`` has ended: it serves others, and must not be paused any more."""
        if source is self._source:
            self._resume()
            self._source = None

    # --- for the pipeline -------------------------------------------------------------------------------------

    async def finish(self, results: Sequence[Result]) -> Response:
        """Writes what is left; gives the answer that has gone out."""
        if self._reading is not None:
            await self._reading
        self._write_ended(results)
        if self._format is not None:
            self._write(self._format.end())
        self.close()
        return Response(200, b"", written=self.size)

    def close(self) -> None:
        """Nothing more is written."""
        self._closed = True
        self._channel.on_writable = None
        if self._reading is not None:
            self._reading.cancel()
        self._resume()

    # --- inside -----------------------------------------------------------------------------------------------

    async def _read_then_begin(self) -> None:
        prepared = [one for ended, current, _ in self._waiting for one in (*(e.prepared for e in ended), current)]
        try:
            types = await self._read_types(prepared)
        except RowgateError:
            types = {}
        if self._closed:
            return
        self._begin(types)
        for waiting in self._waiting:
            self._write_rows(*waiting)
        self._waiting.clear()
        if self._channel.on_writable is None:
            self._resume()

    def _begin(self, types: ArrayTypes) -> None:
        self._format = self._make_format(self._request, types)
        self._channel.begin_body(Response(200, b"", self._headers, content_type=self._format.content_type))
        self._write(self._format.begin())

    def _write_ended(self, results: Sequence[Result]) -> None:
        for result in results[self._position :]:
            self._write_rows((), result.prepared, result.regions)
            result.regions.clear()
            if self._format is not None:
                self._write(self._format.close_result(self._position, result))
            self._position += 1
            self._is_open = self._has_rows = False

    def _write_rows(self, ended: Sequence[Result], prepared: Prepared, regions: Sequence[bytes]) -> None:
        self._write_ended(ended)
        if self._format is None:
            return
        if not self._is_open:
            self._is_open = True
            self._write(self._format.open_result(self._position, prepared))
        if regions:
            self._write(self._format.rows(self._position, prepared, regions, first=not self._has_rows))
            self._has_rows = True

    def _write(self, data: bytes) -> None:
        if not data:
            return
        self.size += len(data)
        if not self._channel.write_body(data):
            self._channel.on_writable = self._catch_up
            self._pause()

    def _catch_up(self) -> None:
        self._channel.on_writable = None
        self._resume()

    def _pause(self) -> None:
        if self._source is not None and not self._paused:
            self._paused = True
            self._source.pause()

    def _resume(self) -> None:
        if self._source is not None and self._paused:
            self._paused = False
            self._source.resume()
