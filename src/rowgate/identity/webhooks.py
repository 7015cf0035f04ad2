"""Webhooks of identity providers: whether a call is genuine, and what it says that must be revoked.

Two kinds. ``clerk``: signed by Svix (an HMAC over id, time and body), events as Clerk sends them. ``auth0``: an
Authorization header with a secret, log streams and event streams as Auth0 sends them. Events that end nothing are
nothing; an event that cannot be read is refused, never guessed at. This module does no I/O.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from rowgate.errors import NoticeRefused, SettingInvalid
from rowgate.identity.revocation import LONGEST_VALUE, Revocation, Told, told_by_provider

WEBHOOK_KINDS: Final = ("clerk", "auth0")
TOLERANCE_SECONDS: Final = 300.0
REMEMBERED_SECONDS: Final = 86_400.0
SVIX_PREFIX: Final = "whsec_"
SHORTEST_SECRET: Final = 16

_SESSION_ENDS: Final = frozenset({"session.revoked", "session.ended", "session.removed"})
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder raises for bytes that are no JSON, for those that are not UTF-8, and for deep nesting."""
# A deleted account, a changed password, and a logout; https://auth0.com/docs, log event type codes.
_AUTH0_USER_ENDS: Final = frozenset({"du", "sdu", "scp"})
_AUTH0_LOGOUT: Final = "slo"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook that is registered: calls to ``name`` speak for ``provider``."""

    name: str
    provider: str
    kind: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """A genuine call: what it asks for, and the id by which it counts once until ``expires_at`` (Unix seconds)."""

    revocations: tuple[Revocation, ...]
    message_id: str
    expires_at: float


def check_secret(kind: str, secret: str) -> None:
    """Raises SettingInvalid for a secret, or a kind, that cannot be one."""
    if kind not in WEBHOOK_KINDS:
        raise SettingInvalid("This kind of webhook is not known.", detail=f"expected one of {', '.join(WEBHOOK_KINDS)}")
    if kind == "clerk":
        _svix_key(secret)
    elif len(secret) < SHORTEST_SECRET or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise SettingInvalid(
            "The secret cannot be used.", detail=f"expected at least {SHORTEST_SECRET} characters of ASCII, no blanks"
        )


def read_call(webhook: Webhook, headers: Mapping[bytes, bytes], body: bytes, *, now: float) -> WebhookCall:
    """What a call asks for. ``headers`` have their names in small letters. Raises NoticeRefused where it is not
    genuine, or cannot be read."""
    if webhook.kind == "clerk":
        message_id, expires_at = _check_svix(webhook.secret, headers, body, now), now + 2 * TOLERANCE_SECONDS
        found = list(_clerk_event(_json(body), now))
    else:
        _check_authorization(webhook.secret, headers)
        message_id, expires_at = sha256(body).hexdigest(), now + REMEMBERED_SECONDS
        found = list(_auth0_events(body, now))
    reason, revoked_by = "told by the identity provider", f"webhook {webhook.name}"
    revocations = told_by_provider(webhook.provider, found, reason=reason, revoked_by=revoked_by, now=now)
    return WebhookCall(revocations, message_id, expires_at)


def _svix_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SVIX_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad_svix_secret() from error
    if not secret.startswith(SVIX_PREFIX) or len(key) < SHORTEST_SECRET:
        raise _bad_svix_secret()
    return key


def _bad_svix_secret() -> SettingInvalid:
    return SettingInvalid(
        "The signing secret cannot be used.",
        detail=f"expected {SVIX_PREFIX} and at least {SHORTEST_SECRET} bytes of base64",
        hint="Copy it from the endpoint's page in the Clerk dashboard, Webhooks.",
    )


def _check_svix(secret: str, headers: Mapping[bytes, bytes], body: bytes, now: float) -> str:
    """https://docs.svix.com/receiving/verifying-payloads/how-manual; the id of the message."""
    message_id, timestamp, signatures = (headers.get(name, b"") for name in _SVIX_HEADERS)
    if not message_id or len(message_id) > 256 or not message_id.isascii() or b"\0" in message_id:
        raise NoticeRefused("The call has no svix-id.")
    if not timestamp.isdigit() or len(timestamp) > 12 or abs(int(timestamp) - now) > TOLERANCE_SECONDS:
        raise NoticeRefused(
            "The call is too old, or its time is missing.",
            detail=f"expected svix-timestamp to be at most {TOLERANCE_SECONDS:g} seconds from now",
            hint="Compare this machine's clock with the right time.",
        )
    expected = hmac.digest(_svix_key(secret), message_id + b"." + timestamp + b"." + body, "sha256")
    encoded = b"v1," + base64.b64encode(expected)
    # There are several while a secret is changed; each is compared in constant time.
    if not any(hmac.compare_digest(encoded, one) for one in signatures[:4096].split(b" ")):
        raise NoticeRefused("The signature of the call does not hold.")
    return message_id.decode("ascii")


