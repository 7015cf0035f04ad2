"""How one provider's claims are to be read: which names the user, which must hold what, which make a token anonymous.

Plain data, kept in the registry as one JSON object, so that what a token is judged by does not change with a version
of the catalogue. This module never sees a signature and never decides anything: ``claims.py`` and ``membership.py`` do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from rowgate.errors import SettingInvalid

Path = tuple[str, ...]
"""Names of members from the outside in. ``ORGANIZATION`` stands for the id of the token's organization."""

ORGANIZATION: Final = "*organization"

Shape = Literal["text", "list", "words", "commas", "objects", "keys", "granted_keys", "clerk_role", "clerk_permissions"]
"""What stands at the end of a path: one text; a list of texts; texts between spaces or commas; a list of objects with
a member ``member``; an object whose keys count, all of them or those whose object has the token's organization as a
key; Clerk's role without the prefix that its SDKs put before it; Clerk's three claims for permissions."""

_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One place where a claim may stand, and what it looks like there."""

    path: Path
    shape: Shape = "text"
    member: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The value at ``path`` is one of ``values``, or is a list that holds one of them."""

    path: Path
    values: tuple[str | bool, ...]

    def holds(self, claims: Mapping[str, Any]) -> bool:
        """Whether it is so. True and 1 are different values, as they are in JSON."""
        return _has_one(claims, self.path, self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleGrant:
    """Tokens whose value at ``path`` is, or holds, one of ``values`` may be used for the Postgres role ``role``."""

    role: str
    path: Path
    values: tuple[str | bool, ...]

    def holds(self, claims: Mapping[str, Any]) -> bool:
        """Whether ``claims`` are those of such a token."""
        return _has_one(claims, self.path, self.values)

    def __str__(self) -> str:
        """As people read it."""
        values = " or ".join(value if isinstance(value, str) else str(value).lower() for value in self.values)
        return f"{self.role} where {'.'.join(self.path)} is {values}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRules:
    """The rules of one provider.

    ``user`` is the claim that names the user. ``client_claims`` are the claims that may name the client that the token
    was made for. ``required`` must all hold, ``denied`` must all fail, and a token for which one of ``anonymous`` holds
    is good for the role ``anonymous`` alone. Of the readings of ``organization``, ``organization_role``, ``session``
    and ``actor`` the first that leads to a text counts; those of ``roles`` and ``permissions`` are added up.
    A role that ``role_grants`` name is for the tokens alone that one of its grants holds for.
    """

    user: str = "sub"
    client_claims: tuple[str, ...] = ("azp",)
    required: tuple[Condition, ...] = ()
    denied: tuple[Condition, ...] = ()
    anonymous: tuple[Condition, ...] = ()
    organization: tuple[Reading, ...] = ()
    organization_role: tuple[Reading, ...] = ()
    roles: tuple[Reading, ...] = ()
    permissions: tuple[Reading, ...] = ()
    session: tuple[Reading, ...] = (Reading(path=("sid",)),)
    actor: tuple[Reading, ...] = (Reading(path=("act", "sub")),)
    role_grants: tuple[RoleGrant, ...] = ()

    def __post_init__(self) -> None:
        if not self.user or not self.client_claims or not all(self.client_claims):
            raise _unsound("it has a claim without a name")
        conditions: tuple[Condition | RoleGrant, ...] = (
            *self.required,
            *self.denied,
            *self.anonymous,
            *self.role_grants,
        )
        if any(not one.path or not one.values for one in conditions):
            raise _unsound("it has a condition without a path or without values")
        if not all(grant.role for grant in self.role_grants):
            raise _unsound("it has a grant without a role")


def _has_one(claims: Mapping[str, Any], path: Path, values: tuple[str | bool, ...]) -> bool:
    found = value_at(claims, path)
    candidates = found if isinstance(found, list) else [found]
    return any(type(candidate) is type(value) and candidate == value for candidate in candidates for value in values)


def value_at(claims: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What stands at ``path``; None where there is nothing."""
    found: Any = claims
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def written_rules(rules: ClaimRules) -> dict[str, Any]:
    """``rules`` as the registry keeps them: an object of JSON with every member."""
    written: dict[str, Any] = msgspec.to_builtins(rules)
    return written


def read_rules(written: object) -> ClaimRules:
    """The rules in an object of JSON; members that are missing have their defaults.

    Raises SettingInvalid where something is not as it must be, unknown members included: a rule of a newer version that
    this one does not know must not be left unenforced.
    """
    try:
        rules = msgspec.convert(written, ClaimRules)
    except (msgspec.ValidationError, SettingInvalid) as error:
        raise _unsound(str(error)) from error
    if not _is_covered(written, written_rules(rules)):
        raise _unsound("it has a member that this version does not know")
    return rules


def filled_rules(rules: ClaimRules, values: Mapping[str, Sequence[str]]) -> ClaimRules:
    """``rules`` with ``{name}`` replaced by the values of that name.

    In a list of values each value gets a place of its own. A reading whose value is not known is left out; raises
    KeyError where that happens in a condition.
    """
    written = written_rules(rules)
    for field, entries in written.items():
        if isinstance(entries, list | tuple) and entries and isinstance(entries[0], dict):
            written[field] = [done for entry in entries if (done := _filled(entry, values)) is not None]
    return read_rules(written)


def _filled(entry: dict[str, Any], values: Mapping[str, Sequence[str]]) -> dict[str, Any] | None:
    try:
        path = [filled_text(name, values)[0] for name in entry["path"]]
        if "values" not in entry:
            return {**entry, "path": path}
    except KeyError:
        if "values" in entry:
            raise
        return None
    return {**entry, "path": path, "values": [done for value in entry["values"] for done in _each(value, values)]}


def _each(value: str | bool, values: Mapping[str, Sequence[str]]) -> Sequence[str | bool]:
    return [value] if isinstance(value, bool) else filled_text(value, values)


def filled_text(text: str, values: Mapping[str, Sequence[str]]) -> list[str]:
    """``text`` once for each value of its placeholder, which is at most one; raises KeyError where there is none."""
    texts = [text]
    for name in dict.fromkeys(_PLACEHOLDER.findall(text)):
        if not values.get(name):
            raise KeyError(name)
        texts = [done.replace("{" + name + "}", value) for done in texts for value in values[name]]
    return texts


def placeholders(text: str) -> Iterator[str]:
    """The names between braces in ``text``."""
    return iter(dict.fromkeys(_PLACEHOLDER.findall(text)))


def _is_covered(written: object, understood: object) -> bool:
    if isinstance(written, dict):
        return isinstance(understood, dict) and all(
            name in understood and _is_covered(value, understood[name]) for name, value in written.items()
        )
    if isinstance(written, list | tuple):
        return isinstance(understood, list | tuple) and all(map(_is_covered, written, understood))
    return True


def _unsound(reason: str) -> SettingInvalid:
    return SettingInvalid(
        "The provider's rules cannot be used.",
        detail=f"expected an object of rules for claims, but {reason[:200]}",
        hint="Remove the provider and add it again with this version of Rowgate.",
    )
