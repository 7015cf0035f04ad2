"""The management API on a port of its own: the hosted original's calls, ours, and everybody whom it must not answer."""

import json
import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rowgate.gateway.dev_certificates import ensure_certificates
from tests.clients.commands import Done, run_command
from tests.clients.gateways import running_gateway
from tests.clients.stack import Stack
from tests.clients.two_gateways import NAME, Gateways, eventually
from tests.plain_http import HTTP


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.admin_token}"}
    with httpx.Client(base_url=stack.admin_url, headers=headers, timeout=30) as client:
        yield client


def cli(stack: Stack, *arguments: str) -> Done:
    return run_command(*arguments, variables={**os.environ, "ROWGATE_DATA_DIR": str(stack.data_dir)})


def me(stack: Stack) -> Any:
    return stack.sql("select auth.user_id() as me", token=stack.tokens["alice"]).json()


def test_the_calls_of_the_hosted_original(stack: Stack, api: httpx.Client, tmp_path: Path) -> None:
    """Terraform's way: look, take away, add again."""
    (before,) = api.get("/projects/any-project/jwks").json()["jwks"]
    assert before["project_id"] == "any-project"
    assert before["jwks_url"] == stack.jwks_url
    assert set(before) >= {"id", "project_id", "jwks_url", "provider_name", "created_at", "updated_at", "role_names"}
    saved = tmp_path / "jwks.json"
    saved.write_text(api.get("/api/v2/projects/any-project/jwks").text)

    gone = api.delete(f"/projects/any-project/jwks/{before['id']}")
    assert (gone.status_code, gone.json()["id"]) == (200, before["id"])
    assert eventually(lambda: me(stack).get("routine") == "rowgate:token_issuer_unknown") is not None
    assert api.delete(f"/projects/any-project/jwks/{before['id']}").status_code == 404
    assert api.get("/projects/any-project/jwks").json() == {"jwks": []}

    body = {"jwks_url": stack.jwks_url, "provider_name": "Local Provider", "role_names": ["authenticated", "anonymous"]}
    made = api.post("/projects/any-project/jwks", json=body)
    assert made.status_code == 201, made.text
    entry = made.json()["jwks"]
    assert made.json()["operations"] == []
    assert (entry["provider_name"], entry["role_names"]) == ("Local Provider", ["authenticated", "anonymous"])
    assert eventually(lambda: me(stack).get("rows") == [{"me": "user_alice"}]) is not None
    again = api.post("/projects/any-project/jwks", json={**body, "role_names": None})
    assert (again.status_code, again.json()["jwks"]["id"]) == (201, entry["id"])
    other = api.post("/projects/any-project/jwks", json={**body, "role_names": ["authenticated"]})
    assert (other.status_code, other.json()["code"]) == (409, "provider_conflict")

    cli(stack, "provider", "remove", "local-provider")
    (added,) = json.loads(cli(stack, "provider", "import", str(saved), "--json").stdout)
    assert (added["result"], added["provider_name"]) == ("added", "local")
    (known,) = json.loads(cli(stack, "provider", "import", str(saved), "--json").stdout)
    assert known["result"] == "known"
    assert eventually(lambda: me(stack).get("rows") == [{"me": "user_alice"}]) is not None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "malformed_body"),
        ({"jwks_url": "https://x.example"}, 400, "malformed_body"),
        ({"jwks_url": 7, "provider_name": "x"}, 400, "malformed_body"),
        ({"jwks_url": "x", "provider_name": ""}, 400, "setting_invalid"),
        ({"jwks_url": "ftp://x.example/jwks", "provider_name": "x"}, 400, "provider_unrecognised"),
        ({"jwks_url": "http://169.254.169.254/latest", "provider_name": "x"}, 400, "provider_unrecognised"),
        ({"jwks_url": "https://10.0.0.1/jwks", "provider_name": "x"}, 400, "provider_unrecognised"),
        ({"jwks_url": "https://accounts.google.com", "provider_name": "Google"}, 400, "provider_unrecognised"),
        ({"jwks_url": "https://x.example", "provider_name": "x", "role_names": ["postgres"]}, 400, "setting_invalid"),
        ({"jwks_url": "https://x.example", "provider_name": "x", "role_names": ["anonymous", "boss"]}, 400,
         "setting_invalid"),
        ({"jwks_url": "https://x.example", "provider_name": "x", "branch_id": "br-none"}, 400, "database_unknown"),
        ({"jwks_url": "https://x.example", "provider_name": "x", "branch_id": "a\0b"}, 400, "database_unknown"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered(api: httpx.Client, body: dict[str, Any], status: int, code: str) -> None:
    answer = api.post("/projects/p/jwks", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"url":"\xff"}', b"[" * 100_000], ids=["empty", "cut", "not UTF-8", "deep"]
)
def test_bodies_that_are_no_json(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/api/v1/providers", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body"), answer.text


