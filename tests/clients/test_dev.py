"""``rowgate dev`` as a person meets it: what it prints works as pasted, it stops cleanly, and it recovers."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.clients.stack import HERE, ROWGATE, Stack, start
from tests.ports import reserve


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Everything that runs on this data folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(data_dir) in word for word in process.info["cmdline"] or ())
    ]


def wait_until_none(data_dir: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while processes_of(data_dir):
        assert time.monotonic() < deadline, processes_of(data_dir)
        time.sleep(0.05)


def test_one_line_of_json_for_scripts(stack: Stack) -> None:
    wanted = {"sql_url", "jwks_url", "database_url", "authenticated_url", "anonymous_url", "tokens"}
    assert wanted <= set(stack.ready)
    assert set(stack.tokens) == {"alice", "bob"}
    assert psql(stack.database_url, "select current_user") == "neondb_owner\n"


def psql(url: str, sql: str) -> str:
    return subprocess.run(["psql", url, "-XAtc", sql], capture_output=True, text=True, timeout=30, check=True).stdout


def test_what_it_prints_works_as_pasted(data_dir: Path, tmp_path: Path) -> None:
    port = reserve(4)
    process = subprocess.Popen(
        [*ROWGATE, "dev", "--port", str(port), "--data-dir", str(data_dir), "--no-fsync"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        printed = ""
        while "console.log(rows);" not in printed:
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            printed += line
        assert "\x1b[" not in printed, "colour only on a terminal"
        assert f"http://localhost:{port}/sql" in printed
        curl = printed.split("Try it with curl\n")[1].split("\nTry it with")[0]
        answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=30, check=True)
        assert json.loads(answer.stdout)["rows"] == [{"me": "user_alice"}]
        script = printed.split("Try it with JavaScript\n")[1]
        assert len(script.strip().splitlines()) <= 10
        page = tmp_path / "try.mjs"
        page.write_text(script)
        modules = tmp_path / "node_modules" / "@neondatabase"
        modules.mkdir(parents=True)
        (modules / "serverless").symlink_to(HERE / "node_modules" / "neon-1")
        answer = subprocess.run(["node", page], capture_output=True, text=True, timeout=30, check=True)
        assert "me: 'user_alice'" in answer.stdout
        assert "role: 'authenticated'" in answer.stdout
        jwks = re.search(r"JWKS +(\S+)", printed)
        assert jwks
        assert jwks[1] == f"http://localhost:{port + 1}/.well-known/jwks.json"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    wait_until_none(data_dir)


def test_data_and_keys_are_there_at_the_next_start(data_dir: Path) -> None:
    first = start(data_dir, "--no-fsync")
    assert first.owner("create table kept (id int)").status_code == 200
    assert first.owner("insert into kept values (1)").status_code == 200
    token = first.tokens["alice"]
    assert first.stop() == 0
    wait_until_none(data_dir)
    began = time.monotonic()
    second = start(data_dir, "--no-fsync")
    try:
        assert time.monotonic() - began < 30  # a hang, not a measurement
        assert second.owner("select * from kept").json()["rows"] == [{"id": 1}]
        assert second.sql("select 1", token=second.tokens["alice"]).status_code == 200
        # The issuer has another port now, so a token of the first run names an issuer that is no longer there.
        assert second.sql("select 1", token=token).json()["routine"] == "rowgate:token_issuer_unknown"
    finally:
        assert second.stop(signal.SIGTERM) == 0
    wait_until_none(data_dir)


def test_after_a_crash_of_everything(data_dir: Path) -> None:
    crashed = start(data_dir, "--no-fsync")
    assert crashed.owner("create table kept (id int)").status_code == 200
    for process in processes_of(data_dir):
        process.kill()
    crashed.process.wait(30)
    wait_until_none(data_dir)
    again = start(data_dir, "--no-fsync")
    try:
        assert again.owner("select count(*)::int4 as n from kept").json()["rows"] == [{"n": 0}]
    finally:
        assert again.stop() == 0


def test_after_a_crash_of_rowgate_alone(data_dir: Path) -> None:
    """Postgres does not outlive the process that started it, or is stopped by the next one: either way it goes on."""
    crashed = start(data_dir, "--no-fsync")
    crashed.process.kill()
    crashed.process.wait(30)
    again = start(data_dir, "--no-fsync")
    try:
        assert again.owner("select 1 as ok").json()["rows"] == [{"ok": 1}]
    finally:
        assert again.stop() == 0
    wait_until_none(data_dir)


def run_dev(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ROWGATE, "dev", "--json", "--data-dir", str(data_dir), *arguments],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_taken_port_is_said(data_dir: Path) -> None:
    first = reserve(4)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        refused = run_dev(data_dir, "--port", str(first))
    assert refused.returncode == 2
    assert "port_taken" in refused.stderr
    assert str(first) in refused.stderr
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr
    wait_until_none(data_dir)


def test_a_folder_in_use_is_said(stack: Stack) -> None:
    refused = run_dev(stack.data_dir, "--port", "0")
    assert refused.returncode == 2
    assert "data_folder_in_use" in refused.stderr
    assert stack.sql("select 1", token=stack.tokens["alice"]).status_code == 200


def test_a_folder_of_another_version_is_said(data_dir: Path) -> None:
    running = start(data_dir, "--no-fsync")
    assert running.stop() == 0
    version = data_dir / "pgdata" / "PG_VERSION"
    version.write_text("17\n")
    refused = run_dev(data_dir, "--port", "0")
    assert refused.returncode == 2
    assert "data_folder_unusable" in refused.stderr
    assert "17" in refused.stderr


def test_somebody_elses_folder_is_left_alone(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "thesis.txt").write_text("precious")
    refused = run_dev(data_dir, "--port", "0")
    assert refused.returncode == 2
    assert "data_folder_unusable" in refused.stderr
    assert (data_dir / "thesis.txt").read_text() == "precious"


def test_the_commands_beside_it(stack: Stack) -> None:
    assert stack.cli("connection-string").stdout.strip() == stack.authenticated_url
    assert stack.cli("connection-string", "--role", "anonymous").stdout.strip() == stack.anonymous_url
    token = stack.cli("token", "bob").stdout.strip()
    assert stack.sql("select auth.user_id() as me", token=token).json()["rows"] == [{"me": "user_bob"}]
    asked = json.loads(
        stack.cli("query", "select auth.user_id() as me, $1 as x", "a", "--user", "alice", "--json").stdout
    )
    assert asked["rows"] == [{"me": "user_alice", "x": "a"}]
    shown = stack.cli("query", "select 'a[b]' as text, null as nothing", "--user", "alice").stdout
    assert "a[b]" in shown
    assert "null" in shown
    assert "SELECT 1" in shown
    refused = stack.cli("query", "select 1/0", "--user", "alice", check=False)
    assert (refused.returncode, "22012" in refused.stderr) == (1, True)
    assert stack.cli("query", "select current_user as me", "--owner").returncode == 0
    anonymous = stack.cli("query", "-", input="select current_user as me").stdout
    assert "anonymous" in anonymous
    stack.cli("template", "add", "app", "--claims", '{"mail": "{{user.email}}"}', "--lifetime", "120")
    assert "app" in [one["name"] for one in json.loads(stack.cli("template", "list", "--json").stdout)]
    token = stack.cli("token", "alice", "--template", "app").stdout.strip()
    claims = stack.sql("select auth.session() ->> 'mail' as mail", token=token).json()["rows"]
    assert "@" in claims[0]["mail"]
    stack.cli("template", "remove", "app")
    checked = json.loads(stack.cli("provider", "check", "--json").stdout)
    assert all(one["ok"] for one in checked)


def test_commands_without_a_stack_say_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "ROWGATE_DATA_DIR": str(tmp_path)}
    for command in (["token"], ["connection-string"], ["query", "select 1"], ["provider", "list"]):
        refused = subprocess.run([*ROWGATE, *command], capture_output=True, text=True, timeout=30, env=environment)
        assert refused.returncode == 2, command
        assert "rowgate dev" in refused.stderr


@pytest.mark.parametrize(
    "command",
    ["dev", "serve", "setup", "token", "query", "connection-string", "provider add", "provider list",
     "provider remove", "provider check", "template add", "template list", "template remove"],
)  # fmt: skip
def test_every_command_has_help_with_an_example(command: str) -> None:
    shown = subprocess.run(
        [*ROWGATE, *command.split(), "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    assert "Example" in shown.stdout
    assert f"rowgate {command}" in shown.stdout
