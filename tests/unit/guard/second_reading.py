"""A second reading of a statement that the guard has let through, written without the guard's rules.

The guard closes by allow-lists; this complains by deny-lists, which were drawn up by hand from what is dangerous in
Postgres. What passes both is not thereby harmless, but where they differ one of them is wrong. It also holds a verdict
to its names, because the gate of row-level security takes them for all that there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import msgspec

from rowgate.guard import SessionKind, SessionStatement, Verdict

_LIBRARY: Any = import_module("postgast.native").lib
Node = dict[str, Any]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


QUERIES = _names("SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt")
WRITES = _names("InsertStmt UpdateStmt DeleteStmt MergeStmt LockingClause")
STATEMENTS: dict[str, frozenset[SessionKind]] = {
    "TransactionStmt": frozenset(
        {
            *(SessionKind.BEGIN, SessionKind.COMMIT, SessionKind.ROLLBACK, SessionKind.SAVEPOINT),
            *(SessionKind.RELEASE, SessionKind.ROLLBACK_TO),
        }
    ),
    "VariableSetStmt": frozenset({SessionKind.SET_TRANSACTION, SessionKind.SET_LOCAL}),
    "VariableShowStmt": frozenset({SessionKind.SHOW}),
    "DeclareCursorStmt": frozenset({SessionKind.DECLARE_CURSOR}),
    "FetchStmt": frozenset({SessionKind.FETCH, SessionKind.MOVE}),
    "ClosePortalStmt": frozenset({SessionKind.CLOSE_CURSOR, SessionKind.CLOSE_ALL_CURSORS}),
    "CopyStmt": frozenset({SessionKind.COPY_TO, SessionKind.COPY_FROM}),
    **dict.fromkeys(QUERIES, frozenset({SessionKind.QUERY})),
}
"""What a session may send to Postgres, and what the guard may call it."""
KEPT = frozenset(
    {
        *(SessionKind.SET_SESSION, SessionKind.RESET, SessionKind.RESET_ALL, SessionKind.DISCARD_ALL),
        *(SessionKind.DEALLOCATE, SessionKind.DEALLOCATE_ALL, SessionKind.UNLISTEN_ALL, SessionKind.UNLOCK_ALL),
        SessionKind.PRESENT_TOKEN,
    }
)
"""What the gateway answers itself."""

FUNCTIONS = _names(
    """
    brin_summarize_range current_query currval cursor_to_xml database_to_xml dblink gin_clean_pending_list
    inet_client_addr inet_server_addr lastval loread lowrite query_to_xml query_to_xml_and_xmlschema query_to_xmlschema
    schema_to_xml set_config setseed setval table_to_xml ts_rewrite ts_stat txid_current
    """
)
"""Of Postgres's own, under their plain names or behind pg_catalog."""
FUNCTION_PREFIXES = (
    *("binary_upgrade", "dblink", "lo_", "pg_advisory", "pg_backup", "pg_cancel", "pg_control", "pg_copy", "pg_create"),
    *("pg_current", "pg_cursor", "pg_database_size", "pg_drop", "pg_export", "pg_file", "pg_get_functiondef", "pg_hba"),
    *("pg_import", "pg_last", "pg_lock", "pg_logical", "pg_ls_", "pg_notif", "pg_prepared", "pg_promote", "pg_read"),
    *("pg_relation_filepath", "pg_relation_size", "pg_reload", "pg_replication", "pg_rotate", "pg_show", "pg_sleep"),
    *("pg_start", "pg_stat_", "pg_stop", "pg_switch", "pg_table_size", "pg_terminate", "pg_total", "pg_try", "pg_wal"),
)
"""In whatever schema."""
IDENTITY_FUNCTIONS = _names("init jwt_session_init rotate_session_key session_key")
SECRETS = _names(
    """
    pg_authid pg_config pg_cursors pg_db_role_setting pg_file_settings pg_foreign_server pg_hba_file_rules
    pg_largeobject pg_locks pg_prepared_statements pg_settings pg_shadow pg_stat_activity pg_stat_statements
    pg_statistic pg_statistic_ext_data pg_stats pg_stats_ext pg_subscription pg_user_mapping pg_user_mappings
    """
)
"""Relations with other people's data, closed to sessions too."""
SCHEMAS = _names("auth cron pg_temp pg_toast rowgate vault")
SETTINGS = _names("client_encoding role row_security session_authorization standard_conforming_strings")
REGISTERED_TYPES = _names("regclass regnamespace regoper regproc regprocedure regrole regtype")
OPEN_IN_SESSIONS = _names("current_setting version")


def trees_of(sql: str) -> list[Node]:
    """The statements of a text as libpg_query's JSON has them. Raises ValueError where it is no SQL."""
    result = _LIBRARY.pg_query_parse(sql.encode())
    try:
        if result.error:
            raise ValueError(result.error.contents.message)
        found = msgspec.json.decode(result.parse_tree)
    finally:
        _LIBRARY.pg_query_free_parse_result(result)
    return [item["stmt"] for item in found.get("stmts", [])]


