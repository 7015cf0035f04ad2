"""Signing in with a browser and with OpenID Connect: the way that works, and what attackers would try."""

import base64
import hashlib
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowgate.errors import IssuerInputInvalid
from rowgate.issuer.app import create_app
from rowgate.issuer.issuer import SESSION_TOKEN_LIFETIME
from rowgate.issuer.sessions import LIFETIME
from tests.unit.issuer.test_app import URL, Bench

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CALLBACK = "http://localhost:3000/callback?kept=1"
REQUEST = {
    "client_id": "app", "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid email offline_access",
    "state": "st&te", "nonce": "n", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
}  # fmt: skip


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    numbers = iter(range(10**6))
    made = Bench(tmp_path, random_bytes=lambda size: next(numbers).to_bytes(size))
    yield made
    await made.key_sets.close()
    await made.fetcher.close()
    await made.client.aclose()


def authorize(**changes: Any) -> str:
    return "/authorize?" + urlencode(
        {name: value for name, value in {**REQUEST, **changes}.items() if value is not ...}
    )


def form(page: str, action: str = "/sign-in", **fields: str) -> dict[str, str]:
    """The hidden fields of the page's first form for ``action``, and ``fields``."""
    found = re.search(rf'<form method=post action="{action}">(.*?)</form>', page, re.DOTALL)
    assert found, page
    hidden = re.findall(r'<input type=hidden name="(.*?)" value="(.*?)">', found[1])
    return {**{name: html.unescape(value) for name, value in hidden}, **fields}


async def signed_in(bench: Bench, user: str = "user_alice") -> httpx.Response:
    page = (await bench.client.get("/sign-in")).text
    return await bench.client.post("/sign-in", data=form(page, user=user))


async def code_for(bench: Bench, **changes: Any) -> str:
    answer = await bench.client.get(authorize(**changes))
    assert answer.status_code == 303, answer.text
    return parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]


async def exchange(bench: Bench, code: str, **changes: Any) -> httpx.Response:
    fields = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "client_id": "app",
        "code_verifier": VERIFIER, **changes,
    }  # fmt: skip
    return await bench.client.post("/token", data={name: value for name, value in fields.items() if value is not ...})


async def test_a_browser_signs_in_and_out(bench: Bench) -> None:
    response = await signed_in(bench)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    page = (await bench.client.get("/")).text
    assert "Signed in" in page
    assert "Alice Archer" in page
    token = (await bench.client.post("/session/token")).json()
    assert token["expires_in"] == SESSION_TOKEN_LIFETIME == 60
    claims = await bench.verify(token["token"])
    (session,) = bench.issuer.sessions.list()
    assert (claims["sub"], claims["sid"], claims["exp"] - claims["iat"]) == ("user_alice", session.id, 60)
    assert session.cookie_digest not in cookie
    out = await bench.client.post("/sign-out", data=form(page, "/sign-out"))
    assert out.status_code == 303
    assert (await bench.client.post("/session/token")).status_code == 400
    with pytest.raises(IssuerInputInvalid):
        bench.issuer.mint_for_session(session.id)


async def test_a_fresh_token_whenever_the_last_one_is_about_to_end(bench: Bench) -> None:
    await signed_in(bench)
    headers = {"origin": "http://localhost:3000"}
    first = await bench.client.post("/session/token", headers=headers)
    bench.clock.now += 55
    second = await bench.client.post("/session/token", headers=headers)
    assert second.headers["access-control-allow-origin"] == headers["origin"]
    assert second.headers["access-control-allow-credentials"] == "true"
    claims = [await bench.verify(answer.json()["token"]) for answer in (first, second)]
    assert claims[1]["exp"] - claims[0]["exp"] == 55
    assert claims[1]["azp"] == "http://localhost:3000"
    bench.clock.now += LIFETIME
    assert (await bench.client.post("/session/token", headers=headers)).status_code == 400


def form_without_user(page: str, **fields: str) -> dict[str, str]:
    made = form(page, **fields)
    made.pop("user", None)
    return made


async def test_somebody_new(bench: Bench) -> None:
    for name, made_id in (("Zoe", "user_zoe"), ("Zoe", None)):
        page = (await bench.client.get("/sign-in")).text
        sent = form_without_user(page, first_name=name, email="" if made_id else "other@example.com")
        assert (await bench.client.post("/sign-in", data=sent)).status_code == 303
        newest = bench.issuer.users.list()[-1]
        assert made_id in (None, newest.id)
        assert "Zoe" in (await bench.client.get("/")).text
    page = (await bench.client.get("/sign-in")).text
    for sent in ({"first_name": ""}, {"first_name": "Zoe", "email": "other@example.com"}, {"user": "user_nobody"}):
        refused = await bench.client.post("/sign-in", data={**form_without_user(page), **sent})
        assert refused.status_code in {400, 404}


