"""What a step of set-up is made of before it is known how it stands: its SQL, and the question whether it is done.

Nothing here decides what to do; see steps.py for the steps and setup.py for how they are run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from rowgate.rls.plan import SetupOptions


class CannotProceed(Exception):
    """A step that no privilege would help with; the text says why. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Database:
    """The database that is being set up, and what is known about the connection to it."""

    connection: psycopg.Connection[Any]
    options: SetupOptions
    name: str
    owner: str
    connected_role: str
    is_superuser: bool
    server_version: int

    def one(self, query: str, *parameters: object) -> Any:
        """The first column of the first row, or None where there is no row."""
        row = self.connection.execute(query.encode(), parameters or None).fetchone()
        return row[0] if row is not None else None

    def rows(self, query: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        """All rows."""
        return self.connection.execute(query.encode(), parameters or None).fetchall()

    @contextmanager
    def as_owner(self) -> Iterator[None]:
        """Runs what is inside as rowgate_owner, who alone may read its tables. A superuser may anyway."""
        if self.is_superuser:
            yield
            return
        self.connection.execute("SET LOCAL ROLE rowgate_owner")
        yield
        self.connection.execute("RESET ROLE")

    def accepts_login(self, role: str, password: str) -> bool:
        """Whether ``role`` can log in to this database with ``password``, tried on a connection of its own."""
        conninfo = make_conninfo(self.connection.info.dsn, user=role, password=password, connect_timeout=5)
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def grants_have_options(self) -> bool:
        """Whether memberships have INHERIT and SET options of their own (since PostgreSQL 16)."""
        return self.server_version >= 160000


@dataclass(frozen=True, slots=True)
class Action:
    """One step. ``missing`` says what is not there yet, or None; its argument says whether to try logging in, which
    tells nothing about what this transaction has only just done."""

    title: str
    why: str
    runner: str
    sql: str
    missing: Callable[[bool], str | None]


def identifier(name: str) -> str:
    """``name`` quoted as an SQL identifier."""
    return sql.Identifier(name).as_string()


def identifiers(*names: str) -> str:
    """Several names, separated by commas."""
    return ", ".join(identifier(name) for name in names)


def literal(text: str) -> str:
    """``text`` quoted as an SQL literal."""
    return sql.Literal(text).as_string().strip()
