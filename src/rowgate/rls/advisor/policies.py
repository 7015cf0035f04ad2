"""Rules about policies: what they say is read from Postgres's own trees, never from their text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from rowgate.rls.advisor.finding import Row, Rule, Severity

_POLICY = (
    "FROM pg_catalog.pg_policy AS p JOIN relation AS c ON c.oid = p.polrelid "
    "WHERE EXISTS (SELECT FROM exposed AS e WHERE e.oid = ANY (p.polroles) OR 0 = ANY (p.polroles)) "
)
_NAME = "c.ident || '.' || pg_catalog.quote_ident(p.polname)"
_DROP = "pg_catalog.format('DROP POLICY %I ON %s;', p.polname, c.ident)"

# Brackets inside names have a backslash before them, so those alone are the tree's.
_WORD: Final = re.compile(r"[{}]|(?:\\.|[^\s{}\\])+", re.DOTALL)


def bare_calls(tree: str, functions: frozenset[str]) -> bool:
    """Whether an expression's tree (pg_node_tree as text) calls one of ``functions`` (oids) outside a sub-select: for
    each row, and not once."""
    depth, sub_selects = 0, []
    words = _WORD.findall(tree)
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == "{":
            depth += 1
            if after == "SUBLINK":
                sub_selects.append(depth)
        elif word == "}":
            if sub_selects and sub_selects[-1] == depth:
                sub_selects.pop()
            depth -= 1
        elif word == ":funcid" and not sub_selects and after in functions:
            return True
    return False


def _bare(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows of (policy, table, name, functions, tree of USING, its text, tree of WITH CHECK, its text)."""
    found: list[Row] = []
    for policy, table, name, functions, using_tree, using, check_tree, check in rows:
        known = frozenset(functions)
        clauses = [
            f"{clause} ({_in_sub_selects(text)})"
            for clause, tree, text in (("USING", using_tree, using), ("WITH CHECK", check_tree, check))
            if tree is not None and bare_calls(tree, known)
        ]
        if clauses:
            found.append((policy, f"ALTER POLICY {name} ON {table} {' '.join(clauses)};"))
    return found


def _in_sub_selects(text: str) -> str:
    """Postgres's own spelling of an expression with each call of an identity function made a sub-select; literals are
    left as they are."""
    parts = re.split(r"('(?:[^']|'')*')", text)
    for position in range(0, len(parts), 2):
        parts[position] = re.sub(r"(?<!SELECT )\bauth\.([a-z_]+)\(\)", r"( SELECT auth.\1())", parts[position])
    return "".join(parts)


POLICIES: Final = (
    Rule(
        "policy-check-true",
        Severity.ERROR,
        "No policy lets a user write rows in another's name",
        "WITH CHECK (true) lets through whatever is written.",
        f"SELECT {_NAME}, CASE WHEN p.polqual IS NULL OR pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true' "
        f"THEN {_DROP} ELSE pg_catalog.format('ALTER POLICY %I ON %s WITH CHECK (%s);', p.polname, c.ident, "
        "pg_catalog.pg_get_expr(p.polqual, p.polrelid)) END "
        f"{_POLICY} AND p.polpermissive AND pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) = 'true'",
    ),
    Rule(
        "policy-using-true",
        Severity.HINT,
        "No policy shows all rows",
        "USING (true) means every row, for whoever the policy is for.",
        f"SELECT {_NAME}, {_DROP} {_POLICY} AND p.polpermissive "
        "AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true'",
    ),
    Rule(
        "policy-to-public",
        Severity.WARNING,
        "Policies name the roles that they are for",
        "A policy TO PUBLIC is for every role, those that come later too.",
        f"SELECT {_NAME}, pg_catalog.format('ALTER POLICY %I ON %s TO %s;', p.polname, c.ident, "
        "(SELECT exposed_roles FROM everyone)) "
        f"{_POLICY} AND 0 = ANY (p.polroles)",
    ),
    Rule(
        "policy-reads-setting",
        Severity.ERROR,
        "Policies take the identity from auth.user_id()",
        "Whoever may write the setting writes who they are. Drop it, and write it anew with auth.user_id().",
        f"SELECT {_NAME}, {_DROP} {_POLICY} AND EXISTS (SELECT FROM pg_catalog.pg_proc AS f "
        "WHERE f.proname = 'current_setting' AND f.pronamespace = 'pg_catalog'::regnamespace "
        "AND pg_catalog.strpos(pg_catalog.concat(p.polqual::text, p.polwithcheck::text), "
        "':funcid ' || f.oid || ' ') > 0)",
    ),
    Rule(
        "policy-calls-per-row",
        Severity.HINT,
        "Policies ask for the identity once for each statement",
        "Written as (select auth.user_id()), the function is called once and not for each row.",
        f"SELECT {_NAME}, c.ident, pg_catalog.quote_ident(p.polname), "
        "ARRAY(SELECT f.oid::text FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n "
        "ON n.oid = f.pronamespace WHERE n.nspname = 'auth' AND f.pronargs = 0), "
        "p.polqual::text, pg_catalog.pg_get_expr(p.polqual, p.polrelid), p.polwithcheck::text, "
        f"pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) {_POLICY}",
        _bare,
    ),
)
"""Rules about policies."""
