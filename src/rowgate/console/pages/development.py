"""What the console can do besides where the whole stack is one developer's: be any local user, and be the owner.

A gateway in production has neither: it knows no owner's password, and no local provider. Pages then show the SQL to run
instead of running it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class LocalPeople(Protocol):
    """The users of the local identity provider."""

    def people(self) -> Sequence[tuple[str, str]]:
        """Id and name of each."""

    def token(self, user_id: str) -> str:
        """A token of a user. Raises UserUnknown."""

    def rotate_key(self) -> None:
        """Signs with a new key from now on."""


@dataclass(frozen=True, slots=True)
class Development:
    """``owner_url`` is the owner's connection string to the server itself."""

    people: LocalPeople
    issuer_url: str
    owner_url: str = field(repr=False)
