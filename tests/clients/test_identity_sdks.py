"""The local identity provider through the SDKs that people use: Clerk's for Node and Python, jose, openid-client and
Authlib. What they get goes through a running gateway, as in an application."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from authlib.integrations.httpx_client import OAuth2Client
from authlib.jose import JsonWebKey, jwt
from clerk_backend_api import Clerk, models
from clerk_backend_api.security import VerifyTokenOptions, verify_token

from tests.clients.stack import Stack, run_node, until
from tests.plain_http import HTTP


@pytest.fixture(scope="module")
def keys(stack: Stack) -> dict[str, str]:
    told: dict[str, str] = json.loads(stack.cli("issuer", "secret-key", "--json").stdout)
    assert told["secret_key"] == stack.issuer_secret_key
    stack.cli("template", "add", "sdk", "--claims", '{"plan": "{{user.public_metadata.plan || \'none\'}}"}')
    return told


def node(action: str, **given: Any) -> dict[str, Any]:
    answer: dict[str, Any] = run_node("identity_sdks.mjs", {"action": action, **given})
    return answer


def user_of(stack: Stack, token: str) -> str:
    """Who Postgres says it is."""
    answer = stack.sql("select auth.user_id() as me", token=token)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["rows"][0]["me"])


def test_clerk_for_node(stack: Stack, keys: dict[str, str]) -> None:
    told = node(
        "clerk", apiUrl=keys["api_url"], secretKey=keys["secret_key"], publishableKey=keys["publishable_key"],
        email="dora@example.com",
    )  # fmt: skip
    assert (told["metadata"], told["total"]) == ({"plan": "pro"}, 1)
    assert told["member"] == "bob@example.com"
    assert told["organizations"] == [["Clerk Co", "org:admin"]]
    assert told["subject"] == told["userId"]
    assert told["authenticated"] == [True, told["userId"]]
    assert told["forged"] is False
    assert told["stranger"] == {"status": 401, "code": "authentication_invalid"}
    assert told["revoked"] == "revoked"
    assert told["afterwards"]["status"] == 400
    assert told["unknown"] == {"status": 404, "code": "resource_not_found"}
    assert user_of(stack, told["jwt"]) == told["userId"]
    plan = stack.sql("select auth.session() ->> 'plan' as plan", token=told["templated"]).json()
    assert plan["rows"] == [{"plan": "pro"}]


def test_clerk_for_python(stack: Stack, keys: dict[str, str]) -> None:
    with Clerk(bearer_auth=keys["secret_key"], server_url=f"{keys['api_url']}/v1") as clerk:
        user = clerk.users.create(email_address=["eve@example.com"], first_name="Eve", public_metadata={"plan": "free"})
        assert user.email_addresses[0].email_address == "eve@example.com"
        assert clerk.users.count().total_count == len(clerk.users.list(request={"limit": 100}))
        organization = clerk.organizations.create(request={"name": "Python Co", "created_by": user.id})
        members = clerk.organization_memberships.list(organization_id=organization.id)
        assert [one.role for one in members.data] == ["org:admin"]
        session = clerk.sessions.create(request={"user_id": user.id, "active_organization_id": organization.id})
        token = clerk.sessions.create_token(session_id=session.id).jwt
        claims = verify_token(token, VerifyTokenOptions(secret_key=keys["secret_key"], api_url=keys["api_url"]))
        assert claims["o"] == {"id": organization.id, "slg": "python-co", "rol": "admin"}
        assert user_of(stack, token) == user.id
        with pytest.raises(models.ClerkErrors) as caught:
            clerk.sessions.create_token_from_template(session_id=session.id, template_name="none")
        assert caught.value.data.errors[0].code == "resource_not_found"
        assert clerk.sessions.revoke(session_id=session.id).status == models.Status.REVOKED
        assert clerk.users.delete(user_id=user.id).deleted
    stranger = Clerk(bearer_auth="sk_test_wrong", server_url=f"{keys['api_url']}/v1")
    with stranger, pytest.raises(models.ClerkErrors) as caught:
        stranger.users.list(request={})
    assert caught.value.data.errors[0].code == "authentication_invalid"


def test_jose_across_a_rotation(stack: Stack) -> None:
    before = stack.cli("token", "alice").stdout.strip()
    rotated = json.loads(stack.cli("issuer", "rotate-key", "--json").stdout)["key_id"]
    after = stack.cli("token", "bob").stdout.strip()
    (alice, old), (bob, new) = node("jose", issuer=stack.issuer_url, tokens=[before, after])["verified"]
    assert (alice, bob, new) == ("user_alice", "user_bob", rotated)
    assert old != new
    assert user_of(stack, before) == "user_alice"
    # The gateway asks for a key that it does not know once in five seconds.
    until(lambda: stack.sql("select 1", token=after).status_code == 200, seconds=15)
    assert [user_of(stack, token) for token in (before, after)] == ["user_alice", "user_bob"]


def in_a_browser(issuer: str, address: str, user: str) -> str:
    """Follow an authorization request as a browser would, pick ``user``, and say where it ended."""
    with httpx.Client(base_url=issuer, follow_redirects=False) as browser:
        page = browser.get(address).text
        for form in re.findall(r"<form method=post action=\"/sign-in\">(.*?)</form>", page, re.DOTALL):
            fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form.replace("&amp;", "&")))
            if fields.get("user") == user:
                break
        answer = browser.post("/sign-in", data=fields)
        while not answer.headers["location"].startswith("http://localhost:3999/"):
            answer = browser.get(answer.headers["location"])
        return str(answer.headers["location"])


def test_openid_client(stack: Stack) -> None:
    begun = node("openid", issuer=stack.issuer_url, redirectUri="http://localhost:3999/cb")
    callback = in_a_browser(stack.issuer_url, begun.pop("address"), "user_alice")
    told = node("openid", issuer=stack.issuer_url, callback=callback, **begun)
    assert (told["subject"], told["name"]) == ("user_alice", "Alice Archer")
    assert [user_of(stack, told[name]) for name in ("accessToken", "renewed")] == ["user_alice", "user_alice"]


def test_authlib(stack: Stack) -> None:
    discovery = HTTP.get(f"{stack.issuer_url}/.well-known/openid-configuration").json()
    client = OAuth2Client(
        "authlib-app", "a secret that nobody checks", scope="openid email", redirect_uri="http://localhost:3999/cb",
        code_challenge_method="S256",
    )  # fmt: skip
    verifier = "authlib" * 8
    address, state = client.create_authorization_url(
        discovery["authorization_endpoint"], code_verifier=verifier, nonce="n-1"
    )
    callback = in_a_browser(stack.issuer_url, address, "user_bob")
    assert parse_qs(urlsplit(callback).query)["state"] == [state]
    token = client.fetch_token(discovery["token_endpoint"], authorization_response=callback, code_verifier=verifier)
    key_set = JsonWebKey.import_key_set(HTTP.get(discovery["jwks_uri"]).json())
    claims = jwt.decode(
        token["id_token"], key_set,
        claims_options={"iss": {"essential": True, "value": stack.issuer_url}, "aud": {"value": "authlib-app"},
                        "nonce": {"value": "n-1"}},
    )  # fmt: skip
    claims.validate()
    assert (claims["sub"], claims["email"]) == ("user_bob", "bob@example.com")
    assert user_of(stack, token["access_token"]) == "user_bob"


def test_state_is_private(stack: Stack) -> None:
    for file in (Path(stack.data_dir) / "issuer").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
