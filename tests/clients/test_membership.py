"""Organization, role and permissions the whole way: from a token of Clerk's shape to Postgres, by HTTP and session."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rowgate.identity.provider import Provider
from rowgate.registry.registry import Registry
from tests.clients.two_gateways import Gateways, eventually, key_set
from tests.unit.identity.forge import sign

ISSUER = "https://member.clerk.accounts.dev"
CLERK = Provider(name="member-clerk", kind="clerk", issuer=ISSUER, key_set=key_set())
FEATURES = {"fea": "o:notes,u:beta,o:teams", "v": 2}
ADMIN = {"o": {"id": "org_1", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3,2"}, **FEATURES}
ASK = (
    "select auth.org_id() as org, auth.org_role() as role, auth.has_permission('org:notes:manage') as notes, "
    "auth.has_permission('org:teams:read') as teams, auth.session() -> 'o' ->> 'rol' as claim"
)


async def register(gateways: Gateways, *, there: bool) -> None:
    registry = await Registry.connect(gateways.prepared.control_conninfo())
    await (registry.add_provider(CLERK) if there else registry.remove_provider(CLERK.name))
    await registry.close()


@pytest.fixture(scope="module", autouse=True)
def provider(gateways: Gateways) -> Iterator[None]:
    asyncio.run(register(gateways, there=True))
    assert eventually(lambda: gateways.code(0, token()) is None, 5) is not None
    yield
    asyncio.run(register(gateways, there=False))


def token(**claims: object) -> str:
    now = int(time.time())
    return sign(payload={"iss": ISSUER, "sub": "user_1", "iat": now, "exp": now + 300, **claims})


def test_over_http_and_in_sessions(gateways: Gateways) -> None:
    expected = {"org": "org_1", "role": "org:admin", "notes": True, "teams": False, "claim": "admin"}
    member = token(**ADMIN)
    for _ in range(3):
        assert gateways.ask(0, member, query=ASK)["rows"] == [expected]
    with gateways.connect(1, member) as session:
        assert session.execute(ASK).fetchone() == tuple(expected.values())
        session.execute("begin")
        assert session.execute(ASK).fetchone() == tuple(expected.values())
        session.execute("rollback")
    nobody = {"org": None, "role": None, "notes": False, "teams": False, "claim": None}
    assert gateways.ask(0, token(), query=ASK)["rows"] == [nobody]


def test_two_members_never_mix(gateways: Gateways) -> None:
    tokens = {n: token(sub="same", o={**ADMIN["o"], "id": f"org_{n}"}, **FEATURES) for n in range(5)}  # type: ignore[dict-item]
    for _ in range(3):
        for number, one in tokens.items():
            assert gateways.ask(0, one, query="select auth.org_id() as me")["rows"] == [{"me": f"org_{number}"}]


def test_the_first_version_of_clerks_tokens_says_the_same(gateways: Gateways) -> None:
    old = token(org_id="org_1", org_role="org:admin", org_permissions=["org:notes:manage"])
    row = gateways.ask(1, old, query=ASK)["rows"][0]
    assert row == {"org": "org_1", "role": "org:admin", "notes": True, "teams": False, "claim": None}


def test_claims_that_look_like_a_membership_are_claims(gateways: Gateways) -> None:
    forged = {
        "org_id": ["org_1"],
        "membership": {"org_id": "org_1"},
        "permissions": ["org:notes:manage"],
        "rowgate": "!",
    }
    row = gateways.ask(1, token(**forged), query=ASK)["rows"][0]
    assert row == {"org": None, "role": None, "notes": False, "teams": False, "claim": None}


def test_what_a_changed_provider_says_counts_at_once(gateways: Gateways) -> None:
    """The same token by other rules: nothing of the old membership is left in a cache."""
    member = token(**ADMIN)
    assert gateways.ask(0, member, query=ASK)["rows"][0]["org"] == "org_1"

    async def change() -> None:
        registry = await Registry.connect(gateways.prepared.control_conninfo())
        await registry.remove_provider(CLERK.name)
        await registry.add_provider(replace(CLERK, rules=replace(CLERK.claim_rules, organization=())))
        await registry.close()

    asyncio.run(change())
    assert (
        eventually(lambda: (gateways.ask(0, member, query=ASK).get("rows") or [{}])[0].get("org", 0) is None)
        is not None
    )
