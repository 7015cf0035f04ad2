"""The guard: SQL text in, a verdict or a refusal out, decided once for each text.

Fails closed: what is not understood, and every exception on the way, is a refusal. A guard belongs to one profile and
one catalogue; when either changes, make a new guard. It never talks to a database, and it is not the only wall:
GRANT, row-level security and the signed identity hold without it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from rowgate.errors import StatementRefused
from rowgate.guard.cache import VerdictCache
from rowgate.guard.catalog import FunctionCatalog
from rowgate.guard.nodes import STATEMENTS
from rowgate.guard.parser import (
    DEFAULT_STATEMENT_BYTES,
    ParsedText,
    StatementParser,
    fingerprint_of,
    may_hold_a_token,
    read_tree,
    tree_here,
)
from rowgate.guard.sessions.functions import session_catalog
from rowgate.guard.sessions.judge import judge_session, said_again
from rowgate.guard.sessions.statement import SessionKind, SessionStatement
from rowgate.guard.shapes import ShapeCache, only_statement, shape_of
from rowgate.guard.stack import BIG_STACK, INLINE_BYTES
from rowgate.guard.statements import Profile, judge_statement
from rowgate.guard.verdict import SYNTAX_ERROR, TOO_COMPLEX, Fingerprint, Refusal, Verdict
from rowgate.guard.walk import Walk

Statements = tuple[SessionStatement, ...]
_D = TypeVar("_D", Verdict, tuple[SessionStatement, ...])
Judge = Callable[[bytes], tuple[_D, bool]]
"""Decides about a text in UTF-8, and says whether its shape was known. Raises StatementRefused."""

DEFAULT_CACHE_ENTRIES: Final = 4096
DEFAULT_CACHE_BYTES: Final = 16 << 20

_EMPTY: Final = Verdict("empty", (), (), Fingerprint(""), True)

_SEVERAL: Final = Refusal(
    "cannot insert multiple commands into a prepared statement",
    "Expected exactly one statement in each text.",
    "Send the statements as a batch of queries.",
    SYNTAX_ERROR,
)

_UNDECIDED: Final = Refusal(
    "The statement could not be checked.",
    "The guard met something that it does not understand.",
    "Simplify the statement.",
    TOO_COMPLEX,
)


class Guard:
    """Decides about statements of one profile.

    ``cache_size`` counts entries, ``cache_bytes`` bounds their estimated memory, ``max_statement_bytes`` the UTF-8 of
    one text (up to 1 MiB). Raises SettingInvalid for bounds out of range. Safe to use from several threads.
    """

    __slots__ = (
        *("_cache", "_catalog", "_get", "_get_session", "_parser", "_session_cache", "_session_catalog"),
        *("_session_shapes", "_shapes", "profile"),
    )

    def __init__(
        self,
        profile: Profile,
        catalog: FunctionCatalog,
        *,
        cache_size: int = DEFAULT_CACHE_ENTRIES,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        max_statement_bytes: int = DEFAULT_STATEMENT_BYTES,
    ) -> None:
        self.profile = profile
        self._catalog = catalog
        self._session_catalog = session_catalog(catalog)
        self._parser = StatementParser(max_statement_bytes)
        self._cache = VerdictCache[Verdict](cache_size, cache_bytes)
        self._session_cache = VerdictCache[Statements](cache_size, cache_bytes)
        self._shapes = ShapeCache[Verdict]()
        self._session_shapes = ShapeCache[SessionStatement]()
        self._get = self._cache.get
        self._get_session = self._session_cache.get

    def check(self, sql: str) -> Verdict:
        """The verdict on one statement, or on an empty text.

        Raises StatementRefused, with ``position`` in characters from 1 where it is known and one of the SQLSTATEs
        42501 (forbidden), 42601 (not SQL, or several statements), 54001 (too large, too deep), 22021 (NUL, lone
        surrogate). A text above 3 KiB that is not cached is decided on another thread while the caller waits: use
        :meth:`submit` where waiting stops others.
        """
        decision = self._get(sql)
        if decision is None:
            decision = self._decide_where_it_fits(sql, self._cache, self._judge)
        return _outcome(decision)

    def submit(self, sql: str) -> Future[Verdict]:
        """As :meth:`check`, without waiting: verdict or StatementRefused come through the future.

        A text that is cached, small (up to 3 KiB) or refused before parsing is decided at once: the future is done.
        """
        return self._submit(sql, self._cache, self._judge)

    def check_session(self, sql: str) -> Statements:
        """The statements of a text of an interactive session, in order; none for an empty text.

        Wider than :meth:`check`: see :class:`rowgate.guard.sessions.statement.SessionKind`. Raises StatementRefused as
        that does, and with 22023 for the value of a setting; one refused statement refuses the whole text. What
        holds a token is not cached.
        """
        decision = self._get_session(sql)
        if decision is None:
            decision = self._decide_where_it_fits(sql, self._session_cache, self._judge_session)
        return _outcome(decision)

    def submit_session(self, sql: str) -> Future[Statements]:
        """As :meth:`check_session`, without waiting, by the rules of :meth:`submit`."""
        return self._submit(sql, self._session_cache, self._judge_session)

    def _submit(self, sql: str, cache: VerdictCache[_D], judge: Judge[_D]) -> Future[_D]:
        decision = cache.get(sql)
        try:
            if decision is None:
                data = self._parser.encode(sql)
                if len(data) > INLINE_BYTES:
                    return BIG_STACK.submit(lambda: _outcome(self._decide(sql, data, cache, judge)))
                decision = self._decide(sql, data, cache, judge)
            outcome = _outcome(decision)
        except StatementRefused as error:
            return _failed(error)
        future: Future[_D] = Future()
        future.set_result(outcome)
        return future

    def _decide_where_it_fits(self, sql: str, cache: VerdictCache[_D], judge: Judge[_D]) -> _D | Refusal:
        data = self._parser.encode(sql)
        if len(data) <= INLINE_BYTES:
            return self._decide(sql, data, cache, judge)
        return BIG_STACK.submit(self._decide, sql, data, cache, judge).result()

    @staticmethod
    def _decide(sql: str, data: bytes, cache: VerdictCache[_D], judge: Judge[_D]) -> _D | Refusal:
        """Parse, judge and remember, on a stack that is big enough for ``data``."""
        decision: _D | Refusal
        try:
            decision, has_known_shape = judge(data)
        except StatementRefused as error:
            decision, has_known_shape = Refusal.of(error), False
        except Exception:  # whatever it is, the statement does not go to Postgres
            return _UNDECIDED
        if not _holds_a_token(data, decision) and (not has_known_shape or cache.comes_again(sql)):
            cache.put(sql, decision)
        return decision

    def _judge_session(self, data: bytes) -> tuple[Statements, bool]:
        """The statements, and whether their shape was known."""
        tree = tree_here(data)
        shape = shape_of(tree)
        if shape is not None:
            known = self._session_shapes.get(shape)
            if known is not None:
                return (said_again(known, data, only_statement(tree)),), True
        statements = judge_session(read_tree(data, tree), self.profile, self._session_catalog)
        if shape is not None and len(statements) == 1 and statements[0].is_plain_query:
            self._session_shapes.put(shape, statements[0])
        return statements, False

    def _judge(self, data: bytes) -> tuple[Verdict, bool]:
        """The verdict, and whether its shape was known."""
        tree = tree_here(data)
        shape = shape_of(tree)
        known = None if shape is None else self._shapes.get(shape)
        if known is not None:
            return known, True
        verdict = self._judge_tree(read_tree(data, tree))
        if shape is not None:
            self._shapes.put(shape, verdict)
        return verdict, False

    def _judge_tree(self, parsed: ParsedText) -> Verdict:
        if not parsed.statements:
            return _EMPTY
        if len(parsed.statements) > 1:
            second = parsed.statements[1].get("stmt_location")
            raise _SEVERAL.at(parsed.position(second)).error()
        first = parsed.statements[0]
        ((node_type, node),) = first["stmt"].items()
        kind = STATEMENTS.get(node_type, "explain")
        refusal = judge_statement(node_type, node, self.profile)
        if refusal is not None:
            raise refusal.at(parsed.position(first.get("stmt_location", 0))).error()
        walk = Walk(self.profile, self._catalog, parsed)
        walk.run(node["query"] if kind == "explain" else first["stmt"])
        return walk.verdict(kind, fingerprint_of(parsed.data))


def _outcome(decision: _D | Refusal) -> _D:
    if isinstance(decision, Refusal):
        raise decision.error()
    return decision


def _holds_a_token(data: bytes, decision: Verdict | Statements | Refusal) -> bool:
    if may_hold_a_token(data):
        return True
    return isinstance(decision, tuple) and SessionKind.PRESENT_TOKEN in [one.kind for one in decision]


def _failed(error: StatementRefused) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
