"""The local issuer over HTTP, and its tokens through a gateway's verifier."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from rowgate.errors import IssuerInputInvalid, RowgateError, SettingInvalid, TemplateUnknown, TokenExpired, UserUnknown
from rowgate.identity.fetcher import HttpFetcher
from rowgate.identity.key_cache import KeySetCache
from rowgate.identity.recognition import recognise
from rowgate.identity.verify import TokenVerifier
from rowgate.issuer.app import create_app
from rowgate.issuer.files import write_file
from rowgate.issuer.issuer import LocalIssuer
from rowgate.issuer.keys import KEY_FILE
from rowgate.issuer.requests import LARGEST_BODY
from rowgate.issuer.templates import Template
from tests.unit.identity.forge import NOW, Clock

URL = "http://localhost:4445"


KEY = RSAKey.generate_key(2048).as_pem(private=True)


class Bench:
    """An issuer with its surroundings; making a key takes long, so the same one lies in every folder by default."""

    def __init__(self, folder: Path, *, key: bytes | None = KEY, **options: Any) -> None:
        self.clock = Clock()
        if key is not None:
            write_file(folder / KEY_FILE, key)
        self.issuer = LocalIssuer(folder, URL, clock=self.clock, **{"random_bytes": bytes, **options})
        self.transport = httpx.ASGITransport(create_app(self.issuer, origins=("https://dev.example",)))
        self.client = httpx.AsyncClient(transport=self.transport, base_url=URL)
        self.fetcher = HttpFetcher(allow_insecure_loopback=True, transport=self.transport)
        self.key_sets = KeySetCache(self.fetcher, self.clock)

    async def verify(self, token: str) -> dict[str, Any]:
        verifier = TokenVerifier([self.issuer.provider()], self.key_sets, self.clock)
        return (await verifier.verify(token)).claims


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.key_sets.close()
    await made.fetcher.close()
    await made.client.aclose()


async def refused(response: httpx.Response, status: int, code: str) -> str:
    assert response.status_code == status
    told = response.json()
    assert set(told) == {"code", "message", "detail", "hint"}
    assert told["code"] == code
    return f"{told['message']} {told['detail']} {told['hint']}"


async def test_a_token_from_the_issuer_passes_the_verifier(bench: Bench) -> None:
    response = await bench.client.post("/token", data={"user": "alice"})
    answer = response.json()
    assert set(answer) == {"token", "access_token", "token_type", "expires_in"}
    assert answer["token"] == answer["access_token"]
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    assert response.headers["cache-control"] == "no-store"
    assert await bench.verify(answer["token"]) == {
        "iss": URL, "sub": "user_alice", "iat": NOW, "nbf": NOW - 5, "exp": NOW + 3600, "jti": "00" * 10,
        "fva": [0, -1], "sid": "sess_alice", "sts": "active", "v": 2,
    }  # fmt: skip


async def test_it_is_recognised_by_its_url(bench: Bench) -> None:
    for url in (URL, f"{URL}/.well-known/jwks.json", f"{URL}/.well-known/openid-configuration"):
        found = await recognise(url, bench.fetcher, allow_insecure_loopback=True)
        assert found.provider == bench.issuer.provider()
        assert len(found.key_ids) == 1


async def test_tokens_expire(bench: Bench) -> None:
    token = bench.issuer.mint("alice", lifetime=5)
    bench.clock.now += 5 + 30
    with pytest.raises(TokenExpired):
        await bench.verify(token)


async def test_json_and_template(bench: Bench) -> None:
    template = {"name": "app", "claims": {"email": "{{user.email}}", "aud": "app"}, "lifetime": 90}
    created = await bench.client.post("/templates", json=template)
    assert (created.status_code, created.json()) == (201, template)
    answer = (await bench.client.post("/token", json={"user": "user_bob", "template": "app"})).json()
    assert answer["expires_in"] == 90
    claims = await bench.verify(answer["token"])
    assert claims == {
        "iss": URL, "sub": "user_bob", "iat": NOW, "nbf": NOW - 5, "exp": NOW + 90, "jti": "00" * 10,
        "email": "bob@example.com", "aud": "app",
    }  # fmt: skip


async def test_templates_over_http(bench: Bench) -> None:
    await bench.client.post("/templates", json={"name": "app"})
    assert (await bench.client.get("/templates")).json() == {
        "templates": [{"name": "app", "claims": {}, "lifetime": 60}]
    }
    assert (await bench.client.delete("/templates/app")).status_code == 204
    await refused(await bench.client.delete("/templates/app"), 404, "template_unknown")
    told = await refused(
        await bench.client.post("/templates", json={"name": "a", "claims": {"sub": "x"}}), 400, "issuer_input_invalid"
    )
    assert "sub" in told


async def test_users_over_http(bench: Bench) -> None:
    carol = {"first_name": "Carol", "email": "carol@example.com"}
    created = await bench.client.post("/users", json=carol)
    assert created.status_code == 201
    assert (created.json()["id"], created.json()["created_at"]) == ("user_carol", NOW * 1000)
    await refused(await bench.client.post("/users", json=carol), 400, "issuer_input_invalid")
    users = (await bench.client.get("/users")).json()["users"]
    assert [user["id"] for user in users] == ["user_alice", "user_bob", "user_carol"]


async def test_organizations_over_http(bench: Bench) -> None:
    role = {"key": "org:admin", "permissions": ["org:invoices:create", "org:invoices:read", "org:teams:read"]}
    assert (await bench.client.post("/roles", json=role)).json() == role
    assert (await bench.client.get("/roles")).json() == {"roles": [role]}
    acme = {"name": "Acme", "members": [{"user": "alice", "role": "org:admin"}, {"user": "bob"}]}
    created = await bench.client.post("/organizations", json=acme)
    assert (created.status_code, created.json()["slug"]) == (201, "acme")
    listed = (await bench.client.get("/organizations")).json()
    assert [one["role"] for one in listed["memberships"]] == ["org:admin", "org:member"]
    tokens = [(await bench.client.post("/token", data={"user": user})).json()["token"] for user in ("alice", "bob")]
    alice, bob = [await bench.verify(token) for token in tokens]
    assert alice["o"] == {
        "id": created.json()["id"], "slg": "acme", "rol": "admin", "per": "create,read", "fpm": "3,2",
    }  # fmt: skip
    assert alice["fea"] == "o:invoices,o:teams"
    assert bob["o"] == {"id": created.json()["id"], "slg": "acme", "rol": "member"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [({}, 400), ({"name": 1}, 400), ({"name": "A", "members": {}}, 400), ({"name": "A", "members": [1]}, 400),
     ({"name": "A", "members": [{"user": "nobody"}]}, 404), ({"name": "A", "x": 1}, 400),
     ({"name": "A", "slug": "A B"}, 400), ({"name": "A", "members": [{"user": "alice", "role": 1}]}, 400)],
)  # fmt: skip
async def test_organizations_that_cannot_be(bench: Bench, sent: dict[str, Any], status: int) -> None:
    assert (await bench.client.post("/organizations", json=sent)).status_code == status


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"user": "nobody"}, 404, "user_unknown"),
        ({"user": "alice", "template": "none"}, 404, "template_unknown"),
        ({}, 400, "issuer_input_invalid"),
        ({"user": 1}, 400, "issuer_input_invalid"),
        ({"user": "alice", "template": 1}, 400, "issuer_input_invalid"),
        ({"user": "alice", "lifetime": 0}, 400, "issuer_input_invalid"),
        ({"user": "alice", "lifetime": -5}, 400, "issuer_input_invalid"),
        ({"user": "alice", "lifetime": 10**10}, 400, "issuer_input_invalid"),
        ({"user": "alice", "lifetime": 1.5}, 400, "issuer_input_invalid"),
        ({"user": "alice", "lifetime": True}, 400, "issuer_input_invalid"),
        ({"user": "alice", "lifetime": []}, 400, "issuer_input_invalid"),
    ],
)
async def test_tokens_that_are_not_given(bench: Bench, fields: dict[str, Any], status: int, code: str) -> None:
    await refused(await bench.client.post("/token", json=fields), status, code)


@pytest.mark.parametrize("lifetime", ["600", 600])
async def test_a_lifetime_may_be_asked_for(bench: Bench, lifetime: Any) -> None:
    assert (await bench.client.post("/token", json={"user": "alice", "lifetime": lifetime})).json()["expires_in"] == 600
    answer = await bench.client.post("/token", data={"user": "alice", "lifetime": "", "template": ""})
    assert answer.json()["expires_in"] == 3600


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("kind", "content"),
    [(FORM, b"user=alice&user=bob"), (FORM, b"user=%ff"), (FORM, b"\xff"), (FORM, b"&".join([b"a=1"] * 17)),
     ("application/json", b"{"), ("application/json", b"[]"), ("application/json", b'{"user":"a","user":"b"}'),
     ("text/plain", b"user=alice"), ("", b"user=alice"), ("multipart/form-data", b"")],
)  # fmt: skip
async def test_bodies_that_are_neither(bench: Bench, kind: str, content: bytes) -> None:
    response = await bench.client.post("/token", content=content, headers={"content-type": kind})
    await refused(response, 400, "malformed_body")


async def test_a_body_has_a_limit(bench: Bench) -> None:
    response = await bench.client.post("/token", content=b"x" * (LARGEST_BODY + 1), headers={"content-type": FORM})
    await refused(response, 413, "body_too_large")


async def test_forms_change_nothing(bench: Bench) -> None:
    """A form of another site can be sent without asking; JSON cannot."""
    for path in ("/users", "/templates", "/organizations", "/roles"):
        for kind in (FORM, "text/plain"):
            response = await bench.client.post(path, content=b'{"name":"a"}', headers={"content-type": kind})
            await refused(response, 400, "malformed_body")


async def test_people_are_told_on_a_page(bench: Bench) -> None:
    response = await bench.client.get("/nothing", headers={"accept": "text/html,*/*"})
    assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "serves no such page" in response.text


async def test_other_paths_and_methods(bench: Bench) -> None:
    await refused(await bench.client.get("/nothing"), 404, "request_refused")
    response = await bench.client.put("/token")
    await refused(response, 405, "request_refused")
    assert "POST" in response.headers["allow"]


@pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/.well-known/openid-configuration"])
async def test_public_documents_are_open_to_every_page(bench: Bench, path: str) -> None:
    response = await bench.client.get(path, headers={"origin": "https://anywhere.example"})
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["content-type"] == "application/json"
    assert "max-age" in response.headers["cache-control"]


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:1", "https://dev.example"]
)
async def test_pages_of_the_developer_get_tokens(bench: Bench, origin: str) -> None:
    preflight = await bench.client.options(
        "/token", headers={"origin": origin, "access-control-request-method": "POST"}
    )
    response = await bench.client.post("/token", data={"user": "alice"}, headers={"origin": origin})
    for answer in (preflight, response):
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["vary"] == "Origin"
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    assert (await bench.verify(response.json()["token"]))["azp"] == origin
    error = await bench.client.post("/token", data={}, headers={"origin": origin})
    assert error.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost.evil.example", "null", "", "http://[", "https://dev.example.evil"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/token"),
        ("OPTIONS", "/token"),
        ("GET", "/users"),
        ("POST", "/users"),
        ("GET", "/templates"),
        ("POST", "/templates"),
        ("DELETE", "/templates/a"),
        ("POST", "/organizations"),
        ("POST", "/roles"),
        ("GET", "/"),
        ("GET", "/authorize"),
        ("POST", "/sign-in"),
        ("POST", "/sign-out"),
        ("POST", "/rotate-key"),
        ("POST", "/session/token"),
        ("GET", "/userinfo"),
        ("POST", "/v1/users"),
        ("POST", "/v1/sessions/a/tokens"),
    ],
)
async def test_pages_of_strangers_get_nothing(bench: Bench, origin: str, method: str, path: str) -> None:
    response = await bench.client.request(method, path, headers={"origin": origin})
    await refused(response, 400, "request_refused")
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "localhost@evil.example", "[", "", "10.0.0.5:4445"]
)
async def test_a_name_that_was_bound_to_this_machine_by_a_stranger(bench: Bench, host: str) -> None:
    response = await bench.client.post("/token", data={"user": "alice"}, headers={"host": host})
    await refused(response, 400, "request_refused")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:4445", "[::1]:4445", "LOCALHOST:1"])
async def test_names_of_this_machine(bench: Bench, host: str) -> None:
    assert (await bench.client.post("/token", data={"user": "alice"}, headers={"host": host})).is_success


async def test_everyone_may_be_let_in(tmp_path: Path) -> None:
    issuer = LocalIssuer(tmp_path, "https://issuer.internal")
    transport = httpx.ASGITransport(create_app(issuer, origins=("*",)))
    async with httpx.AsyncClient(transport=transport, base_url="https://issuer.internal") as client:
        answer = await client.post("/token", data={"user": "alice"}, headers={"origin": "https://a.example"})
    assert answer.headers["access-control-allow-origin"] == "https://a.example"


async def test_the_page(bench: Bench) -> None:
    bench.issuer.users.add(
        type(bench.issuer.users.list()[0])(id="x", email="<u>@x", first_name="<script>alert(1)</script>")
    )
    bench.issuer.templates.put(Template(name="mine"))
    response = await bench.client.get("/")
    page = response.text
    assert "For development only" in page
    assert "Nobody is signed in" in page
    assert "curl -d user=user_alice http://localhost:4445/token" in page
    assert f"{URL}/.well-known/jwks.json" in page
    assert "mine" in page
    assert "{{user.email}}" in page
    assert "<script" not in page
    assert "<u>" not in page
    assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_a_damaged_file_is_told_over_http(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text("{")
    await refused(await bench.client.get("/users"), 500, "data_folder_unusable")


BODIES = st.binary() | st.dictionaries(
    st.sampled_from(
        ["user", "template", "lifetime", "name", "claims", "first_name", "email", "id", "key", "members", "grant_type"]
    ),
    st.none() | st.text() | st.integers() | st.lists(st.text()),
).map(lambda fields: json.dumps(fields).encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.sampled_from(["/token", "/users", "/templates", "/organizations", "/roles"]),
    st.sampled_from([FORM, "application/json"]),
    BODIES,
)
async def test_no_body_breaks_it(bench: Bench, path: str, kind: str, body: bytes) -> None:
    response = await bench.client.post(path, content=body, headers={"content-type": kind})
    assert response.status_code in {200, 201, 400, 404}


def test_minting_without_http(tmp_path: Path) -> None:
    issuer = LocalIssuer(tmp_path, URL, lifetime=60)
    assert issuer.mint("alice") != issuer.mint("alice")
    assert issuer.lifetime_of() == 60
    for call, error in (
        (lambda: issuer.mint("nobody"), UserUnknown),
        (lambda: issuer.mint("alice", "none"), TemplateUnknown),
        (lambda: issuer.mint("alice", lifetime=0), IssuerInputInvalid),
    ):
        with pytest.raises(error):
            call()


async def test_the_same_folder_signs_on_after_a_restart(tmp_path: Path) -> None:
    token = Bench(tmp_path, key=None).issuer.mint("alice")
    assert (await Bench(tmp_path, key=None).verify(token))["sub"] == "user_alice"


async def test_another_folder_is_another_issuer(tmp_path: Path) -> None:
    with pytest.raises(RowgateError):
        await Bench(tmp_path / "a", key=None).verify(Bench(tmp_path / "b").issuer.mint("alice"))


@pytest.mark.parametrize(
    "url", ["", "localhost:4445", "http://localhost:4445/", "http://localhost/x", "http://a?b", "ftp://a"]
)
def test_urls_that_are_no_issuer(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingInvalid):
        LocalIssuer(tmp_path, url)
