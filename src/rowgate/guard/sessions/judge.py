"""Every statement of a session's text: what it is, whether it may run, and what the gateway keeps of it.

A table from node types to functions; a type that is not in it is refused with the words of the other profiles. Each
function looks at the fields that it knows and refuses a node with others. Queries go through the same walk as those
over HTTP, with the structural catalogs added. This module never changes a text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from rowgate.errors import StatementRefused
from rowgate.guard.catalog import FunctionCatalog
from rowgate.guard.nodes import STATEMENTS
from rowgate.guard.parser import ParsedText, fingerprint_here, fingerprint_of
from rowgate.guard.relations import judge_relation
from rowgate.guard.sessions.copying import judge_copy
from rowgate.guard.sessions.selects import kept_select, reads_one_setting
from rowgate.guard.sessions.settings import TRANSACTION_SETTINGS, closed_setting, readable_setting, session_setting
from rowgate.guard.sessions.statement import SessionKind, SessionSetting, SessionStatement
from rowgate.guard.sessions.tree import Node, setting_constant
from rowgate.guard.sessions.walk import SessionWalk
from rowgate.guard.statements import Profile, judge_statement
from rowgate.guard.verdict import TOO_COMPLEX, Fingerprint, Refusal, shown

MOST_STATEMENTS: Final = 500
"""Statements in one text. Each is judged, sent and answered by itself."""

_BLANKS: Final = b" \t\n\r\f\v"


class _Case(msgspec.Struct, frozen=True):
    """One statement and what is needed to judge it. ``start`` and ``end`` are its bytes, ``offset`` the characters
    before it."""

    profile: Profile
    catalog: FunctionCatalog
    parsed: ParsedText
    start: int
    end: int
    offset: int

    @property
    def data(self) -> bytes:
        return self.parsed.data[self.start : self.end]

    @property
    def text(self) -> str:
        return self.data.decode()

    def refused(self, refusal: Refusal, location: int | None = None) -> StatementRefused:
        """The error at a byte of the whole text, or where the statement begins."""
        place = self.start if location is None or location < 0 else location
        return refusal.at(self.parsed.position(place)).error()

    def expect(self, node: Node, fields: str) -> None:
        """Refuse a node with other fields than ``fields``: syntax that this module does not know."""
        known = fields.split()
        unknown = next((name for name in node if name not in known), None)
        if unknown is not None:
            raise self.refused(_strange(unknown))

    def made(self, kind: SessionKind, **values: object) -> SessionStatement:
        return SessionStatement(kind, self.text, self.offset, **values)  # type: ignore[arg-type]

    def fingerprint(self) -> Fingerprint:
        """Of the statement alone. One out of several is parsed by itself at once: it goes to Postgres by itself."""
        if len(self.parsed.statements) == 1:
            return fingerprint_of(self.parsed.data)
        return Fingerprint(fingerprint_here(self.data))

    def judged(self, kind: SessionKind, what: str, *trees: Node, **values: object) -> SessionStatement:
        """The statement with its verdict, after a walk over ``trees`` (``{type: node}``). Raises StatementRefused."""
        walk = SessionWalk(self.profile, self.catalog, self.parsed)
        for tree in trees:
            walk.run(tree)
        walk.writes = walk.writes or kind is SessionKind.COPY_FROM
        verdict = walk.verdict(what, self.fingerprint())
        parameters = tuple([(number, None) for number in sorted(walk.setting_parameters)])
        return self.made(kind, verdict=verdict, parameters=parameters, **values)


def judge_session(parsed: ParsedText, profile: Profile, catalog: FunctionCatalog) -> tuple[SessionStatement, ...]:
    """Every statement of ``parsed``, in order. Raises StatementRefused at the first that is not open, with its
    position in the whole text."""
    if len(parsed.statements) > MOST_STATEMENTS:
        raise _TOO_MANY.error()
    decided = []
    is_ascii = parsed.data.isascii()
    byte = offset = 0
    for raw in parsed.statements:
        start, end = _bounds(raw, parsed.data)
        offset += start - byte if is_ascii else len(parsed.data[byte:start].decode())
        byte = start
        case = _Case(profile, catalog, parsed, start, end, offset)
        ((node_type, node),) = raw["stmt"].items()
        judge = _JUDGES.get(node_type)
        try:
            decided.append(_other(case, node_type, node) if judge is None else judge(case, node))
        except StatementRefused as error:
            if error.position is None:  # settings are judged by name and value, without a place
                raise case.refused(Refusal.of(error)) from None
            raise
    return tuple(decided)


def said_again(known: SessionStatement, data: bytes, raw: Mapping[str, int]) -> SessionStatement:
    """The plain query ``known``, which was judged before, in the words of the text ``data``, of which it is the only
    statement and differs from ``known`` in whole numbers and places alone; ``raw`` is its place there."""
    start, end = _bounds(raw, data)
    return SessionStatement(known.kind, data[start:end].decode(), len(data[:start].decode()), known.verdict)


def _bounds(raw: Mapping[str, Any], data: bytes) -> tuple[int, int]:
    """First byte and end of a RawStmt without blanks around; a length of 0 or none means the rest of the text."""
    start = raw.get("stmt_location", 0)
    end = start + raw["stmt_len"] if raw.get("stmt_len") else len(data)
    while start < end and data[start] in _BLANKS:
        start += 1
    while end > start and data[end - 1] in _BLANKS:
        end -= 1
    return start, end


def _query(case: _Case, node_type: str, node: Node) -> SessionStatement:
    if node_type == "SelectStmt":
        kept = kept_select(node, case.offset)
        if kept is not None:
            return kept
        if reads_one_setting(node):
            return case.judged(SessionKind.QUERY, "select", *node["targetList"])
    return case.judged(SessionKind.QUERY, STATEMENTS[node_type], {node_type: node})


def _other(case: _Case, node_type: str, node: Node) -> SessionStatement:
    """A query, or EXPLAIN where the profile has it; everything else is refused."""
    refusal = judge_statement(node_type, node, case.profile)
    if refusal is not None:
        advice = _ADVICE.get(node_type)
        if advice is not None:
            refusal = Refusal(refusal.message, *advice)
        raise case.refused(refusal)
    if node_type in STATEMENTS:
        return _query(case, node_type, node)
    return case.judged(SessionKind.QUERY, "explain", node["query"])


_TRANSACTIONS: Final = MappingProxyType(
    {
        "TRANS_STMT_BEGIN": SessionKind.BEGIN,
        "TRANS_STMT_START": SessionKind.BEGIN,
        "TRANS_STMT_COMMIT": SessionKind.COMMIT,
        "TRANS_STMT_ROLLBACK": SessionKind.ROLLBACK,
        "TRANS_STMT_SAVEPOINT": SessionKind.SAVEPOINT,
        "TRANS_STMT_RELEASE": SessionKind.RELEASE,
        "TRANS_STMT_ROLLBACK_TO": SessionKind.ROLLBACK_TO,
    }
)
"""Not here: the three statements of two-phase commit, whose transactions outlive every session."""


def _transaction(case: _Case, node: Node) -> SessionStatement:
    kind = _TRANSACTIONS.get(str(node.get("kind")))
    if kind is None:
        raise case.refused(_TWO_PHASE)
    case.expect(node, "kind options savepoint_name chain location")
    return case.made(
        kind,
        settings=_modes(case, node.get("options", ()), ""),
        name=node.get("savepoint_name"),
        chain=bool(node.get("chain")),
    )


def _modes(case: _Case, options: Collection[Node], prefix: str) -> tuple[SessionSetting, ...]:
    """The settings behind ISOLATION LEVEL, READ ONLY and DEFERRABLE; the grammar writes truth as 1."""
    settings = []
    for option in options:
        element = option.get("DefElem", {})
        name, value = str(element.get("defname")), setting_constant(element.get("arg", {}))
        if name not in TRANSACTION_SETTINGS or value is None:
            raise case.refused(_strange(name))
        settings.append(session_setting(prefix + name, value))
    return tuple(settings)


def _set(case: _Case, node: Node) -> SessionStatement:
    case.expect(node, "kind name args jumble_args is_local location")
    kind, name = node.get("kind"), str(node.get("name", ""))
    is_local = bool(node.get("is_local"))
    if kind == "VAR_RESET_ALL":
        return case.made(SessionKind.RESET_ALL)
    if kind == "VAR_SET_MULTI":
        return _set_modes(case, name, node.get("args", ()), is_local)
    if kind == "VAR_SET_VALUE":
        values = _constants(case, node.get("args", ()))
        setting = session_setting(name, values)
        if setting.name in TRANSACTION_SETTINGS:
            return case.made(SessionKind.SET_TRANSACTION, settings=(setting,))
        return case.made(SessionKind.SET_LOCAL if is_local else SessionKind.SET_SESSION, settings=(setting,))
    if kind in ("VAR_SET_DEFAULT", "VAR_RESET"):
        setting = session_setting(name, None)
        if setting.name in TRANSACTION_SETTINGS:
            raise closed_setting(setting.name).error()
        return case.made(SessionKind.SET_LOCAL if is_local else SessionKind.RESET, settings=(setting,))
    raise case.refused(_strange(str(kind)))


def _set_modes(case: _Case, what: str, options: Collection[Node], is_local: bool) -> SessionStatement:
    if what == "TRANSACTION":
        return case.made(SessionKind.SET_TRANSACTION, settings=_modes(case, options, ""))
    if what == "SESSION CHARACTERISTICS":
        settings = _modes(case, options, "default_")
        return case.made(SessionKind.SET_LOCAL if is_local else SessionKind.SET_SESSION, settings=settings)
    raise case.refused(_SNAPSHOT)


def _constants(case: _Case, arguments: Collection[Node]) -> tuple[str, ...]:
    values = []
    for argument in arguments:
        value = setting_constant(argument)
        if value is None:
            raise case.refused(_NOT_CONSTANT)
        values.append(value)
    return tuple(values)


def _show(case: _Case, node: Node) -> SessionStatement:
    case.expect(node, "name")
    return case.made(SessionKind.SHOW, name=readable_setting(str(node.get("name", ""))))


def _discard(case: _Case, node: Node) -> SessionStatement:
    case.expect(node, "target")
    if node.get("target") != "DISCARD_ALL":
        raise case.refused(_DISCARD_PART)
    return case.made(SessionKind.DISCARD_ALL)


def _deallocate(case: _Case, node: Node) -> SessionStatement:
    case.expect(node, "name isall location")
    if node.get("isall"):
        return case.made(SessionKind.DEALLOCATE_ALL)
    return case.made(SessionKind.DEALLOCATE, name=_name(case, node.get("name")))


def _unlisten(case: _Case, node: Node) -> SessionStatement:
    if node:
        raise case.refused(Refusal("UNLISTEN is not available.", *_ADVICE["ListenStmt"]))
    return case.made(SessionKind.UNLISTEN_ALL)


def _declare(case: _Case, node: Node) -> SessionStatement:
    case.expect(node, "portalname options query")
    options = int(node.get("options", 0))
    if options & _CURSOR_HOLD:
        raise case.refused(_WITH_HOLD)
    if options & _CURSOR_BINARY:
        raise case.refused(_BINARY_CURSOR)
    name = _name(case, node.get("portalname"))
    return case.judged(SessionKind.DECLARE_CURSOR, "select", node["query"], name=name)


def _fetch(case: _Case, node: Node) -> SessionStatement:
    case.expect(node, "direction howMany portalname ismove")
    kind = SessionKind.MOVE if node.get("ismove") else SessionKind.FETCH
    return case.made(kind, name=_name(case, node.get("portalname")))


def _close(case: _Case, node: Node) -> SessionStatement:
    case.expect(node, "portalname")
    if not node:
        return case.made(SessionKind.CLOSE_ALL_CURSORS)
    return case.made(SessionKind.CLOSE_CURSOR, name=_name(case, node.get("portalname")))


def _copy(case: _Case, node: Node) -> SessionStatement:
    refusal = judge_copy(node)
    if refusal is not None:
        raise case.refused(refusal)
    is_from = bool(node.get("is_from"))
    kind = SessionKind.COPY_FROM if is_from else SessionKind.COPY_TO
    if "query" in node:
        ((node_type, _),) = node["query"].items()
        return case.judged(kind, STATEMENTS.get(node_type, "copy"), node["query"])
    refusal = judge_relation(node["relation"])  # catalogs are for queries
    if refusal is not None:
        raise case.refused(refusal, node["relation"].get("location"))
    trees = [tree for tree in ({"RangeVar": node["relation"]}, node.get("whereClause")) if tree]
    return case.judged(kind, "insert" if is_from else "select", *trees)


def _name(case: _Case, name: object) -> str:
    """A name that is there: the empty ones are the protocol's unnamed statement and portal."""
    if not isinstance(name, str) or not name:
        raise case.refused(
            Refusal("A name is missing.", "Expected the name of a cursor or a statement.", "Give it one.")
        )
    return name


