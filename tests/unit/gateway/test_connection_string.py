"""Connection strings of clients: what is read, what is refused, and that no password shows."""

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import MalformedHeader, RowgateError
from rowgate.gateway.connection_string import parse


@pytest.mark.parametrize(
    ("text", "role", "password", "endpoint", "database"),
    [
        ("postgresql://authenticated@localhost/neondb", "authenticated", None, "localhost", "neondb"),
        ("postgres://a:b@ep-Bold-Queen.eastus2.example/db?sslmode=require", "a", "b", "ep-bold-queen", "db"),
        ("postgresql://a@ep-x-pooler.example:5433/db", "a", None, "ep-x-pooler", "db"),
        ("postgresql://http%2Bauth%24%24:%25%2B%24%5E%26*%40!@h/d", "http+auth$$", "%+$^&*@!", "h", "d"),
        ("postgresql://a@h", "a", None, "h", "a"),
        ("postgresql://a:@h/d", "a", None, "h", "d"),
        ("postgresql://%C3%A9@h/%C3%A9t%C3%A9", "é", None, "h", "été"),
        ("postgresql://a@[::1]:5432/d", "a", None, "::1", "d"),
        ("postgresql://a@h/d?options=-c%20role%3Dpostgres&application_name=pkg%3Anpm", "a", None, "h", "d"),
    ],
)
def test_what_is_read(text: str, role: str, password: str | None, endpoint: str, database: str) -> None:
    parsed = parse(text)
    assert (parsed.role, parsed.password, parsed.endpoint, parsed.database) == (role, password, endpoint, database)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid header: neon-connection-string"),
        ("mysql://a@h/d", "invalid connection string: incorrect scheme"),
        ("postgresql://h/d", "invalid connection string: missing username"),
        ("postgresql://a@/d", "invalid connection string: missing host"),
        ("postgresql://a@[::1/d", "invalid connection string: not a URL"),
        ("postgresql://a%00b@h/d", "invalid connection string: the username holds a forbidden character"),
        ("postgresql://%ff@h/d", "invalid connection string: the username is not UTF-8"),
        ("postgresql://a@h/" + "d" * 5000, "invalid connection string: too long"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(MalformedHeader) as refused:
        parse(text)
    assert refused.value.message == message


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(RowgateError):
        parse(text)


@given(st.text(min_size=1, max_size=50).filter(lambda text: "\0" not in text), st.text(max_size=50))
def test_percent_encoding_round_trips(role: str, database: str) -> None:
    database = database.replace("\0", "")
    parsed = parse(f"postgresql://{quote(role, safe='')}:secret@h/{quote(database, safe='')}")
    assert (parsed.role, parsed.database) == (role, database or role)
    assert parsed.password == "secret"
    assert "secret" not in repr(parsed) or "secret" in role + database
