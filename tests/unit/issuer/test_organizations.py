"""Organizations, memberships and roles, and how a session token tells them to a gateway."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import DataFolderUnusable, IssuerInputInvalid, IssuerRecordUnknown
from rowgate.identity.catalogue import preset_of
from rowgate.identity.membership import membership_of
from rowgate.issuer.organizations import (
    MEMBERSHIPS_FILE,
    ORGANIZATIONS_FILE,
    ROLES_FILE,
    ActiveMembership,
    Membership,
    Organization,
    Organizations,
    Role,
    role_from,
    slug_of,
)
from rowgate.issuer.tokens import Bearer, token_claims
from rowgate.issuer.users import FIRST_USERS

ACME = Organization(id="org_1", name="Acme", slug="acme")
MEMBER = Membership(id="orgmem_1", organization_id="org_1", user_id="user_alice", role="org:admin")


def test_organizations_and_members(tmp_path: Path) -> None:
    organizations = Organizations(tmp_path)
    organizations.add(ACME)
    organizations.join(MEMBER)
    organizations.put_role(Role(key="org:admin", permissions=("org:invoices:create",)))
    fresh = Organizations(tmp_path)
    assert fresh.find("org_1") == fresh.find("acme") == ACME
    assert fresh.memberships(user_id="user_alice") == (MEMBER,)
    assert fresh.active("org_1", "user_alice") == ActiveMembership(ACME, MEMBER, ("org:invoices:create",))
    for nowhere in (("org_1", "user_bob"), (None, "user_alice"), ("org_2", "user_alice")):
        assert fresh.active(*nowhere) is None
    with pytest.raises(IssuerInputInvalid):
        organizations.add(Organization(id="org_2", name="Other", slug="acme"))
    with pytest.raises(IssuerInputInvalid):
        organizations.join(MEMBER)
    changed = fresh.change_membership("org_1", "user_alice", {"role": "org:member"})
    assert organizations.membership("org_1", "user_alice") == changed
    organizations.leave("org_1", "user_alice")
    with pytest.raises(IssuerRecordUnknown):
        organizations.membership("org_1", "user_alice")
    organizations.join(MEMBER)
    organizations.remove("org_1")
    assert organizations.memberships() == ()
    for call in (organizations.find, organizations.remove):
        with pytest.raises(IssuerRecordUnknown):
            call("org_1")
    for file in (ORGANIZATIONS_FILE, MEMBERSHIPS_FILE, ROLES_FILE):
        assert (tmp_path / file).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Organization, {"id": ""}), (Organization, {"name": ""}), (Organization, {"name": None}),
        (Organization, {"slug": "A B"}), (Organization, {"slug": None}), (Organization, {"public_metadata": []}),
        (Organization, {"created_at": "x"}), (Membership, {"id": "a b"}), (Membership, {"role": "admin"}),
        (Membership, {"role": 1}), (Membership, {"private_metadata": None}), (Membership, {"updated_at": -1}),
        (Role, {"key": "x"}), (Role, {"permissions": ["org:a:b"]}), (Role, {"permissions": ("read",)}),
        (Role, {"permissions": (1,)}), (Role, {"permissions": ("org:a:b",) * 51}),
    ],
)  # fmt: skip
def test_records_that_cannot_be(kind: Any, changes: dict[str, Any]) -> None:
    sound: dict[Any, dict[str, Any]] = {
        Organization: {"id": "org_1", "name": "Acme", "slug": "acme"},
        Membership: {"id": "orgmem_1", "organization_id": "org_1", "user_id": "user_alice"},
        Role: {"key": "org:admin"},
    }
    kind(**sound[kind])
    with pytest.raises(IssuerInputInvalid):
        kind(**{**sound[kind], **changes})


@pytest.mark.parametrize("file", [ORGANIZATIONS_FILE, MEMBERSHIPS_FILE, ROLES_FILE])
@pytest.mark.parametrize("content", ["", "[]", '{"organizations":[{}],"memberships":[{}],"roles":[{}]}'])
def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(DataFolderUnusable):
        Organizations(tmp_path)
    assert (tmp_path / file).read_text() == content


def test_slugs() -> None:
    assert slug_of("Acme Inc.") == "acme-inc"
    assert slug_of("***") == "organization"


PARTS = st.text("abcdefgh_-0", min_size=1, max_size=4)


@given(st.lists(st.tuples(PARTS, PARTS), max_size=20, unique=True))
def test_a_gateway_reads_the_permissions_that_the_token_packs(pairs: list[tuple[str, str]]) -> None:
    permissions = tuple(f"org:{feature}:{action}" for feature, action in pairs)
    claims = token_claims(
        issuer="http://localhost",
        bearer=Bearer(user=FIRST_USERS[0], active=ActiveMembership(ACME, MEMBER, permissions), organizations={}),
        template=None,
        lifetime=60,
        now=0,
        token_id="x",
    )
    preset = preset_of("clerk")
    assert preset is not None
    read = membership_of(claims, preset.rules)
    assert read.organization == "org_1"
    assert set(read.permissions) == set(permissions)


def test_a_role_from_json() -> None:
    assert role_from({"key": "org:admin", "permissions": ["org:a:b"]}) == Role(
        key="org:admin", permissions=("org:a:b",)
    )
    with pytest.raises(IssuerInputInvalid):
        role_from({"key": "org:admin", "name": "x"})
