"""The registry on real servers: reading, changing, and following it through restarts and hung connections."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from rowgate.errors import (
    ConnectFailed,
    ConnectionLost,
    ProviderConflict,
    ProviderUnknown,
    SettingInvalid,
    SetupIncomplete,
)
from rowgate.identity.claim_rules import ClaimRules, Condition, Reading
from rowgate.identity.provider import Provider
from rowgate.registry.registry import ArrayElement, Registry, RegistrySnapshot
from rowgate.registry.snapshot import SCHEMA_VERSION
from rowgate.rls.extension import registry_script
from tests.database.conftest import CONTROL_PASSWORD, Prepared, prepared_on
from tests.servers import TestServer

PROVIDER = Provider(
    name="clerk",
    kind="clerk",
    issuer="https://clerk.example.com",
    jwks_url="https://clerk.example.com/.well-known/jwks.json",
    audiences=("a", 'quo"ted, {braces}'),
    authorized_parties=("https://app.example.com",),
    algorithms=("RS256", "ES256"),
    roles=("authenticated",),
)


@pytest.fixture
async def registry(own_prepared: Prepared) -> AsyncIterator[Registry]:
    found = await Registry.connect(own_prepared.control_conninfo())
    yield found
    await found.close()


async def following(registry: Registry, wanted: Any) -> RegistrySnapshot:
    """The first snapshot of ``watch`` for which ``wanted`` holds."""
    async with asyncio.timeout(30), aclosing(registry.watch()) as snapshots:
        async for snapshot in snapshots:
            if wanted(snapshot):
                return snapshot
    raise AssertionError("watch ended")


async def test_a_snapshot_has_what_set_up_made(registry: Registry, own_prepared: Prepared) -> None:
    before = time.time()
    snapshot = await registry.snapshot()
    assert snapshot.providers == ()
    assert [role.role for role in snapshot.exposed_roles] == ["anonymous", "authenticated"]
    assert [key.active for key in snapshot.session_keys] == [True]
    assert (snapshot.session_keys[0].key_id, snapshot.session_keys[0].secret) == own_prepared.key()
    assert snapshot.database == own_prepared.name
    assert snapshot.server_version // 10000 == own_prepared.server.major_version
    # Server and test share a clock.
    assert abs(snapshot.clock_offset) <= time.time() - before
    for role in snapshot.exposed_roles:
        psycopg.connect(
            own_prepared.server.conninfo(own_prepared.name, user=role.login, password=role.password)
        ).close()
        assert role.password not in repr(snapshot)
    assert repr(snapshot.session_keys[0].secret) not in repr(snapshot)


async def test_the_clocks_difference_is_told(own_prepared: Prepared) -> None:
    behind = await Registry.connect(own_prepared.control_conninfo(), clock=lambda: time.time() - 100)
    try:
        assert 99 < (await behind.snapshot()).clock_offset < 101
    finally:
        await behind.close()


async def test_providers_come_and_go(registry: Registry) -> None:
    await registry.add_provider(PROVIDER)
    await registry.add_provider(PROVIDER)
    assert await registry.list_providers() == (PROVIDER,)
    with pytest.raises(ProviderConflict, match="name"):
        await registry.add_provider(replace(PROVIDER, issuer="https://other.example.com"))
    with pytest.raises(ProviderConflict, match="issuer"):
        await registry.add_provider(replace(PROVIDER, name="another"))
    second = replace(PROVIDER, name="aaa", issuer="https://other.example.com", audiences=())
    await registry.add_provider(second)
    assert await registry.list_providers() == (second, PROVIDER)
    await registry.remove_provider("clerk")
    with pytest.raises(ProviderUnknown):
        await registry.remove_provider("clerk")
    assert await registry.list_providers() == (second,)


async def test_an_unsound_provider_is_left_out(
    registry: Registry, own_prepared: Prepared, caplog: pytest.LogCaptureFixture
) -> None:
    with own_prepared.admin() as admin:
        admin.execute(
            "INSERT INTO rowgate.provider (name, kind, issuer, jwks_url, algorithms, roles) "
            "VALUES ('odd', 'custom', 'https://odd.example.com', 'ftp://x', '{HS256}', '{authenticated}')"
        )
    await registry.add_provider(PROVIDER)
    assert await registry.list_providers() == (PROVIDER,)
    assert "'odd' is left out" in caplog.text
    with pytest.raises(ProviderConflict, match="not sound"):
        await registry.add_provider(replace(PROVIDER, name="odd", issuer="https://new.example.com"))


async def test_a_registry_that_begins_to_watch_is_not_taken_for_lost(registry: Registry) -> None:
    async with asyncio.timeout(30), aclosing(registry.watch()) as snapshots:
        first = asyncio.ensure_future(anext(snapshots))
        await asyncio.sleep(0)  # it runs until it waits for its own connection
        assert not first.done()
        assert registry.is_connected
        await first
        assert registry.is_connected


async def test_changes_are_followed(registry: Registry, own_prepared: Prepared) -> None:
    async with asyncio.timeout(30), aclosing(registry.watch()) as snapshots:
        first = await anext(snapshots)
        assert first.providers == ()
        assert registry.is_connected
        await registry.add_provider(PROVIDER)
        assert (await anext(snapshots)).providers == (PROVIDER,)
        with own_prepared.admin() as admin:
            admin.execute("SELECT auth.rotate_session_key()")
        rotated = await anext(snapshots)
        assert [key.active for key in rotated.session_keys] == [False, True]
        with own_prepared.admin() as admin:
            admin.execute("UPDATE rowgate.exposed_role SET login_password = 'new' WHERE role_name = 'anonymous'")
        assert (await anext(snapshots)).exposed_roles[0].password == "new"
        await registry.remove_provider("clerk")
        assert (await anext(snapshots)).providers == ()


async def test_a_restart_is_survived(registry: Registry, own_prepared: Prepared) -> None:
    async with asyncio.timeout(60), aclosing(registry.watch()) as snapshots:
        await anext(snapshots)
        waiting = asyncio.ensure_future(anext(snapshots))
        await asyncio.to_thread(own_prepared.server.restart)
        # What changed while nobody listened is read with the new connection.
        await registry.add_provider(PROVIDER)
        snapshot = await waiting
        while snapshot.providers != (PROVIDER,):
            snapshot = await anext(snapshots)


async def test_a_broken_connection_is_made_again_for_reading(registry: Registry, own_prepared: Prepared) -> None:
    await registry.snapshot()
    with own_prepared.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rowgate_control'")
    assert (await registry.snapshot()).providers == ()


async def test_a_hung_connection_is_noticed(own_prepared: Prepared) -> None:
    """The server's process hangs, the network does not: only a question with a deadline tells."""
    registry = await Registry.connect(own_prepared.control_conninfo(), keepalive=0.1, deadline=0.5)
    hung: list[int] = []
    try:
        async with asyncio.timeout(30), aclosing(registry.watch()) as snapshots:
            await anext(snapshots)
            with own_prepared.admin() as admin:
                listener = admin.execute(
                    "SELECT pid FROM pg_stat_activity WHERE usename = 'rowgate_control' "
                    "ORDER BY backend_start DESC LIMIT 1"
                )
                hung += [pid for (pid,) in listener.fetchall()]
            for pid in hung:
                os.kill(pid, signal.SIGSTOP)
            assert (await anext(snapshots)).providers == ()
            assert registry.is_connected
    finally:
        for pid in hung:
            os.kill(pid, signal.SIGCONT)
        await registry.close()


