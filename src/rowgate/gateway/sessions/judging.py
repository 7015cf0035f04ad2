"""What one session's texts are: judged by the guard, compared with the allow-list, and held against row-level security.

A text is judged once, although a session first asks whether it is a read that can share a connection. Never sends
anything, and never keeps a text for longer than until it is asked for again, because it may hold a token.
"""

from __future__ import annotations

import asyncio
from typing import Final

from rowgate.errors import MalformedParameter
from rowgate.gateway.allowlist import AllowList
from rowgate.gateway.database import Database
from rowgate.gateway.pipeline import LONG_TEXT
from rowgate.gateway.sessions.conversation import several_statements
from rowgate.guard.sessions.statement import SessionStatement

Statements = tuple[SessionStatement, ...]
NOTHING: Final[tuple[bytes, Statements]] = (b"", ())


class Judging:
    """For sessions of ``role`` in ``database``. All methods raise StatementRefused, and what the allow-list raises."""

    __slots__ = ("_allowlist", "_database", "_last", "_role")

    def __init__(self, database: Database, role: str, allowlist: AllowList | None) -> None:
        self._database = database
        self._role = role
        self._allowlist = allowlist
        self._last = NOTHING

    def at_once(self, sql: bytes) -> Statements | None:
        """The statements of a text that is judged without waiting; None for others."""
        if len(sql) >= LONG_TEXT or not sql.isascii():
            return None
        statements = self._listed(self._database.guard.check_session(sql.decode()))
        self._last = (sql, statements)
        return statements

    async def statements(self, sql: bytes) -> Statements:
        """The statements of any text. Raises MalformedParameter where it is not UTF-8."""
        before, statements = self._last
        if before is sql:
            self._last = NOTHING
            return statements
        try:
            text = sql.decode()
        except UnicodeDecodeError as problem:
            raise MalformedParameter("The statement is not UTF-8.") from problem
        guard = self._database.guard
        if len(text) < LONG_TEXT:
            return self._listed(guard.check_session(text))
        return self._listed(await asyncio.wrap_future(guard.submit_session(text)))

    async def one(self, sql: bytes) -> SessionStatement | None:
        """The only statement of a text, None for an empty one."""
        statements = await self.statements(sql)
        if len(statements) > 1:
            raise several_statements()
        return statements[0] if statements else None

    def passes_gate(self, statement: SessionStatement) -> bool:
        """Whether row-level security has nothing against it, as far as that is known; False asks ``pass_gate``."""
        return statement.verdict is not None and self._database.row_security.passes(self._role, statement.verdict)

    async def pass_gate(self, statement: SessionStatement | None) -> None:
        """Before each run, because what was harmless when it was prepared may be exposed by now.

        Raises RowSecurityMissing.
        """
        if statement is None or statement.verdict is None:
            return
        gate = self._database.row_security
        if not gate.passes(self._role, statement.verdict):
            await gate.admit(self._role, statement.verdict)

    def _listed(self, statements: Statements) -> Statements:
        """The same, where the allow-list has nothing against them."""
        if self._allowlist is not None:
            self._allowlist.check_session(self._role, statements)
        return statements
