"""What a client says at the start of a session: role, database, endpoint, and settings. Pure: no socket, no Postgres.

Every setting of the startup packet is judged like a SET of the session, so nothing reaches a backend that a statement
could not have set.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rowgate.errors import RequestRefused, UnsupportedStatement
from rowgate.guard.sessions.settings import session_setting
from rowgate.guard.sessions.statement import SessionSetting

OWN_PARAMETERS = frozenset({"user", "database", "options", "replication"})


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """Who wants to log in, and where. ``endpoint`` is empty where the client named none. ``keeps_backend``: one
    connection to Postgres for the whole session, and not for each transaction."""

    role: str
    database: str
    endpoint: str
    settings: tuple[tuple[str, str], ...]
    keeps_backend: bool = False


def read_login(parameters: Mapping[str, str], server_name: str | None) -> LoginRequest:
    """Reads the parameters of a StartupMessage (PostgreSQL 18, section 54.7). ``server_name`` is the host that the
    client asked for, from TLS or from the WebSocket's Host.

    Raises RequestRefused, UnsupportedStatement.
    """
    role = parameters.get("user", "")
    if not role:
        raise RequestRefused("no PostgreSQL user name specified in startup packet")
    if parameters.get("replication", "false").lower() not in ("false", "off", "no", "0"):
        raise UnsupportedStatement("replication is not supported", hint="Connect to Postgres itself for replication.")
    endpoint = (server_name or "").split(".")[0].lower()
    settings = [(name, value) for name, value in parameters.items() if name not in OWN_PARAMETERS]
    keeps_backend = False
    for name, value in _options(parameters.get("options", "")):
        if name == "endpoint":
            endpoint = value.lower()
        elif name == "pool_mode":
            keeps_backend = _keeps_backend(value)
        else:
            settings.append((name, value))
    return LoginRequest(role, parameters.get("database") or role, endpoint, tuple(settings), keeps_backend)


def _keeps_backend(pool_mode: str) -> bool:
    if pool_mode not in ("session", "transaction"):
        raise RequestRefused(f"the pool mode {pool_mode[:20]!r} is not known", hint="Use session or transaction.")
    return pool_mode == "session"


def _options(text: str) -> Iterator[tuple[str, str]]:
    """``-c name=value``, ``--name=value``, ``endpoint=name`` and ``pool_mode=session``, as libpq users write them."""
    try:
        words = iter(shlex.split(text, posix=True))
    except ValueError as problem:
        raise RequestRefused("the options of the connection cannot be read") from problem
    for word in words:
        if word == "-c":
            word = next(words, "")
        elif word.startswith(("--", "-c")):
            word = word[2:]
        elif not word.startswith(("endpoint=", "pool_mode=")):
            raise RequestRefused(f"the option {word[:40]!r} is not supported", hint="Use -c name=value.")
        name, equals, value = word.partition("=")
        if not equals:
            raise RequestRefused(f"the option {word[:40]!r} has no value", hint="Use -c name=value.")
        yield name.replace("-", "_"), value


def session_settings(settings: tuple[tuple[str, str], ...]) -> tuple[SessionSetting, ...]:
    """The settings of the startup packet, judged as a SET is. Raises StatementRefused."""
    judged: list[SessionSetting] = []
    for name, value in settings:
        if name.startswith("_pq_."):
            continue  # the protocol's own options, negotiated elsewhere
        quoted = len(value) > 1 and value[0] == value[-1] == "'"
        judged.append(session_setting(name, value[1:-1] if quoted else value))  # asyncpg quotes client_encoding
    return tuple(judged)
