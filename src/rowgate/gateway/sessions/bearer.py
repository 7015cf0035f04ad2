"""Whom a session works for, until when, and the places and rates that it takes for them.

A fresh token in a live session takes the place of the first. Never reads a request and never writes an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Final

from rowgate.errors import TokenExpired
from rowgate.gateway.callbacks import nobody_is_told
from rowgate.gateway.database import Database
from rowgate.gateway.limits import Limits, party_of
from rowgate.gateway.meter import Meter
from rowgate.identity.principal import Principal
from rowgate.postgres.session_context import SessionIdentity

# The database's clock may be a little ahead: a statement of the last moment would have nobody's rows.
EXPIRY_MARGIN_SECONDS: Final = 1.0
LONGEST_TIMER_SECONDS: Final = 86_400.0


class Bearer:
    """The bearer of a session's token (None: anonymous). ``on_expiry`` is called when the token has expired."""

    __slots__ = (
        "_admitted", "_database", "_is_admitted", "_limits", "_meter", "_on_expiry", "_role", "_timer", "is_paid",
        "principal",
    )  # fmt: skip

    def __init__(
        self,
        database: Database,
        role: str,
        principal: Principal | None,
        *,
        limits: Limits,
        meter: Meter,
        on_expiry: Callable[[], None],
    ) -> None:
        self.principal = principal
        self._database = database
        self._role = role
        self._limits = limits
        self._meter = meter
        self._on_expiry = on_expiry
        self._timer: asyncio.TimerHandle | None = None
        self._admitted: Principal | None = None
        self._is_admitted = False
        self.is_paid = False
        """Whether the next statement has been paid for already: a shared read that could not be had."""

    # --- until when -------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Waits for the end of the token at hand."""
        if self._timer is not None:
            self._timer.cancel()
        if self.principal is not None:
            delay = max(self.principal.expires_at - EXPIRY_MARGIN_SECONDS - time.time(), 0.0)
            self._timer = asyncio.get_running_loop().call_later(min(delay, LONGEST_TIMER_SECONDS), self._look)

    def close(self) -> None:
        """Waits no more, and holds whom it would have told no longer."""
        if self._timer is not None:
            self._timer.cancel()
        self._on_expiry = nobody_is_told

    @property
    def has_expired(self) -> bool:
        """Whether the token is over, or as good as over."""
        return self.principal is not None and time.time() + EXPIRY_MARGIN_SECONDS >= self.principal.expires_at

    def _look(self) -> None:
        if self.has_expired:
            self._on_expiry()
        else:
            self.watch()

    # --- who --------------------------------------------------------------------------------------------------

    async def present(self, token: str) -> None:
        """A fresh token: verified like the first, and for the same role. Raises what ``Database.identify`` does."""
        self.principal = await self._database.identify(self._role, token)
        self.watch()

    def identity(self) -> SessionIdentity | None:
        """The principal as Postgres is to know it. Raises TokenExpired, SetupIncomplete."""
        if self.principal is None:
            return None
        if self.has_expired:
            raise token_expired()
        return self._database.session_identity(self.principal, self._role)

    @property
    def party(self) -> Hashable:
        """Whose turn a statement takes in the pool."""
        return party_of(self.principal)

    # --- what it takes ----------------------------------------------------------------------------------------

    def spend(self, statements: int = 1) -> None:
        """Takes so many statements off its rates. Raises RateExceeded."""
        if self.is_paid:
            self.is_paid = False
            return
        self._meter.session_statements += statements
        if self._limits.has_rates and statements:
            self._limits.spend(self.principal, self._database.endpoint, statements)

    def check_debt(self) -> None:
        """After a wait: raises RateExceeded where other results of its subject have left it owing."""
        self._limits.check_debt(self.principal, self._database.endpoint)

    def charge(self, size: int) -> bool:
        """Counts what was sent, in bytes, against its rates; whether that leaves one of them owing."""
        return self._limits.has_rates and self._limits.charge(self.principal, self._database.endpoint, size)

    def admit(self) -> None:
        """Takes a place for what runs now, until ``leave``. Raises ConcurrencyExceeded."""
        self._limits.admit(self.principal, self._database.endpoint)
        self._admitted, self._is_admitted = self.principal, True

    def leave(self) -> None:
        """Gives the place back, that of the principal for whom it was taken."""
        if self._is_admitted:
            self._limits.leave(self._admitted, self._database.endpoint)
            self._is_admitted = False


def token_expired() -> TokenExpired:
    """What the client reads when its session ends with its token."""
    return TokenExpired("the session's token has expired", hint="Connect again with a fresh token.")
