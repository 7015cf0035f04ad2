"""A role that asks for a claim, the whole way: whoever has the claim may be it, and nobody else."""

import json

import psycopg
import pytest

from rowgate.rls.plan import SetupOptions
from rowgate.rls.setup import apply
from tests.clients.two_gateways import NAME, Gateways, eventually

REFUSED = "rowgate:token_role_refused"


@pytest.fixture(scope="module", autouse=True)
def app_admin(gateways: Gateways) -> None:
    with psycopg.connect(gateways.prepared.server.conninfo(gateways.prepared.name), autocommit=True) as admin:
        assert apply(admin, SetupOptions(roles=("authenticated", "anonymous", "app_admin"))).plan.is_complete
    gateways.cli("provider", "remove", NAME)
    gateways.add_provider("--role-from", "/o/rol=admin:app_admin", "--role-from", "role=boss:app_admin")
    granted = gateways.token("granted", o={"rol": "admin"})
    assert eventually(lambda: gateways.code(0, granted, "app_admin") is None, 5) is not None


def test_the_claim_decides(gateways: Gateways) -> None:
    admin = gateways.token("admin_1", o={"rol": "admin"})
    assert gateways.ask(1, admin, "app_admin", query="select current_user as me")["rows"] == [{"me": "app_admin"}]
    assert gateways.code(1, admin) is None
    for claims in ({}, {"o": {"rol": "member"}}, {"role": "app_admin"}, {"roles": ["app_admin"]}, {"o": "admin"}):
        token = gateways.token("member_1", **claims)
        assert gateways.code(0, token, "app_admin") == REFUSED, claims
        assert gateways.code(0, token) is None
    assert gateways.code(0, gateways.token("boss_1", role="boss"), "app_admin") is None


def test_a_session_cannot_change_its_role(gateways: Gateways) -> None:
    member, admin = gateways.token("member_2"), gateways.token("member_2", o={"rol": "admin"})
    with pytest.raises(psycopg.OperationalError, match="may not be used for this role"):
        gateways.connect(0, member, role="app_admin")
    with gateways.connect(0, admin, role="app_admin") as session:
        assert session.execute("select current_user").fetchone() == ("app_admin",)
        # A fresh token without the claim is not good for the role of the session.
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            session.execute("select auth.jwt_session_init(%s)", [member])


def test_the_commands_show_it(gateways: Gateways) -> None:
    (found,) = json.loads(gateways.cli("provider", "check", NAME, "--json"))
    assert found["roles"] == ["authenticated", "anonymous", "app_admin"]
    assert [(one["role"], one["path"], one["values"]) for one in found["role_grants"]] == [
        ("app_admin", ["o", "rol"], ["admin"]),
        ("app_admin", ["role"], ["boss"]),
    ]
    assert "app_admin where o.rol is admin" in gateways.cli("provider", "check", NAME)
