"""The connection of a command that works on a database itself, as whoever its connection string names.

Apart from ``local``, because most commands need no driver and none should wait for its import. Never reads a setting.
"""

from __future__ import annotations

import psycopg

from rowgate.errors import ConnectFailed, SettingInvalid

PATIENCE_SECONDS = 10


def connect(database_url: str, command: str) -> psycopg.Connection[object]:
    """A connection that commits by itself; ``command`` is what Postgres is told of the program.

    Raises SettingInvalid for what is no connection string, and ConnectFailed.
    """
    try:
        return psycopg.connect(
            database_url, autocommit=True, connect_timeout=PATIENCE_SECONDS, application_name=f"rowgate {command}"
        )
    except psycopg.ProgrammingError as problem:
        raise SettingInvalid("--database-url is not a connection string") from problem
    except psycopg.OperationalError as problem:
        raise ConnectFailed("the database cannot be reached", detail=str(problem).strip()) from problem
