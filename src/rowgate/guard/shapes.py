"""Statements that differ only in whole numbers and in where things stand are judged once.

Clients that write values into their SQL send a new text each time. Such a text is still parsed, always; what is saved
is the walk over a tree that was judged before. No rule of the guard looks at a whole-number constant (a test holds them
to it), so two trees that are the same but for those get the same verdict. Refusals are never kept here, because they
tell a place. Never looks at SQL: it cuts numbers out of the parser's own JSON.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final, Generic, TypeVar

MOST_SHAPES: Final = 1024
LONGEST_SHAPE: Final = 8 * 1024

# Inside JSON strings a quotation mark has a backslash before it, so what ends with an unescaped one and a colon is a
# member of the parser's nodes and never a part of anybody's text.
_PLACES: Final = (b'"location":', b'"ival":{"ival":')
_ARRAY_PLACES: Final = (b'"list_start":', b'"list_end":')
_STATEMENT_PLACES: Final = (b'"stmt_location":', b'"stmt_len":')
_STATEMENT_END: Final = 64
"""Bytes at the end of a tree that hold the places of its last statement, whose members they close."""
_DIGITS: Final = b"-0123456789"

_D = TypeVar("_D")


def shape_of(tree: bytes) -> bytes | None:
    """What stays of a parse tree (libpg_query's JSON) without its whole-number constants and places; None where that is
    too long to be kept. The places of statements before the last stay: nothing is judged by the shape of several."""
    if len(tree) > 2 * LONGEST_SHAPE:
        return None
    for name in _PLACES:
        tree = _without_numbers(tree, name)
    if b'"A_ArrayExpr":' in tree:
        for name in _ARRAY_PLACES:
            tree = _without_numbers(tree, name)
    end = tree[-_STATEMENT_END:]
    for name in _STATEMENT_PLACES:
        if name in end:
            end = _without_numbers(end, name)
    return tree[:-_STATEMENT_END] + end


def _without_numbers(tree: bytes, name: bytes) -> bytes:
    first, *others = tree.split(name)
    return name.join([first, *[other.lstrip(_DIGITS) for other in others]])


def only_statement(tree: bytes) -> dict[str, int]:
    """Place and length of the last statement in ``tree``, as its RawStmt has them."""
    found: dict[str, int] = {}
    rest = tree.removesuffix(b"}]}")
    for name in ("stmt_len", "stmt_location"):
        before, _, digits = rest.rpartition(b',"%b":' % name.encode())
        if digits.isdigit():
            found[name] = int(digits)
            rest = before
    return found


class ShapeCache(Generic[_D]):
    """What was decided about each shape; the least recently used leaves first. Safe to use from several threads."""

    __slots__ = ("_decisions", "_lock")

    def __init__(self) -> None:
        self._decisions: OrderedDict[bytes, _D] = OrderedDict()
        self._lock = Lock()

    def get(self, shape: bytes) -> _D | None:
        """The decision about ``shape``, or None."""
        with self._lock:
            decision = self._decisions.get(shape)
            if decision is not None:
                self._decisions.move_to_end(shape)
            return decision

    def put(self, shape: bytes, decision: _D) -> None:
        """Keeps a decision, unless the shape is long."""
        if len(shape) > LONGEST_SHAPE:
            return
        with self._lock:
            self._decisions[shape] = decision
            if len(self._decisions) > MOST_SHAPES:
                self._decisions.popitem(last=False)

    def __len__(self) -> int:
        return len(self._decisions)