def members_of(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every member of every object in a tree: its name and its value, with no notion of what may be where."""
    pending = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            for name, value in item.items():
                yield name, value
                pending.append(value)


def complaint_about(sql: str, verdict: Verdict) -> str | None:
    """Why a text that may be sent over HTTP must not be, or what its verdict leaves out; None where all is well."""
    trees = trees_of(sql)
    if not trees:
        return None if verdict.kind == "empty" else "there is no statement"
    if len(trees) > 1:
        return "there are several statements"
    ((kind, _),) = trees[0].items()
    if kind.removesuffix("Stmt").lower() != verdict.kind:
        return f"a {kind} is called {verdict.kind}"
    for relation in _relations(trees[0]):
        if relation.get("schemaname") in ("information_schema", "pg_catalog") or relation["relname"].startswith("pg_"):
            return f"it reads {relation['relname']}"
    for name, node in members_of(trees[0]):
        if name in ("TypeName", "typeName"):
            *schema, last = _texts(node.get("names", []))
            if last.lstrip("_") in REGISTERED_TYPES and schema in ([], ["pg_catalog"]):
                return f"it casts to {last}"
        if name == "FuncCall":
            *schema, last = _texts(node["funcname"])
            if last in OPEN_IN_SESSIONS and schema in ([], ["pg_catalog"]):
                return f"it calls {last}"
    return _harm(trees[0], QUERIES) or _omission(trees[0], verdict)


def complaint_about_session(statement: SessionStatement) -> str | None:
    """The same about one statement of a session, as it goes to Postgres."""
    if statement.answers:
        return _pretence(statement)
    if statement.kind in KEPT:
        return None
    trees = trees_of(statement.text)
    if len(trees) != 1:
        return f"its text has {len(trees)} statements"
    ((kind, node),) = trees[0].items()
    if statement.kind not in STATEMENTS.get(kind, ()):
        return f"a {kind} is called {statement.kind.value}"
    if kind == "SelectStmt" and _asks_for_one_setting(node):
        return None
    setting = str(node.get("name", "")).lower() if kind == "VariableSetStmt" else ""
    if setting in SETTINGS or "." in setting:
        return f"it sets {setting}"
    if kind == "CopyStmt" and (node.get("is_program") or node.get("filename")):
        return "it opens a file"
    if kind == "TransactionStmt" and "PREPARE" in str(node.get("kind")):
        return "it prepares a transaction"
    omission = None if statement.verdict is None else _omission(trees[0], statement.verdict)
    return _harm(trees[0], QUERIES | {kind}) or omission


def _pretence(statement: SessionStatement) -> str | None:
    """What answers in the place of a call calls nothing that counts."""
    if statement.kind is SessionKind.PRESENT_TOKEN:
        return None
    trees = trees_of(statement.text)
    called = {_texts(node["funcname"])[-1] for name, node in members_of(trees) if name == "FuncCall"}
    return f"it calls {called}" if called - {"current_setting"} else None


def _asks_for_one_setting(select: Node) -> bool:
    """Whether it is JDBC's ``select ... from pg_settings where name = 'constant'``, with nothing in it but columns."""
    where = select.get("whereClause", {}).get("A_Expr", {})
    return (
        [node["relname"] for node in _relations(select)] == ["pg_settings"]
        and not {"FuncCall", "SelectStmt", "SubLink"} & {name for name, _ in members_of(select)}
        and where.get("kind") == "AEXPR_OP"
        and where["name"] == [{"String": {"sval": "="}}]
        and where["lexpr"].get("ColumnRef", {}).get("fields") == [{"String": {"sval": "name"}}]
        and "sval" in where["rexpr"].get("A_Const", {})
    )


def _harm(tree: Node, statements: frozenset[str]) -> str | None:
    for name, node in members_of(tree):
        if name.endswith("Stmt") and name[0].isupper() and name not in statements:
            return f"it has a {name}"
        if name in ("intoClause", "CurrentOfExpr"):
            return f"it has a {name}"
        if name == "FuncCall":
            *schema, last = _texts(node["funcname"])
            is_builtin = last in FUNCTIONS and schema in ([], ["pg_catalog"])
            is_identity = last in IDENTITY_FUNCTIONS and schema == ["auth"]
            if is_builtin or is_identity or last.startswith(FUNCTION_PREFIXES):
                return f"it calls {last}"
    expressions = _expressions(tree)
    for relation in _relations(tree):
        schema, last = relation.get("schemaname"), relation["relname"]
        if schema in SCHEMAS or "catalogname" in relation:
            return f"it reads the schema {schema}"
        if last in SECRETS and (schema in ("pg_catalog", "public") or (schema is None and last not in expressions)):
            return f"it reads {last}"
    return None


def _omission(tree: Node, verdict: Verdict) -> str | None:
    """What the statement names and the verdict does not."""
    # FOR UPDATE OF names what FROM has named already, by its alias.
    locked = {id(one["RangeVar"]) for name, node in members_of(tree) if name == "lockedRels" for one in node}
    known = {*verdict.tables, *_expressions(tree)}
    for relation in _relations(tree):
        whole = ".".join(relation[part] for part in ("schemaname", "relname") if part in relation)
        if whole not in known and id(relation) not in locked:
            return f"the verdict leaves out the table {whole}"
    for name, node in members_of(tree):
        if name == "FuncCall":
            parts = _texts(node["funcname"])
            if not {parts[-1], ".".join(parts)} & {*verdict.functions}:
                return f"the verdict leaves out the function {'.'.join(parts)}"
        if name == "ColumnRef" and len(node["fields"]) > 1:
            last = node["fields"][-1].get("String")
            if last is not None and last.get("sval", "") not in verdict.dotted:
                return f"the verdict leaves out the name {last}"
        if name in WRITES and verdict.reads_only:
            return f"the verdict calls a {name} reading"
    return None


def _relations(tree: Node) -> Iterator[Node]:
    """Every RangeVar, wrapped or not."""
    return (node for _, node in members_of(tree) if isinstance(node, dict) and "relname" in node)


def _expressions(tree: Node) -> frozenset[str]:
    """The names of all table expressions, wherever they hold."""
    return frozenset(str(node.get("ctename", "")) for name, node in members_of(tree) if name == "CommonTableExpr")


def _texts(items: Any) -> list[str]:
    return [item["String"].get("sval", "") for item in items]