def test_providers(stack: Stack, api: httpx.Client) -> None:
    (local,) = api.get("/api/v1/providers").json()["providers"]
    assert api.post("/api/v1/providers", json={"url": stack.jwks_url, "nonsense": 1}).json()["code"] == "malformed_body"
    assert api.delete("/api/v1/providers/nobody").status_code == 404
    assert api.delete(f"/api/v1/providers/{local['name']}").status_code == 204
    made = api.post(
        "/api/v1/providers",
        json={"url": stack.jwks_url, "name": "local", "role_from": ["/a/b=c:app"], "require": ["sub=user_alice"]},
    )
    assert made.status_code == 201, made.text
    assert made.json()["roles"] == ["authenticated", "anonymous", "app"]
    assert made.json()["key_ids"]
    assert eventually(lambda: me(stack).get("rows") == [{"me": "user_alice"}]) is not None
    api.delete("/api/v1/providers/local")
    assert api.post("/api/v1/providers", json={"url": stack.jwks_url, "name": "local"}).status_code == 201


def test_revocations(stack: Stack, api: httpx.Client) -> None:
    assert eventually(lambda: me(stack).get("rows") == [{"me": "user_alice"}]) is not None
    provider = api.get("/api/v1/providers").json()["providers"][0]["name"]
    made = api.post("/api/v1/revocations", json={"provider": provider, "kind": "subject", "value": "user_alice"})
    assert made.status_code == 201, made.text
    assert (made.json()["revoked_by"], made.json()["expires_at"]) == ("api rowgate-dev", None)
    assert eventually(lambda: me(stack).get("routine") == "rowgate:token_revoked") is not None
    assert made.json() in api.get("/api/v1/revocations").json()["revocations"]
    assert api.get("/api/v1/revocations", params={"after": made.json()["id"]}).json() == {"revocations": []}
    address = f"/api/v1/revocations/{made.json()['id']}"
    assert [api.delete(address).status_code for _ in range(2)] == [204, 404]
    assert eventually(lambda: me(stack).get("rows") == [{"me": "user_alice"}]) is not None
    assert api.post("/api/v1/revocations/prune").json() == {"pruned": 0}
    session = {"provider": provider, "kind": "session", "value": "s", "expires_at": None, "reason": "test"}
    assert api.post("/api/v1/revocations", json=session).json()["expires_at"] is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"provider": "nobody", "kind": "subject", "value": "x"}, 404), ({"provider": "local", "kind": "subject"}, 400),
        ({"provider": "local", "kind": "nonsense", "value": "x"}, 400), ([], 400),
        ({"provider": "local", "kind": "provider"}, 400),
        ({"provider": "local", "kind": "subject", "value": "x" * 2000}, 400),
        ({"provider": "local", "kind": "subject", "value": "x", "issued_before": 1e300}, 400),
        ({"provider": "local", "kind": "subject", "value": "a\0b"}, 400),
        ({"provider": "local", "kind": "subject", "value": "x", "other": 1}, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_revoked(api: httpx.Client, body: Any, status: int) -> None:
    assert api.post("/api/v1/revocations", json=body).status_code == status


ADDRESSES = [
    ("GET", "/projects/p/jwks"), ("POST", "/projects/p/jwks"), ("DELETE", "/projects/p/jwks/x"),
    ("GET", "/api/v2/projects/p/jwks"), ("GET", "/api/v1/providers"), ("POST", "/api/v1/providers"),
    ("DELETE", "/api/v1/providers/local"), ("GET", "/api/v1/revocations"), ("POST", "/api/v1/revocations"),
    ("DELETE", "/api/v1/revocations/1"), ("POST", "/api/v1/revocations/prune"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_nobody_without_a_token(stack: Stack, method: str, path: str) -> None:
    token = stack.admin_token
    wrong = ["", "Bearer", "Bearer x", f"Basic {token}", token, f"Bearer {token}x", f"Bearer {token[:-1]}",
             f"Bearer {stack.tokens['alice']}"]  # fmt: skip
    for value in [None, *wrong]:
        headers = {} if value is None else {"Authorization": value}
        answer = HTTP.request(method, stack.admin_url + path, headers=headers, json={})
        assert (answer.status_code, answer.json()["code"]) == (401, "admin_token_refused"), value
        assert answer.headers["www-authenticate"].startswith("Bearer")
    twice = [("Authorization", "Bearer x"), ("Authorization", f"Bearer {token}")]
    assert HTTP.request(method, stack.admin_url + path, headers=twice).status_code == 401


def test_admin_tokens_come_and_go(stack: Stack) -> None:
    made = json.loads(cli(stack, "admin-token", "create", "ci", "--keep", "1h", "--json").stdout)
    assert abs(made["expires_at"] - time.time() - 3600) < 60

    def works(token: str) -> bool:
        headers = {"Authorization": f"Bearer {token}"}
        return HTTP.get(f"{stack.admin_url}/api/v1/providers", headers=headers).status_code == 200

    assert eventually(lambda: works(made["token"])) is not None
    assert "admin_token_conflict" in cli(stack, "admin-token", "create", "ci").stderr
    listed = cli(stack, "admin-token", "list", "--json").stdout
    assert {one["name"] for one in json.loads(listed)} == {"ci", "rowgate-dev"}
    assert made["token"] not in listed
    kept = stack.owner("select encode(digest, 'hex') as d from rowgate.admin_token").text
    assert made["token"] not in kept
    short = json.loads(cli(stack, "admin-token", "create", "short", "--keep", "1s", "--json").stdout)
    cli(stack, "admin-token", "revoke", "ci")
    assert eventually(lambda: not works(made["token"])) is not None
    assert eventually(lambda: not works(short["token"]), 3) is not None
    cli(stack, "admin-token", "revoke", "short")
    assert "admin_token_unknown" in cli(stack, "admin-token", "revoke", "short").stderr


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "x@localhost", "169.254.169.254",
     "10.0.0.1", "localhost/evil", "[::2]", "0x7f000001.evil"],
)  # fmt: skip
def test_a_name_that_was_pointed_here_gets_nothing(api: httpx.Client, host: str) -> None:
    answer = api.get("/api/v1/providers", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "address_refused")


def test_names_of_this_machine(stack: Stack, api: httpx.Client) -> None:
    port = httpx.URL(stack.admin_url).port
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"):
        assert api.get("/api/v1/providers", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_no_other_site_is_answered(api: httpx.Client, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        answer = api.request(method, "/api/v1/providers", headers={"Origin": origin})
        assert answer.status_code in (403, 405)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_answer_says_that_it_is_not_for_browsers(api: httpx.Client) -> None:
    for path in ("/api/v1/providers", "/nothing"):
        answer = api.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
    assert api.get("/nothing").json()["code"] == "request_refused"
    assert api.put("/api/v1/providers").status_code == 405


def test_bodies_are_bounded(api: httpx.Client) -> None:
    assert api.post("/api/v1/providers", content=b" " * (1024 * 1024 + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(32):
            yield b" " * 65536

    assert api.post("/api/v1/providers", content=endless()).status_code == 413


def test_notices_come_here_too(stack: Stack) -> None:
    answer = HTTP.post(f"{stack.admin_url}/oidc/backchannel-logout", data={"logout_token": "x"})
    assert (answer.status_code, answer.json()["routine"]) == (400, "rowgate:token_malformed")
    assert HTTP.post(f"{stack.admin_url}/webhooks/nobody").json()["routine"] == "rowgate:notice_refused"


def test_serve_has_it_where_it_is_asked_for(gateways: Gateways) -> None:
    """A token made by the command opens both gateways, and what one is told the other knows."""
    token = json.loads(gateways.cli("admin-token", "create", "both", "--json"))["token"]
    clients = [
        httpx.Client(base_url=ready["admin_url"], headers={"Authorization": f"Bearer {token}"})
        for ready in gateways.ready
    ]
    for client in clients:
        assert eventually(lambda client=client: client.get("/api/v1/providers").status_code == 200) is not None  # type: ignore[misc]
    user = gateways.token("api_user")
    assert gateways.code(1, user) is None
    body = {"provider": NAME, "kind": "subject", "value": "api_user"}
    assert clients[0].post("/api/v1/revocations", json=body).status_code == 201
    assert eventually(lambda: gateways.code(1, user) == "rowgate:token_revoked") is not None
    other = clients[0].get("/api/v1/providers", params={"database": "nobody's"})
    assert (other.status_code, other.json()["code"]) == (400, "database_unknown")
    gateways.cli("admin-token", "revoke", "both")
    for client in clients:
        assert eventually(lambda client=client: client.get("/api/v1/providers").status_code == 401) is not None  # type: ignore[misc]
        client.close()


def test_beyond_this_machine_it_speaks_tls(gateways: Gateways, tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path / "certificates")
    variables = {
        **gateways.variables, "ROWGATE_ADMIN_HOST": "0.0.0.0", "ROWGATE_ADMIN_HOSTS": "console.example",
        "ROWGATE_TLS_CERT": str(certificates.cert_file), "ROWGATE_TLS_KEY": str(certificates.key_file),
    }  # fmt: skip
    with running_gateway(variables) as (_, ready):
        address = httpx.URL(ready["admin_url"])
        assert address.scheme == "https"
        context = ssl.create_default_context(cafile=certificates.authority_file)
        with httpx.Client(base_url=f"https://localhost:{address.port}", verify=context) as client:
            for host, status in (("console.example", 401), ("console.example:8443", 401), ("other.example", 403)):
                assert client.get("/api/v1/providers", headers={"Host": host}).status_code == status
        with pytest.raises(httpx.RemoteProtocolError):
            HTTP.get(f"http://localhost:{address.port}/api/v1/providers")


def test_the_token_is_nowhere_to_be_read(stack: Stack) -> None:
    assert stack.admin_token not in (stack.data_dir.parent / f"{stack.data_dir.name}.log").read_text()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"jwks": [{}]}', "nonsense"])
def test_files_that_are_no_list(stack: Stack, tmp_path: Path, text: str) -> None:
    file = tmp_path / "list.json"
    file.write_text(text)
    assert "setting_invalid" in cli(stack, "provider", "import", str(file)).stderr


def test_an_import_goes_on_after_one_that_fails(stack: Stack, tmp_path: Path) -> None:
    rows = [
        {"jwks_url": "https://10.0.0.1/jwks", "provider_name": "Private"},
        {"jwks_url": stack.jwks_url, "provider_name": "local", "branch_id": "br-1",
         "role_names": ["authenticator", "authenticated", "anonymous"]},
    ]  # fmt: skip
    file = tmp_path / "list.json"
    file.write_text(json.dumps(rows))
    done = cli(stack, "provider", "import", str(file), "--json")
    assert done.status == 3
    failed, known = json.loads(done.stdout)
    assert (failed["result"], known["result"]) == ("failed", "known")
    assert "authenticator" in known["says"]
    assert "br-1" in known["says"]
