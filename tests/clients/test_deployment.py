"""The recipes in deploy/: judged by their own tools, and the proxies run, with the gateway behind them."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import kubernetes_validate
import psycopg
import pytest
import yaml

from tests.browser.site import serving
from tests.clients.stack import HERE, Stack, start
from tests.clients.websocket_bridge import bridge
from tests.ports import reserve

ROOT = HERE.parents[1]
DEPLOY = ROOT / "deploy"
PROGRAMS = Path(sys.executable).parent
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def output_of(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_container_file() -> None:
    assert output_of(PROGRAMS / "hadolint", "--failure-threshold", "style", DEPLOY / "Containerfile") == ""
    stages = (DEPLOY / "Containerfile").read_text("utf-8").split("\nFROM ")
    assert len(stages) == 3
    assert "\nUSER 10001:10001\n" in stages[-1]
    # What its build copies is there, and not kept from it.
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", "\nFROM ".join(stages), re.MULTILINE)
    allowed = (ROOT / ".dockerignore").read_text().split()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert f"!{name.split('/')[0]}" in allowed, name


@pytest.mark.parametrize("name", ["serve", "build"])
def test_the_container_installs_what_is_tested(name: str) -> None:
    def pins(file: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", (ROOT / "requirements" / file).read_text("utf-8"), re.MULTILINE))

    assert pins(f"{name}.txt") <= pins("test.txt")


def test_the_systemd_unit(tmp_path: Path) -> None:
    unit = tmp_path / "rowgate.service"
    text = (DEPLOY / "rowgate.service").read_text("utf-8")
    unit.write_text(text.replace("/opt/rowgate/bin/rowgate", str(PROGRAMS / "rowgate")))
    assert output_of("systemd-analyze", "verify", unit) == ""
    # Exposure in tenths: 100 is a service that may do anything.
    output_of("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", ["1.30", "1.34"])
def test_the_kubernetes_manifests(manifest: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(manifest.read_text("utf-8")), version, strict=True)


def test_the_kubernetes_manifests_fit_each_other() -> None:
    documents = {one["kind"]: one for one in (yaml.safe_load(path.read_text("utf-8")) for path in MANIFESTS)}
    pod = documents["Deployment"]["spec"]["template"]
    selectors = [documents["Deployment"]["spec"]["selector"]["matchLabels"], documents["Service"]["spec"]["selector"],
                 documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]]  # fmt: skip
    assert all(selector == pod["metadata"]["labels"] for selector in selectors)
    container = pod["spec"]["containers"][0]
    named = {port["name"] for port in container["ports"]}
    assert {documents["Service"]["spec"]["ports"][0]["targetPort"], container["readinessProbe"]["httpGet"]["port"],
            container["livenessProbe"]["tcpSocket"]["port"]} <= named  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = start(tmp_path_factory.mktemp("deployment") / "data", "--no-fsync")
    yield running
    assert running.stop() == 0


@dataclass
class Proxy:
    """A proxy in front of the gateway, which shows the certificate that ``rowgate dev`` made for localhost."""

    address: str
    trusted: ssl.SSLContext
    authority: str


Recipe = Callable[[int, Path, Path, int], list[str]]
"""The command of a proxy: by the gateway's port, the folder of the certificates, a folder and a port for itself."""


def caddy(gateway: int, certificates: Path, folder: Path, port: int) -> list[str]:
    """The Caddyfile with this machine's names and ports; nothing else is changed."""
    certificate = f"tls {certificates}/server.pem {certificates}/server-key.pem"
    text = (DEPLOY / "Caddyfile").read_text("utf-8")
    for shown, real in (
        ("127.0.0.1:4444", f"127.0.0.1:{gateway}"),
        ("sql.example.com {", f"https://localhost:{port} {{\n\t{certificate}"),
    ):
        assert shown in text
        text = text.replace(shown, real)
    file = folder / "Caddyfile"
    file.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}\n}}\n{text}")
    return ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]


def nginx(gateway: int, certificates: Path, folder: Path, port: int) -> list[str]:
    """The same for nginx, whose file is a part of the http block."""
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    for shown, real in (
        ("127.0.0.1:4444", f"127.0.0.1:{gateway}"),
        ("listen 443 ", f"listen {port} "),
        ("server_name sql.example.com", "server_name localhost"),
        ("/etc/ssl/sql.example.com.pem", f"{certificates}/server.pem"),
        ("/etc/ssl/sql.example.com.key", f"{certificates}/server-key.pem"),
    ):
        assert shown in text
        text = text.replace(shown, real)
    kept = "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; user root;\nevents {{}}\n"
        f"http {{ access_log off; {kept}\n{text}}}\n"
    )
    return ["/usr/sbin/nginx", "-p", str(folder), "-c", str(file)]


@contextmanager
def running_proxy(make: Recipe, gateway: int, authority: str, folder: Path) -> Iterator[Proxy]:
    """The proxy in front of what listens on the port ``gateway``."""
    trusted = ssl.create_default_context(cafile=authority)
    log, port = folder / "log", reserve()
    command = make(gateway, Path(authority).parent, folder, port)
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    httpx.get(f"https://localhost:{port}/healthz", verify=trusted).raise_for_status()
                    break
                except httpx.TransportError:
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
            yield Proxy(f"localhost:{port}", trusted, authority)
        finally:
            process.terminate()


RECIPES = {"caddy": caddy, "nginx": nginx}


