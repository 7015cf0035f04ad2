"""The table of revocations on real servers: read by its changes, in whatever order transactions commit, and pruned."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import psycopg
import pytest

from rowgate.errors import RevocationLimit, RevocationUnknown
from rowgate.identity.revocation import Revocation, RevocationChanges
from rowgate.registry import revocations as table
from rowgate.registry.registry import ReceivedMessage, Registry
from rowgate.registry.revocations import RevocationReader
from tests.database.conftest import Prepared

LATER = 4_000_000_000.0


@pytest.fixture
async def registry(prepared: Prepared) -> AsyncIterator[Registry]:
    """The registry of the module's database, without a row of an earlier test."""
    with prepared.admin() as admin:
        admin.execute("TRUNCATE rowgate.revocation, rowgate.received_message")
    found = await Registry.connect(prepared.control_conninfo())
    yield found
    await found.close()


def subject(value: str, **more: Any) -> Revocation:
    return Revocation(provider="clerk", kind="subject", value=value, **more)


def values(changes: RevocationChanges) -> list[str]:
    return [one.value for one in changes.added]


async def in_force(registry: Registry) -> dict[str, Revocation]:
    return {one.value: one for one in await registry.revocations()}


async def test_what_was_revoked_is_listed_with_who_and_when(registry: Registry) -> None:
    before = time.time()
    rows = await registry.revoke(
        [subject("a", issued_before=1000.5, expires_at=LATER, reason="lost"), subject("b", revoked_by="api: ci")]
    )
    assert rows is not None
    first, second = await registry.revocations()
    assert [first, second] == rows
    assert (first.issued_before, first.expires_at, first.reason, first.revoked_by) == (
        1000.5, LATER, "lost", "rowgate_control",
    )  # fmt: skip
    assert before - 1 <= (first.revoked_at or 0) <= time.time() + 1
    assert (second.revoked_by, second.expires_at) == ("api: ci", None)
    assert [one.value for one in await registry.revocations(after=first.id or 0, limit=1)] == ["b"]


async def test_revoking_again_never_narrows(registry: Registry) -> None:
    for one in (subject("a", issued_before=100.0, expires_at=LATER), subject("a", issued_before=50.0)):
        await registry.revoke([one])
    kept = (await in_force(registry))["a"]
    assert (kept.issued_before, kept.expires_at) == (100.0, None)
    # After a removal the new one counts alone.
    await registry.remove_revocation(kept.id or 0)
    await registry.revoke([subject("a", issued_before=10.0, expires_at=LATER)])
    again = (await in_force(registry))["a"]
    assert (again.issued_before, again.expires_at) == (10.0, LATER)


async def test_what_is_left_takes_the_place_of_what_is_taken_back(registry: Registry) -> None:
    """In one transaction: nobody who follows sees the moment between."""
    await registry.revoke([subject("a", issued_before=900.0)])
    known = (await in_force(registry))["a"]
    async with asyncio.timeout(60), aclosing(registry.watch()) as snapshots:
        await anext(snapshots)
        await registry.remove_revocation(known.id or 0, left=subject("a", issued_before=100.0, expires_at=LATER))
        changes = (await anext(snapshots)).revocations
        assert [(one.value, one.issued_before, one.expires_at) for one in changes.added] == [("a", 100.0, LATER)]
        assert changes.removed == ()
    with pytest.raises(RevocationUnknown):
        await registry.remove_revocation(10**9, left=subject("b", issued_before=1.0))
    assert set(await in_force(registry)) == {"a"}


