"""The users of the local issuer: people to be while developing. There are no passwords, because nothing is protected.

This module never issues a token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rowgate.errors import IssuerInputInvalid, UserUnknown
from rowgate.issuer.files import RecordFile
from rowgate.issuer.records import check_dates, check_identifier, check_metadata, check_text, invalid, made_from

USERS_FILE: Final = "users.json"
_METADATA: Final = ("public_metadata", "private_metadata", "unsafe_metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One user. ``id`` becomes ``sub``. The metadata are any JSON objects. Times are milliseconds since 1970.

    ``email`` may be empty where there is a ``username``. ``active_organization`` is the id of the organization that
    tokens of no session name. Raises IssuerInputInvalid.
    """

    id: str
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    username: str | None = None
    external_id: str | None = None
    active_organization: str | None = None
    public_metadata: dict[str, Any] = field(default_factory=dict)
    private_metadata: dict[str, Any] = field(default_factory=dict)
    unsafe_metadata: dict[str, Any] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0

    def __post_init__(self) -> None:
        check_identifier("user", self.id, "user_carol")
        for name in ("email", "first_name", "last_name", "username", "external_id", "active_organization"):
            value = getattr(self, name)
            if value is not None or name in {"email", "first_name", "last_name"}:
                check_text("user", name, value)
        if not self.email and not self.username:
            raise invalid("user", "email", "a text that is not empty, or a username in its place")
        check_metadata("user", self, _METADATA)
        check_dates("user", self)

    @property
    def full_name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def shown_name(self) -> str:
        """What to call the user on a page."""
        return self.full_name or self.username or self.email

    def answers_to(self, reference: str) -> bool:
        """Whether ``reference`` is the user's first name, user name or e-mail, in any case of letters."""
        names = {self.first_name, self.username or "", self.email} - {""}
        return reference.lower() in {name.lower() for name in names}


FIRST_USERS: Final = (
    User(id="user_alice", email="alice@example.com", first_name="Alice", last_name="Archer"),
    User(id="user_bob", email="bob@example.com", first_name="Bob", last_name="Baker"),
)


class Users:
    """The users in ``users.json`` of ``folder``; the file is made with Alice and Bob at the first start.

    Every method raises DataFolderUnusable where the file is damaged, or cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = RecordFile(folder / USERS_FILE, "users", user_from, asdict)
        if not self._file.exists():
            self._file.change(lambda users: users or FIRST_USERS)
        self.list()

    def list(self) -> tuple[User, ...]:
        """All users, in the order in which they came."""
        return self._file.list()

    def find(self, reference: str) -> User:
        """The user with this id, first name, user name or e-mail. Raises UserUnknown where none or several have it."""
        users = self.list()
        found = [user for user in users if user.id == reference] or [
            user for user in users if user.answers_to(reference)
        ]
        if len(found) != 1:
            raise _unknown(reference, len(found))
        return found[0]

    def get(self, user_id: str) -> User:
        """The user with this id, and no other name of theirs. Raises UserUnknown."""
        for user in self.list():
            if user.id == user_id:
                return user
        raise _unknown(user_id, 0)

    def add(self, user: User) -> User:
        """Keep ``user``. Raises IssuerInputInvalid where its id, e-mail address or user name is taken."""

        def added(users: tuple[User, ...]) -> tuple[User, ...]:
            _refuse_twins(users, user)
            return (*users, user)

        self._file.change(added)
        return user

    def update(self, user_id: str, changes: Mapping[str, Any]) -> User:
        """The user with ``changes`` to its fields. Raises UserUnknown, IssuerInputInvalid."""
        changed = replace(self.get(user_id), **changes)

        def updated(users: tuple[User, ...]) -> tuple[User, ...]:
            _refuse_twins(tuple(other for other in users if other.id != user_id), changed)
            return tuple(changed if other.id == user_id else other for other in users)

        self._file.change(updated)
        return changed

    def remove(self, user_id: str) -> None:
        """Forget the user. Raises UserUnknown."""
        self.get(user_id)
        self._file.change(lambda users: (user for user in users if user.id != user_id))


def user_from(record: Mapping[str, Any]) -> User:
    """The user in a JSON object with the members of User; ``id`` is made from the first name and ``email`` from the
    id where they are missing.

    Raises IssuerInputInvalid.
    """
    members = dict(record)
    first_name = members.get("first_name")
    if "id" not in members and isinstance(first_name, str):
        members["id"] = "user_" + re.sub(r"[^a-z0-9]+", "_", first_name.lower()).strip("_")
    if "email" not in members and "username" not in members and isinstance(members.get("id"), str):
        members["email"] = members["id"].removeprefix("user_") + "@example.com"
    return made_from(User, "user", members)


def _refuse_twins(users: tuple[User, ...], user: User) -> None:
    for other in users:
        if other.id == user.id:
            raise IssuerInputInvalid("A user with this id exists already.", detail=f"the id is {user.id}")
        if user.email and other.email.lower() == user.email.lower():
            raise IssuerInputInvalid("A user with this e-mail address exists already.", detail=f"it is {user.email}")
        if user.username and (other.username or "").lower() == user.username.lower():
            raise IssuerInputInvalid("A user with this user name exists already.", detail=f"it is {user.username}")


def _unknown(reference: str, found: int) -> UserUnknown:
    return UserUnknown(
        "No single user answers to this name.",
        detail=f"expected one user called {reference[:100]!a}, got {found}",
    )
