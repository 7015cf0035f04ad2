"""Reading a row of the registry, whatever is in it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import SetupIncomplete
from rowgate.identity.webhooks import Webhook
from rowgate.registry.snapshot import SCHEMA_VERSION, AdminToken, ExposedRole, SessionKey, read_snapshot

PROVIDER = {
    "name": "clerk",
    "kind": "clerk",
    "issuer": "https://clerk.example.com",
    "jwks_url": "https://clerk.example.com/jwks",
    "audiences": [],
    "authorized_parties": ["https://app.example.com"],
    "algorithms": ["RS256"],
    "roles": ["authenticated"],
}


def row(**changes: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"providers": None, "exposed_roles": None, "session_keys": None}
    empty |= {"webhooks": None, "admin_tokens": None}
    return {"version": SCHEMA_VERSION, "database": "app", "server_version": 180004, "clock": 1000.0, **empty, **changes}


def test_an_empty_registry() -> None:
    snapshot = read_snapshot(row(), 990.0, 992.0)
    assert (snapshot.providers, snapshot.exposed_roles, snapshot.session_keys) == ((), (), ())
    assert snapshot.clock_offset == 9.0
    assert (snapshot.database, snapshot.server_version) == ("app", 180004)


def test_everything_in_its_place() -> None:
    secret = bytes(range(32))
    snapshot = read_snapshot(
        row(
            providers=[PROVIDER],
            exposed_roles=[{"role": "authenticated", "login": "rowgate_authenticated", "password": "s3cret"}],
            session_keys=[{"key_id": "k", "secret": secret.hex(), "active": True}],
            webhooks=[{"name": "w", "provider": "clerk", "kind": "clerk", "secret": "whsec_s3cret"}],
            admin_tokens=[{"name": "t", "digest": secret.hex(), "created_at": 1.0, "expires_at": None}],
        ),
        1.0,
        1.0,
    )
    assert snapshot.providers[0].authorized_parties == ("https://app.example.com",)
    assert snapshot.exposed_roles == (ExposedRole("authenticated", "rowgate_authenticated", "s3cret"),)
    assert snapshot.session_keys == (SessionKey("k", secret, True),)
    assert snapshot.webhooks == (Webhook("w", "clerk", "clerk", "whsec_s3cret"),)
    assert snapshot.admin_tokens == (AdminToken("t", secret, 1.0),)
    assert "s3cret" not in repr(snapshot)
    assert repr(secret) not in repr(snapshot)


@pytest.mark.parametrize("version", [None, 0, SCHEMA_VERSION - 1, SCHEMA_VERSION + 1, str(SCHEMA_VERSION)])
def test_another_version_is_refused(version: object) -> None:
    with pytest.raises(SetupIncomplete):
        read_snapshot(row(version=version), 1.0, 1.0)


@given(
    st.sampled_from(sorted(PROVIDER)),
    st.none() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=3) | st.integers(),
)
def test_a_provider_is_sound_or_left_out(column: str, value: object) -> None:
    snapshot = read_snapshot(row(providers=[{**PROVIDER, column: value}]), 1.0, 1.0)
    for provider in snapshot.providers:
        found = getattr(provider, column)
        assert found == (tuple(value) if isinstance(value, list) else value)
