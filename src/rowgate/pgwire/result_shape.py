"""What is known of a result from its row description alone: its fields, as values and as JSON, and encoders of rows.

Results with one description share it, over all statements and connections: making it costs more than encoding a row.
Never holds a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Final

from rowgate.pgwire.fields import Field, row_description
from rowgate.pgwire.rows import RowEncoder, fields_json
from rowgate.pgwire.types import BUILTIN_ARRAYS, ArrayType

MOST_KEPT: Final = 1024
LONGEST_KEPT: Final = 2048
"""Bytes of a row description; longer ones are rare, and would bound what is kept by nothing."""
_ANY_COLUMN: Final = Field("", 0, 0, 25, -1, -1)


class ResultShape:
    """The columns of results."""

    __slots__ = ("_encoders", "fields", "fields_json")

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.fields_json = fields_json(fields)
        self._encoders: dict[tuple[bool, bool], tuple[Mapping[int, ArrayType], RowEncoder]] = {}

    def encoder(self, raw_text: bool, array_mode: bool, array_types: Mapping[int, ArrayType]) -> RowEncoder:
        """The rows' encoder for an output mode and the array types of a database; made again where these are others."""
        if raw_text and array_mode:
            return _raw_lists(len(self.fields))
        known = self._encoders.get((raw_text, array_mode))
        if known is not None and known[0] is array_types:
            return known[1]
        encoder = RowEncoder(self.fields, raw_text=raw_text, array_mode=array_mode, array_types=array_types)
        self._encoders[raw_text, array_mode] = array_types, encoder
        return encoder


NO_COLUMNS: Final = ResultShape(())
"""Of statements that give no rows."""


def shape_of(description: bytes) -> ResultShape:
    """The shape that the body of a RowDescription tells. Raises ProtocolViolation where it is none."""
    return _kept(description) if len(description) <= LONGEST_KEPT else ResultShape(row_description(description))


@cache  # a result has 1,664 columns at most
def _raw_lists(width: int) -> RowEncoder:
    """For rows as lists of raw texts, whatever the columns' names and types are: one for all results of this width, so
    that with thousands of statements it stays at hand."""
    return RowEncoder([_ANY_COLUMN] * width, raw_text=True, array_mode=True, array_types=BUILTIN_ARRAYS)


@lru_cache(maxsize=MOST_KEPT)
def _kept(description: bytes) -> ResultShape:
    return ResultShape(row_description(description))
