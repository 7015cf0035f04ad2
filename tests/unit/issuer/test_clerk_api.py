"""Clerk's Backend API at the local issuer, call by call; that Clerk's own SDKs get along with it is seen in
tests/clients/test_identity_sdks.py."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowgate.identity.keyset import parse_key_set
from rowgate.issuer.issuer import SECRET_FILE, LocalIssuer
from rowgate.issuer.records import merged
from tests.unit.issuer.test_app import URL, Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    numbers = iter(range(1, 10**6))
    made = Bench(tmp_path, random_bytes=lambda size: next(numbers).to_bytes(size))
    made.client.headers["authorization"] = f"Bearer {made.issuer.secret_key}"
    yield made
    await made.key_sets.close()
    await made.fetcher.close()
    await made.client.aclose()


async def created(bench: Bench, path: str, **fields: Any) -> dict[str, Any]:
    response = await bench.client.post(path, json=fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def code_of(response: httpx.Response) -> tuple[int, str]:
    (error,) = response.json()["errors"]
    assert set(error) == {"message", "long_message", "code", "meta"}
    return response.status_code, error["code"]


PATHS = [
    ("GET", "/v1/jwks"), ("GET", "/v1/users"), ("POST", "/v1/users"), ("GET", "/v1/users/count"),
    ("GET", "/v1/users/user_alice"), ("PATCH", "/v1/users/user_alice"), ("DELETE", "/v1/users/user_alice"),
    ("PATCH", "/v1/users/user_alice/metadata"), ("GET", "/v1/users/user_alice/organization_memberships"),
    ("GET", "/v1/sessions"), ("POST", "/v1/sessions"), ("GET", "/v1/sessions/x"), ("POST", "/v1/sessions/x/revoke"),
    ("POST", "/v1/sessions/x/tokens"), ("POST", "/v1/sessions/x/tokens/y"), ("GET", "/v1/organizations"),
    ("POST", "/v1/organizations"), ("GET", "/v1/organizations/x"), ("PATCH", "/v1/organizations/x"),
    ("DELETE", "/v1/organizations/x"), ("GET", "/v1/organizations/x/memberships"),
    ("POST", "/v1/organizations/x/memberships"), ("PATCH", "/v1/organizations/x/memberships/y"),
    ("DELETE", "/v1/organizations/x/memberships/y"),
]  # fmt: skip


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer sk_test_x", "Basic x", "Bearer \xff"])
async def test_nothing_without_the_secret_key(bench: Bench, authorization: str) -> None:
    headers = {"authorization": authorization.encode("latin-1")}
    for method, path in PATHS:
        response = await bench.client.request(method, path, headers=headers, json={})
        assert code_of(response) == (401, "authentication_invalid"), path
        assert bench.issuer.secret_key not in response.text


async def test_users(bench: Bench) -> None:
    dora = await created(
        bench, "/v1/users", email_address=["dora@example.com"], first_name="Dora", password="unused",
        public_metadata={"a": {"b": 1, "c": 2}},
    )  # fmt: skip
    assert dora["email_addresses"][0]["email_address"] == "dora@example.com"
    assert dora["primary_email_address_id"] == dora["email_addresses"][0]["id"]
    path = f"/v1/users/{dora['id']}"
    changes = {"public_metadata": {"a": {"b": None, "d": 3}}, "private_metadata": {"secret": True}}
    merged_user = (await bench.client.patch(f"{path}/metadata", json=changes)).json()
    assert merged_user["public_metadata"] == {"a": {"c": 2, "d": 3}}
    replaced = (await bench.client.put(f"{path}/metadata", json={"public_metadata": {}})).json()
    assert (replaced["public_metadata"], replaced["private_metadata"]) == ({}, {"secret": True})
    renamed = (await bench.client.patch(path, json={"last_name": "Doe", "first_name": None, "username": "dora"})).json()
    assert (renamed["first_name"], renamed["last_name"], renamed["username"]) == (None, "Doe", "dora")
    for query, expected in (
        ({}, 3), ({"email_address": "DORA@example.com"}, 1), ({"query": "doe"}, 1), ({"user_id": ["user_bob", "x"]}, 1),
        ({"username": "dora"}, 1), ({"external_id": "x"}, 0),
    ):  # fmt: skip
        found = (await bench.client.get("/v1/users", params=query)).json()
        count = (await bench.client.get("/v1/users/count", params=query)).json()
        assert len(found) == count["total_count"] == expected, query
    page = (await bench.client.get("/v1/users", params={"limit": 1, "offset": 1, "order_by": "first_name"})).json()
    assert [user["first_name"] for user in page] == ["Alice"]
    assert (await bench.client.delete(path)).json() == {"id": dora["id"], "object": "user", "deleted": True}
    assert code_of(await bench.client.get(path)) == (404, "resource_not_found")


@pytest.mark.parametrize(
    "fields",
    [{}, {"email_address": "x"}, {"email_address": ["a@example.com", "b@example.com"]}, {"email_address": [1]},
     {"email_address": ["alice@example.com"]}, {"email_address": ["x@example.com"], "phone_number": ["1"]},
     {"email_address": ["x@example.com"], "public_metadata": []}, {"username": ""}, {"username": 1}],
)  # fmt: skip
async def test_users_that_cannot_be(bench: Bench, fields: dict[str, Any]) -> None:
    assert code_of(await bench.client.post("/v1/users", json=fields)) == (400, "form_param_invalid")
    assert len(bench.issuer.users.list()) == 2


async def test_sessions_and_their_tokens(bench: Bench) -> None:
    await bench.client.post("/templates", json={"name": "app", "claims": {"sid_": "{{session.id}}"}, "lifetime": 90})
    session = await created(bench, "/v1/sessions", user_id="user_alice")
    assert (session["status"], session["user_id"]) == ("active", "user_alice")
    path = f"/v1/sessions/{session['id']}"
    plain = await bench.verify((await bench.client.post(f"{path}/tokens")).json()["jwt"])
    assert (plain["sid"], plain["exp"] - plain["iat"]) == (session["id"], 60)
    longer = await created(bench, f"{path}/tokens", expires_in_seconds=120)
    assert (await bench.verify(longer["jwt"]))["exp"] - plain["iat"] == 120
    templated = await bench.verify((await bench.client.post(f"{path}/tokens/app")).json()["jwt"])
    assert (templated["sid_"], templated["exp"] - templated["iat"]) == (session["id"], 90)
    assert "sid" not in templated
    assert code_of(await bench.client.post(f"{path}/tokens/none")) == (404, "resource_not_found")
    for query, expected in (({"user_id": "user_alice"}, 1), ({"user_id": "x"}, 0), ({"status": "active"}, 1),
                            ({"client_id": session["client_id"]}, 1), ({"status": "revoked"}, 0)):  # fmt: skip
        assert len((await bench.client.get("/v1/sessions", params=query)).json()) == expected
    paged = (await bench.client.get("/v1/sessions", params={"paginated": "true"})).json()
    assert (paged["total_count"], paged["data"][0]["id"]) == (1, session["id"])
    assert (await bench.client.post(f"{path}/revoke")).json()["status"] == "revoked"
    assert code_of(await bench.client.post(f"{path}/tokens")) == (400, "form_param_invalid")
    assert (await bench.client.get(path)).json()["status"] == "revoked"


async def test_sessions_end_with_their_time_and_their_user(bench: Bench) -> None:
    first = await created(bench, "/v1/sessions", user_id="user_alice")
    second = await created(bench, "/v1/sessions", user_id="user_bob")
    await bench.client.delete("/v1/users/user_alice")
    assert (await bench.client.get(f"/v1/sessions/{first['id']}")).json()["status"] == "removed"
    bench.clock.now += 7 * 86_400
    assert (await bench.client.get(f"/v1/sessions/{second['id']}")).json()["status"] == "expired"
    assert (await bench.client.post(f"/v1/sessions/{second['id']}/tokens")).status_code == 400


async def test_organizations_and_memberships(bench: Bench) -> None:
    acme = await created(bench, "/v1/organizations", name="Acme", created_by="user_alice", public_metadata={"x": 1})
    assert (acme["slug"], acme["members_count"]) == ("acme", 1)
    twin = await created(bench, "/v1/organizations", name="Acme")
    assert twin["slug"] != "acme"
    path = f"/v1/organizations/{acme['id']}"
    member = await created(bench, f"{path}/memberships", user_id="user_bob", role="org:member")
    assert member["public_user_data"]["identifier"] == "bob@example.com"
    again = await bench.client.post(f"{path}/memberships", json={"user_id": "user_bob", "role": "org:member"})
    assert code_of(again) == (400, "form_param_invalid")
    changed = (await bench.client.patch(f"{path}/memberships/user_bob", json={"role": "org:admin"})).json()
    assert changed["role"] == "org:admin"
    listed = (await bench.client.get(f"{path}/memberships", params={"role": "org:admin", "limit": 1})).json()
    assert (listed["total_count"], len(listed["data"])) == (2, 1)
    own = (await bench.client.get("/v1/users/user_bob/organization_memberships")).json()
    assert own["data"][0]["organization"]["name"] == "Acme"
    session = await created(bench, "/v1/sessions", user_id="user_bob", active_organization_id=acme["id"])
    token = (await bench.client.post(f"/v1/sessions/{session['id']}/tokens")).json()["jwt"]
    assert (await bench.verify(token))["o"] == {"id": acme["id"], "slg": "acme", "rol": "admin"}
    renamed = (await bench.client.patch(path, json={"name": "Acme 2"})).json()
    assert (await bench.client.get("/v1/organizations/acme")).json() == renamed
    assert (await bench.client.delete(f"{path}/memberships/user_bob")).json()["role"] == "org:admin"
    # Who has left an organization has no token in its name any more, though the session goes on.
    token = (await bench.client.post(f"/v1/sessions/{session['id']}/tokens")).json()["jwt"]
    assert "o" not in await bench.verify(token)
    refused = await bench.client.post(
        "/v1/sessions", json={"user_id": "user_bob", "active_organization_id": acme["id"]}
    )
    assert code_of(refused) == (404, "resource_not_found")
    assert (await bench.client.delete(path)).json()["deleted"] is True
    assert (await bench.client.get("/v1/organizations", params={"query": "acme"})).json()["total_count"] == 1


async def test_the_key_set_is_the_public_one(bench: Bench) -> None:
    own, public = [(await bench.client.get(path)).content for path in ("/v1/jwks", "/.well-known/jwks.json")]
    assert parse_key_set(own).keys == parse_key_set(public).keys
    assert b'"d"' not in own


async def test_other_sites_and_other_forms(bench: Bench) -> None:
    assert (await bench.client.get("/v1/users", headers={"origin": "https://evil.example"})).status_code == 400
    assert (await bench.client.post("/v1/users", content=b"a=1")).status_code == 400
    assert (await bench.client.get("/v1/users", params={"limit": "x"})).status_code == 400
    assert (await bench.client.get("/v1/users", params={"order_by": "password"})).status_code == 400


def test_the_secret_key_is_kept_and_private(tmp_path: Path) -> None:
    first = LocalIssuer(tmp_path, URL)
    assert first.secret_key.startswith("sk_test_")
    assert LocalIssuer(tmp_path, URL).secret_key == first.secret_key
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o777 == 0o600


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["user_alice", "org:admin"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    st.sampled_from(["email_address", "first_name", "username", "public_metadata", "user_id", "name", "slug", "role",
                     "expires_in_seconds", "created_by", "active_organization_id", "external_id"]), JSON,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(st.sampled_from([path for path in PATHS if path[0] in {"POST", "PATCH"}]), FIELDS)
async def test_no_body_breaks_it(bench: Bench, route: tuple[str, str], fields: dict[str, Any]) -> None:
    response = await bench.client.request(route[0], route[1], json=fields)
    assert response.status_code in {200, 400, 404}, response.text


@given(JSON, st.dictionaries(st.text(max_size=2), JSON, max_size=3))
def test_merging_metadata(before: Any, changes: dict[str, Any]) -> None:
    result = merged(before if isinstance(before, dict) else {}, changes)
    assert all(result.get(name) == value for name, value in changes.items() if not isinstance(value, dict))
