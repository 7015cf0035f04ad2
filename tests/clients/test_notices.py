"""Identity providers tell one gateway, and both refuse: logout tokens and webhooks, and what strangers try."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from rowgate.identity.logout_token import LOGOUT_EVENT
from tests.clients.two_gateways import ISSUER, NAME, Gateways, eventually
from tests.plain_http import HTTP
from tests.unit.identity.forge import encode, key_for, sign

KEY = secrets.token_bytes(24)
REVOKED = "rowgate:token_revoked"


@pytest.fixture(scope="module", autouse=True)
def auth0_secret(gateways: Gateways) -> Iterator[str]:
    """Both webhooks are registered; the secret that was made for the second."""
    secret = "whsec_" + base64.b64encode(KEY).decode()
    gateways.cli("webhook", "add", "clerk-events", "--kind", "clerk", stdin=secret)
    made = json.loads(gateways.cli("webhook", "add", "auth0-logs", "--kind", "auth0", "--json"))
    assert made["path"] == "/webhooks/auth0-logs"
    listed = gateways.cli("webhook", "list", "--json")
    assert {one["name"] for one in json.loads(listed)} == {"clerk-events", "auth0-logs"}
    assert made["secret"] not in listed
    assert (
        eventually(lambda: post(gateways, "auth0-logs", b"[]", {"Authorization": made["secret"]}).is_success)
        is not None
    )
    yield made["secret"]
    for name in ("clerk-events", "auth0-logs"):
        gateways.cli("webhook", "remove", name)
    assert "webhook_unknown" in gateways.cli("webhook", "remove", "clerk-events", status=2)


def post(gateways: Gateways, name: str, body: bytes, headers: dict[str, str], gateway: int = 0) -> httpx.Response:
    address = gateways.ready[gateway]["sql_url"].replace("/sql", f"/webhooks/{name}")
    return HTTP.post(address, content=body, headers=headers)


def svix(body: bytes, *, at: float | None = None, message_id: str | None = None, key: bytes = KEY) -> dict[str, str]:
    message_id, moment = message_id or f"msg_{secrets.token_hex(8)}", str(int(at or time.time()))
    signature = hmac.digest(key, f"{message_id}.{moment}.".encode() + body, hashlib.sha256)
    return {
        "svix-id": message_id, "svix-timestamp": moment, "svix-signature": "v1," + base64.b64encode(signature).decode(),
    }  # fmt: skip


def logout_token(**changes: Any) -> str:
    now = time.time()
    claims = {
        "iss": ISSUER, "aud": "api", "iat": int(now), "exp": int(now) + 120, "jti": secrets.token_hex(8),
        "events": {LOGOUT_EVENT: {}}, **changes,
    }  # fmt: skip
    header = {"alg": "RS256", "kid": "RS256", "typ": "logout+jwt"}
    return sign(header=header, payload={name: value for name, value in claims.items() if value is not ...})


def log_out(gateways: Gateways, token: str, gateway: int = 0) -> httpx.Response:
    address = gateways.ready[gateway]["sql_url"].replace("/sql", "/oidc/backchannel-logout")
    return HTTP.post(address, data={"logout_token": token})


def test_a_logout_at_the_provider_ends_the_session_everywhere(gateways: Gateways) -> None:
    ended = gateways.token("out_1", sid="out_sess_1")
    without = gateways.token("out_1")
    other = gateways.token("out_1", sid="out_sess_2")
    with gateways.connect(1, ended) as session:
        answer = log_out(gateways, logout_token(sub="out_1", sid="out_sess_1"))
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        for gateway in (0, 1):
            assert eventually(lambda gateway=gateway: gateways.code(gateway, ended) == REVOKED) is not None  # type: ignore[misc]
        assert gateways.code(1, without) == REVOKED, "it may have been of that session"
        assert gateways.code(1, other) is None
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            session.execute("select 1")
    everywhere = log_out(gateways, logout_token(sub="out_1"), gateway=1)
    assert everywhere.status_code == 200
    assert eventually(lambda: gateways.code(0, other) == REVOKED) is not None


def test_a_logout_token_counts_once_on_whichever_gateway(gateways: Gateways) -> None:
    token = logout_token(sid="out_sess_3")
    assert [log_out(gateways, token, gateway).status_code for gateway in (0, 0, 1)] == [200, 400, 400]


def forged_logouts() -> list[tuple[str, str]]:
    """Made when they are needed, because all but one must be refused for another reason than their age."""
    good = logout_token(sid="kept")
    header, payload, signature = good.split(".")
    none = encode(json.dumps({"alg": "none", "typ": "logout+jwt"}).encode())
    public = key_for("RS256").as_pem(private=False)
    symmetric = encode(json.dumps({"alg": "HS256", "kid": "RS256", "typ": "logout+jwt"}).encode())
    mac = encode(hmac.digest(public, f"{symmetric}.{payload}".encode(), hashlib.sha256))
    return [
        ("unsigned", f"{none}.{payload}."),
        ("the public key as a secret", f"{symmetric}.{payload}.{mac}"),
        ("another key", sign(key=key_for("RS256", 1), payload=json.loads(base64.urlsafe_b64decode(payload + "==")))),
        ("changed", f"{header}.{encode(b'{}')}.{signature}"),
        ("another issuer", logout_token(sid="kept", iss="https://evil.example")),
        ("another audience", logout_token(sid="kept", aud="somebody")),
        ("stale", logout_token(sid="kept", iat=int(time.time()) - 900, exp=int(time.time()) - 600)),
        ("an access token", logout_token(sid="kept", sub="kept", events=...)),
        ("an ID token", logout_token(sid="kept", nonce="n")),
        ("nobody", logout_token()),
        ("no id", logout_token(sid="kept", jti=...)),
        ("nothing", ""),
        ("nonsense", "a.b.c"),
    ]


@pytest.mark.parametrize("name", [row[0] for row in forged_logouts()])
def test_forged_logouts(gateways: Gateways, name: str) -> None:
    answer = log_out(gateways, dict(forged_logouts())[name])
    assert answer.status_code == 400, answer.text
    assert answer.json()["routine"].startswith("rowgate:")


def test_a_logout_token_is_nobodys_credential(gateways: Gateways) -> None:
    header = {"alg": "RS256", "kid": "RS256", "typ": "JWT"}
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "api", "iat": now, "exp": now + 120, "sub": "victim", "events": {LOGOUT_EVENT: {}}}
    assert gateways.code(0, sign(header=header, payload=claims)) == "rowgate:token_claim_invalid"
    assert gateways.code(0, logout_token(sub="victim")) == "rowgate:token_malformed"


def test_clerk_ends_a_session_and_deletes_a_user(gateways: Gateways) -> None:
    one, two = gateways.token("clerk_1", sid="clerk_sess_1"), gateways.token("clerk_2", sid="clerk_sess_2")
    ended = json.dumps({"type": "session.revoked", "data": {"id": "clerk_sess_1", "user_id": "clerk_1"}}).encode()
    deleted = json.dumps({"type": "user.deleted", "data": {"id": "clerk_2", "deleted": True}}).encode()
    assert [gateways.code(1, token) for token in (one, two)] == [None, None]
    for body in (ended, deleted):
        assert post(gateways, "clerk-events", body, svix(body)).json() == {"status": "done"}
    for token in (one, two):
        assert eventually(lambda token=token: gateways.code(1, token) == REVOKED) is not None  # type: ignore[misc]


def test_a_replayed_webhook_does_nothing(gateways: Gateways) -> None:
    body = json.dumps({"type": "session.ended", "data": {"id": "clerk_sess_3"}}).encode()
    headers = svix(body)
    assert post(gateways, "clerk-events", body, headers).json() == {"status": "done"}
    (made,) = [
        one for one in json.loads(gateways.cli("revocation", "list", "--json")) if one["value"] == "clerk_sess_3"
    ]
    assert (made["provider"], made["revoked_by"]) == (NAME, "webhook clerk-events")
    gateways.cli("revocation", "remove", str(made["id"]))
    for gateway in (0, 1):
        again = post(gateways, "clerk-events", body, headers, gateway)
        assert (again.status_code, again.json()) == (200, {"status": "already done"})
    assert "clerk_sess_3" not in gateways.cli("revocation", "list", "--json")


BODY = json.dumps({"type": "user.deleted", "data": {"id": "kept"}}).encode()
CALLS: list[tuple[str, str, Callable[[], dict[str, str]]]] = [
    ("nothing", "clerk-events", dict),
    ("another key", "clerk-events", lambda: svix(BODY, key=b"x" * 24)),
    ("another body", "clerk-events", lambda: svix(BODY + b" ")),
    ("stale", "clerk-events", lambda: svix(BODY, at=time.time() - 1000)),
    ("for another webhook", "auth0-logs", lambda: svix(BODY)),
    ("of no name", "", lambda: svix(BODY)),
    ("of another name", "nobody", lambda: svix(BODY)),
    ("a path", "x/../clerk-events/", lambda: svix(BODY)),
    ("no secret", "auth0-logs", lambda: {"Authorization": "Bearer wrong"}),
]


@pytest.mark.parametrize(("name", "path", "headers"), CALLS, ids=[row[0] for row in CALLS])
def test_forged_webhooks(gateways: Gateways, name: str, path: str, headers: Callable[[], dict[str, str]]) -> None:
    assert post(gateways, path, BODY, headers()).status_code == 400


def test_nothing_forged_was_kept(gateways: Gateways) -> None:
    assert '"kept"' not in gateways.cli("revocation", "list", "--json")


def test_auth0_ends_what_was_issued_before(gateways: Gateways, auth0_secret: str) -> None:
    old, new = gateways.token("auth0|1", age=600), gateways.token("auth0|1", age=5)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 60))
    body = json.dumps([{"log_id": "1", "data": {"type": "scp", "date": moment, "user_id": "auth0|1"}}]).encode()
    for expected in ("done", "already done"):
        assert post(gateways, "auth0-logs", body, {"Authorization": auth0_secret}).json() == {"status": expected}
    assert eventually(lambda: gateways.code(1, old) == REVOKED) is not None
    assert gateways.code(1, new) is None


def test_sizes_and_methods(gateways: Gateways, auth0_secret: str) -> None:
    large = b"[" + b" " * (1024 * 1024) + b"]"
    assert post(gateways, "auth0-logs", large, {"Authorization": auth0_secret}).status_code == 413
    assert log_out(gateways, "x" * 33_000).status_code == 413
    address = gateways.ready[0]["sql_url"]
    for path in ("/webhooks/clerk-events", "/oidc/backchannel-logout"):
        assert HTTP.get(address.replace("/sql", path)).status_code == 400
    twice = HTTP.post(address.replace("/sql", "/oidc/backchannel-logout"), content="logout_token=a&logout_token=b")
    assert (twice.status_code, twice.json()["routine"]) == (400, "rowgate:notice_refused")
