"""What one backend has prepared: texts that come again over HTTP, those of sessions, and the identity's.

The role belongs to the connection, so a text is the key (the key is (role, text) as a whole). Names are of a kind that
no statement of a client can guess, so that nothing can stand in for a prepared statement. Never sends anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Final

from rowgate.pgwire import messages
from rowgate.postgres.exchange import Prepared, Statement, Step
from rowgate.postgres.identity_messages import EXECUTE, IdentityMessages
from rowgate.postgres.shared_statements import SharedStatements
from rowgate.postgres.statement_cache import StatementCache, StatementRoom

MOST_LEFT: Final = 64
"""An idle backend that has lost so many is told to close them."""


class PreparedStatements:
    """Of the backend ``process_id``, in ``room``. ``clock`` gives seconds that never go back."""

    __slots__ = ("_by_text", "_counter", "_keeps", "_left", "_prefix", "identities", "of_sessions")

    def __init__(self, process_id: int, clock: Callable[[], float], room: StatementRoom) -> None:
        self._prefix = b"rowgate_" + secrets.token_hex(8).encode() + b"_"
        self._counter = 0
        self._keeps = room.most > 0
        self._left: list[bytes] = []
        self._by_text: StatementCache[bytes, Prepared] = StatementCache(room, self._left)
        self.identities = IdentityMessages(process_id, clock, self._new_name)
        self.of_sessions = SharedStatements(room, self._left, self._new_name)

    def add(
        self,
        statement: Statement,
        keep: Callable[[Statement], bool],
        named: dict[bytes, Prepared],
        parts: list[bytes],
        steps: list[Step],
    ) -> None:
        """Appends the messages and the step that run ``statement``. One that the backend does not have is parsed, under
        a name where ``keep`` says so; ``named`` are those of the same exchange."""
        sql = statement.sql
        prepared = self._by_text.find(sql) or named.get(sql)
        if prepared is not None and prepared.parameter_count == len(statement.parameters):
            steps.append(prepared.step)
        else:
            prepared = Prepared(self._new_name() if self._keeps and keep(statement) else b"", len(statement.parameters))
            if prepared.name:
                named[sql] = prepared
            parts += (messages.parse(prepared.name, sql), messages.describe_statement(prepared.name))
            steps.append(Step("statement", prepared, parsed_here=True, sql=sql))
        parts += (messages.bind_to(prepared.bind_head, statement.parameters), EXECUTE)

    def learn(self, parsed: Iterable[Step]) -> None:
        """The backend has parsed the statements of these steps."""
        for step in parsed:
            prepared = step.prepared
            if prepared is None or not prepared.name:
                continue
            if step.kind == "context":
                self.learn_identity(step)
            elif prepared.shape is not None and step.sql not in self._by_text:
                self._by_text.add(step.sql, prepared.name, prepared)
            else:  # parsed, but not described; or an exchange ahead of it has parsed the same
                self._left.append(prepared.name)

    def learn_identity(self, step: Step) -> None:
        """The backend has parsed a statement that sets the identity; one that it knew already is not needed twice."""
        if not self.identities.learn(step) and step.prepared is not None:
            self._left.append(step.prepared.name)

    def doubt(self) -> None:
        """Statements over HTTP, and the identity's, are parsed anew; what there is is closed with the next exchange."""
        self._left += self._by_text.forget_all()
        self.identities.forget_all()

    def forget(self) -> None:
        """The backend has nothing prepared any more, or has gone."""
        self._by_text.forget_all()
        self.of_sessions.forget_all()
        self.identities.forget_all()
        self._left.clear()

    def closes(self) -> list[bytes]:
        """Messages that close what nobody needs. They go out first of all: after an error the server skips what is left
        before Sync."""
        if not self._left:
            return []
        closes = [messages.close_statement(name) for name in self._left]
        self._left.clear()
        return closes

    @property
    def has_many_left(self) -> bool:
        """Whether there is so much to close that an idle backend is not to keep it."""
        return len(self._left) >= MOST_LEFT

    def _new_name(self) -> bytes:
        self._counter += 1
        return self._prefix + b"%x" % self._counter
