"""Identity providers that other people wrote, and a running gateway: added by URL, token accepted, query answered.

oidc-provider signs with ES256 and EdDSA and rotates its keys; oauth2-mock-server signs with RS256.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clients.stack import HERE, Stack, until
from tests.plain_http import HTTP


@dataclass
class Issuers:
    """The Node process that both run in."""

    process: subprocess.Popen[str]
    oidc: str
    mock: str

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        # oidc-provider writes to standard output now and then.
        line = next(line for line in self.process.stdout if line.startswith("{"))
        assert json.loads(line) == {"done": command}

    def machine_token(self, algorithm: str) -> str:
        """An access token of oidc-provider for a client of its own, by client credentials."""
        answer = HTTP.post(
            f"{self.oidc}/token",
            data={"grant_type": "client_credentials", "resource": f"https://api.example/{algorithm.lower()}"},
            auth=("machine", "secret"),
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def user_token(self, user: str) -> str:
        """An access token of oauth2-mock-server."""
        answer = HTTP.post(
            f"{self.mock}/token", data={"grant_type": "password", "username": user, "password": "x", "scope": "api"}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
def issuers() -> Iterator[Issuers]:
    process = subprocess.Popen(
        ["node", "real_issuers.mjs"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    yield Issuers(process, **json.loads(process.stdout.readline()))
    process.stdin.write("end\n")
    process.stdin.close()
    process.wait(20)


def header(token: str) -> dict[str, Any]:
    part = token.split(".")[0]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return read


def me(stack: Stack, token: str) -> str:
    answer = stack.sql("select auth.user_id() as me", token=token)
    return str(answer.json()["rows"][0]["me"] if answer.status_code == 200 else answer.json()["routine"])


def test_oauth2_mock_server(stack: Stack, issuers: Issuers) -> None:
    token = issuers.user_token("carol")
    assert me(stack, token) == "rowgate:token_issuer_unknown"
    stack.cli("provider", "add", issuers.mock, "--name", "mock", "--allow-http-loopback")
    try:
        assert header(token)["alg"] == "RS256"
        assert me(stack, token) == "carol"
        assert stack.cli("token", "inspect", token, "--provider", "mock").returncode == 0
    finally:
        stack.cli("provider", "remove", "mock")
    assert me(stack, token) == "rowgate:token_issuer_unknown"


def test_oidc_provider_and_its_rotation(stack: Stack, issuers: Issuers) -> None:
    added = stack.cli(
        "provider", "add", issuers.oidc, "--name", "oidc", "--allow-http-loopback", "--json",
        "--audience", "https://api.example/es256", "--audience", "https://api.example/eddsa",
    )  # fmt: skip
    assert set(json.loads(added.stdout)["algorithms"]) == {"ES256", "EdDSA"}
    try:
        before = {algorithm: issuers.machine_token(algorithm) for algorithm in ("ES256", "EdDSA")}
        for algorithm, token in before.items():
            assert header(token)["alg"] == algorithm
            assert me(stack, token) == "machine"
        assert me(stack, issuers.machine_token("other")) == "rowgate:token_audience_refused"
        issuers.tell("rotate")
        for algorithm, token in before.items():
            fresh = issuers.machine_token(algorithm)
            assert header(fresh)["kid"] != header(token)["kid"]
            # A key that nobody knows yet is asked for once in five seconds.
            until(lambda fresh=fresh: me(stack, fresh) == "machine", seconds=15)  # type: ignore[misc]
            assert me(stack, token) == "machine"
    finally:
        stack.cli("provider", "remove", "oidc")


def test_a_retired_key_is_out_for_those_who_ask_anew(stack: Stack, issuers: Issuers) -> None:
    old = issuers.machine_token("ES256")
    issuers.tell("rotate")
    issuers.tell("retire")
    options = ("--url", issuers.oidc, "--allow-http-loopback", "--json")
    refused = stack.cli("token", "inspect", old, *options, check=False)
    failed = {one["check"]: one["code"] for one in json.loads(refused.stdout)["checks"] if one["verdict"] == "failed"}
    assert failed == {"key": "token_key_unknown"}