async def test_a_ban_and_a_sign_out_are_two(registry: Registry, prepared: Prepared) -> None:
    """Shut out for an hour, signed out for months: together they are no ban for months."""
    soon = time.time() + 3600
    await registry.revoke([subject("a", expires_at=soon)])
    await registry.revoke([subject("a", issued_before=100.0, expires_at=LATER)])
    rows = {(one.issued_before, round(one.expires_at or 0)) for one in await registry.revocations()}
    assert rows == {(None, round(soon)), (100.0, round(LATER))}
    # What is over, and only not deleted yet, does not come back with the next one.
    with prepared.admin() as admin:
        admin.execute("UPDATE rowgate.revocation SET expires_at = now() - interval '1 second'")
    await registry.revoke([subject("a", issued_before=50.0, expires_at=LATER)])
    (left,) = await registry.revocations()
    assert (left.issued_before, left.expires_at) == (50.0, LATER)


async def test_only_changes_are_read(registry: Registry, prepared: Prepared) -> None:
    with prepared.admin() as admin:
        admin.execute(
            "INSERT INTO rowgate.revocation (provider, kind, value) "
            "SELECT 'clerk', 'token', 'jti_' || n FROM generate_series(1, 100000) AS n"
        )
    async with asyncio.timeout(60), aclosing(registry.watch()) as snapshots:
        first = (await anext(snapshots)).revocations
        assert first.is_complete
        assert len(first.added) == 100_000
        await registry.revoke([subject("new")])
        second = (await anext(snapshots)).revocations
        assert (values(second), second.is_complete) == (["new"], False)
        (new,) = [one for one in await registry.revocations(limit=200_000) if one.value == "new"]
        await registry.remove_revocation(new.id or 0)
        third = (await anext(snapshots)).revocations
        assert [one.value for one in third.removed] == ["new"]
        assert (third.added, third.is_complete) == ((), False)
        # A row in force that somebody deletes by hand can only be noticed by reading everything.
        with prepared.admin() as admin:
            admin.execute("DELETE FROM rowgate.revocation WHERE value !~ '^jti_.$'")
        fourth = (await anext(snapshots)).revocations
        assert (len(fourth.added), fourth.is_complete) == (9, True)
        with prepared.admin() as admin:
            admin.execute("TRUNCATE rowgate.revocation")
        assert (await anext(snapshots)).revocations == RevocationChanges((), (), is_complete=True)