_SVIX_HEADERS: Final = (b"svix-id", b"svix-timestamp", b"svix-signature")


def _check_authorization(secret: str, headers: Mapping[bytes, bytes]) -> None:
    given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
    if not hmac.compare_digest(sha256(given).digest(), sha256(secret.encode()).digest()):
        raise NoticeRefused("The Authorization header is not that of this webhook.")


def _clerk_event(event: Any, now: float) -> Iterator[Told]:
    """Clerk's events by ``type``; ``data`` is the session or the user."""
    kind, data = _member(event, "type", str), _member(event, "data", dict)
    if kind in _SESSION_ENDS:
        yield "session", _identifier(data, "id"), None
    elif kind == "user.deleted" or (kind == "user.updated" and data.get("banned") is True):
        yield "subject", _identifier(data, "id"), now


def _auth0_events(body: bytes, now: float) -> Iterator[Told]:
    """One event, a list of them, or one on each line."""
    try:
        decoded = msgspec.json.decode(body)
        events = decoded if isinstance(decoded, list) else [decoded]
    except _UNREADABLE:
        events = [_json(line) for line in body.splitlines() if line.strip()]
    for event in events:
        if not isinstance(event, dict):
            raise _unreadable()
        yield from _auth0_stream_event(event, now) if "specversion" in event else _auth0_log(event, now)


def _auth0_log(entry: dict[str, Any], now: float) -> Iterator[Told]:
    data = entry.get("data", entry)
    kind = _member(data, "type", str)
    if kind not in _AUTH0_USER_ENDS and kind != _AUTH0_LOGOUT:
        return
    if not data.get("user_id"):
        return  # the log of a deletion by the management API may name nobody
    user, before = _identifier(data, "user_id"), _log_moment(data.get("date"), now)
    if kind != _AUTH0_LOGOUT:
        yield "subject", user, before
        return
    if isinstance(data.get("session_id"), str) and data["session_id"]:
        yield "session", _identifier(data, "session_id"), None
    yield "sessionless", user, before


def _auth0_stream_event(event: dict[str, Any], now: float) -> Iterator[Told]:
    kind = _member(event, "type", str)
    if kind not in ("user.deleted", "user.updated"):
        return
    user = _member(_member(event, "data", dict), "object", dict)
    if kind == "user.deleted" or user.get("blocked") is True:
        yield "subject", _identifier(user, "user_id"), now


def _log_moment(text: object, now: float) -> float:
    """When it happened: what was issued later is none of its business. Now where that cannot be told."""
    try:
        moment = datetime.fromisoformat(text).timestamp() if isinstance(text, str) else now
    except (ValueError, OverflowError):
        return now
    return min(moment, now) if moment >= 0 else now


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except _UNREADABLE as error:
        raise _unreadable() from error


def _member(value: Any, name: str, kind: type) -> Any:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise _unreadable()
    return found


def _identifier(data: dict[str, Any], name: str) -> str:
    found: str = _member(data, name, str)
    if not found or "\0" in found or len(found.encode()) > LONGEST_VALUE:
        raise _unreadable()
    return found


def _unreadable() -> NoticeRefused:
    return NoticeRefused(
        "The call is genuine, but it cannot be read.", detail="expected JSON as the identity provider sends it"
    )
