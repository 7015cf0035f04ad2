"""A crowd for the console to show: 200 tables, 50 providers and an audit file of 100,000 records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg

from rowgate.gateway.audit.record import RequestRecord

TABLES = 200
PROVIDERS = 50
RECORDS = 100_000

_RECORD = RequestRecord(
    time=1_700_000_000.0, front="http", endpoint="", database="neondb", role="authenticated", subject="user_alice",
    organization=None, provider="local", token_id=None, actor=None, fingerprints=["0123456789abcdef"],
    tables=["todos"], verdict="allowed", outcome="ok", sqlstate=None, rows=3, size=200, milliseconds=1.5,
)  # fmt: skip


def write_records(path: Path) -> None:
    """An audit file as a gateway would have written it."""
    lines = [
        msgspec.json.encode(
            msgspec.structs.replace(
                _RECORD, time=1_700_000_000.0 + number, subject=f"user_{number % 997}",
                outcome="ok" if number % 50 else "token_expired",
            )
        )
        for number in range(RECORDS)
    ]  # fmt: skip
    path.write_bytes(b"\n".join(lines) + b"\n")


@contextmanager
def crowded(superuser_url: str) -> Iterator[None]:
    """While there are as many tables and providers in the database."""
    made = "".join(
        f"create table many_{number} (id int, user_id text); alter table many_{number} enable row level security;"
        f"create policy own on many_{number} using ((select auth.user_id()) = user_id);"
        for number in range(TABLES)
    )
    providers = (
        "insert into rowgate.provider (name, kind, issuer, jwks_url, algorithms, roles, rules) "
        "select 'many-' || n, 'custom', 'https://many.invalid/' || n, 'https://many.invalid/' || n || '/jwks', "
        "'{RS256}', '{authenticated}', (select rules from rowgate.provider limit 1) from generate_series(2, %s) as n"
    )
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(made.encode())
        connection.execute(providers, (PROVIDERS,))
    try:
        yield
    finally:
        with psycopg.connect(superuser_url, autocommit=True) as connection:
            connection.execute("delete from rowgate.provider where name like 'many-%'")
            connection.execute("".join(f"drop table many_{number};" for number in range(TABLES)).encode())