async def test_signing_in_as_another_ends_the_earlier_session(bench: Bench) -> None:
    await signed_in(bench)
    await signed_in(bench, "user_bob")
    assert [one.status for one in bench.issuer.sessions.list()] == ["ended", "active"]


async def test_switching_organizations(bench: Bench) -> None:
    acme = bench.issuer.add_organization("Acme", created_by="user_alice")
    other = bench.issuer.add_organization("Other", created_by="user_bob")
    await signed_in(bench)
    assert (await bench.verify((await bench.client.post("/session/token")).json()["token"]))["o"]["id"] == acme.id
    page = (await bench.client.get("/")).text
    assert "Other" not in page.partition("Signed in")[2].partition("</section>")[0]
    await bench.client.post("/switch", data=form(page, "/switch", organization=""))
    assert "o" not in await bench.verify((await bench.client.post("/session/token")).json()["token"])
    refused = await bench.client.post("/switch", data=form(page, "/switch", organization=other.id))
    assert refused.status_code == 404


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/switch", "/rotate-key"])
@pytest.mark.parametrize("attack", ["no token", "no cookie", "other cookie", "other origin", "other port", "json"])
async def test_forms_of_others_change_nothing(bench: Bench, path: str, attack: str) -> None:
    await signed_in(bench)
    page = (await bench.client.get("/")).text
    data, headers, key = {**form(page, "/sign-out"), "user": "user_bob"}, {}, bench.issuer.keys.current.key_id
    cookie = next(name for name in bench.client.cookies if "form" in name)
    match attack:
        case "no token":
            data.pop("form")
        case "no cookie":
            bench.client.cookies.delete(cookie)
        case "other cookie":
            bench.client.cookies.delete(cookie)
            bench.client.cookies.set(cookie, "x")
        case "other origin":
            headers["origin"] = "https://evil.example"
        case "other port":
            headers["origin"] = "http://localhost:3000"
    if attack == "json":
        response = await bench.client.post(path, json=data)
    else:
        response = await bench.client.post(path, data=data, headers=headers)
    assert response.status_code == 400
    assert response.json()["code"] in {"request_refused", "malformed_body"}
    assert [one.user_id for one in bench.issuer.sessions.list() if one.status == "active"] == ["user_alice"]
    assert bench.issuer.keys.current.key_id == key


async def test_pages_cannot_be_framed_or_scripted(bench: Bench) -> None:
    for path in ("/", "/sign-in", "/logout", authorize()):
        response = await bench.client.get(path)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script" not in policy
        assert "<script" not in response.text
        assert response.headers["cache-control"] == "no-store"
    assert "form-action 'self' http://localhost:3000;" in policy


async def test_a_key_is_rotated_by_its_button(bench: Bench) -> None:
    token = bench.issuer.mint("alice")
    old = bench.issuer.keys.current.key_id
    page = (await bench.client.get("/")).text
    assert (await bench.client.post("/rotate-key", data=form(page, "/rotate-key"))).status_code == 303
    assert bench.issuer.keys.current.key_id != old
    assert await bench.verify(token)
    assert await bench.verify(bench.issuer.mint("alice"))
    assert (await bench.client.get("/")).text.count("<code class=long>") == 2


# --- OpenID Connect -------------------------------------------------------------------------------------------


