"""The node types that a statement may consist of, and for each its fields: an allow-list, closed on both levels.

The names are those of Postgres's parse tree (src/include/nodes/parsenodes.h and primnodes.h) as libpg_query writes
them to JSON. A node or a field that is not here is refused, so new syntax needs a line here before it passes. This
module holds data only and judges nothing.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

NODE: Final = "*"
"""The field holds nodes wrapped in their type name, one or a list. Any other text is the type of a bare node."""

STATEMENTS: Final = MappingProxyType(
    {
        "SelectStmt": "select",
        "InsertStmt": "insert",
        "UpdateStmt": "update",
        "DeleteStmt": "delete",
        "MergeStmt": "merge",
    }
)
"""The statements that may stand at the top or in a WITH clause, and the kind that a verdict calls them."""


def _fields(scalars: str = "", nodes: str = "", **bare: str) -> MappingProxyType[str, str | None]:
    """``scalars`` are not descended into: plain values, and name lists that the walk reads itself."""
    table: dict[str, str | None] = {"location": None}
    table.update(dict.fromkeys(scalars.split()))
    table.update(dict.fromkeys(nodes.split(), NODE))
    table.update(bare)
    return MappingProxyType(table)


# ``withClause`` counts as scalar because the walk reads it itself, to know where a table expression's name is valid.
_STATEMENT_NODES = {
    "SelectStmt": _fields(
        "groupDistinct limitOption op all withClause",
        "distinctClause targetList fromClause whereClause groupClause havingClause windowClause valuesLists sortClause"
        " limitOffset limitCount lockingClause",
        larg="SelectStmt",
        rarg="SelectStmt",
    ),
    "InsertStmt": _fields(
        "override withClause",
        "cols selectStmt",
        relation="RangeVar",
        onConflictClause="OnConflictClause",
        returningClause="ReturningClause",
    ),
    "UpdateStmt": _fields(
        "withClause", "targetList whereClause fromClause", relation="RangeVar", returningClause="ReturningClause"
    ),
    "DeleteStmt": _fields(
        "withClause", "usingClause whereClause", relation="RangeVar", returningClause="ReturningClause"
    ),
    "MergeStmt": _fields(
        "withClause",
        "sourceRelation joinCondition mergeWhenClauses",
        relation="RangeVar",
        returningClause="ReturningClause",
    ),
}

_CLAUSE_NODES = {
    "Alias": _fields("aliasname colnames"),
    "CTECycleClause": _fields(
        "cycle_col_list cycle_mark_column cycle_path_column", "cycle_mark_value cycle_mark_default"
    ),
    "CTESearchClause": _fields("search_col_list search_breadth_first search_seq_column"),
    "ColumnDef": _fields("colname is_local", typeName="TypeName", collClause="CollateClause"),
    "CommonTableExpr": _fields(
        "ctename aliascolnames ctematerialized",
        "ctequery",
        search_clause="CTESearchClause",
        cycle_clause="CTECycleClause",
    ),
    "GroupingSet": _fields("kind", "content"),
    "IndexElem": _fields("name ordering nulls_ordering collation opclass", "expr opclassopts"),
    "InferClause": _fields("conname", "indexElems whereClause"),
    "JoinExpr": _fields(
        "jointype isNatural usingClause rtindex", "larg rarg quals", alias="Alias", join_using_alias="Alias"
    ),
    "List": _fields("", "items"),
    "LockingClause": _fields("lockedRels strength waitPolicy"),
    "MergeWhenClause": _fields("matchKind commandType override", "condition targetList values"),
    "OnConflictClause": _fields("action", "targetList whereClause", infer="InferClause"),
    "RangeFunction": _fields("lateral ordinality is_rowsfrom", "functions coldeflist", alias="Alias"),
    "RangeSubselect": _fields("lateral", "subquery", alias="Alias"),
    "RangeTableFunc": _fields("lateral", "docexpr rowexpr namespaces columns", alias="Alias"),
    "RangeTableFuncCol": _fields("colname for_ordinality is_not_null", "colexpr coldefexpr", typeName="TypeName"),
    "RangeTableSample": _fields("method", "relation args repeatable"),
    "RangeVar": _fields("catalogname schemaname relname inh relpersistence", alias="Alias"),
    "ResTarget": _fields("name", "indirection val"),
    "ReturningClause": _fields("", "options exprs"),
    "ReturningOption": _fields("option value"),
    "SortBy": _fields("sortby_dir sortby_nulls useOp", "node"),
    "WindowDef": _fields("name refname frameOptions", "partitionClause orderClause startOffset endOffset"),
}

_EXPRESSION_NODES = {
    "A_ArrayExpr": _fields("list_start list_end", "elements"),
    "A_Const": _fields("ival fval boolval sval bsval isnull"),
    "A_Expr": _fields("kind name rexpr_list_start rexpr_list_end", "lexpr rexpr"),
    "A_Indices": _fields("is_slice", "lidx uidx"),
    "A_Indirection": _fields("", "arg indirection"),
    "A_Star": _fields(),
    "BoolExpr": _fields("boolop", "args"),
    "BooleanTest": _fields("booltesttype", "arg"),
    "CaseExpr": _fields("", "arg args defresult"),
    "CaseWhen": _fields("", "expr result"),
    "CoalesceExpr": _fields("", "args"),
    "CollateClause": _fields("collname", "arg"),
    "ColumnRef": _fields("fields"),
    "FuncCall": _fields(
        "funcname agg_within_group agg_star agg_distinct func_variadic funcformat",
        "args agg_order agg_filter",
        over="WindowDef",
    ),
    "GroupingFunc": _fields("", "args"),
    "MergeSupportFunc": _fields("msftype"),
    "MinMaxExpr": _fields("op", "args"),
    "MultiAssignRef": _fields("colno ncolumns", "source"),
    "NamedArgExpr": _fields("name argnumber", "arg"),
    "NullTest": _fields("nulltesttype argisrow", "arg"),
    "ParamRef": _fields("number"),
    "RowExpr": _fields("row_format colnames", "args"),
    "SQLValueFunction": _fields("op typmod"),
    "SetToDefault": _fields(),
    "String": _fields("sval"),
    "SubLink": _fields("subLinkType operName", "testexpr subselect"),
    "TypeCast": _fields("", "arg", typeName="TypeName"),
    "TypeName": _fields("names typemod setof arrayBounds", "typmods"),
    "XmlExpr": _fields("op name xmloption indent", "named_args args"),
    "XmlSerialize": _fields("xmloption indent", "expr", typeName="TypeName"),
}

# SQL/JSON: constructors since Postgres 16, query functions and JSON_TABLE since 17.
_JSON_NODES = {
    "JsonAggConstructor": _fields("", "agg_filter agg_order", output="JsonOutput", over="WindowDef"),
    "JsonArgument": _fields("name", val="JsonValueExpr"),
    "JsonArrayAgg": _fields("absent_on_null", constructor="JsonAggConstructor", arg="JsonValueExpr"),
    "JsonArrayConstructor": _fields("absent_on_null", "exprs", output="JsonOutput"),
    "JsonArrayQueryConstructor": _fields("absent_on_null", "query", output="JsonOutput", format="JsonFormat"),
    "JsonBehavior": _fields("btype", "expr"),
    "JsonFormat": _fields("format_type encoding"),
    "JsonFuncExpr": _fields(
        "op column_name wrapper quotes",
        "pathspec passing",
        context_item="JsonValueExpr",
        output="JsonOutput",
        on_empty="JsonBehavior",
        on_error="JsonBehavior",
    ),
    "JsonIsPredicate": _fields("item_type unique_keys", "expr", format="JsonFormat"),
    "JsonKeyValue": _fields("", "key", value="JsonValueExpr"),
    "JsonObjectAgg": _fields("absent_on_null unique", constructor="JsonAggConstructor", arg="JsonKeyValue"),
    "JsonObjectConstructor": _fields("absent_on_null unique", "exprs", output="JsonOutput"),
    "JsonOutput": _fields(typeName="TypeName", returning="JsonReturning"),
    "JsonParseExpr": _fields("unique_keys", expr="JsonValueExpr", output="JsonOutput"),
    "JsonReturning": _fields("typmod", format="JsonFormat"),
    "JsonScalarExpr": _fields("", "expr", output="JsonOutput"),
    "JsonSerializeExpr": _fields("", expr="JsonValueExpr", output="JsonOutput"),
    "JsonTable": _fields(
        "lateral",
        "passing columns",
        context_item="JsonValueExpr",
        pathspec="JsonTablePathSpec",
        on_error="JsonBehavior",
        alias="Alias",
    ),
    "JsonTableColumn": _fields(
        "coltype name wrapper quotes",
        "columns",
        typeName="TypeName",
        pathspec="JsonTablePathSpec",
        format="JsonFormat",
        on_empty="JsonBehavior",
        on_error="JsonBehavior",
    ),
    "JsonTablePathSpec": _fields("name name_location", "string"),
    "JsonValueExpr": _fields("", "raw_expr formatted_expr", format="JsonFormat"),
}

NODES: Final = MappingProxyType({**_STATEMENT_NODES, **_CLAUSE_NODES, **_EXPRESSION_NODES, **_JSON_NODES})
"""Node type to its fields: None for a field that is not descended into, else :data:`NODE` or a node type."""
