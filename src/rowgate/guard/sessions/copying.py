"""COPY between a table or a query and the client. Never a file, never a program.

Options only say how values are written, so they are an allow-list of names; the table and the query are the walk's.
"""

from __future__ import annotations

from typing import Final

from rowgate.guard.sessions.tree import Node
from rowgate.guard.verdict import Refusal, shown

_FIELDS: Final = frozenset(
    {"relation", "query", "attlist", "is_from", "is_program", "filename", "options", "whereClause"}
)

_OPTIONS: Final = frozenset(
    {
        *("default", "delimiter", "encoding", "escape", "force_not_null", "force_null", "force_quote", "format"),
        *("header", "log_verbosity", "null", "on_error", "quote", "reject_limit"),
    }
)
"""Not here: FREEZE, which shows rows to transactions that should not see them yet."""

_FORMATS: Final = frozenset({"text", "csv", "binary"})


def judge_copy(node: Node) -> Refusal | None:
    """The refusal for a CopyStmt by where it goes and by its options, or None. What it copies is the walk's."""
    if node.get("is_program") or "filename" in node:
        return Refusal(
            "COPY to or from the server's files and programs is not available.",
            "Expected STDIN or STDOUT.",
            "Use STDIN or STDOUT; in psql, \\copy reads and writes files of the client.",
        )
    strange = next((name for name in node if name not in _FIELDS), None)
    if strange is not None or ("relation" in node) == ("query" in node) or (node.get("is_from") and "query" in node):
        return Refusal(
            "COPY uses syntax that is not available.",
            f"The parse tree has {shown(strange or 'no relation')}, which is not on the guard's list.",
            "Write COPY table FROM STDIN, or COPY table or (query) TO STDOUT.",
        )
    for option in node.get("options", ()):
        refusal = _judge_option(option.get("DefElem", {}))
        if refusal is not None:
            return refusal
    return None


def _judge_option(element: Node) -> Refusal | None:
    name = str(element.get("defname", ""))
    value = str(element.get("arg", {}).get("String", {}).get("sval", ""))
    if name not in _OPTIONS:
        return Refusal(
            f"The COPY option {shown(name.upper())} is not available.",
            f"Expected only {', '.join(sorted(_OPTIONS))}.",
            "Leave the option out.",
        )
    if name == "format" and value not in _FORMATS:
        return Refusal(
            f"The COPY format {shown(value)} is not available.",
            f"Expected {', '.join(sorted(_FORMATS))}.",
            "Other formats are functions of extensions.",
        )
    if name == "encoding" and "".join(filter(str.isalnum, value.lower())) not in {"utf8", "unicode"}:
        return Refusal("COPY is available in UTF8 only.", f"Got {shown(value)}.", "Leave ENCODING out.")
    return None
