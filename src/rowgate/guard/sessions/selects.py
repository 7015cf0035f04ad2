"""Statements written as SELECT that the gateway itself carries out: set_config, the identity, the reset of locks.

Each is recognised in its plain form alone, constants in a list of targets. In any other form the functions are what
they are elsewhere, closed. This module never lets a query through; it only takes some out of the way.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rowgate.guard.sessions.settings import SHOWABLE, TRANSACTION_SETTINGS, readable_setting, session_setting
from rowgate.guard.sessions.statement import SessionKind, SessionStatement
from rowgate.guard.sessions.tree import (
    Node,
    boolean_constant,
    names_of,
    only_fields,
    parameter_number,
    plain_call,
    plain_targets,
    text_constant,
    without_text_cast,
)

_PRESENT: Final = "select auth.jwt_session_init($1)"


def kept_select(select: Node, offset: int) -> SessionStatement | None:
    """The statement that stands for the SelectStmt ``select``, or None where it is an ordinary query.

    Raises StatementRefused for a setting or a value that is not open.
    """
    targets = plain_targets(select)
    if not targets:
        return None
    if len(targets) == 1:
        call = plain_call(targets[0][1])
        if call is None:
            return None
        parts, arguments = call
        if parts == ["auth", "jwt_session_init"] and len(arguments) == 1:
            return _present_token(arguments[0], offset)
        if _is_builtin(parts, "pg_advisory_unlock_all") and not arguments:
            column = _identifier(targets[0][0] or "pg_advisory_unlock_all")
            return SessionStatement(
                SessionKind.UNLOCK_ALL, f"SELECT ''::pg_catalog.void AS {column}", offset, answers=True
            )
    return _set_config(targets, offset)


def _present_token(argument: Node, offset: int) -> SessionStatement | None:
    argument = without_text_cast(argument)
    token, number = text_constant(argument), parameter_number(argument)
    if token is None and number is None:
        return None
    return SessionStatement(
        SessionKind.PRESENT_TOKEN, _PRESENT, offset, answers=True, token=token, token_parameter=number
    )


class _Change(NamedTuple):
    """What a set_config changes: a constant value, or the number of the parameter that has it."""

    name: str
    value: str | None
    parameter: int | None
    is_local: bool


def _set_config(targets: list[tuple[str | None, Node]], offset: int) -> SessionStatement | None:
    """One set_config, and beside it any number of current_setting, which asyncpg sends before it reads types."""
    columns: list[str] = []
    change: _Change | None = None
    for name, expression in targets:
        call = plain_call(expression)
        if call is None:
            return None
        parts, arguments = call
        if _is_builtin(parts, "set_config") and change is None:
            change = _change_of(arguments)
            if change is None:
                return None
            value = _literal(change.value) if change.value is not None else f"${change.parameter}::pg_catalog.text"
            columns.append(f"{value} AS {_identifier(name or 'set_config')}")
        elif _is_builtin(parts, "current_setting") and len(arguments) == 1:
            setting_name = text_constant(arguments[0])
            if setting_name is None:
                return None
            shown = f"pg_catalog.current_setting({_literal(readable_setting(setting_name))})"
            columns.append(f"{shown} AS {_identifier(name or 'current_setting')}")
        else:
            return None
    if change is None:
        return None
    return _statement_of(change, "SELECT " + ", ".join(columns), offset)


def _statement_of(change: _Change, text: str, offset: int) -> SessionStatement:
    setting = session_setting(change.name, change.value)
    kind = SessionKind.SET_LOCAL if change.is_local else SessionKind.SET_SESSION
    if setting.name in TRANSACTION_SETTINGS:
        kind = SessionKind.SET_TRANSACTION
    if change.parameter is None:
        return SessionStatement(kind, text, offset, settings=(setting,), answers=True)
    return SessionStatement(kind, text, offset, answers=True, parameters=((change.parameter, setting.name),))


def _change_of(arguments: list[Node]) -> _Change | None:
    if len(arguments) != 3:
        return None
    name, is_local = text_constant(without_text_cast(arguments[0])), boolean_constant(arguments[2])
    argument = without_text_cast(arguments[1])
    value, number = text_constant(argument), parameter_number(argument)
    if name is None or is_local is None or (value is None and number is None):
        return None
    return _Change(name, value, number, is_local)


def reads_one_setting(select: Node) -> bool:
    """Whether the SelectStmt ``select`` is ``select columns from pg_settings where name = 'setting'``, which JDBC
    sends, for a setting that may be shown."""
    if not only_fields(select, ("targetList", "fromClause", "whereClause", "limitOption", "op")):
        return False
    relations, condition = select.get("fromClause", []), select.get("whereClause", {}).get("A_Expr", {})
    if len(relations) != 1 or not _is_pg_settings(relations[0].get("RangeVar", {})):
        return False
    column, constant = condition.get("lexpr", {}).get("ColumnRef", {}), text_constant(condition.get("rexpr", {}))
    return (
        condition.get("kind") == "AEXPR_OP"
        and names_of(condition["name"]) == ["="]
        and column.get("fields") == [{"String": {"sval": "name"}}]
        and constant in SHOWABLE
        and all("ColumnRef" in item.get("ResTarget", {}).get("val", {}) for item in select.get("targetList", ()))
    )


def _is_pg_settings(relation: Node) -> bool:
    return (
        only_fields(relation, ("schemaname", "relname", "inh", "relpersistence", "location"))
        and relation.get("schemaname", "pg_catalog") == "pg_catalog"
        and relation.get("relname") == "pg_settings"
    )


def _is_builtin(parts: list[str], name: str) -> bool:
    return parts in ([name], ["pg_catalog", name])


def _literal(text: str) -> str:
    """For ``standard_conforming_strings = on``, which the gateway pins."""
    return "'" + text.replace("'", "''") + "'"


def _identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
