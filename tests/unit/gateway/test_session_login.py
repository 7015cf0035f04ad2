"""What a startup packet asks for: endpoint, database and settings, and what is refused of it."""

import pytest

from rowgate.errors import RequestRefused, StatementRefused
from rowgate.gateway.sessions.cancel import CancelKeys
from rowgate.gateway.sessions.login import read_login, session_settings


def test_role_database_and_endpoint() -> None:
    login = read_login({"user": "authenticated"}, "EP-one.example.com")
    assert (login.role, login.database, login.endpoint) == ("authenticated", "authenticated", "ep-one")
    named = read_login({"user": "a", "database": "d", "options": "endpoint=Two"}, "ep-one.example.com")
    assert (named.database, named.endpoint) == ("d", "two")


def test_settings_of_the_packet_and_of_its_options() -> None:
    login = read_login(
        {"user": "a", "TimeZone": "UTC", "options": "-c statement_timeout=5s --search-path='a b' -cdatestyle=ISO"}, None
    )
    assert login.settings == (
        ("TimeZone", "UTC"), ("statement_timeout", "5s"), ("search_path", "a b"), ("datestyle", "ISO"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"user": ""},
        {"user": "a", "replication": "database"},
        {"user": "a", "replication": "true"},
        {"user": "a", "options": "-c"},
        {"user": "a", "options": "-c role"},
        {"user": "a", "options": "-r /tmp/x"},
        {"user": "a", "options": "'"},
    ],
)
def test_packets_that_are_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(RequestRefused):
        read_login(parameters, None)


def test_settings_pass_the_guard() -> None:
    chosen = session_settings(
        (("client_encoding", "'utf-8'"), ("TimeZone", "Asia/Tokyo"), ("_pq_.x", "1"), ("search_path", "a, b"))
    )
    assert [(one.name, one.values) for one in chosen][1:] == [
        ("timezone", ("Asia/Tokyo",)),
        ("search_path", ("a", "b")),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("role", "postgres"),
        ("session_authorization", "postgres"),
        ("rowgate.identity", "x"),
        ("client_encoding", "LATIN1"),
        ("standard_conforming_strings", "off"),
        ("row_security", "off"),
        ("timezone to 'UTC'; set role", "postgres"),
        ("search_path", "pg_temp, public"),
        ("local timezone", "UTC"),
        ("nonsense", "1"),
    ],
)
def test_settings_that_are_refused(name: str, value: str) -> None:
    with pytest.raises(StatementRefused):
        session_settings(((name, value),))


async def test_only_the_right_key_cancels() -> None:
    keys, cancelled = CancelKeys(), []

    async def cancel() -> None:
        cancelled.append(True)

    process_id, key = keys.register(cancel, long_key=False)
    _, long_key = keys.register(cancel, long_key=True)
    assert (len(key), len(long_key)) == (4, 32)
    for wrong in (b"", bytes(4), key + b"\0", key[:3]):
        await keys.cancel(process_id, wrong)
    await keys.cancel(process_id + 1, key)
    await keys.cancel(0, b"")
    assert not cancelled
    await keys.cancel(process_id, key)
    assert cancelled == [True]
    keys.forget(process_id)
    await keys.cancel(process_id, key)
    assert cancelled == [True]