@pytest.fixture(scope="module", params=RECIPES)
def proxy(request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    gateway = httpx.URL(stack.sql_url).port
    assert gateway
    with running_proxy(RECIPES[request.param], gateway, stack.ca_file, tmp_path_factory.mktemp("proxy")) as running:
        yield running


def ask(proxy: Proxy, stack: Stack, query: str, *params: str) -> httpx.Response:
    headers = {"Neon-Connection-String": stack.authenticated_url, "Authorization": f"Bearer {stack.tokens['alice']}"}
    return httpx.post(
        f"https://{proxy.address}/sql", verify=proxy.trusted, timeout=60, headers=headers,
        json={"query": query, "params": list(params)},
    )  # fmt: skip


def test_http_behind_a_proxy(proxy: Proxy, stack: Stack) -> None:
    assert ask(proxy, stack, "select auth.user_id() as me").json()["rows"] == [{"me": "user_alice"}]
    refused = ask(proxy, stack, "set role postgres")
    assert (refused.status_code, refused.json()["routine"]) == (400, "rowgate:statement_refused")
    preflight = httpx.options(
        f"https://{proxy.address}/sql", verify=proxy.trusted,
        headers={"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"},
    )  # fmt: skip
    assert "access-control-allow-origin" in preflight.headers


def test_large_bodies_and_answers_behind_a_proxy(proxy: Proxy, stack: Stack) -> None:
    """What the gateway takes and gives, the proxy does; what is too large, the gateway says."""
    sent = ask(proxy, stack, "select length($1::text) as n", "x" * 9_000_000)
    assert sent.json()["rows"] == [{"n": 9_000_000}]
    rows = ask(proxy, stack, "select i, repeat('x', 1000) as v from generate_series(1, 5000) as i").json()["rows"]
    assert [row["i"] for row in rows] == list(range(1, 5001))
    assert all(len(row["v"]) == 1000 for row in rows)
    too_large = ask(proxy, stack, "select $1::text", "x" * 10_600_000)
    assert (too_large.status_code, json.loads(too_large.text)["routine"]) == (413, "rowgate:body_too_large")


def test_a_large_result_flows_through_a_proxy(proxy: Proxy, stack: Stack) -> None:
    """Its first row is here while Postgres still waits to send the rest, which fits no buffer on the way."""
    count = 40_000
    headers = {
        "Neon-Connection-String": stack.authenticated_url,
        "Authorization": f"Bearer {stack.tokens['alice']}",
        "Accept": "application/x-ndjson",
    }
    query = f"select i, repeat('x', 1000) as flowing from generate_series(1, {count}) as i"
    waiting = (
        "select count(*) from pg_stat_activity where state = 'active' and query like '%as flowing from%'"
        " and pid <> pg_backend_pid()"
    )
    with (
        httpx.Client(verify=proxy.trusted, timeout=60) as client,
        client.stream("POST", f"https://{proxy.address}/sql", headers=headers, json={"query": query}) as answer,
        psycopg.connect(stack.superuser_url, autocommit=True) as superuser,
    ):
        assert answer.status_code == 200
        lines = answer.iter_lines()
        first = [json.loads(next(lines)), json.loads(next(lines))]
        assert superuser.execute(waiting.encode()).fetchone() == (1,)
        assert [row["i"] for row in first] == [1, 2]
        assert sum(1 for _ in lines) == count - 2


def test_websocket_behind_a_proxy(proxy: Proxy, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session, and rows that arrive while the statement still runs."""
    monkeypatch.setenv("SSL_CERT_FILE", proxy.authority)
    owner = httpx.URL(stack.database_url)
    with bridge(f"wss://{proxy.address}/v2") as port:
        at = {"host": "127.0.0.1", "port": port, "dbname": "neondb", "sslmode": "disable"}
        with psycopg.connect(user="authenticated", password=stack.tokens["alice"], **at) as connection:
            assert connection.execute("select auth.user_id()").fetchone() == ("user_alice",)
        with (
            psycopg.connect(user=owner.username, password=owner.password, **at) as connection,
            connection.cursor() as cursor,
        ):
            began = time.monotonic()
            slowly = "select i, pg_sleep(0.02), repeat('x', 10000) from generate_series(1, 100) as i"
            moments = [time.monotonic() - began for _ in cursor.stream(slowly)]
    assert len(moments) == 100
    assert moments[0] < moments[-1] / 2, "the first row came with the last"


PART = b"x" * 1000
PARTS = 20_000


class Writing(BaseHTTPRequestHandler):
    """In the gateway's place: writes the first part of an answer, and all the rest once that has arrived."""

    protocol_version = "HTTP/1.1"
    arrived = threading.Event()

    def do_GET(self) -> None:
        self._begin("Content-Length: 0")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._begin("Transfer-Encoding: chunked")
        self._write(PART)
        if self.arrived.wait(20):
            for _ in range(PARTS):
                self._write(PART)
            self._write(b"")

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""

    def _begin(self, framing: str) -> None:
        self.wfile.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())

    def _write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_part_of_an_answer_comes_before_the_last_is_written(name: str, stack: Stack, tmp_path: Path) -> None:
    """Nothing is held back: what is behind the proxy goes on only after its first bytes have come through. The rest is
    larger than any buffer, and nothing of it is kept in a file."""
    Writing.arrived.clear()
    received = 0
    with serving(Writing) as origin:
        behind = httpx.URL(origin).port
        assert behind
        with (
            running_proxy(RECIPES[name], behind, stack.ca_file, tmp_path) as proxy,
            httpx.Client(verify=proxy.trusted, timeout=15) as client,
            client.stream("POST", f"https://{proxy.address}/sql", content=b"{}") as answer,
        ):
            for data in answer.iter_raw():
                received += len(data)
                Writing.arrived.set()
            kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 100_000]
    assert received == len(PART) * (PARTS + 1)
    assert not kept
