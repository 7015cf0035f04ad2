"""What a statement gave: columns, rows, and how many it counted. Reads an answer's JSON; never sends anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rowgate.client.values import converter
from rowgate.errors import AnswerUnreadable

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, the OID of its type, and of which table and column of it it is (0 where of none)."""

    name: str
    type_oid: int
    table_oid: int
    column_number: int


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one statement.

    ``values`` has a tuple for each row, ``command`` is its first word (``SELECT``), ``row_count`` how many rows it
    returned or changed, None where Postgres counts nothing.
    """

    columns: tuple[Column, ...]
    values: list[tuple[Any, ...]] = field(repr=False)
    command: str
    row_count: int | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each row by the names of its columns; of several columns with one name, the last."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.values]

    def into(self, kind: Callable[..., Row]) -> list[Row]:
        """Each row as ``kind``, which is called with the columns by name: a dataclass, a NamedTuple, a model."""
        return [kind(**row) for row in self.rows]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.values)


def read_result(body: bytes) -> Result:
    """The result of a single statement. Raises AnswerUnreadable."""
    return _reading(body, _result)


def read_results(body: bytes) -> list[Result]:
    """The results of a batch, in order. Raises AnswerUnreadable."""
    return _reading(body, lambda answer: [_result(one) for one in answer["results"]])


def _reading(body: bytes, read: Callable[[Any], Row]) -> Row:
    try:
        return read(json.loads(body))
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise AnswerUnreadable(
            "the answer is not the JSON of a result", detail=f"reading it raised {type(problem).__name__}"
        ) from None


def _result(answer: Any) -> Result:
    """Rows have to be arrays, as this client asks for them."""
    columns = tuple(Column(one["name"], one["dataTypeID"], one["tableID"], one["columnID"]) for one in answer["fields"])
    values = [tuple(row) for row in answer["rows"]]
    if any(len(row) != len(columns) for row in values) or answer["rowAsArray"] is not True:
        raise ValueError("rows that do not fit the columns")
    converters = [converter(column.type_oid) for column in columns]
    if any(converters):
        values = [
            tuple(value if convert is None else convert(value) for convert, value in zip(converters, row, strict=True))
            for row in values
        ]
    return Result(columns, values, answer["command"], answer["rowCount"])
