"""Which of a provider's roles a token may use: the operator's list decides, and a claim alone never does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import SettingInvalid, TokenRoleRefused
from rowgate.identity.claim_rules import ClaimRules, Condition, RoleGrant, read_rules, written_rules
from rowgate.identity.provider import Provider
from rowgate.identity.recognition import custom_rules
from rowgate.identity.verify import authorize
from tests.unit.identity.forge import bench, claims, provider, sign

ROLES = ("authenticated", "app_admin", "anonymous")


def granting(*grants: str, **more: Any) -> Provider:
    return provider(roles=ROLES, rules=custom_rules("sub", (), grants), **more)


async def roles(of: Provider, **changes: Any) -> tuple[str, ...]:
    tools = bench(of)
    return (await tools.verifier.verify(sign(payload=claims(**changes)))).roles


# (grant, claims, whether app_admin may be used)
CASES: list[tuple[str, dict[str, Any], bool]] = [
    ("org_role=admin:app_admin", {"org_role": "admin"}, True),
    ("org_role=admin:app_admin", {}, False),
    ("org_role=admin:app_admin", {"org_role": "Admin"}, False),
    ("org_role=admin:app_admin", {"org_role": "admin "}, False),
    ("org_role=admin:app_admin", {"org_role": ["member", "admin"]}, True),
    ("org_role=admin:app_admin", {"org_role": {"admin": True}}, False),
    ("org_role=admin:app_admin", {"org_role": [["admin"]]}, False),
    ("org_role=admin:app_admin", {"org_role": None}, False),
    ("org_role=org:admin:app_admin", {"org_role": "org:admin"}, True),
    ("/o/rol=admin:app_admin", {"o": {"rol": "admin"}}, True),
    ("/o/rol=admin:app_admin", {"o": {"rol": "member"}}, False),
    ("/o/rol=admin:app_admin", {"o": "rol"}, False),
    ("/o/rol=admin:app_admin", {"/o/rol": "admin", "o/rol": "admin", "o.rol": "admin"}, False),
    ("/https:~1~1app.example~1roles=admin:app_admin", {"https://app.example/roles": ["admin"]}, True),
    ("https://app.example/roles=admin:app_admin", {"https://app.example/roles": ["admin"]}, True),
    ("is_admin=true:app_admin", {"is_admin": True}, True),
    ("is_admin=true:app_admin", {"is_admin": "true"}, True),
    ("is_admin=true:app_admin", {"is_admin": 1}, False),
    ("is_admin=true:app_admin", {"is_admin": False}, False),
    ("level=1:app_admin", {"level": 1}, False),
    ("role=x:app_admin", {"role": "app_admin"}, False),
]


@pytest.mark.parametrize(("grant", "changes", "expected"), CASES)
async def test_grants(grant: str, changes: dict[str, Any], expected: bool) -> None:
    found = await roles(granting(grant), **changes)
    assert found == (ROLES if expected else ("authenticated", "anonymous"))


async def test_any_grant_of_a_role_is_enough_and_each_role_has_its_own() -> None:
    of = granting("a=1:app_admin", "b=1:app_admin", "c=1:authenticated")
    assert await roles(of, b="1") == ("app_admin", "anonymous")
    assert await roles(of, c="1") == ("authenticated", "anonymous")
    assert await roles(of) == ("anonymous",)


async def test_without_any_role_the_token_opens_nothing() -> None:
    of = provider(roles=("app_admin",), rules=custom_rules("sub", (), ["a=1:app_admin"]))
    tools = bench(of)
    principal = await tools.verifier.verify(sign(payload=claims()))
    for role in (*ROLES, "", "postgres"):
        with pytest.raises(TokenRoleRefused):
            authorize(principal, role)


async def test_an_anonymous_user_gets_nothing_more_by_a_grant() -> None:
    rules = ClaimRules(
        anonymous=(Condition(path=("is_anonymous",), values=(True,)),),
        role_grants=(RoleGrant(role="app_admin", path=("org_role",), values=("admin",)),),
    )
    assert await roles(provider(roles=ROLES, rules=rules), is_anonymous=True, org_role="admin") == ("anonymous",)


@pytest.mark.parametrize(
    "text", ["", "a", "a=b", "a=:r", "=b:r", "a=b:", ":", "/=b:r", "/a//b=c:r", "a:r"]
)  # fmt: skip
def test_what_is_no_grant(text: str) -> None:
    with pytest.raises(SettingInvalid):
        custom_rules("sub", (), [text])


def test_a_grant_for_a_role_that_the_provider_may_not_use_is_refused() -> None:
    with pytest.raises(SettingInvalid, match="roles"):
        provider(roles=("authenticated",), rules=custom_rules("sub", (), ["a=1:app_admin"]))


@pytest.mark.parametrize(
    "grant",
    [
        {"role": "", "path": ["a"], "values": ["1"]}, {"role": "r", "path": [], "values": ["1"]},
        {"role": "r", "path": ["a"], "values": []}, {"role": "r", "path": ["a"]},
    ],
)  # fmt: skip
def test_unsound_grants_in_the_registry_cost_the_provider(grant: dict[str, Any]) -> None:
    with pytest.raises(SettingInvalid):
        read_rules({"role_grants": [grant]})


@given(st.lists(st.tuples(st.sampled_from(["a", "/b/c"]), st.sampled_from(["x", "true"]), st.sampled_from(ROLES))))
def test_they_are_kept_as_they_were(rows: list[tuple[str, str, str]]) -> None:
    rules = custom_rules("sub", (), [f"{claim}={value}:{role}" for claim, value, role in rows])
    assert read_rules(written_rules(rules)) == rules