async def test_no_row_appears_behind_a_readers_back(registry: Registry, prepared: Prepared) -> None:
    """The first to write commits last: with numbers from a sequence its row would never be read."""
    insert = "INSERT INTO rowgate.revocation (provider, kind, value) VALUES ('clerk', 'subject', %s)"
    reader = RevocationReader()
    seen: list[str] = []

    async def read() -> None:
        seen.extend(values(await reader.read(registry._control, registry._control._connection)))  # type: ignore[arg-type]

    await read()
    with prepared.admin() as first, prepared.admin() as second:
        first.execute(insert, ["first"])
        second.execute("SET lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute(insert, ["second"])
        second.rollback()
        await read()
        assert seen == []
        first.execute(insert, ["first too"])
        first.commit()
        await read()
        second.execute(insert, ["second"])
        second.rollback()
        second.execute(insert, ["third"])
        second.commit()
    await read()
    await read()
    assert seen == ["first", "first too", "third"]


async def test_a_lost_notification_costs_one_keepalive(prepared: Prepared) -> None:
    registry = await Registry.connect(prepared.control_conninfo(), keepalive=0.2)
    try:
        async with asyncio.timeout(30), aclosing(registry.watch()) as snapshots:
            await anext(snapshots)
            with prepared.admin() as admin:
                admin.execute("ALTER TABLE rowgate.revocation DISABLE TRIGGER announce")
            await registry.revoke([subject("quiet")])
            while "quiet" not in values((await anext(snapshots)).revocations):
                pass
    finally:
        await registry.close()
        with prepared.admin() as admin:
            admin.execute("ALTER TABLE rowgate.revocation ENABLE TRIGGER announce")


async def test_what_happened_while_nobody_listened_is_read(registry: Registry, prepared: Prepared) -> None:
    async with asyncio.timeout(60), aclosing(registry.watch()) as snapshots:
        await anext(snapshots)
        with prepared.admin() as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rowgate_control'")
        await registry.revoke([subject("meanwhile")])
        changes = (await anext(snapshots)).revocations
        assert changes.is_complete
        assert values(changes) == ["meanwhile"]


async def test_pruning_deletes_what_is_over_and_tells_nobody(registry: Registry, prepared: Prepared) -> None:
    await registry.revoke([subject("kept"), subject("old", expires_at=LATER), subject("removed")])
    await registry.revoke([subject("x", expires_at=LATER)], message=ReceivedMessage("s", "m", LATER))
    await registry.remove_revocation((await in_force(registry))["removed"].id or 0)
    with prepared.admin() as admin:
        admin.execute("UPDATE rowgate.revocation SET expires_at = now() WHERE value = 'old'")
        generation = admin.execute("SELECT generation FROM rowgate.revocation_change").fetchone()
    assert await registry.prune_revocations() == 1, "what was removed today is kept, so that everyone learns of it"
    assert set(await in_force(registry)) == {"kept", "x"}
    with prepared.admin() as admin:
        admin.execute("UPDATE rowgate.revocation SET removed_at = now() - interval '2 days' WHERE value = 'removed'")
        admin.execute("UPDATE rowgate.received_message SET expires_at = now() - interval '1 second'")
    assert await registry.prune_revocations() == 1
    with prepared.admin() as admin:
        assert admin.execute("SELECT generation FROM rowgate.revocation_change").fetchone() == generation
        assert admin.execute("SELECT count(*) FROM rowgate.received_message").fetchone() == (0,)


async def test_a_message_counts_once(registry: Registry) -> None:
    message = ReceivedMessage("clerk", "msg_1", LATER)
    assert await registry.revoke([subject("a")], message=message)
    assert await registry.revoke([subject("b")], message=message) is None
    assert set(await in_force(registry)) == {"a"}
    assert await registry.revoke([subject("c")], message=ReceivedMessage("other", "msg_1", LATER))
    assert await registry.revoke([], message=ReceivedMessage("clerk", "msg_2", LATER)) == []


async def test_a_message_whose_revocation_failed_may_come_again(registry: Registry, monkeypatch: Any) -> None:
    message = ReceivedMessage("clerk", "msg_1", LATER)
    monkeypatch.setattr(table, "MOST_REVOCATIONS", 1)
    with pytest.raises(RevocationLimit):
        await registry.revoke([subject("a"), subject("b")], message=message)
    monkeypatch.undo()
    assert len(await registry.revoke([subject("a"), subject("b")], message=message) or []) == 2


async def test_unknown_ids(registry: Registry) -> None:
    with pytest.raises(RevocationUnknown):
        await registry.remove_revocation(4711)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM rowgate.revocation", "SELECT * FROM rowgate.webhook", "SELECT * FROM rowgate.admin_token",
        "SELECT * FROM rowgate.received_message", "DELETE FROM rowgate.revocation",
        "INSERT INTO rowgate.admin_token (name, digest) VALUES ('mine', sha256('mine'))",
        "UPDATE rowgate.revocation_change SET generation = 0", "SELECT rowgate.begin_revocation_change()",
    ],
)  # fmt: skip
def test_exposed_roles_reach_none_of_it(prepared: Prepared, statement: str) -> None:
    with prepared.client() as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute(statement)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "row",
    [
        "('clerk', 'nonsense', 'x', NULL)", "('clerk', 'subject', '', NULL)", "('clerk', 'provider', '', NULL)",
        "('clerk', 'provider', 'x', now())", "('', 'subject', 'x', NULL)",
        "('clerk', 'subject', repeat('x', 1025), NULL)", "('clerk', 'subject', 'x', 'infinity')",
    ],
)  # fmt: skip
def test_rows_that_gateways_could_not_read_cannot_be_written(prepared: Prepared, row: str) -> None:
    with prepared.admin() as admin, pytest.raises(psycopg.errors.CheckViolation):
        admin.execute(f"INSERT INTO rowgate.revocation (provider, kind, value, issued_before) VALUES {row}".encode())
