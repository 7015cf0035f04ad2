"""The walk over a query of a session: as over HTTP, with the structural catalogs and their functions added.

What it adds is read by name from the reviewed lists beside it. It never opens a catalog for writing, and where a
catalog has closed columns it holds the whole statement to naming what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from rowgate.guard.catalog import FunctionCatalog
from rowgate.guard.nodes import STATEMENTS
from rowgate.guard.parser import ParsedText
from rowgate.guard.relations import judge_relation
from rowgate.guard.sessions.catalogs import CLOSED_COLUMNS, is_structural
from rowgate.guard.sessions.functions import SESSION_HELPERS
from rowgate.guard.sessions.settings import SHOWABLE, closed_setting, folded
from rowgate.guard.sessions.tree import (
    Node,
    boolean_constant,
    names_of,
    parameter_number,
    text_constant,
    without_text_cast,
)
from rowgate.guard.statements import Profile
from rowgate.guard.type_names import REFUSED_TYPES, judge_type
from rowgate.guard.verdict import Refusal, shown
from rowgate.guard.walk import InPlace, Scope, Step, Walk, steps_of


class SessionWalk(Walk):
    """As :class:`rowgate.guard.walk.Walk`, with a catalogue from
    :func:`rowgate.guard.sessions.functions.session_catalog`.

    What reads catalogs with closed columns is walked over once more in the end, because a select list comes before its
    FROM and may stand far from it.
    """

    __slots__ = ("_partly_closed", "_statements", "setting_parameters")

    value_functions: ClassVar[frozenset[str]] = Walk.value_functions | {"SVFOP_SESSION_USER", "SVFOP_CURRENT_CATALOG"}

    def __init__(self, profile: Profile, catalog: FunctionCatalog, parsed: ParsedText) -> None:
        super().__init__(profile, catalog, parsed)
        self._statements: list[Node] = []
        self.setting_parameters: set[int] = set()
        self._partly_closed: dict[str, str] = {}  # name or alias in this statement, to the catalog

    def run(self, statement: Node) -> None:
        """As in the base class; a session may run more than one tree of the same statement."""
        super().run(statement)
        self._statements.append(statement)
        if self._partly_closed:
            columns = _ColumnWalk(self._profile, self._catalog, self._parsed, self._partly_closed)
            for one in self._statements:
                columns.run(one)

    def judge_relation(self, node: Node, scope: Scope) -> Refusal | None:
        refusal = judge_relation(node)
        if refusal is None or not is_structural(node):
            return refusal
        name = node["relname"]
        if name in CLOSED_COLUMNS:
            alias = node.get("alias", {})
            if "colnames" in alias:
                return _closed(name, "columns under other names")
            self._partly_closed[name] = self._partly_closed[alias.get("aliasname", name)] = name
        return None

    def judge_function(self, parts: list[str], node: Node) -> Refusal | None:
        if parts in _CURRENT_SETTING:
            return self._judge_current_setting(node)
        if parts[0] == "information_schema" and len(parts) == 2 and parts[1] in SESSION_HELPERS:
            return None
        return super().judge_function(parts, node)

    def judge_type(self, parts: list[str]) -> Refusal | None:
        return None if _is_structural_type(parts) else judge_type(parts)

    def _judge_current_setting(self, node: Node) -> Refusal | None:
        """Open with the name of an open setting, as a constant or as a parameter that the gateway judges when it is
        bound; other settings hold the sealed identity, and what ALTER ROLE keeps for applications."""
        arguments = node.get("args", [])
        if len(arguments) == 1 or (len(arguments) == 2 and boolean_constant(arguments[1]) is not None):
            argument = without_text_cast(arguments[0])
            name, number = text_constant(argument), parameter_number(argument)
            if name is not None:
                return None if folded(name) in SHOWABLE else closed_setting(name)
            if number is not None:
                self.setting_parameters.add(number)
                return None
        return _NOT_CONSTANT


class _ColumnWalk(Walk):
    """Holds every reference to a column, in what is open otherwise, against the closed columns of ``catalogs``: name or
    alias in the statement, to the catalog."""

    __slots__ = ("_catalogs", "_hidden")

    def __init__(
        self, profile: Profile, catalog: FunctionCatalog, parsed: ParsedText, catalogs: Mapping[str, str]
    ) -> None:
        super().__init__(profile, catalog, parsed)
        self._catalogs = catalogs
        self._hidden = {name: catalog for catalog in catalogs.values() for name in CLOSED_COLUMNS[catalog].closed}

    def column(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        names = [item["String"].get("sval", "") if "String" in item else _STAR for item in node["fields"]]
        self._hold(names[-2] if len(names) > 1 else None, names[-1], offset)
        return scope

    def indirection(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        for item in node["indirection"]:
            if "String" in item:
                self._hold(_EXPRESSION, item["String"].get("sval", ""), offset)
            elif "A_Star" in item:
                self._hold(_EXPRESSION, _STAR, offset)
        return scope

    def join(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        """NATURAL compares every column that both sides have, USING names them, an alias makes a row of all."""
        if node.get("isNatural") or "alias" in node:
            self._hold(_EXPRESSION, _STAR, offset)
        for name in names_of(node.get("usingClause", ())):
            self._hold(_EXPRESSION, name, offset)
        return scope

    def _hold(self, qualifier: str | None, name: str, offset: int | None) -> None:
        catalogs, hidden = self._catalogs, self._hidden
        if name == _STAR:
            raise self._refused(_closed(next(iter(catalogs.values())), "all columns at once"), offset)
        if name in hidden:
            raise self._refused(_closed(hidden[name], name), offset)
        if qualifier is None:
            if name in catalogs:
                raise self._refused(_closed(catalogs[name], "a whole row"), offset)
        elif qualifier in catalogs and name not in CLOSED_COLUMNS[catalogs[qualifier]].open:
            raise self._refused(_closed(catalogs[qualifier], name), offset)

    steps: ClassVar[Mapping[str, Step]] = steps_of(
        {
            **dict.fromkeys(STATEMENTS, Walk.statement),
            "A_Indirection": indirection,
            "ColumnRef": column,
            "JoinExpr": join,
        }
    )
    in_place: ClassVar[Mapping[str, InPlace]] = MappingProxyType({})


_STAR: Final = "*"
_EXPRESSION: Final = ""

_CURRENT_SETTING: Final = (["current_setting"], ["pg_catalog", "current_setting"])

_NOT_CONSTANT: Final = Refusal(
    "The function current_setting may be called with the plain name of a setting only.",
    "Expected a literal or a bind parameter, and at most true or false after it.",
    "Write current_setting('name') or current_setting('name', true).",
)

_STRUCTURAL_TYPES: Final = frozenset(name for name in REFUSED_TYPES if name.startswith("reg"))
"""They turn names to oids and back, as the catalogs do that a session may read."""


def _is_structural_type(parts: list[str]) -> bool:
    return bool(parts) and parts[-1].lstrip("_") in _STRUCTURAL_TYPES and parts[:-1] in ([], ["pg_catalog"])


def _closed(catalog: str, what: str) -> Refusal:
    return Refusal(
        f"The relation {catalog} may not be read like this: {shown(what)}.",
        f"Closed are {', '.join(sorted(CLOSED_COLUMNS[catalog].closed))}, also as a part of *, of a row or of a join.",
        "Name the columns that you need, each with the name or alias of the relation.",
    )
