"""The users of the local issuer."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import DataFolderUnusable, IssuerInputInvalid, UserUnknown
from rowgate.issuer.users import USERS_FILE, User, Users, user_from

CAROL = User(
    id="user_carol",
    email="carol@example.com",
    first_name="Carol",
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
    [{"id": ""}, {"id": 1}, {"id": "a b"}, {"id": "x" * 256}, {"email": ""}, {"email": None}, {"first_name": None},
     {"first_name": "a\nb"}, {"first_name": "\ud800"}, {"last_name": None}, {"username": 1}, {"active_organization": 1},
     {"external_id": 1}, {"created_at": -1}, {"updated_at": True}, {"private_metadata": None}, {"unsafe_metadata": 1},
     {"public_metadata": []},
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
    assert not user.answers_to("")
    assert user.answers_to(user.email or user.username or "")


def test_a_user_name_will_do_for_an_e_mail(tmp_path: Path) -> None:
    users = Users(tmp_path)
    users.add(user_from({"id": "user_dan", "username": "dan"}))
    assert users.find("DAN").email == ""
    assert users.find("dan").shown_name == "dan"
    with pytest.raises(UserUnknown):
        users.find("")


@pytest.mark.parametrize("twin", [{"id": "user_x", "email": "ALICE@example.com"}, {"id": "user_x", "username": "Caro"}])
def test_addresses_and_user_names_are_taken_once(tmp_path: Path, twin: dict[str, Any]) -> None:
    users = Users(tmp_path)
    users.add(user_from({"id": "user_caro", "username": "caro"}))
    with pytest.raises(IssuerInputInvalid, match="exists already"):
        users.add(user_from(twin))
    users.update("user_caro", {"last_name": "Cole"})
    with pytest.raises(IssuerInputInvalid):
        users.update("user_caro", {"email": "alice@example.com"})


def test_users_change_and_go(tmp_path: Path) -> None:
    users = Users(tmp_path)
    changed = users.update("user_alice", {"first_name": "Ally"})
    assert users.get("user_alice") == changed
    assert [user.id for user in users.list()] == ["user_alice", "user_bob"]
    users.remove("user_alice")
    for call in (users.get, users.remove):
        with pytest.raises(UserUnknown):
            call("user_alice")
    with pytest.raises(UserUnknown):
        users.get("bob")


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    Users(tmp_path).add(CAROL)
    assert (tmp_path / USERS_FILE).stat().st_mode & 0o777 == 0o600


def test_an_edit_by_hand_counts_at_once(tmp_path: Path) -> None:
    users = Users(tmp_path)
    text = (tmp_path / USERS_FILE).read_text()
    (tmp_path / USERS_FILE).write_text(text.replace('"Alice"', '"Alicia"'))
    assert users.get("user_alice").first_name == "Alicia"