_CURSOR_BINARY: Final = 0x01  # src/include/nodes/parsenodes.h
_CURSOR_HOLD: Final = 0x20

_JUDGES: Final[MappingProxyType[str, Callable[[_Case, Node], SessionStatement]]] = MappingProxyType(
    {
        "ClosePortalStmt": _close,
        "CopyStmt": _copy,
        "DeallocateStmt": _deallocate,
        "DeclareCursorStmt": _declare,
        "DiscardStmt": _discard,
        "FetchStmt": _fetch,
        "TransactionStmt": _transaction,
        "UnlistenStmt": _unlisten,
        "VariableSetStmt": _set,
        "VariableShowStmt": _show,
    }
)

_NO_CHANNELS: Final = (
    "Sessions share their connections to Postgres, so a notification would reach whoever is there.",
    "Poll with SELECT, notify from a trigger, or listen over a direct connection.",
)
_NO_PREPARE: Final = (
    "A prepared statement of SQL would stay on a connection that other sessions use.",
    "Use the prepared statements of the protocol (Parse and Bind), as drivers do by themselves.",
)
_ADVICE: Final = MappingProxyType(
    {"ListenStmt": _NO_CHANNELS, "NotifyStmt": _NO_CHANNELS, "PrepareStmt": _NO_PREPARE, "ExecuteStmt": _NO_PREPARE}
)
_TWO_PHASE: Final = Refusal(
    "Two-phase commit is not available.",
    "A prepared transaction outlives its session and keeps its locks.",
    "Use COMMIT.",
)
_SNAPSHOT: Final = Refusal(
    "SET TRANSACTION SNAPSHOT is not available.", "It reads with another transaction's eyes.", "Leave it out."
)
_NOT_CONSTANT: Final = Refusal(
    "The value of a setting must be a constant.", "Expected a word, a literal or a number.", "Write 'value'."
)
_DISCARD_PART: Final = Refusal(
    "Only DISCARD ALL is available.", "Sessions share their connections to Postgres.", "Write DISCARD ALL."
)
_WITH_HOLD: Final = Refusal(
    "A cursor WITH HOLD is not available.",
    "It outlives its transaction, and with it the connection that the session has.",
    "Declare the cursor within a transaction, WITHOUT HOLD.",
)
_BINARY_CURSOR: Final = Refusal(
    "A BINARY cursor is not available.",
    "The format of rows is what the client asks for in Bind.",
    "Leave BINARY out and ask the driver for binary results.",
)
_TOO_MANY: Final = Refusal(
    "The text has too many statements.",
    f"Expected at most {MOST_STATEMENTS}.",
    "Send them in several texts.",
    TOO_COMPLEX,
)


def _strange(what: str) -> Refusal:
    return Refusal(
        "The statement uses syntax that is not available.",
        f"The parse tree has {shown(what)}, which is not on the guard's list.",
        "Write the statement without it.",
    )
