"""What real clients send: every recorded text passes in a session, and what is refused is refused on purpose.

That they also run, with the answers that Postgres gives, is shown in ``tests/clients/test_recorded_texts.py``.
"""

from __future__ import annotations

import pytest

from rowgate.errors import StatementRefused
from rowgate.guard import CLIENT, FunctionCatalog, Guard, SessionKind
from tests.unit.guard.recorded import OPEN, REFUSED, Recorded

GUARD = Guard(CLIENT, FunctionCatalog.default())


@pytest.mark.parametrize("text", OPEN, ids=lambda text: text.id)
def test_what_a_client_sends_passes(text: Recorded) -> None:
    statements = GUARD.check_session(text.sql)
    assert statements, text.title
    assert all(statement.text.rstrip(";") == statement.text for statement in statements)


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text.id)
def test_what_is_refused_reads_what_stays_closed(text: Recorded) -> None:
    with pytest.raises(StatementRefused) as caught:
        GUARD.check_session(text.sql)
    assert caught.value.refused_sqlstate == "42501", text.title
    words = ("_size", "_location", "schema pg_catalog", "pg_stat_user_indexes", "function_sqlbody", "functiondef",
             "may not be read like this", "WITH HOLD", "pg_partition_tree")  # fmt: skip
    assert any(word in caught.value.message for word in words), text.title


def test_only_the_named_commands_of_psql_are_refused() -> None:
    commands = {text.title.partition(": ")[2] for text in REFUSED if text.title.startswith("psql")}
    with_sizes = {r"\d+", r"\di+", r"\ds+", r"\l+", r"\dP+"}  # \dt+, \dv+ and \dm+ send the query of \d+
    about_servers = {r"\des", r"\det", r"\deu", r"\dew", r"\dRs", r"\db", r"\db+"}
    about_settings = {r"\dconfig", r"\dconfig *time*", r"\drds", "completing SET", "completing SHOW"}
    bodies = {r"\df+", r"\sf app.f"}
    assert commands == with_sizes | about_servers | about_settings | bodies | {r"\ddp", r"\dl"}


def test_the_records_are_not_thin() -> None:
    clients = {text.title.partition(" ")[0].rstrip(":") for text in OPEN}
    assert clients >= {"psql", "asyncpg", "psycopg", "SQLAlchemy", "Django", "pgJDBC", "DBeaver", "Prisma"}
    assert clients >= {"node-postgres", "postgres.js", "drizzle-kit"}
    assert len(OPEN) >= 250
    assert len({text.sql for text in OPEN}) >= 250


@pytest.mark.parametrize("text", OPEN, ids=lambda text: text.id)
def test_http_stays_narrow(text: Recorded) -> None:
    """No catalog of Postgres and no setting is open over HTTP because it is open in sessions."""
    try:
        verdict = GUARD.check(text.sql)
    except StatementRefused:
        return
    assert not any("pg_" in table or "information_schema" in table for table in verdict.tables)


def test_asyncpg_resets_a_connection_in_one_text() -> None:
    (text,) = [text for text in OPEN if "pg_advisory_unlock_all" in text.sql]
    kinds = [statement.kind for statement in GUARD.check_session(text.sql)]
    assert kinds == [
        SessionKind.UNLOCK_ALL,
        SessionKind.CLOSE_ALL_CURSORS,
        SessionKind.UNLISTEN_ALL,
        SessionKind.RESET_ALL,
    ]
