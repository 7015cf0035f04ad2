"""One statement of a session, as a value: what it is, and what the gateway must know to run or to stand in for it.

The gateway shares backends between sessions, so whatever would outlive a transaction is told here and kept by the
gateway itself. Tokens are kept out of every repr. This module decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique

import msgspec

from rowgate.guard.verdict import Verdict


@unique
class SessionKind(StrEnum):
    """What a statement of a session does. Kinds that a comment calls "kept" never reach a backend as they are."""

    QUERY = "query"  # SELECT, VALUES, TABLE, INSERT, UPDATE, DELETE, MERGE; EXPLAIN in development
    BEGIN = "begin"
    SET_TRANSACTION = "set_transaction"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    RELEASE = "release"
    ROLLBACK_TO = "rollback_to"
    SET_LOCAL = "set_local"
    SET_SESSION = "set_session"  # kept
    RESET = "reset"  # kept
    RESET_ALL = "reset_all"  # kept
    SHOW = "show"
    DISCARD_ALL = "discard_all"  # kept
    DEALLOCATE = "deallocate"  # kept
    DEALLOCATE_ALL = "deallocate_all"  # kept
    DECLARE_CURSOR = "declare_cursor"
    FETCH = "fetch"
    MOVE = "move"
    CLOSE_CURSOR = "close_cursor"
    CLOSE_ALL_CURSORS = "close_all_cursors"
    UNLISTEN_ALL = "unlisten_all"  # kept: nobody listens here
    UNLOCK_ALL = "unlock_all"  # kept: nobody holds advisory locks here
    COPY_TO = "copy_to"
    COPY_FROM = "copy_from"
    PRESENT_TOKEN = "present_token"  # noqa: S105 (kept)


@dataclass(frozen=True, slots=True)
class SessionSetting:
    """A setting and what it shall be.

    ``name`` is Postgres's, in lower case. ``values`` are the elements of a list setting (``search_path``,
    ``datestyle``) or one text, checked and in one spelling; an empty tuple is an empty list, None the default.
    ``milliseconds`` is the value of a time-out (0 means none), for the gateway to bound.
    """

    name: str
    values: tuple[str, ...] | None
    milliseconds: int | None = None

    @property
    def assignment(self) -> str:
        """SQL to follow ``SET LOCAL``, with literals for ``standard_conforming_strings = on``."""
        if self.values is None:
            return f"{self.name} TO DEFAULT"
        literals = ", ".join("'" + value.replace("'", "''") + "'" for value in self.values)
        return f"{self.name} TO {literals or repr('')}"


class SessionStatement(msgspec.Struct, frozen=True):
    """One statement out of a text that the guard let through.

    ``text`` is its own SQL, fit to be sent alone: without the semicolon and without comments before it. For what was
    written as SELECT but is kept by the gateway (``answers`` is True: set_config, pg_advisory_unlock_all) it is a query
    that gives the same answer and does nothing; for PRESENT_TOKEN it has ``$1`` instead of the token. ``offset``
    counts the characters before it in the whole text, to move the positions of Postgres's errors.

    ``verdict`` is there for QUERY, DECLARE_CURSOR, COPY_TO and COPY_FROM, about the query or the table within.
    ``settings`` belong to BEGIN and SET_TRANSACTION (``transaction_*``), SET_LOCAL, SET_SESSION and RESET. ``name`` is
    that of a savepoint, a cursor, a prepared statement, or the setting of SHOW. ``chain`` is AND CHAIN. Exactly one of
    ``token`` and ``token_parameter`` (from 1) is there for PRESENT_TOKEN.

    ``parameters`` are bind parameters that decide what the statement does: number (from 1) and the setting whose value
    it is, or None where it is the name of a setting to be read. Where there are any, each Bind must be judged with
    :func:`rowgate.guard.sessions.settings.bound` before it runs.
    """

    kind: SessionKind
    text: str
    offset: int = 0
    verdict: Verdict | None = None
    settings: tuple[SessionSetting, ...] = ()
    name: str | None = None
    chain: bool = False
    answers: bool = False
    token: str | None = None
    token_parameter: int | None = None
    parameters: tuple[tuple[int, str | None], ...] = ()

    def __repr__(self) -> str:
        """What its repr shows: neither text nor token."""
        return f"SessionStatement(kind={self.kind!r}, offset={self.offset!r})"

    @property
    def is_plain_query(self) -> bool:
        """Whether it is a query that the backend runs as it is, and there is no more to it than its verdict."""
        return (
            self.kind is SessionKind.QUERY
            and self.verdict is not None
            and not self.answers
            and not self.parameters
            and not self.settings
            and self.name is None
        )

    @property
    def setting(self) -> SessionSetting | None:
        """The setting, where there is exactly one."""
        return self.settings[0] if len(self.settings) == 1 else None
