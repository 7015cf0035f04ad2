"""SQL from strangers: both ways through the guard, over HTTP and in sessions.

Promised: every text is decided, with an error of the tree at a place in the text; twice the same; what passes is of a
kind that may pass, by a second reading that knows none of the guard's rules; its verdict leaves out no table, function
or name that the statement has; each statement that is cut out of a session's text stands in it, is one statement, and
passes again alone; and a text that differs in whole numbers alone meets the same decision.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, DEVELOPMENT, FunctionCatalog, Guard, SessionStatement, Verdict
from tests.attacks.guard_cases import ATTACKS
from tests.attacks.guard_session_cases import SESSION_ATTACKS
from tests.fuzz.target import Target, hold
from tests.unit.guard.honest import HONEST
from tests.unit.guard.recorded import OPEN
from tests.unit.guard.second_reading import KEPT, complaint_about, complaint_about_session
from tests.unit.guard.shapes import SHAPES
from tests.unit.guard.test_properties import CLOSED_FUNCTIONS, EXPRESSION_PLACES, TOKENS
from tests.unit.guard.test_session_properties import STATEMENTS

GUARD = Guard(CLIENT, FunctionCatalog.default(), cache_size=64)
DEVELOPER = Guard(DEVELOPMENT, FunctionCatalog.default(), cache_size=0)
SQLSTATES = frozenset({"42501", "42601", "54001", "22021", "22023"})
A_NUMBER = re.compile(r"(?<![\w$.\"'\\])[1-9][0-9]{0,3}(?![\w$.\"'])")


def refused(problem: StatementRefused, text: str) -> str:
    """The refusal's SQLSTATE; it must be one that a client can be told."""
    hold(problem.refused_sqlstate in SQLSTATES, f"{problem.refused_sqlstate} is a refusal of the guard")
    hold(problem.position is None or 1 <= problem.position <= len(text) + 1, "a refusal points into the text")
    hold(
        problem.message and problem.detail != "The guard met something that it does not understand.", "it is understood"
    )
    return problem.refused_sqlstate


def decide(guard: Guard, text: str) -> Verdict | str:
    try:
        return guard.check(text)
    except StatementRefused as problem:
        return refused(problem, text)


def decide_session(guard: Guard, text: str) -> tuple[SessionStatement, ...] | str:
    try:
        return guard.check_session(text)
    except StatementRefused as problem:
        return refused(problem, text)


def try_out(data: bytes) -> None:
    """See above."""
    text = data.decode("utf-8", "surrogateescape")
    verdict = decide(GUARD, text)
    hold(decide(GUARD, text) == verdict, "the second time is like the first")
    if isinstance(verdict, Verdict):
        hold(complaint_about(text, verdict) is None, f"{complaint_about(text, verdict)}: {text!r}")
    session = decide_session(GUARD, text)
    hold(decide_session(GUARD, text) == session, "the second time is like the first")
    if isinstance(session, str):
        hold(isinstance(verdict, str), "sessions may do what HTTP may")
    else:
        for statement in session:
            _is_sound(statement, text)
    other = A_NUMBER.sub(lambda found: str(int(found[0]) + 1), text, count=1)
    if other != text and isinstance(verdict, Verdict):
        again = decide(GUARD, other)
        # A number may also be a place in ORDER BY or part of a text; then the shape is another, and it is judged anew.
        if isinstance(again, Verdict):
            hold(complaint_about(other, again) is None, f"{complaint_about(other, again)}: {other!r}")
    decide(DEVELOPER, "explain " + text)


def _is_sound(statement: SessionStatement, text: str) -> None:
    complaint = complaint_about_session(statement)
    hold(complaint is None, f"{complaint}: {statement.text!r}")
    if not statement.answers and statement.token is None and statement.token_parameter is None:
        hold(text[statement.offset :].startswith(statement.text), "a statement stands where it says")
    if statement.kind in KEPT:
        return
    again = decide_session(GUARD, statement.text)
    hold(not isinstance(again, str) and len(again) == 1, f"a statement passes alone: {statement.text!r}")
    if not isinstance(again, str) and not statement.answers:
        hold(again[0].kind is statement.kind and again[0].text == statement.text, "alone it is the same")


def seeds() -> Iterable[bytes]:
    """Honest statements, what clients were recorded to send, attacks, and shapes that nest."""
    yield from (sql.encode() for sql in HONEST)
    yield from (recorded.sql.encode() for recorded in OPEN if len(recorded.sql) <= 1000)
    yield from (attack.sql.encode("utf-8", "surrogatepass") for attack in (*ATTACKS, *SESSION_ATTACKS))
    yield from (shape(20).encode() for shape in SHAPES.values())
    yield from (place.replace("{}", "app.f(1)").encode() for place in EXPRESSION_PLACES)
    yield b"; ".join(statement.encode() for statement in STATEMENTS)


TARGET = Target(
    "sql",
    try_out,
    seeds,
    tuple(
        word.encode("utf-8", "surrogatepass")
        for word in (
            *TOKENS, *CLOSED_FUNCTIONS, *STATEMENTS, "pg_catalog.", "pg_class", "pg_authid", "pg_proc",
            "information_schema", "regclass", "::regclass", "set role none",
            "copy t to program 'x'", "current_setting(", "explain ", "--\n",
            "do $$begin end$$", "create table x()", "for update of t", "tablesample system (1)",
            "on conflict do nothing",
            "json_table(", "merge into t using s on true when matched then delete", "lateral ", "with recursive a as (",
            'U&"\\0070g"', "\\0070", "E'\\x41'", "$a$", "rows from (", "grouping sets (", "filter (where ", "over (",
        )
    ),
    longest=2500,
)  # fmt: skip
