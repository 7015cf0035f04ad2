"""``rowgate serve`` in front of a Postgres that is not embedded, configured by environment alone, after ``setup``."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.clients.gateways import running_gateway
from tests.clients.issuer import RunningIssuer
from tests.clients.served import Served, as_url, serve, set_up
from tests.clients.stack import ROWGATE, Driver
from tests.plain_http import HTTP
from tests.servers import PlainPostgres


@pytest.fixture(scope="module")
def served(postgres15: PlainPostgres) -> Iterator[Served]:
    with serve(set_up(postgres15)) as running:
        yield running


@pytest.mark.parametrize("name", ["neon-0", "neon-1"])
def test_the_guides_promises_hold(served: Served, name: str) -> None:
    driver = Driver(name, served.sql_url)
    url = "postgresql://authenticated@ep-some-name.example/app"
    alice, bob = served.token("alice"), served.token("bob")
    made = driver.one(
        url, alice, "insert into todos (user_id, task) values (auth.user_id(), 'milk') returning user_id, id"
    )
    assert made["rows"][0]["user_id"] == "user_alice"
    row = made["rows"][0]["id"]
    stolen = driver.run(url, bob, [
        {"sql": "select * from todos"},
        {"sql": "update todos set task = 'x' where id = $1 returning id", "params": [row]},
        {"sql": "insert into todos (user_id, task) values ('user_alice', 'forged')"},
    ])  # fmt: skip
    assert [one.get("rows") for one in stolen[:2]] == [[], []]
    assert stolen[2]["error"]["code"] == "42501"
    assert driver.one(url, alice, "delete from todos returning task")["rows"] == [{"task": "milk"}]
    assert driver.one(url, None, "select 1")["error"]["code"] == "28000"
    anonymous = driver.one("postgresql://anonymous@x.example/app", None, "select body from notices")
    assert anonymous["rows"] == [{"body": "hello"}]


def test_it_is_a_debian_15_over_tcp_with_scram(served: Served) -> None:
    with psycopg.connect(served.prepared.admin_url) as connection:
        version = connection.execute("show server_version").fetchone()
        methods = connection.execute("select distinct auth_method from pg_hba_file_rules").fetchall()
    assert version
    assert version[0].startswith("15.")
    assert methods == [("scram-sha-256",)]


def test_passwords_are_not_served_unless_asked_for(served: Served) -> None:
    answer = served.sql("select 1", user=None, url=served.prepared.admin_url)
    assert (answer.status_code, answer.json()["code"]) == (400, "28P01")


def test_no_origin_is_allowed_unless_listed(served: Served) -> None:
    answer = HTTP.options(served.sql_url, headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_explain_is_refused(served: Served) -> None:
    assert served.sql("explain select * from todos").json()["code"] == "42501"


def test_health(served: Served) -> None:
    assert HTTP.get(served.sql_url.replace("/sql", "/healthz")).status_code == 200


def test_a_provider_works_at_once_and_not_a_moment_longer(served: Served, tmp_path: Path) -> None:
    with RunningIssuer() as other:
        token = other.mint("alice")
        headers = {"Neon-Connection-String": "postgresql://authenticated@x/app", "Authorization": f"Bearer {token}"}

        def ask() -> dict[str, Any]:
            return HTTP.post(served.sql_url, json={"query": "select auth.user_id() as me"}, headers=headers).json()

        assert ask()["routine"] == "rowgate:token_issuer_unknown"
        served.cli("provider", "add", other.jwks_url, "--name", "other", "--allow-http-loopback")
        assert wait_for(lambda: ask().get("rows") == [{"me": "user_alice"}])
        served.cli("provider", "remove", "other")
        assert wait_for(lambda: ask().get("routine") == "rowgate:token_issuer_unknown")


def wait_for(holds: Any, seconds: float = 1.0) -> bool:
    """Whether it holds within a second."""
    import time

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
    return False


def test_a_second_set_up_changes_nothing(served: Served) -> None:
    again = subprocess.run(
        [*ROWGATE, "setup", "--database-url", served.prepared.admin_url, "--dry-run"],
        capture_output=True, text=True, timeout=60, env=os.environ,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert not re.search(r"^create |^alter |^grant ", again.stdout, re.IGNORECASE | re.MULTILINE), again.stdout
    assert served.sql("select 1").status_code == 200


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"ROWGATE_DATABASE_URL": ""}, "setting_invalid"),
        ({"ROWGATE_DATABASE_URL": "nonsense"}, "setting_invalid"),
        ({"ROWGATE_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}, "connect_failed"),
        ({"ROWGATE_POOL_SIZE": "many"}, "setting_invalid"),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, str], code: str) -> None:
    refused = subprocess.run(
        [*ROWGATE, "serve"],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "ROWGATE_PORT": "0", **changed},
    )
    assert refused.returncode in (1, 2)
    assert code in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_database_without_set_up_is_named(postgres15: PlainPostgres) -> None:
    refused = subprocess.run(
        [*ROWGATE, "serve"], capture_output=True, text=True, timeout=30,
        env={**os.environ, "ROWGATE_PORT": "0", "ROWGATE_DATABASE_URL": as_url(postgres15.conninfo())},
    )  # fmt: skip
    assert refused.returncode == 2
    assert "setup_incomplete" in refused.stderr
    assert "rowgate setup" in refused.stderr


def test_the_local_identity_provider_is_refused_unless_forced(served: Served) -> None:
    """At the start aloud; where it is registered later, its tokens are nobody's."""
    variables = {**served.environment, "ROWGATE_TRUST_LOCAL_ISSUER": "false"}
    refused = subprocess.run([*ROWGATE, "serve"], capture_output=True, text=True, timeout=60, env=variables)
    assert refused.returncode == 2
    assert "(local_issuer_refused)" in refused.stderr
    assert "rowgate provider remove test" in refused.stderr
    served.cli("provider", "remove", "test")
    with running_gateway(variables) as (process, ready):
        other = Served(process, ready, served.prepared, served.issuer, variables)
        served.cli("provider", "add", served.issuer.jwks_url, "--name", "test", "--allow-http-loopback")
        assert served.sql("select 1").status_code == 200
        assert other.sql("select 1").json()["routine"] == "rowgate:token_issuer_unknown"