async def test_a_hung_reading_ends_at_its_deadline(own_prepared: Prepared) -> None:
    # The same deadline is for connecting, which takes a while on a busy machine.
    registry = await Registry.connect(own_prepared.control_conninfo(), deadline=2)
    with own_prepared.admin() as admin:
        admin.execute("LOCK TABLE rowgate.provider IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        with pytest.raises(ConnectionLost):
            await registry.snapshot()
        assert time.monotonic() - started < 20
    assert (await registry.snapshot()).providers == ()
    await registry.close()


async def test_a_reading_can_be_cancelled(registry: Registry, own_prepared: Prepared) -> None:
    with own_prepared.admin() as admin:
        admin.execute("LOCK TABLE rowgate.provider IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.ensure_future(registry.snapshot())
        while not reading.done():
            waiting = admin.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            if waiting != (0,):
                reading.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert (await registry.snapshot()).providers == ()


async def test_without_set_up(postgres: TestServer, database: str) -> None:
    registry = await Registry.connect(postgres.conninfo(database))
    try:
        with pytest.raises(SetupIncomplete) as refusal:
            await registry.snapshot()
        assert "rowgate setup" in str(refusal.value.hint)
    finally:
        await registry.close()


async def test_without_the_extension_or_a_column_or_the_version(registry: Registry, own_prepared: Prepared) -> None:
    with own_prepared.admin() as admin:
        admin.execute("UPDATE rowgate.schema_version SET version = 7")
    with pytest.raises(SetupIncomplete) as refusal:
        await registry.snapshot()
    assert refusal.value.detail == f"expected version {SCHEMA_VERSION}, got 7"
    with own_prepared.admin() as admin:
        admin.execute(f"UPDATE rowgate.schema_version SET version = {SCHEMA_VERSION}".encode())
        admin.execute("ALTER TABLE rowgate.provider RENAME roles TO rollen")
    with pytest.raises(SetupIncomplete):
        await registry.snapshot()
    with own_prepared.admin() as admin:
        admin.execute("ALTER TABLE rowgate.provider RENAME rollen TO roles")
        admin.execute("REVOKE SELECT ON rowgate.exposed_role FROM rowgate_control")
    with pytest.raises(SetupIncomplete):
        await registry.snapshot()
    with own_prepared.admin() as admin:
        admin.execute(
            "DROP SCHEMA auth CASCADE"
            if own_prepared.server.major_version == 15
            else "DROP EXTENSION pg_session_jwt CASCADE"
        )
    with pytest.raises(SetupIncomplete):
        await registry.snapshot()


async def test_following_waits_for_set_up(postgres: TestServer) -> None:
    """A registry that cannot be read gives nothing, and is read as soon as it can be."""
    with prepared_on(postgres) as prepared:
        registry = await Registry.connect(prepared.control_conninfo())
        with prepared.admin() as admin:
            admin.execute("UPDATE rowgate.schema_version SET version = 7")
        found = asyncio.ensure_future(following(registry, lambda snapshot: True))
        done, _ = await asyncio.wait({found}, timeout=0.2)
        assert not done
        assert not registry.is_connected
        with prepared.admin() as admin:
            admin.execute(f"UPDATE rowgate.schema_version SET version = {SCHEMA_VERSION}".encode())
        assert (await found).database == prepared.name
        await registry.close()


async def test_nobody_there() -> None:
    with pytest.raises(ConnectFailed):
        await Registry.connect("postgresql://rowgate_control:secret@127.0.0.1:1/app")
    with pytest.raises(SettingInvalid) as refusal:
        await Registry.connect("postgresql://rowgate_control:secret@[nonsense")
    assert "secret" not in f"{refusal.value} {refusal.value.detail} {refusal.value.hint}"


async def test_a_wrong_password_is_not_shown(own_prepared: Prepared) -> None:
    conninfo = own_prepared.server.conninfo(own_prepared.name, user="rowgate_control", password="guess me not")
    with pytest.raises(ConnectFailed) as refusal:
        await Registry.connect(conninfo)
    assert "guess me not" not in f"{refusal.value} {refusal.value.detail}"
    assert CONTROL_PASSWORD not in f"{refusal.value} {refusal.value.detail}"


async def test_array_types(registry: Registry, own_prepared: Prepared) -> None:
    with own_prepared.admin() as admin:
        admin.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
        oids = admin.execute("SELECT 'mood[]'::regtype::oid::int8, 'mood'::regtype::oid::int8").fetchone()
    assert oids is not None
    types = await registry.array_types()
    assert types[oids[0]] == ArrayElement(oids[1], ",")
    assert types[1007] == ArrayElement(23)
    assert types[1020] == ArrayElement(603, ";")
    assert 22 not in types, "int2vector is not an array to its readers"


async def test_the_catalogue_comes_first(registry: Registry, own_prepared: Prepared) -> None:
    """Names without a schema are pg_catalog's, even where the database says otherwise."""
    with own_prepared.admin() as admin:
        admin.execute(f"ALTER DATABASE {own_prepared.name} SET search_path = public, pg_catalog".encode())
        admin.execute("CREATE TABLE public.pg_type (oid int)")
    await registry.close()
    assert 1007 in await registry.array_types()
    assert (await registry.rows("SELECT %s::int", 7)) == [(7,)]


async def test_everything_of_a_provider_is_kept(registry: Registry, own_prepared: Prepared) -> None:
    rules = ClaimRules(
        user="oid",
        required=(Condition(path=("tid",), values=("t1", True)),),
        roles=(Reading(path=("a", "b"), shape="objects", member="key"),),
    )
    kept = replace(
        PROVIDER,
        kind="custom",
        jwks_url="",
        key_set='{"keys":[]}',
        client_ids=("c1",),
        other_issuers=("x",),
        rules=rules,
    )
    await registry.add_provider(kept)
    await registry.add_provider(kept)
    assert await registry.list_providers() == (kept,)
    for taken in ({"issuer": "x"}, {"issuer": "y", "other_issuers": ("z", PROVIDER.issuer)}):
        with pytest.raises(ProviderConflict, match="issuer"):
            await registry.add_provider(replace(kept, name="other", **{"other_issuers": (), **taken}))
    with own_prepared.admin() as admin:
        admin.execute("""UPDATE rowgate.provider SET rules = '{"from_the_future": true}'""")
    assert await registry.list_providers() == (), "a rule that is not understood is not left unenforced"


async def test_a_registry_of_the_version_before_is_brought_up_to_date(
    registry: Registry, own_prepared: Prepared
) -> None:
    with own_prepared.admin() as admin:
        admin.execute(
            "ALTER TABLE rowgate.provider DROP other_issuers, DROP client_ids, DROP key_set, DROP rules;"
            "INSERT INTO rowgate.provider (name, kind, issuer, jwks_url, algorithms, roles) VALUES "
            "('clerk', 'clerk', 'https://c.example', 'https://c.example/jwks', '{RS256}', '{authenticated}')"
        )
    with pytest.raises(SetupIncomplete):
        await registry.snapshot()
    for _ in range(2):
        with own_prepared.admin() as admin:
            admin.execute(registry_script().encode())
    (clerk,) = await registry.list_providers()
    assert clerk.claim_rules.denied, "a row without rules has those of its kind"
