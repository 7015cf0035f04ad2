"""Reading single values out of a parse tree: constants, names, the types around them. Strict, and never a judgement.

What is not exactly of the expected form gives None, and the caller refuses it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

Node = dict[str, Any]


def names_of(items: Any) -> list[str]:
    """The strings of a name list, ``[{"String": {"sval": ...}}, ...]``; an empty string has no ``sval``."""
    return [item["String"].get("sval", "") for item in items]


def only_fields(node: Node, fields: Collection[str]) -> bool:
    """Whether ``node`` has no field besides ``fields``."""
    return set(fields).issuperset(node)


def text_constant(wrapped: Node) -> str | None:
    """The text of a string literal, or None for anything else."""
    constant = wrapped.get("A_Const", {})
    return str(constant["sval"].get("sval", "")) if "sval" in constant else None


def boolean_constant(wrapped: Node) -> bool | None:
    """The value of TRUE or FALSE, or None for anything else."""
    constant = wrapped.get("A_Const", {})
    return bool(constant["boolval"].get("boolval", False)) if "boolval" in constant else None


def setting_constant(wrapped: Node) -> str | None:
    """What SET reads from a constant: the text of a word, a literal or a number; None for anything else.

    A field that is absent from the tree's JSON stands for zero or for an empty string.
    """
    constant = wrapped.get("A_Const", {})
    if "ival" in constant:
        return str(int(constant["ival"].get("ival", 0)))
    if "fval" in constant:
        return str(constant["fval"].get("fval", ""))
    return text_constant(wrapped)


_TEXT_TYPES: Final = (["text"], ["pg_catalog", "text"], ["varchar"], ["pg_catalog", "varchar"])


def without_text_cast(wrapped: Node) -> Node:
    """The operand of a cast to ``text`` or to ``varchar`` of any length, or ``wrapped`` itself where it is none."""
    cast = wrapped.get("TypeCast", {})
    type_name = cast.get("typeName", {})
    if (
        cast
        and only_fields(type_name, ("names", "typemod", "location"))
        and names_of(type_name.get("names", ())) in _TEXT_TYPES
    ):
        operand: Node = cast["arg"]
        return operand
    return wrapped


def parameter_number(wrapped: Node) -> int | None:
    """The number of a bind parameter, ``$1`` and so on, or None for anything else."""
    reference = wrapped.get("ParamRef")
    return None if reference is None else int(reference.get("number", 0))


def plain_call(wrapped: Node) -> tuple[list[str], list[Node]] | None:
    """Name and arguments of a function call without FILTER, OVER, DISTINCT and the like, or None."""
    call = wrapped.get("FuncCall")
    if call is None or not only_fields(call, ("funcname", "args", "funcformat", "location")):
        return None
    return names_of(call["funcname"]), call.get("args", [])


def plain_targets(select: Node) -> list[tuple[str | None, Node]] | None:
    """The targets of ``SELECT a, b AS c`` as (name, expression); None where the statement has any other clause."""
    if not only_fields(select, ("targetList", "limitOption", "op")):
        return None
    targets = []
    for item in select.get("targetList", ()):
        target = item.get("ResTarget", {})
        if "val" not in target or not only_fields(target, ("name", "val", "location")):
            return None
        targets.append((target.get("name"), target["val"]))
    return targets
