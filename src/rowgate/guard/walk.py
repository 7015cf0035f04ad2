"""One walk over a statement's parse tree: every node is on the allow-list, every name is judged.

The walk keeps its own stack, so the depth of a tree costs no recursion. Names are compared as the parser read them:
quoting, case, Unicode escapes and comments are gone by then. The walk never changes the tree, and what it does not
know it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

from rowgate.errors import StatementRefused
from rowgate.guard.catalog import FunctionCatalog
from rowgate.guard.functions import is_known_harmless, judge_column, judge_function
from rowgate.guard.nodes import NODE, NODES, STATEMENTS
from rowgate.guard.parser import ParsedText
from rowgate.guard.relations import judge_qualified_name, judge_relation
from rowgate.guard.statements import Node, Profile, judge_statement
from rowgate.guard.type_names import judge_type
from rowgate.guard.verdict import Fingerprint, Refusal, Verdict, shown

Scope = frozenset[str]
_NO_NAMES: Scope = frozenset()

_OPEN_VALUE_FUNCTIONS: Final = frozenset(
    {
        *("SVFOP_CURRENT_DATE", "SVFOP_CURRENT_TIME", "SVFOP_CURRENT_TIME_N", "SVFOP_CURRENT_TIMESTAMP"),
        *("SVFOP_CURRENT_TIMESTAMP_N", "SVFOP_LOCALTIME", "SVFOP_LOCALTIME_N", "SVFOP_LOCALTIMESTAMP"),
        *("SVFOP_LOCALTIMESTAMP_N", "SVFOP_CURRENT_ROLE", "SVFOP_CURRENT_USER", "SVFOP_USER"),
        "SVFOP_CURRENT_SCHEMA",
    }
)
"""Closed are SESSION_USER and CURRENT_CATALOG: the login role and the database are the operator's names."""

_SAMPLING_METHODS: Final = frozenset({"system", "bernoulli"})

Handler = Callable[[Any, str, Node, "int | None", Scope], Scope]
"""A method of a walk: type, node, its byte offset and the names of table expressions; gives the names for its parts."""

Step = tuple[Mapping[str, str | None], Handler | None]
"""What is done with a node of one type: its fields as in :data:`rowgate.guard.nodes.NODES`, and the method."""

InPlace = Callable[[Any, Node], bool]
"""Whether a node is in order, by itself and without a place to name; where it is not, it is judged in its turn."""


def steps_of(handlers: Mapping[str, Handler]) -> dict[str, Step]:
    """The steps for every type on the allow-list. Plain dictionaries, because a walk looks up each node and each field;
    nobody changes them."""
    return {kind: (dict(fields), handlers.get(kind)) for kind, fields in NODES.items()}


