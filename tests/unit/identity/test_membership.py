"""The membership as Postgres is told it: whole, on one line, and bounded."""

import json

from hypothesis import given
from hypothesis import strategies as st

from rowgate.identity.membership import LARGEST_WRITTEN, NO_MEMBERSHIP, Membership, written_membership

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=50)


def test_nothing_is_nothing() -> None:
    assert written_membership(NO_MEMBERSHIP) == b""
    assert written_membership(Membership(roles=("admin",))) == b"", "roles are the provider's, not the organization's"


@given(TEXTS | st.none(), TEXTS | st.none(), st.lists(TEXTS, max_size=5))
def test_it_reads_as_it_was(organization: str | None, role: str | None, permissions: list[str]) -> None:
    written = written_membership(Membership(organization=organization, role=role, permissions=tuple(permissions)))
    if not written:
        assert (organization, role, permissions) == (None, None, [])
        return
    assert b"\n" not in written
    read = json.loads(written)
    assert (read.get("org_id"), read.get("org_role"), read["permissions"]) == (organization, role, permissions)


def test_too_many_permissions_are_left_out() -> None:
    names = tuple(f"org:feature_{number}:manage" for number in range(1000))
    written = written_membership(Membership(organization="o", permissions=names))
    assert len(written) <= LARGEST_WRITTEN
    kept = json.loads(written)["permissions"]
    assert 0 < len(kept) < 1000
    assert tuple(kept) == names[: len(kept)]
    huge = Membership(organization="o" * 1024, role="r" * 1024, permissions=("p" * 20_000,))
    assert json.loads(written_membership(huge))["permissions"] == []
