"""Array literals of Postgres, as ``array_out`` writes them: text in, nested lists out.

Only that form is read; what people may also write by hand (blanks around elements, NULL in small letters) never comes
from a server and is refused. This module never interprets an element: the caller's converter does.

Source: the Postgres documentation, section "Arrays", "Array Input and Output Syntax".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from rowgate.errors import ProtocolViolation

Converter = Callable[[list[str | None]], Sequence[object]]
"""Takes texts of one type, None for NULL, and returns as many values for a JSON encoder."""

MAX_DIMENSIONS: Final = 6
"""Postgres's own limit (MAXDIM), so depth is bounded whatever comes."""

_BOUNDS = re.compile(r"(?:\[-?[0-9]{1,10}:-?[0-9]{1,10}\]){1,6}=")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def array_values(literal: str, delimiter: str, convert: Converter | None) -> Sequence[object]:
    """Read an array literal into nested lists; NULL becomes None, any other element its text.

    ``delimiter`` is the element type's ``typdelim``, one character. ``convert`` takes the elements of each innermost
    list and returns as many values; None leaves the texts. Lower bounds (``[0:1]={...}``) are skipped. Raises
    ProtocolViolation for text that is no array literal, and whatever ``convert`` raises.
    """
    if literal.startswith("["):
        bounds = _BOUNDS.match(literal)
        literal = literal[bounds.end() :] if bounds else ""
    if len(literal) < 2 or literal[0] != "{" or literal[-1] != "}":
        raise _malformed()
    inside = literal[1:-1]
    if not inside:
        return []
    if '"' in inside or "{" in inside or "}" in inside or "\\" in inside:
        return _nested_values(literal, delimiter, convert)
    elements: list[str | None] = list(inside.split(delimiter))
    if "" in elements:  # an empty element is written ""
        raise _malformed()
    if "NULL" in elements:
        elements = [None if element == "NULL" else element for element in elements]
    return elements if convert is None else convert(elements)


def _nested_values(literal: str, delimiter: str, convert: Converter | None) -> Sequence[object]:
    """The general reader: one token at a time, with the open lists on a stack of its own."""
    tokens = _tokens(delimiter)
    open_lists: list[tuple[list[Any], list[str | None]]] = []  # of each: the lists in it, the elements in it
    expects_value = True  # else what may follow a value: a delimiter or a closing brace
    position = 0
    while match := tokens.match(literal, position):
        position = match.end()
        kind = match.lastgroup
        if (kind in ("close", "delimiter")) == expects_value:
            raise _malformed()
        if kind == "delimiter":
            expects_value = True
        elif kind == "open":
            if len(open_lists) == MAX_DIMENSIONS:
                raise _malformed()
            open_lists.append(([], []))
        elif kind == "close":
            lists, elements = open_lists.pop()
            if lists and elements:
                raise _malformed()
            closed = lists or (elements if convert is None else convert(elements))
            if open_lists:
                open_lists[-1][0].append(closed)
            elif position == len(literal):
                return closed
            else:
                break
        else:
            open_lists[-1][1].append(_element(match))
            expects_value = False
    raise _malformed()


def _element(match: re.Match[str]) -> str | None:
    plain: str | None = match["plain"]
    if plain is not None:
        return None if plain == "NULL" else plain
    quoted: str = match["quoted"]
    return _ESCAPE.sub(r"\1", quoted) if "\\" in quoted else quoted


@cache
def _tokens(delimiter: str) -> re.Pattern[str]:
    other = re.escape(delimiter)
    return re.compile(
        r"(?P<open>\{)|(?P<close>\})|(?P<delimiter>" + other + r")"
        r'|"(?P<quoted>(?:[^"\\]+|\\.)*+)"'
        r'|(?P<plain>[^{}"\\' + other + r"]+)",
        re.DOTALL,
    )


def _malformed() -> ProtocolViolation:
    return ProtocolViolation(
        "An array came in a form that Postgres does not write.", detail="Expected an array literal such as {1,NULL}."
    )