async def test_the_code_flow(bench: Bench) -> None:
    page = await bench.client.get(authorize(login_hint="bob"))
    assert page.status_code == 200
    assert page.text.index("Bob Baker") < page.text.index("Alice Archer")
    assert "<code>app</code> asks you" in page.text
    back = await bench.client.post("/sign-in", data=form(page.text))
    answer = await bench.client.get(back.headers["location"])
    assert answer.headers["location"].startswith(CALLBACK + "&code=")
    told = parse_qs(urlsplit(answer.headers["location"]).query)
    assert (told["state"], told["iss"]) == (["st&te"], [URL])
    tokens = (await exchange(bench, told["code"][0])).json()
    assert set(tokens) == {"access_token", "token_type", "expires_in", "scope", "id_token", "refresh_token"}
    access, identity = await bench.verify(tokens["access_token"]), await bench.verify(tokens["id_token"])
    assert (access["sub"], access["azp"]) == ("user_bob", "app")
    assert (identity["sub"], identity["aud"], identity["nonce"], identity["email"]) == (
        "user_bob", "app", "n", "bob@example.com",
    )  # fmt: skip
    assert "name" not in identity
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert identity["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    info = await bench.client.get("/userinfo", headers={"authorization": f"Bearer {tokens['access_token']}"})
    assert info.json() == {
        "sub": "user_bob", "name": "Bob Baker", "given_name": "Bob", "family_name": "Baker",
        "email": "bob@example.com", "email_verified": True,
    }  # fmt: skip


async def test_refresh_tokens_are_good_once(bench: Bench) -> None:
    await signed_in(bench)
    first = (await exchange(bench, await code_for(bench))).json()["refresh_token"]
    refresh = {"grant_type": "refresh_token", "client_id": "app"}
    bench.clock.now += 3600
    stranger = await bench.client.post("/token", data={**refresh, "refresh_token": first, "client_id": "other"})
    assert stranger.json()["error"] == "invalid_grant"
    answer = (await bench.client.post("/token", data={**refresh, "refresh_token": first})).json()
    assert (await bench.verify(answer["access_token"]))["sub"] == "user_alice"
    again = await bench.client.post("/token", data={**refresh, "refresh_token": first})
    assert again.json()["error"] == "invalid_grant"
    # A refresh token that comes twice is in two hands, so the session is over for both.
    follower = await bench.client.post("/token", data={**refresh, "refresh_token": answer["refresh_token"]})
    assert follower.json()["error"] == "invalid_grant"
    assert [one.status for one in bench.issuer.sessions.list()] == ["revoked"]


async def test_a_made_up_refresh_token_ends_nobodys_session(bench: Bench) -> None:
    """The id of a session stands in its tokens, so it must not be enough to end it."""
    await signed_in(bench)
    kept = (await exchange(bench, await code_for(bench))).json()["refresh_token"]
    refresh = {"grant_type": "refresh_token", "client_id": "app"}
    for made_up in (kept.partition(".")[0] + ".x", kept.partition(".")[0], kept + "x", ".", ""):
        answer = await bench.client.post("/token", data={**refresh, "refresh_token": made_up})
        assert answer.json()["error"] == "invalid_grant"
    assert (await bench.client.post("/token", data={**refresh, "refresh_token": kept})).is_success


@pytest.mark.parametrize("path", ["/userinfo", "/session/token", "/token"])
async def test_pages_may_ask_whether_they_may(bench: Bench, path: str) -> None:
    headers = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    answer = await bench.client.options(path, headers=headers)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    refused = await bench.client.options(path, headers={**headers, "origin": "https://evil.example"})
    assert refused.status_code == 400


async def test_a_code_is_good_once_and_its_replay_ends_the_session(bench: Bench) -> None:
    await signed_in(bench)
    code = await code_for(bench, scope="openid")
    tokens = (await exchange(bench, code)).json()
    assert "refresh_token" not in tokens
    assert (await exchange(bench, code)).json()["error"] == "invalid_grant"
    assert [one.status for one in bench.issuer.sessions.list()] == ["revoked"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"), ({"code_verifier": ...}, "invalid_grant"),
        ({"code_verifier": "v"}, "invalid_grant"), ({"redirect_uri": "http://localhost:3000/"}, "invalid_grant"),
        ({"redirect_uri": ...}, "invalid_grant"), ({"client_id": "other"}, "invalid_grant"),
        ({"client_id": ...}, "invalid_client"), ({"code": "x"}, "invalid_grant"), ({"code": ...}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"), ({"grant_type": ""}, "unsupported_grant_type"),
    ],
)  # fmt: skip
async def test_exchanges_that_are_refused(bench: Bench, changes: dict[str, Any], error: str) -> None:
    await signed_in(bench)
    answer = await exchange(bench, **{"code": await code_for(bench), **changes})
    assert answer.status_code in {400, 401}
    assert answer.json()["error"] == error
    assert answer.headers["cache-control"] == "no-store"


async def test_a_code_is_used_up_by_a_wrong_verifier(bench: Bench) -> None:
    await signed_in(bench)
    code = await code_for(bench)
    await exchange(bench, code, code_verifier="w" * 43)
    assert (await exchange(bench, code)).json()["error"] == "invalid_grant"


async def test_a_code_is_over_after_a_minute(bench: Bench) -> None:
    await signed_in(bench)
    code = await code_for(bench)
    bench.clock.now += 60
    assert (await exchange(bench, code)).json()["error"] == "invalid_grant"


async def test_clients_with_basic_authentication(bench: Bench) -> None:
    await signed_in(bench)
    for credentials, expected in (("app:secret", 200), ("other:secret", 400)):
        headers = {"authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}
        fields = {"grant_type": "authorization_code", "code": await code_for(bench), "redirect_uri": CALLBACK,
                  "code_verifier": VERIFIER}  # fmt: skip
        assert (await bench.client.post("/token", data=fields, headers=headers)).status_code == expected
    broken = await bench.client.post("/token", data=fields, headers={"authorization": "Basic %%%"})
    assert (broken.status_code, broken.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "redirect_uri",
    [..., "", "https://evil.example/cb", "http://localhost.evil.example/", "http://localhost@evil.example/",
     "http://localhost\\@evil.example/", "//localhost/cb", "javascript:alert(1)", "http://localhost/#x", "http://[",
     "http://localhost:x/", "http://127.0.0.1.evil.example", "http://localhost/\r\nx: y", "data:text/html,x"],
)  # fmt: skip
async def test_codes_never_go_to_strangers(bench: Bench, redirect_uri: Any) -> None:
    await signed_in(bench)
    response = await bench.client.get(authorize(redirect_uri=redirect_uri))
    assert response.status_code == 400
    assert "location" not in response.headers
    assert response.json()["code"] == "authorization_refused"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": ...}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "unsupported_response_type"), ({"scope": "email"}, "invalid_scope"),
        ({"scope": ...}, "invalid_scope"), ({"code_challenge": ...}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"), ({"code_challenge": "short"}, "invalid_request"),
        ({"request": "x"}, "request_not_supported"), ({"prompt": "none"}, "login_required"),
    ],
)  # fmt: skip
async def test_the_client_is_told_what_was_wrong(bench: Bench, changes: dict[str, Any], error: str) -> None:
    response = await bench.client.get(authorize(**changes))
    assert response.status_code == 303
    told = parse_qs(urlsplit(response.headers["location"]).query)
    assert (told["error"], told["state"], told["iss"]) == ([error], ["st&te"], [URL])


async def test_prompt_none_and_login(bench: Bench) -> None:
    await signed_in(bench)
    assert await code_for(bench, prompt="none")
    page = await bench.client.get(authorize(prompt="login"))
    assert page.status_code == 200
    back = await bench.client.post("/sign-in", data=form(page.text))
    assert (await bench.client.get(back.headers["location"])).status_code == 303


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/authorize", "/\\evil", "/sign-out", ""])
async def test_a_sign_in_leads_nowhere_else(bench: Bench, target: str) -> None:
    page = (await bench.client.get("/sign-in")).text
    response = await bench.client.post("/sign-in", data=form(page, **{"return": target}))
    assert response.headers["location"] == "/"


async def test_signing_out_asks_first(bench: Bench) -> None:
    await signed_in(bench)
    page = await bench.client.get("/logout?" + urlencode({"post_logout_redirect_uri": "http://localhost:3000/bye"}))
    assert [one.status for one in bench.issuer.sessions.list()] == ["active"]
    out = await bench.client.post("/sign-out", data=form(page.text, "/sign-out"))
    assert out.headers["location"] == "http://localhost:3000/bye"
    assert [one.status for one in bench.issuer.sessions.list()] == ["ended"]
    refused = await bench.client.get("/logout?post_logout_redirect_uri=https://evil.example")
    assert refused.status_code == 400
    page = (await bench.client.get("/logout")).text
    away = await bench.client.post("/sign-out", data=form(page, "/sign-out", **{"return": "https://evil.example"}))
    assert away.headers["location"] == "/"


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer x", "Basic x", "Bearer a.b.c"])
async def test_userinfo_wants_a_token(bench: Bench, authorization: str) -> None:
    response = await bench.client.get("/userinfo", headers={"authorization": authorization})
    assert response.status_code == 401
    assert "invalid_token" in response.headers["www-authenticate"]


async def test_everyone_gets_no_codes_where_every_page_may_ask(tmp_path: Path) -> None:
    made = Bench(tmp_path)
    transport = httpx.ASGITransport(create_app(made.issuer, origins=("*",)))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        response = await client.get(authorize(redirect_uri="https://anywhere.example/cb"))
    assert response.status_code == 400


PARAMETERS = st.dictionaries(
    st.sampled_from([*REQUEST, "prompt", "grant_type", "code", "code_verifier", "refresh_token", "return", "form"]),
    st.text(max_size=10) | st.sampled_from([*REQUEST.values(), "authorization_code", "refresh_token"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(PARAMETERS)
async def test_no_request_breaks_it(bench: Bench, parameters: dict[str, str]) -> None:
    answers = [
        await bench.client.get("/authorize?" + urlencode(parameters)),
        await bench.client.get("/logout?" + urlencode(parameters)),
        await bench.client.post("/token", data=parameters),
        await bench.client.post("/sign-in", data=parameters),
    ]
    assert {answer.status_code for answer in answers} <= {200, 303, 400, 401}
