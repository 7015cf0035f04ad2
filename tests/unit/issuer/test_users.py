"""The users of the local issuer."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import DataFolderUnusable, IssuerInputInvalid, UserUnknown
from rowgate.issuer.users import USERS_FILE, Organization, User, Users, user_from

CAROL = User(
    id="user_carol",
    email="carol@example.com",
    first_name="Carol",
    organization=Organization(id="org_1", name="One", slug="one", role="org:admin"),
    public_metadata={"plan": "free"},
)


def test_the_first_start_makes_alice_and_bob(tmp_path: Path) -> None:
    assert [user.id for user in Users(tmp_path).list()] == ["user_alice", "user_bob"]
    assert len(json.loads((tmp_path / USERS_FILE).read_text())["users"]) == 2


def test_what_is_added_stays(tmp_path: Path) -> None:
    Users(tmp_path).add(CAROL)
    assert Users(tmp_path).list()[2] == CAROL
    with pytest.raises(IssuerInputInvalid, match="exists already"):
        Users(tmp_path).add(CAROL)


def test_another_process_may_add_users(tmp_path: Path) -> None:
    first, second = Users(tmp_path), Users(tmp_path)
    first.add(CAROL)
    second.add(User(id="user_dan", email="dan@example.com", first_name="Dan"))
    assert [user.id for user in first.list()] == ["user_alice", "user_bob", "user_carol", "user_dan"]


@pytest.mark.parametrize("reference", ["user_alice", "alice", "ALICE", "Alice@Example.com"])
def test_users_are_found(tmp_path: Path, reference: str) -> None:
    assert Users(tmp_path).find(reference).id == "user_alice"


@pytest.mark.parametrize("reference", ["", "carol", "user_ALICE", "Alice Archer", "\ud800"])
def test_unknown_users(tmp_path: Path, reference: str) -> None:
    with pytest.raises(UserUnknown):
        Users(tmp_path).find(reference)


def test_a_name_of_two_is_nobodys(tmp_path: Path) -> None:
    users = Users(tmp_path)
    users.add(User(id="alice_2", email="other@example.com", first_name="Alice"))
    with pytest.raises(UserUnknown, match="No single user"):
        users.find("alice")
    assert users.find("alice_2").email == "other@example.com"


def test_an_id_goes_before_a_name(tmp_path: Path) -> None:
    users = Users(tmp_path)
    users.add(User(id="alice", email="other@example.com", first_name="Eve"))
    assert users.find("alice").first_name == "Eve"


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"users": {}}', '{"users": [1]}', '{"users": [{}]}', '{"users": [{"first_name": 1}]}',
     '{"users": [{"first_name": "A", "email": "a", "password": "x"}]}'],
)  # fmt: skip
def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / USERS_FILE).write_text(content)
    with pytest.raises(DataFolderUnusable):
        Users(tmp_path)
    assert (tmp_path / USERS_FILE).read_text() == content


def test_an_id_is_made_from_the_first_name() -> None:
    assert user_from({"first_name": "Carol Ann", "email": "c@example.com"}).id == "user_carol_ann"


@pytest.mark.parametrize(
    "changes",
    [{"id": ""}, {"id": 1}, {"id": "a b"}, {"id": "x" * 256}, {"email": ""}, {"email": None}, {"first_name": ""},
     {"first_name": "a\nb"}, {"first_name": "\ud800"}, {"last_name": None}, {"username": 1}, {"organization": "org"},
     {"organization": {}}, {"organization": {"id": 1, "name": "a", "slug": "b"}}, {"public_metadata": []},
     {"public_metadata": {"a": "\0"}}, {"public_metadata": {"a": float("nan")}}, {"public_metadata": {"a": "x" * 9000}},
     {"unknown": 1}],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_users_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(IssuerInputInvalid):
        user_from({"id": "user_x", "email": "x@example.com", "first_name": "X", **changes})


ANY = st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.lists(st.text(max_size=3), max_size=2)
NAMES = st.sampled_from([*User.__dataclass_fields__, "x"])


@given(st.dictionaries(NAMES, ANY | st.dictionaries(st.sampled_from(["id", "name", "slug", "role"]), ANY)))
def test_any_object_is_a_user_or_refused(record: dict[str, Any]) -> None:
    try:
        user = user_from(record)
    except IssuerInputInvalid:
        return
    assert user.answers_to(user.email)
