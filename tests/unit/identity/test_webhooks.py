"""Webhooks: forged, stale and unreadable calls are refused, genuine ones mean what their documents say."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import NoticeRefused, SettingInvalid
from rowgate.identity.webhooks import Webhook, check_secret, read_call
from tests.unit.identity.forge import NOW

KEY = bytes(range(24))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
CLERK = Webhook("events", "clerk", "clerk", SECRET)
AUTH0 = Webhook("logs", "auth0", "auth0", "a-secret-of-auth0")


def signed(
    body: bytes, *, key: bytes = KEY, message_id: str = "msg_1", at: float = NOW, more: str = ""
) -> dict[bytes, bytes]:
    """The headers that Svix sends with ``body``."""
    content = f"{message_id}.{int(at)}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {
        b"svix-id": message_id.encode(), b"svix-timestamp": str(int(at)).encode(),
        b"svix-signature": f"{more}v1,{signature}".encode(),
    }  # fmt: skip


def event(kind: str, **data: Any) -> bytes:
    return json.dumps({"type": kind, "object": "event", "data": data}).encode()


def clerk(body: bytes, **more: Any) -> list[tuple[str, str, float | None]]:
    call = read_call(CLERK, signed(body, **more), body, now=NOW)
    return [(one.kind, one.value, one.issued_before) for one in call.revocations]


def auth0(body: object) -> list[tuple[str, str, float | None]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    call = read_call(AUTH0, {b"authorization": b"a-secret-of-auth0"}, raw, now=NOW)
    return [(one.kind, one.value, one.issued_before) for one in call.revocations]


def test_the_example_of_the_documents_holds() -> None:
    """From Svix's page on verifying by hand: secret, id, time and body with the signature that it gives."""
    webhook = Webhook("x", "p", "clerk", "whsec_plJ3nmyCDGBKInavdOK15jsl")
    body = b'{"event_type":"ping","data":{"success":true}}'
    headers = {
        b"svix-id": b"msg_loFOjxBNrRLzqYUf", b"svix-timestamp": b"1731705121",
        b"svix-signature": b"v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }  # fmt: skip
    with pytest.raises(NoticeRefused, match="cannot be read"):
        # The signature holds: only then is the body read, which is none of Clerk's.
        read_call(webhook, headers, body, now=1731705121)
    with pytest.raises(NoticeRefused, match="signature"):
        read_call(webhook, headers, body + b" ", now=1731705121)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (event("session.revoked", id="sess_1", user_id="user_1"), [("session", "sess_1", None)]),
        (event("session.ended", id="sess_1"), [("session", "sess_1", None)]),
        (event("session.removed", id="sess_1"), [("session", "sess_1", None)]),
        (event("user.deleted", id="user_1", deleted=True), [("subject", "user_1", NOW)]),
        (event("user.updated", id="user_1", banned=True), [("subject", "user_1", NOW)]),
        (event("user.updated", id="user_1", banned=False), []),
        (event("user.updated", id="user_1", banned="true"), []),
        (event("user.created", id="user_1"), []),
        (event("session.created", id="sess_1"), []),
        (event("organization.deleted", id="org_1"), []),
    ],
)
def test_what_clerk_says(body: bytes, expected: list[Any]) -> None:
    assert clerk(body) == expected


REVOKED = event("session.revoked", id="sess_1")
FORGED: list[tuple[str, dict[bytes, bytes], bytes]] = [
    ("no headers", {}, REVOKED),
    ("another key", signed(REVOKED, key=b"x" * 24), REVOKED),
    ("another body", signed(REVOKED), event("session.revoked", id="sess_2")),
    ("another id", {**signed(REVOKED), b"svix-id": b"msg_2"}, REVOKED),
    ("another time", {**signed(REVOKED), b"svix-timestamp": str(int(NOW) + 1).encode()}, REVOKED),
    ("too old", signed(REVOKED, at=NOW - 301), REVOKED),
    ("from the future", signed(REVOKED, at=NOW + 301), REVOKED),
    ("no time", {**signed(REVOKED), b"svix-timestamp": b""}, REVOKED),
    ("a time that is none", {**signed(REVOKED), b"svix-timestamp": b"now"}, REVOKED),
    ("digits of another script", {**signed(REVOKED), b"svix-timestamp": "١٢".encode()}, REVOKED),
    ("no signature", {**signed(REVOKED), b"svix-signature": b""}, REVOKED),
    ("a bare version", {**signed(REVOKED), b"svix-signature": b"v1,"}, REVOKED),
    ("v2", {**signed(REVOKED), b"svix-signature": b"v2" + signed(REVOKED)[b"svix-signature"][2:]}, REVOKED),
    ("no id", {**signed(REVOKED, message_id="")}, REVOKED),
    ("the dots moved", {**signed(b"x." + REVOKED), b"svix-timestamp": f"{int(NOW)}.x".encode()}, REVOKED),
    ("Auth0's way in", {b"authorization": SECRET.encode()}, REVOKED),
]  # fmt: skip


@pytest.mark.parametrize(("name", "headers", "body"), FORGED, ids=[row[0] for row in FORGED])
def test_forged_calls_are_refused(name: str, headers: dict[bytes, bytes], body: bytes) -> None:
    with pytest.raises(NoticeRefused):
        read_call(CLERK, headers, body, now=NOW)


