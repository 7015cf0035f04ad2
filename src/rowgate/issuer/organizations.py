"""The organizations of the local issuer: who belongs to which, in which role, and what a role may do.

Permissions are named as at Clerk: ``org:feature:action``, such as ``org:invoices:create``. This module never issues a
token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rowgate.errors import IssuerInputInvalid, IssuerRecordUnknown
from rowgate.issuer.files import RecordFile
from rowgate.issuer.records import check_dates, check_identifier, check_metadata, check_text, invalid, made_from

ORGANIZATIONS_FILE: Final = "organizations.json"
MEMBERSHIPS_FILE: Final = "memberships.json"
ROLES_FILE: Final = "roles.json"

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,254}", re.ASCII)
_ROLE: Final = re.compile(r"org:[a-z0-9_-]{1,64}", re.ASCII)
_PERMISSION: Final = re.compile(r"org:([a-z0-9_-]{1,64}):([a-z0-9_-]{1,64})", re.ASCII)
_MOST_PERMISSIONS: Final = 50
"""For each role; Clerk's masks of permissions are numbers that every JavaScript holds exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """One organization. Times are milliseconds since 1970. Raises IssuerInputInvalid."""

    id: str
    name: str
    slug: str
    created_by: str | None = None
    public_metadata: dict[str, Any] = field(default_factory=dict)
    private_metadata: dict[str, Any] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0

    def __post_init__(self) -> None:
        check_identifier("organization", self.id, "org_acme")
        check_text("organization", "name", self.name)
        if not self.name:
            raise invalid("organization", "name", "a text that is not empty")
        if not isinstance(self.slug, str) or not _SLUG.fullmatch(self.slug):
            raise invalid("organization", "slug", "up to 255 lower-case letters, digits and dashes, such as acme")
        check_metadata("organization", self, ("public_metadata", "private_metadata"))
        check_dates("organization", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """One user in one organization. ``role`` is a key such as ``org:admin``. Raises IssuerInputInvalid."""

    id: str
    organization_id: str
    user_id: str
    role: str = "org:member"
    public_metadata: dict[str, Any] = field(default_factory=dict)
    private_metadata: dict[str, Any] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0

    def __post_init__(self) -> None:
        check_identifier("membership", self.id, "orgmem_1")
        check_role(self.role)
        check_metadata("membership", self, ("public_metadata", "private_metadata"))
        check_dates("membership", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role and its permissions. Raises IssuerInputInvalid."""

    key: str
    permissions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_role(self.key)
        permissions = self.permissions
        if not isinstance(permissions, tuple) or len(permissions) > _MOST_PERMISSIONS:
            raise invalid("role", "permissions", f"a list of up to {_MOST_PERMISSIONS} permissions")
        for permission in permissions:
            if not isinstance(permission, str) or not _PERMISSION.fullmatch(permission):
                raise invalid("role", "permissions", "texts such as org:invoices:create")


@dataclass(frozen=True, slots=True)
class ActiveMembership:
    """The organization that a session is active in, and what the user is and may do there."""

    organization: Organization
    membership: Membership
    permissions: tuple[str, ...]


def check_role(role: object) -> None:
    """Raises IssuerInputInvalid where ``role`` is no key of a role."""
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        raise invalid("membership", "role", "org: and lower-case letters, digits, _ or -, such as org:admin")


def slug_of(name: str) -> str:
    """A slug for an organization of this name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:255] or "organization"


class Organizations:
    """Organizations, memberships and roles in files of ``folder``.

    Every method raises DataFolderUnusable where a file is damaged, or cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._organizations = RecordFile(
            folder / ORGANIZATIONS_FILE,
            "organizations",
            lambda record: made_from(Organization, "organization", record),
            asdict,
        )
        self._memberships = RecordFile(
            folder / MEMBERSHIPS_FILE,
            "memberships",
            lambda record: made_from(Membership, "membership", record),
            asdict,
        )
        self._roles = RecordFile(folder / ROLES_FILE, "roles", role_from, asdict)
        self.list()
        self.memberships()
        self.roles()

    def list(self) -> tuple[Organization, ...]:
        """All organizations, in the order in which they came."""
        return self._organizations.list()

    def find(self, reference: str) -> Organization:
        """The organization with this id or slug. Raises IssuerRecordUnknown."""
        for organization in self.list():
            if reference in (organization.id, organization.slug):
                return organization
        raise _unknown("organization", reference)

    def add(self, organization: Organization) -> Organization:
        """Keep ``organization``. Raises IssuerInputInvalid where its id or slug is taken."""

        def added(organizations: tuple[Organization, ...]) -> tuple[Organization, ...]:
            if any(organization.id == other.id or organization.slug == other.slug for other in organizations):
                raise IssuerInputInvalid(
                    "An organization with this id or slug exists already.",
                    detail=f"they are {organization.id} and {organization.slug}",
                )
            return (*organizations, organization)

        self._organizations.change(added)
        return organization

    def update(self, organization_id: str, changes: Mapping[str, Any]) -> Organization:
        """The organization with ``changes`` to its fields. Raises IssuerRecordUnknown, IssuerInputInvalid."""
        changed = replace(self.find(organization_id), **changes)
        self._organizations.change(lambda all_: (changed if one.id == changed.id else one for one in all_))
        return changed

    def remove(self, organization_id: str) -> None:
        """Forget the organization and its memberships. Raises IssuerRecordUnknown."""
        gone = self.find(organization_id)
        self._organizations.change(lambda all_: (one for one in all_ if one.id != gone.id))
        self._memberships.change(lambda all_: (one for one in all_ if one.organization_id != gone.id))

    def memberships(self, *, organization_id: str | None = None, user_id: str | None = None) -> tuple[Membership, ...]:
        """The memberships of an organization, of a user, or all."""
        return tuple(
            one
            for one in self._memberships.list()
            if organization_id in (None, one.organization_id) and user_id in (None, one.user_id)
        )

    def membership(self, organization_id: str, user_id: str) -> Membership:
        """The one of this user in this organization. Raises IssuerRecordUnknown."""
        for one in self.memberships(organization_id=organization_id, user_id=user_id):
            return one
        raise _unknown("membership", f"{organization_id} {user_id}")

    def join(self, membership: Membership) -> Membership:
        """Keep ``membership``. Raises IssuerInputInvalid where the user is a member already."""
        self.find(membership.organization_id)
        place = (membership.organization_id, membership.user_id)

        def joined(memberships: tuple[Membership, ...]) -> tuple[Membership, ...]:
            if any((one.organization_id, one.user_id) == place for one in memberships):
                raise IssuerInputInvalid("The user is a member already.", detail=f"the user is {membership.user_id}")
            return (*memberships, membership)

        self._memberships.change(joined)
        return membership

    def change_membership(self, organization_id: str, user_id: str, changes: Mapping[str, Any]) -> Membership:
        """The membership with ``changes`` to its fields. Raises IssuerRecordUnknown, IssuerInputInvalid."""
        changed = replace(self.membership(organization_id, user_id), **changes)
        self._memberships.change(lambda all_: (changed if one.id == changed.id else one for one in all_))
        return changed

    def leave(self, organization_id: str, user_id: str) -> Membership:
        """End the membership. Raises IssuerRecordUnknown."""
        gone = self.membership(organization_id, user_id)
        self._memberships.change(lambda all_: (one for one in all_ if one.id != gone.id))
        return gone

    def forget_user(self, user_id: str) -> None:
        """End all memberships of a user."""
        if self.memberships(user_id=user_id):
            self._memberships.change(lambda all_: (one for one in all_ if one.user_id != user_id))

    def roles(self) -> tuple[Role, ...]:
        """The roles that have permissions."""
        return self._roles.list()

    def permissions_of(self, role: str) -> tuple[str, ...]:
        """The permissions of a role; none where it is not known."""
        return next((one.permissions for one in self.roles() if one.key == role), ())

    def put_role(self, role: Role) -> Role:
        """Keep ``role``, in place of an earlier one of its key."""
        self._roles.change(lambda roles: (*(one for one in roles if one.key != role.key), role))
        return role

    def active(self, organization_id: str | None, user_id: str) -> ActiveMembership | None:
        """What a token of the user says of this organization; None where the user is no member (any more)."""
        if organization_id is None:
            return None
        for membership in self.memberships(organization_id=organization_id, user_id=user_id):
            return ActiveMembership(self.find(organization_id), membership, self.permissions_of(membership.role))
        return None


def role_from(record: Mapping[str, Any]) -> Role:
    """The role in a JSON object with ``key`` and ``permissions``. Raises IssuerInputInvalid."""
    return made_from(Role, "role", record)


def feature_masks(permissions: tuple[str, ...]) -> tuple[list[str], list[str], list[int]]:
    """Permissions as version 2 of Clerk's session token writes them.

    Gives features, names of actions, and for each feature a number whose lowest bit stands for the first action.
    """
    pairs = [(found[1], found[2]) for one in permissions if (found := _PERMISSION.fullmatch(one))]
    features = list(dict.fromkeys(feature for feature, _ in pairs))
    actions = list(dict.fromkeys(action for _, action in pairs))
    masks = [
        sum(1 << place for place, action in enumerate(actions) if (feature, action) in pairs) for feature in features
    ]
    return features, actions, masks


def _unknown(what: str, reference: str) -> IssuerRecordUnknown:
    return IssuerRecordUnknown(f"There is no such {what}.", detail=f"asked for {reference[:200]!a}")
