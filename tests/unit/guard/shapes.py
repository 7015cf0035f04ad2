"""Ways to nest SQL deeply, for the tests of the stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

Shape = Callable[[int], str]

SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "plus": lambda n: "select 1" + "+1" * n,
        "concatenation": lambda n: "select a" + "||a" * n,
        "operators": lambda n: "select a" + "<@a" * n,
        "parameters": lambda n: "select $1" + "+$1" * n,
        "prefix": lambda n: "select " + "@ " * n + "a",
        "minus": lambda n: "select " + "- " * n + "1",
        "not": lambda n: "select " + "not " * n + "a",
        "and": lambda n: "select a" + " and a" * n,
        "or": lambda n: "select a" + " or(a" * n + ")" * n,
        "and_or": lambda n: "select a" + " and(a or a" * n + ")" * n,
        "is_null": lambda n: "select a" + " isnull" * n,
        "collate": lambda n: "select a" + ' collate "C"' * n,
        "at_local": lambda n: "select a" + " at local" * n,
        "in": lambda n: "select " + "a in(" * n + "1" + ")" * n,
        "parentheses": lambda n: "select " + "(" * n + "1" + ")" * n,
        "casts": lambda n: "select 1" + "::a" * n,
        "casts_by_name": lambda n: "select " + "cast(" * n + "1" + " as int)" * n,
        "subscripts": lambda n: "select a" + "[1]" * n,
        "nested_subscripts": lambda n: "select a" + "[a" * n + "]" * n,
        "arrays": lambda n: "select array" + "[" * n + "1" + "]" * n,
        "fields": lambda n: "select " + "(" * n + "a" + ").a" * n,
        "functions": lambda n: "select " + "f(" * n + "1" + ")" * n,
        "rows": lambda n: "select " + "row(" * n + "1" + ")" * n,
        "coalesce": lambda n: "select " + "coalesce(" * n + "1" + ")" * n,
        "case": lambda n: "select " + "case when " * n + "1" + " then 1 end" * n,
        "case_else": lambda n: "select " + "case a when 1 then 1 else " * n + "1" + " end" * n,
        "selects": lambda n: "select " + "(select " * n + "1" + ")" * n,
        "exists": lambda n: "select " + "exists(select " * n + "1" + ")" * n,
        "from": lambda n: "select 1 from " + "(select 1 from " * n + "t" + ")t" * n,
        "with": lambda n: "with a as(" * n + "table t" + ")table a" * n,
        "union": lambda n: "table a" + " union table a" * n,
        "joins": lambda n: "select 1 from a" + " cross join a" * n,
        "natural_joins": lambda n: "select 1 from a" + " natural join a" * n,
        "joins_on": lambda n: "select 1 from a" + " join a on 1" * n,
        "nested_joins": lambda n: "select 1 from " + "(" * n + "a" + " cross join a)" * n,
        "grouping_sets": lambda n: "select 1 from a group by " + "grouping sets(" * n + "a" + ")" * n,
        "list": lambda n: "select 1" + ",1" * n,
        "values": lambda n: "values(1)" + ",(1)" * n,
        "json": lambda n: "select " + "json_array(" * n + "1" + ")" * n,
        "xml": lambda n: "select " + "xmlconcat(" * n + "a" + ")" * n,
        "explain": lambda n: "explain " + "(" * n + "select 1" + ")" * n,
    }
)


def fill(shape: Shape, size: int) -> str:
    """The shape, nested as often as fits into ``size`` bytes, and blanks up to exactly that size."""
    low, high = 1, size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(shape(middle)) <= size else (low, middle - 1)
    return shape(low).ljust(size)


def nest(shape: Shape, depth: int, size: int) -> str:
    """The shape nested ``depth`` times, or as often as fits into ``size`` bytes (0: no bound)."""
    text = shape(depth)
    return text if not size or len(text) <= size else fill(shape, size)
