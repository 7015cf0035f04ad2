"""Which kinds of statements a profile lets through, and what to say about the others.

A profile is a value, so that another one (for interactive sessions, say) is an addition and no change of the rules.
This module looks at the top of a tree only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from rowgate.guard.nodes import STATEMENTS
from rowgate.guard.verdict import FORBIDDEN, Refusal

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Profile:
    """What one kind of client may send.

    ``statements`` are node types out of :data:`rowgate.guard.nodes.STATEMENTS`, at the top and in WITH clauses.
    ``explain_options`` are the options that EXPLAIN may have; empty means that EXPLAIN is refused.
    """

    name: str
    statements: frozenset[str]
    explain_options: frozenset[str] = frozenset()


CLIENT: Final = Profile("client", frozenset(STATEMENTS))
"""Exposed roles. Without EXPLAIN, whose row estimates tell about rows that row-level security hides."""

DEVELOPMENT: Final = Profile(
    "development", frozenset(STATEMENTS), frozenset({"format", "costs", "verbose", "settings", "summary"})
)
"""As :data:`CLIENT`, with plain EXPLAIN. ANALYZE counts the rows that a policy filtered out, so it is in no profile."""

_OWNER = "Run it as the database owner over a direct connection, for example as a migration."
_SETTINGS = "Settings are fixed for each connection by the gateway."
_PREPARED = "Use bind parameters ($1, $2); the gateway prepares statements itself."
_CURSORS = "Use LIMIT with a WHERE condition on the last key seen."
_CHANNELS = "Notifications need a direct connection; poll with SELECT, or notify from a trigger."

_ADVICE: Final[dict[str, tuple[str, str]]] = {
    "CallStmt": ("CALL", "Call a function with SELECT instead."),
    "CheckPointStmt": ("CHECKPOINT", _OWNER),
    "ClosePortalStmt": ("CLOSE", _CURSORS),
    "ConstraintsSetStmt": ("SET CONSTRAINTS", _SETTINGS),
    "CopyStmt": ("COPY", "Use SELECT to read and INSERT with several rows to write."),
    "CreateTableAsStmt": ("CREATE TABLE AS", _OWNER),
    "DeallocateStmt": ("DEALLOCATE", _PREPARED),
    "DeclareCursorStmt": ("DECLARE", _CURSORS),
    "DiscardStmt": ("DISCARD", _SETTINGS),
    "DoStmt": ("DO", "Ask the database owner for a function and call it with SELECT."),
    "ExecuteStmt": ("EXECUTE", _PREPARED),
    "ExplainStmt": ("EXPLAIN", "Run EXPLAIN as the database owner, or in `rowgate dev`."),
    "FetchStmt": ("FETCH", _CURSORS),
    "ListenStmt": ("LISTEN", _CHANNELS),
    "LoadStmt": ("LOAD", _OWNER),
    "LockStmt": ("LOCK", "Use SELECT ... FOR UPDATE."),
    "NotifyStmt": ("NOTIFY", _CHANNELS),
    "PrepareStmt": ("PREPARE", _PREPARED),
    "TransactionStmt": ("transaction control", "Send the statements as one batch; it runs in one transaction."),
    "TruncateStmt": ("TRUNCATE", "Use DELETE; row-level security holds for it."),
    "UnlistenStmt": ("UNLISTEN", _CHANNELS),
    "VariableSetStmt": ("SET", _SETTINGS),
    "VariableShowStmt": ("SHOW", _SETTINGS),
}

_WORD = re.compile(r"[A-Z][a-z]*")


def judge_statement(kind: str, node: Node, profile: Profile) -> Refusal | None:
    """The refusal for a statement by the type and the options of its node, or None. Its parts are the walk's.

    For EXPLAIN the options alone are judged; the caller judges the statement inside in the same way.
    """
    if kind in STATEMENTS and kind in profile.statements:
        return None
    if kind == "ExplainStmt" and profile.explain_options:
        return _judge_explain(node, profile)
    words, hint = _ADVICE.get(kind, (_in_words(kind), _OWNER))
    return Refusal(
        f"{words[0].upper()}{words[1:]} is not available.",
        "Expected SELECT, VALUES, INSERT, UPDATE, DELETE or MERGE.",
        hint,
        FORBIDDEN,
    )


def _judge_explain(node: Node, profile: Profile) -> Refusal | None:
    for option in node.get("options", ()):
        name = str(option.get("DefElem", {}).get("defname", "?"))
        if name not in profile.explain_options:
            return Refusal(
                f"The EXPLAIN option {name.upper()} is not available.",
                f"Expected only {', '.join(sorted(profile.explain_options))}.",
                "Leave the option out; run EXPLAIN ANALYZE as the database owner.",
            )
    return None


def _in_words(kind: str) -> str:
    """A node type such as CreateRoleStmt as SQL is read: CREATE ROLE."""
    return " ".join(_WORD.findall(kind.removesuffix("Stmt"))).upper() or "This statement"
