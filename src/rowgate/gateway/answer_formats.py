"""How the results of a request are written: JSON as the driver reads it, NDJSON, or an Arrow stream.

A format gives bytes piece by piece: ahead of a result, for rows as they come, behind a result, at the end. Written
whole or in pieces, the bytes are the same. Never talks to a client or to Postgres.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from rowgate.errors import MalformedHeader
from rowgate.gateway.request import SqlRequest
from rowgate.gateway.response import JSON, command_json
from rowgate.pgwire.types import ArrayType
from rowgate.postgres.exchange import Prepared, Result

NDJSON: Final = b"application/x-ndjson"
ARROW: Final = b"application/vnd.apache.arrow.stream"

ArrayTypes = Mapping[int, ArrayType]


class AnswerFormat(Protocol):
    """Writes the results of one request, in order. ``position`` counts them from 0."""

    content_type: bytes

    def begin(self) -> bytes:
        """Ahead of everything."""
        ...

    def open_result(self, position: int, prepared: Prepared) -> bytes:
        """Ahead of a result's rows."""
        ...

    def rows(self, position: int, prepared: Prepared, regions: Sequence[bytes], *, first: bool) -> bytes:
        """Rows; ``first``: none of the result have been written before."""
        ...

    def close_result(self, position: int, result: Result) -> bytes:
        """Behind a result's rows."""
        ...

    def end(self) -> bytes:
        """Behind everything."""
        ...


class JsonFormat:
    """The object that ``@neondatabase/serverless`` reads, or that of a batch."""

    content_type = JSON

    def __init__(self, request: SqlRequest, types: ArrayTypes) -> None:
        self._raw_text = request.raw_text
        self._array_modes = request.array_modes
        self._is_batch = request.transaction is not None
        self._types = types

    def begin(self) -> bytes:
        """The list of a batch."""
        return b'{"results":[' if self._is_batch else b""

    def open_result(self, position: int, prepared: Prepared) -> bytes:
        """The fields."""
        return b'%b{"fields":%b,"rows":[' % (b"," if position else b"", prepared.columns.fields_json)

    def rows(self, position: int, prepared: Prepared, regions: Sequence[bytes], *, first: bool) -> bytes:
        """Elements of the list of rows."""
        encoder = prepared.columns.encoder(self._raw_text, self._array_modes[position], self._types)
        elements = encoder.encode_elements(regions)
        return elements if first or not elements else b"," + elements

    def close_result(self, position: int, result: Result) -> bytes:
        """What the command tag says."""
        mode = b"true" if self._array_modes[position] else b"false"
        return b'],%b,"rowAsArray":%b}' % (command_json(result.tag), mode)

    def end(self) -> bytes:
        """The end of a batch's list."""
        return b"]}" if self._is_batch else b""


class NdjsonFormat:
    """One line of JSON for each row: what ``rows`` of the other format holds."""

    content_type = NDJSON

    def __init__(self, request: SqlRequest, types: ArrayTypes) -> None:
        self._raw_text = request.raw_text
        self._array_modes = request.array_modes
        self._types = types

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def open_result(self, position: int, prepared: Prepared) -> bytes:
        """Nothing."""
        return b""

    def rows(self, position: int, prepared: Prepared, regions: Sequence[bytes], *, first: bool) -> bytes:
        """Lines."""
        return prepared.columns.encoder(self._raw_text, self._array_modes[position], self._types).encode_lines(regions)

    def close_result(self, position: int, result: Result) -> bytes:
        """Nothing."""
        return b""

    def end(self) -> bytes:
        """Nothing."""
        return b""


FormatMaker = Callable[[SqlRequest, ArrayTypes], AnswerFormat]


def format_for(accept: bytes | None, request: SqlRequest) -> FormatMaker:
    """The first format in an Accept header that there is; JSON where there is none (RFC 9110, section 12.5.1).

    Weights are not looked at. Raises MalformedHeader where a batch asks for a format that holds one result, and
    where Arrow is asked for and pyarrow is not installed.
    """
    if accept is None:
        return JsonFormat
    for part in accept.split(b","):
        wanted = part.partition(b";")[0].strip().lower()
        if wanted in (NDJSON, ARROW):
            if request.transaction is not None:
                raise MalformedHeader(
                    "a batch has several results, and the format asked for holds one",
                    hint="Send one query, or accept application/json.",
                )
            return NdjsonFormat if wanted == NDJSON else _arrow()
        if wanted in (JSON, b"*/*", b"application/*"):
            return JsonFormat
    return JsonFormat


def _arrow() -> FormatMaker:
    try:
        from rowgate.gateway.arrow_format import ArrowFormat
    except ModuleNotFoundError as problem:
        raise MalformedHeader(
            "this gateway does not write Arrow", hint="Install rowgate[arrow] where the gateway runs."
        ) from problem
    return ArrowFormat
