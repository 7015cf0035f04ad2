"""The local issuer's records as Clerk's Backend API writes them, so that Clerk's own SDKs can read them.

What the issuer does not keep is null, false or empty. This module never reads a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowgate.issuer.issuer import LocalIssuer
from rowgate.issuer.organizations import Membership, Organization
from rowgate.issuer.sessions import Session
from rowgate.issuer.users import User


def user_object(user: User) -> dict[str, Any]:
    """A user. E-mail addresses count as verified."""
    email_id = f"idn_{user.id.removeprefix('user_')}"
    verification = {
        "object": "verification_admin", "status": "verified", "strategy": "admin", "attempts": None, "expire_at": None,
    }  # fmt: skip
    addresses = [] if not user.email else [{
        "id": email_id,
        "object": "email_address",
        "email_address": user.email,
        "reserved": False,
        "verification": verification,
        "linked_to": [],
        "matches_sso_connection": False,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }]  # fmt: skip
    flags = dict.fromkeys(
        ("has_image", "password_enabled", "two_factor_enabled", "totp_enabled", "backup_code_enabled", "banned",
         "locked", "deprovisioned"), False
    )  # fmt: skip
    absent = dict.fromkeys(
        ("primary_phone_number_id", "primary_web3_wallet_id", "mfa_enabled_at", "mfa_disabled_at",
         "lockout_expires_in_seconds", "verification_attempts_remaining", "last_sign_in_at", "last_active_at",
         "legal_accepted_at", "create_organizations_limit", "locale"),
    )  # fmt: skip
    empty: dict[str, list[Any]] = {
        name: [] for name in ("phone_numbers", "web3_wallets", "passkeys", "external_accounts", "saml_accounts",
                              "enterprise_accounts")
    }  # fmt: skip
    return {
        **flags,
        **absent,
        **empty,
        "id": user.id,
        "object": "user",
        "external_id": user.external_id,
        "username": user.username,
        "first_name": user.first_name or None,
        "last_name": user.last_name or None,
        "image_url": "",
        "profile_image_url": "",
        "primary_email_address_id": email_id if addresses else None,
        "email_addresses": addresses,
        "public_metadata": user.public_metadata,
        "private_metadata": user.private_metadata,
        "unsafe_metadata": user.unsafe_metadata,
        "delete_self_enabled": True,
        "create_organization_enabled": True,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }


def session_object(session: Session, now: int) -> dict[str, Any]:
    """A session as it is ``now`` (milliseconds since 1970)."""
    return {
        "id": session.id,
        "object": "session",
        "user_id": session.user_id,
        "client_id": f"client_{session.id.removeprefix('sess_')}",
        "status": session.status_at(now),
        "actor": session.actor,
        "last_active_organization_id": session.organization_id,
        "last_active_at": session.updated_at,
        "expire_at": session.expires_at,
        "abandon_at": session.expires_at,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
    }


def organization_object(issuer: LocalIssuer, organization: Organization) -> dict[str, Any]:
    """An organization with the number of its members."""
    return {
        "id": organization.id,
        "object": "organization",
        "name": organization.name,
        "slug": organization.slug,
        "image_url": "",
        "has_image": False,
        "max_allowed_memberships": 0,
        "admin_delete_enabled": True,
        "members_count": len(issuer.organizations.memberships(organization_id=organization.id)),
        "public_metadata": organization.public_metadata,
        "private_metadata": organization.private_metadata,
        "created_at": organization.created_at,
        "updated_at": organization.updated_at,
        **({"created_by": organization.created_by} if organization.created_by else {}),
    }


def membership_object(issuer: LocalIssuer, membership: Membership) -> dict[str, Any]:
    """A membership with its organization and what others may see of its user."""
    user = issuer.users.get(membership.user_id)
    return {
        "id": membership.id,
        "object": "organization_membership",
        "role": membership.role,
        "role_name": membership.role.removeprefix("org:").replace("_", " ").capitalize(),
        "permissions": list(issuer.organizations.permissions_of(membership.role)),
        "public_metadata": membership.public_metadata,
        "private_metadata": membership.private_metadata,
        "organization": organization_object(issuer, issuer.organizations.find(membership.organization_id)),
        "public_user_data": {
            "user_id": user.id,
            "identifier": user.email or user.username or user.id,
            "first_name": user.first_name or None,
            "last_name": user.last_name or None,
            "image_url": "",
            "profile_image_url": "",
            "has_image": False,
        },
        "created_at": membership.created_at,
        "updated_at": membership.updated_at,
    }


def deleted_object(kind: str, record_id: str) -> dict[str, Any]:
    """What is left of a record that was deleted."""
    return {"id": record_id, "object": kind, "deleted": True}


def page_of(data: list[Any], total: int) -> Mapping[str, Any]:
    """A page of a list."""
    return {"data": data, "total_count": total}