class Walk:
    """What one walk found: ``tables``, ``functions``, the names that are ``dotted`` behind something, and whether the
    statement ``writes`` or locks rows."""

    __slots__ = ("_catalog", "_parsed", "_pending", "_profile", "dotted", "functions", "tables", "writes")

    steps: ClassVar[Mapping[str, Step]]
    in_place: ClassVar[Mapping[str, InPlace]]
    value_functions: ClassVar[frozenset[str]] = _OPEN_VALUE_FUNCTIONS

    def __init__(self, profile: Profile, catalog: FunctionCatalog, parsed: ParsedText) -> None:
        self._parsed = parsed
        self._profile = profile
        self._catalog = catalog
        self._pending: list[tuple[str, Node, int | None, Scope]] = []
        self.tables: set[str] = set()
        self.functions: set[str] = set()
        self.dotted: set[str] = set()
        self.writes = False

    def run(self, statement: Node) -> None:
        """Judge a statement, ``{type: node}``. Raises StatementRefused at the first thing that is not open.

        Most nodes are constants, parameters and columns, and nearly all are in order. Those are judged where they are
        met, which takes less; all others wait for their turn, so that what a refusal names does not depend on it.
        """
        self._push(statement, None, _NO_NAMES)
        pending = self._pending
        steps, in_place = self.steps, self.in_place
        while pending:
            kind, node, offset, scope = pending.pop()
            step = steps.get(kind)
            if step is None:
                raise self._refused(_unknown(kind, None), offset)
            fields, handler = step
            offset = node.get("location", offset)
            if handler is not None:
                scope = handler(self, kind, node, offset, scope)
            for name in node:
                try:
                    child = fields[name]
                except KeyError:
                    raise self._refused(_unknown(kind, name), offset) from None
                if child is None:
                    continue
                value = node[name]
                if child is not NODE:
                    passes = in_place.get(child)
                    if passes is None or not passes(self, value):
                        pending.append((child, value, offset, scope))
                    continue
                is_list = type(value) is list
                for item in value if is_list else (value,):
                    if not item and is_list:
                        continue  # an empty object stands for a null pointer in a list
                    [child_kind] = item
                    child_node = item[child_kind]
                    passes = in_place.get(child_kind)
                    if passes is None or not passes(self, child_node):
                        pending.append((child_kind, child_node, offset, scope))

    def verdict(self, kind: str, fingerprint: Fingerprint) -> Verdict:
        """What was found, as the verdict on a statement of this kind and fingerprint."""
        catalog = self._catalog
        user_functions = tuple(sorted([name for name in self.functions if not is_known_harmless(name, catalog)]))
        return Verdict(
            kind,
            tuple(sorted(self.tables)),
            tuple(sorted(self.functions)),
            fingerprint,
            not self.writes,
            bool(user_functions),
            user_functions,
            tuple(sorted(self.dotted)),
        )

    def judge_relation(self, node: Node, scope: Scope) -> Refusal | None:
        """The refusal for a relation that is read; the names of ``scope`` are table expressions."""
        return judge_relation(node)

    def judge_function(self, parts: list[str], node: Node) -> Refusal | None:
        """The refusal for the call ``node`` of the function ``parts``."""
        return judge_function(parts, self._catalog)

    def judge_type(self, parts: list[str]) -> Refusal | None:
        """The refusal for the type ``parts``."""
        return judge_type(parts)

    def _judge(self, refusal: Refusal | None, offset: int | None) -> None:
        if refusal is not None:
            raise self._refused(refusal, offset)

    def _refused(self, refusal: Refusal, offset: int | None) -> StatementRefused:
        return refusal.at(self._parsed.position(offset)).error()

    def _push(self, wrapped: Node, offset: int | None, scope: Scope) -> None:
        ((kind, node),) = wrapped.items()
        self._pending.append((kind, node, offset, scope))

    def statement(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        """Any of the five statements, on whatever level."""
        self._judge(judge_statement(kind, node, self._profile), offset)
        if kind == "SelectStmt":
            if "intoClause" in node:
                raise self._refused(_SELECT_INTO, _offset_of(node["intoClause"].get("rel", {}), offset))
        else:
            self.writes = True
            target = node["relation"]
            self._judge(judge_relation(target), _offset_of(target, offset))
            self.tables.add(_relation_name(target))  # a target is a table even where a table expression has its name
        clause = node.get("withClause")
        return scope if clause is None else self._with(clause, offset, scope)

    def _with(self, clause: Node, offset: int | None, scope: Scope) -> Scope:
        """Judge the WITH clause; the result is the names that hold after it.

        Without RECURSIVE each expression sees those before it, with RECURSIVE all (Postgres docs, "WITH Queries").
        """
        unknown = clause.keys() - {"ctes", "recursive", "location"}
        if unknown:
            raise self._refused(_unknown("WithClause", min(unknown)), offset)
        expressions = clause.get("ctes", [])
        names = [str(item["CommonTableExpr"].get("ctename", "")) for item in expressions]
        whole = scope.union(names)
        for index, item in enumerate(expressions):
            visible = whole if clause.get("recursive") else scope.union(names[:index])
            self._push(item, _offset_of(clause, offset), visible)
        return whole

    def locking(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        self.writes = True
        return scope

    def relation(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        self._judge(self.judge_relation(node, scope), offset)
        if "schemaname" in node or node.get("relname") not in scope:
            self.tables.add(_relation_name(node))
        return scope

    def function(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        parts = _parts(node["funcname"])
        self._judge(self.judge_function(parts, node), offset)
        # The grammar itself writes pg_catalog before the functions behind EXTRACT, TRIM and the like.
        self.functions.add(parts[-1] if parts[0] == "pg_catalog" else ".".join(parts))
        if parts[-1] == "nextval":
            self.writes = True
        return scope

    def column(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        """The last name of a.b, and every name of (expression).b, may be a function's."""
        names = node["fields"]
        if len(names) > 1:
            self._judge(self._refusal_of(names[-1]), offset)
        return scope

    def is_open_column(self, node: Node) -> bool:
        """Whether a ColumnRef is in order."""
        if not _COLUMN_FIELDS.issuperset(node):
            return False
        names = node["fields"]
        return len(names) == 1 or self._refusal_of(names[-1]) is None

    def indirection(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        for item in node["indirection"]:
            self._judge(self._refusal_of(item), offset)
        return scope

    def _refusal_of(self, item: Node) -> Refusal | None:
        """The refusal for what follows a dot, where that is a name."""
        string = item.get("String")
        if string is None:
            return None
        name = string.get("sval", "")
        if name in self.dotted:
            return None
        refusal = judge_column(name, self._catalog)
        if refusal is None:
            self.dotted.add(name)
        return refusal

    def type_name(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        self._judge(self.judge_type(_parts(node.get("names", ()))), offset)
        return scope

    def value_function(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        operation = str(node.get("op", ""))
        if operation not in self.value_functions:
            name = operation.removeprefix("SVFOP_")
            raise self._refused(
                Refusal(
                    f"{shown(name)} may not be used.",
                    "The login role and the database are the operator's names.",
                    "CURRENT_USER is the role of the connection; auth.user_id() is the user.",
                ),
                offset,
            )
        return scope

    def sampling(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        parts = _parts(node.get("method", ()))
        if parts[-1] not in _SAMPLING_METHODS or parts[:-1] not in ([], ["pg_catalog"]):
            raise self._refused(
                Refusal(
                    f"The sampling method {shown('.'.join(parts))} may not be used.",
                    "Expected SYSTEM or BERNOULLI.",
                    "Write TABLESAMPLE SYSTEM (percentage).",
                ),
                offset,
            )
        return scope

    def qualified_names(self, kind: str, node: Node, offset: int | None, scope: Scope) -> Scope:
        """Operators, collations and operator classes."""
        for name, what in _NAME_LISTS[kind]:
            parts = node.get(name)
            if parts is not None and len(parts) > 1:
                self._judge(judge_qualified_name(_parts(parts), what), offset)
        return scope


_NAME_LISTS: Final = {
    "A_Expr": (("name", "operator"),),
    "SubLink": (("operName", "operator"),),
    "SortBy": (("useOp", "operator"),),
    "CollateClause": (("collname", "collation"),),
    "IndexElem": (("collation", "collation"), ("opclass", "operator class")),
}

HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        **dict.fromkeys(STATEMENTS, Walk.statement),
        **dict.fromkeys(_NAME_LISTS, Walk.qualified_names),
        "A_Indirection": Walk.indirection,
        "ColumnRef": Walk.column,
        "FuncCall": Walk.function,
        "LockingClause": Walk.locking,
        "RangeTableSample": Walk.sampling,
        "RangeVar": Walk.relation,
        "SQLValueFunction": Walk.value_function,
        "TypeName": Walk.type_name,
    }
)
_COLUMN_FIELDS: Final = frozenset(NODES["ColumnRef"])


def _has_only(fields: frozenset[str]) -> InPlace:
    return lambda walk, node: fields.issuperset(node)


Walk.steps = steps_of(HANDLERS)
Walk.in_place = {
    "ColumnRef": Walk.is_open_column,
    **{
        kind: _has_only(frozenset(fields))
        for kind, fields in NODES.items()
        if kind not in HANDLERS and not any(fields.values())
    },
}

_SELECT_INTO: Final = Refusal(
    "SELECT INTO is not available.", "It creates a table.", "Use INSERT INTO ... SELECT with an existing table."
)

_CURSOR: Final = Refusal(
    "WHERE CURRENT OF is not available.",
    "It writes the row that a cursor stands on.",
    "Name the row by its primary key.",
)


def _unknown(kind: str, field: str | None) -> Refusal:
    if kind == "CurrentOfExpr":
        return _CURSOR
    what = shown(kind if field is None else f"{kind}.{field}")
    return Refusal(
        "The statement uses syntax that is not available.",
        f"The parse tree has {what}, which is not on the guard's list.",
        "Write the statement without it.",
    )


def _offset_of(node: Node, otherwise: int | None) -> int | None:
    offset = node.get("location", otherwise)
    return offset if isinstance(offset, int) else otherwise


def _parts(names: Any) -> list[str]:
    """The strings of a name list, ``[{"String": {"sval": ...}}, ...]``; an empty string has no ``sval``."""
    return [item["String"].get("sval", "") for item in names]


def _relation_name(node: Node) -> str:
    schema, name = node.get("schemaname"), node.get("relname", "")
    return name if schema is None else f"{schema}.{name}"
