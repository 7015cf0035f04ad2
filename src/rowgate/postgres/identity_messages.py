"""The messages that tell one backend for whom the next statements run.

The first of them, and one every few seconds, has the backend verify a whole session token and say so; the others carry
sealed values, which the backend's functions verify when a policy asks, and which are kept for a few seconds. Never
sends anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rowgate.errors import InternalFault
from rowgate.pgwire import messages
from rowgate.postgres.exchange import Prepared, Step
from rowgate.postgres.kept_seals import KeptSeals
from rowgate.postgres.session_context import SessionIdentity

TEXT_OID: Final = 25
VERIFY_SQL: Final = b"select auth.jwt_session_init($1)"
KEEP_SQL: Final = b"select auth.jwt_session_init($1, $2)"
EXECUTE: Final = messages.execute(b"")
# How often a backend is made to say aloud that it takes the gateway's identities. Between, one that it does not take
# (a key that is gone, clocks that have drifted apart) would make everybody nobody without a word.
VERIFY_EVERY_SECONDS: Final = 15.0


class IdentityMessages:
    """For the backend ``process_id``. ``clock`` gives seconds that never go back, ``new_name`` names for statements."""

    def __init__(self, process_id: int, clock: Callable[[], float], new_name: Callable[[], bytes]) -> None:
        self._process_id = process_id
        self._clock = clock
        self._new_name = new_name
        self._known: dict[bytes, Step] = {}
        self._verified_at = float("-inf")
        self._kept = KeptSeals()

    def add(self, identity: SessionIdentity, parts: list[bytes], steps: list[Step]) -> None:
        """Appends the messages and the step that make ``identity`` the transaction's."""
        now = self._clock()
        if now - self._verified_at > VERIFY_EVERY_SECONDS:
            self._verified_at = now
            self._add_call(VERIFY_SQL, (identity.token(self._process_id),), parts, steps)
            if not identity.membership:
                return
            # The token has no membership: the sealed values take its place.
        step = self._known.get(KEEP_SQL)
        if step is None:
            self._add_call(KEEP_SQL, identity.sealed(self._process_id), parts, steps)
            return
        steps.append(step)
        message = self._kept.get(identity, now)
        if message is None:
            message = _call(step, identity.sealed(self._process_id))
            self._kept.keep(identity, now, message)
        parts.append(message)

    def learn(self, step: Step) -> bool:
        """The backend has parsed the statement of ``step``; False where it knew one with this text already."""
        if step.sql in self._known:
            return False
        self._known[step.sql] = Step("context", step.prepared, sql=step.sql)
        return True

    def doubt(self) -> None:
        """The next message has the backend verify."""
        self._verified_at = float("-inf")

    def forget_all(self) -> None:
        """The backend knows none of the statements any more."""
        self._known.clear()
        self._kept.forget_all()

    def _add_call(self, sql: bytes, values: Sequence[bytes], parts: list[bytes], steps: list[Step]) -> None:
        step = self._known.get(sql)
        if step is None:
            # Kept only when the exchange has shown that the backend knows it; until then each try has its own name.
            prepared = Prepared(self._new_name(), len(values))
            step = Step("context", prepared, parsed_here=True, sql=sql)
            parts.append(messages.parse(prepared.name, sql, (TEXT_OID,) * len(values)))
        parts.append(_call(step, values))
        steps.append(step)


def _call(step: Step, values: Sequence[bytes]) -> bytes:
    if step.prepared is None:
        raise InternalFault("a step that sets the identity must have a statement")
    return messages.bind_to(step.prepared.bind_head, values) + EXECUTE