def test_one_of_several_signatures_is_enough() -> None:
    assert clerk(REVOKED, more="v1,bm90IHRoaXM= v1a,xyz ")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"nonsense", b"\xff", b'{"type":"session.revoked"}', event("session.revoked"),
     event("session.revoked", id=7), event("session.revoked", id=""), event("session.revoked", id="x" * 1025),
     event("user.deleted", id="a\0b"), b'{"type":"user.deleted","data":{"id":"\\ud800"}}',
     b'{"type":["user.deleted"],"data":{"id":"x"}}', b'{"type":"\xff"}', b"[" * 100_000],
)  # fmt: skip
def test_genuine_calls_that_cannot_be_read_are_refused(body: bytes) -> None:
    with pytest.raises(NoticeRefused):
        clerk(body)


@pytest.mark.parametrize("body", [b"nonsense", b"\xff", b'{"type":"\xff"}', b"[" * 100_000, b"{}\n" + b"[" * 100_000])
def test_genuine_events_that_cannot_be_read_are_refused(body: bytes) -> None:
    with pytest.raises(NoticeRefused):
        auth0(body)


def log(kind: str, **data: Any) -> dict[str, Any]:
    return {"log_id": "9002", "data": {"type": kind, "date": "2026-11-28T10:00:00.000Z", **data}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([log("slo", user_id="auth0|1", session_id="s1")],
         [("session", "s1", None), ("sessionless", "auth0|1", 1795860000.0)]),
        ([log("slo", user_id="auth0|1")], [("sessionless", "auth0|1", 1795860000.0)]),
        ([log("sdu", user_id="auth0|1"), log("s", user_id="auth0|2")], [("subject", "auth0|1", 1795860000.0)]),
        ([log("scp", user_id="auth0|1", date="nonsense")], [("subject", "auth0|1", NOW)]),
        ([log("scp", user_id="auth0|1", date="1013-01-15T08:00:00.000Z")], [("subject", "auth0|1", NOW)]),
        ([log("scp", user_id="auth0|1", date="9999-12-31T23:59:59-14:00")], [("subject", "auth0|1", NOW)]),
        ([log("sdu")], []),
        (log("scp", user_id="auth0|1"), [("subject", "auth0|1", 1795860000.0)]),
        (b'{"data":{"type":"sdu","user_id":"a"}}\n{"data":{"type":"s"}}\n\n', [("subject", "a", NOW)]),
        ([], []),
        ({"specversion": "1.0", "type": "user.deleted", "data": {"object": {"user_id": "auth0|1"}}},
         [("subject", "auth0|1", NOW)]),
        ({"specversion": "1.0", "type": "user.updated", "data": {"object": {"user_id": "auth0|1", "blocked": True}}},
         [("subject", "auth0|1", NOW)]),
        ({"specversion": "1.0", "type": "user.updated", "data": {"object": {"user_id": "auth0|1"}}}, []),
    ],
)  # fmt: skip
def test_what_auth0_says(body: object, expected: list[Any]) -> None:
    assert auth0(body) == expected


@pytest.mark.parametrize(
    "given", [b"", b"Bearer ", b"a-secret-of-auth", b"a-secret-of-auth0 ", b"Basic a-secret-of-auth0"]
)
def test_auth0_without_its_secret(given: bytes) -> None:
    with pytest.raises(NoticeRefused):
        read_call(AUTH0, {b"authorization": given}, json.dumps([log("sdu", user_id="x")]).encode(), now=NOW)
    assert read_call(AUTH0, {b"authorization": b"Bearer a-secret-of-auth0"}, b"[]", now=NOW)


@pytest.mark.parametrize("body", [b"", b"7", b"[7]", b"{", b'[{"data":7}]', b'[{"data":{"type":"sdu","user_id":7}}]'])
def test_auth0_unreadable(body: bytes) -> None:
    if body == b"":
        assert auth0(body) == [], "no event at all"
        return
    with pytest.raises(NoticeRefused):
        auth0(body)


HEADERS = st.sampled_from([b"svix-id", b"svix-timestamp", b"svix-signature", b"authorization"])
NAMES = st.sampled_from(["type", "data", "id", "user_id", "object", "specversion"])
VALUES = st.none() | st.booleans() | st.integers() | st.text()
DOCUMENTS = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=8
)


@given(st.binary(max_size=200), st.dictionaries(HEADERS, st.binary(max_size=60)))
def test_strangers_only_ever_get_a_refusal(body: bytes, headers: dict[bytes, bytes]) -> None:
    for webhook in (CLERK, AUTH0):
        with pytest.raises(NoticeRefused):
            read_call(webhook, headers, body, now=NOW)


@given(DOCUMENTS)
def test_genuine_bodies_of_any_shape(value: Any) -> None:
    body = json.dumps(value).encode()
    for read in (clerk, auth0):
        try:
            read(body)
        except NoticeRefused:
            continue


@pytest.mark.parametrize(
    ("kind", "secret"),
    [("clerk", ""), ("clerk", "whsec_"), ("clerk", "whsec_!!!!"), ("clerk", base64.b64encode(KEY).decode()),
     ("clerk", "whsec_c2hvcnQ="), ("auth0", "short"), ("auth0", "with a blank in it, and long"), ("svix", SECRET),
     ("auth0", "ü" * 20)],
)  # fmt: skip
def test_secrets_that_are_none(kind: str, secret: str) -> None:
    with pytest.raises(SettingInvalid) as refusal:
        check_secret(kind, secret)
    assert not secret or len(secret) < 8 or secret not in f"{refusal.value.message}{refusal.value.detail}"


def test_secrets_are_not_shown() -> None:
    assert SECRET not in repr(CLERK)
    check_secret("clerk", SECRET)
    check_secret("auth0", "a-secret-of-auth0")
