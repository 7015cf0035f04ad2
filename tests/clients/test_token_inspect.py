"""``rowgate token inspect`` as one uses it: registered providers, key files, standard input, exit codes."""

import json
from pathlib import Path

import pytest

from tests.clients.stack import Stack
from tests.plain_http import HTTP


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    return stack.cli("token", "alice").stdout.strip()


def test_a_registered_provider_and_standard_input(stack: Stack, token: str) -> None:
    done = stack.cli("token", "inspect", "--json", "--role", "authenticated", input=token + "\n")
    told = json.loads(done.stdout)
    assert told["accepted"]
    assert (told["provider"], told["subject"]) == ("local", "user_alice")
    assert {one["verdict"] for one in told["checks"]} == {"passed"}
    assert token not in done.stdout + done.stderr


def test_ticks_and_crosses_offline(stack: Stack, token: str, tmp_path: Path) -> None:
    keys, file = tmp_path / "keys.json", tmp_path / "token"
    keys.write_text(HTTP.get(stack.jwks_url).text)
    file.write_text(token)
    done = stack.cli(
        "token", "inspect", "--file", str(file), "--jwks-file", str(keys), "--audience", "api", check=False
    )
    assert done.returncode == 1
    assert "✓ signature" in done.stdout
    assert "✗ audience" in done.stdout
    assert "(token_audience_refused)" in done.stdout
    assert "expected aud to hold one of 'api', got none" in done.stdout
    assert "next: Ask the provider for a token of this audience" in done.stdout
    assert token.split(".")[2] not in done.stdout + done.stderr


def test_a_url(stack: Stack, token: str) -> None:
    assert "Accepted as user_alice" in stack.cli("token", "inspect", token, "--url", stack.issuer_url).stdout


@pytest.mark.parametrize(
    "arguments",
    [("x", "--file", "/nowhere"), ("--file", "/nowhere"), ("x", "--jwks-file", "/nowhere"), ("x", "--provider", "no")],
)
def test_what_the_operator_got_wrong(stack: Stack, arguments: tuple[str, ...]) -> None:
    done = stack.cli("token", "inspect", *arguments, check=False)
    assert done.returncode == 2
    assert "next:" in done.stderr


def test_a_token_that_was_revoked(stack: Stack) -> None:
    token = stack.cli("token", "bob").stdout.strip()
    revoked = json.loads(stack.cli("revoke", "--provider", "local", "--subject", "user_bob", "--json").stdout)
    try:
        done = stack.cli("token", "inspect", "--json", input=token, check=False)
        failed = [one for one in json.loads(done.stdout)["checks"] if one["verdict"] == "failed"]
        assert [(one["check"], one["code"]) for one in failed] == [("revocation", "token_revoked")]
    finally:
        stack.cli("revocation", "remove", str(revoked["id"]))
