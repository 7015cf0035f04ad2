"""The users of the local issuer: people to be while developing. There are no passwords, because nothing is protected.

This module never issues a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rowgate.errors import IssuerInputInvalid, UserUnknown
from rowgate.identity.strict_json import UnsoundJson, parse_object
from rowgate.issuer.files import read_records, unusable, write_records

USERS_FILE: Final = "users.json"
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:-]{0,254}", re.ASCII)
_LONGEST_TEXT: Final = 255
_LARGEST_OBJECT: Final = 8192


def is_storable(value: object) -> bool:
    """Whether ``value`` is a JSON object that a gateway would take in a token, and small enough for one."""
    try:
        text = json.dumps(value, allow_nan=False).encode()
        parse_object(text)
    except (ValueError, TypeError, RecursionError, UnsoundJson):
        return False
    return len(text) <= _LARGEST_OBJECT


def _invalid(name: str, expected: str) -> IssuerInputInvalid:
    return IssuerInputInvalid(f"The user's {name} cannot be used.", detail=f"expected {expected}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """The organization that a user is active in."""

    id: str
    name: str
    slug: str
    role: str = "org:member"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One user. ``id`` becomes ``sub``. ``public_metadata`` is any JSON object. Raises IssuerInputInvalid."""

    id: str
    email: str
    first_name: str
    last_name: str = ""
    username: str | None = None
    organization: Organization | None = None
    public_metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _IDENTIFIER.fullmatch(self.id):
            raise _invalid("id", "up to 255 letters, digits and . _ @ | : -, such as user_carol")
        for name in ("email", "first_name", "last_name", "username"):
            value = getattr(self, name)
            if value is None and name == "username":
                continue
            if not isinstance(value, str) or len(value) > _LONGEST_TEXT or not value.isprintable():
                raise _invalid(name, f"printable text of up to {_LONGEST_TEXT} characters")
        if not self.email or not self.first_name:
            raise _invalid("email and first_name", "texts that are not empty")
        if not is_storable(self.public_metadata):
            raise _invalid("public_metadata", "a JSON object of at most 8 KiB that Postgres can store")

    @property
    def full_name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()

    def answers_to(self, reference: str) -> bool:
        """Whether ``reference`` is the user's first name, user name or e-mail, in any case of letters."""
        names = {self.first_name.lower(), (self.username or self.first_name).lower(), self.email.lower()}
        return reference.lower() in names


FIRST_USERS: Final = (
    User(id="user_alice", email="alice@example.com", first_name="Alice", last_name="Archer"),
    User(id="user_bob", email="bob@example.com", first_name="Bob", last_name="Baker"),
)


class Users:
    """The users in ``users.json`` of ``folder``; the file is made with Alice and Bob at the first start.

    The file is read at every call, so that another process (a command, an editor) may change it meanwhile. Every
    method raises DataFolderUnusable where it is damaged, or cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / USERS_FILE
        if read_records(self._path, "users") is None:
            self._save(FIRST_USERS)
        self.list()

    def list(self) -> tuple[User, ...]:
        """All users, in the order in which they came."""
        try:
            return tuple(map(user_from, read_records(self._path, "users") or []))
        except IssuerInputInvalid as error:
            raise unusable(self._path, f"{error.message} {error.detail}") from error

    def find(self, reference: str) -> User:
        """The user with this id, first name, user name or e-mail. Raises UserUnknown where none or several have it."""
        users = self.list()
        found = [user for user in users if user.id == reference] or [
            user for user in users if user.answers_to(reference)
        ]
        if len(found) != 1:
            raise UserUnknown(
                "No single user answers to this name.",
                detail=f"expected one user called {reference[:100]!a}, got {len(found)}",
            )
        return found[0]

    def add(self, user: User) -> User:
        """Keep ``user``. Raises IssuerInputInvalid where its id is taken."""
        users = self.list()
        if any(other.id == user.id for other in users):
            raise IssuerInputInvalid("A user with this id exists already.", detail=f"the id is {user.id}")
        self._save([*users, user])
        return user

    def _save(self, users: Iterable[User]) -> None:
        write_records(self._path, "users", [asdict(user) for user in users])


def user_from(record: dict[str, Any]) -> User:
    """The user in a JSON object with the members of User; ``id`` is made from the first name and ``email`` from the
    id where they are missing.

    Raises IssuerInputInvalid.
    """
    known = set(User.__dataclass_fields__)
    unknown = set(record) - known
    if unknown:
        raise _invalid("members", f"some of {', '.join(sorted(known))}")
    members = dict(record)
    first_name = members.get("first_name")
    if "id" not in members and isinstance(first_name, str):
        members["id"] = "user_" + re.sub(r"[^a-z0-9]+", "_", first_name.lower()).strip("_")
    if "email" not in members and isinstance(members.get("id"), str):
        members["email"] = members["id"].removeprefix("user_") + "@example.com"
    organization = members.get("organization")
    if organization is not None:
        members["organization"] = _organization_from(organization)
    try:
        return User(**members)
    except TypeError as error:
        raise _invalid("members", "at least email and first_name") from error


def _organization_from(record: object) -> Organization:
    expected = "an object with the texts id, name, slug and, if you like, role"
    if not isinstance(record, dict) or not all(isinstance(value, str) and value for value in record.values()):
        raise _invalid("organization", expected)
    try:
        return Organization(**record)
    except TypeError as error:
        raise _invalid("organization", expected) from error
