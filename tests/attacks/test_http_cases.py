"""Every row of ``http_cases`` against a running gateway: in one piece, in fifty, and through TLS."""

import re
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.attacks.http_cases import CASES, HttpAttack
from tests.clients.session_stack import Sessions, running_sessions

DEADLINE = 20.0
QUIET = 0.25
STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")
SECRET = "eyJhbGciOiJub25lIn0.c2VjcmV0.c2VjcmV0"


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with running_sessions(tmp_path_factory.mktemp("http"), ROWGATE_CORS_ORIGINS="https://app.example") as running:
        yield running
        assert running.stack.sql("select 1", token=running.stack.tokens["bob"]).status_code == 200  # after all of it


def address(sessions: Sessions) -> tuple[str, int]:
    host, _, port = sessions.stack.sql_url.split("/")[2].partition(":")
    return host, int(port)


def connect(sessions: Sessions, *, tls: bool = False) -> socket.socket:
    plain = socket.create_connection(address(sessions), timeout=DEADLINE)
    if not tls:
        return plain
    return ssl.create_default_context(cafile=sessions.stack.ca_file).wrap_socket(plain, server_hostname="localhost")


def exchange(connection: socket.socket, data: bytes, *, pieces: int, expected: int) -> tuple[bytes, bool]:
    """What came back, and whether the other side closed. Ends when enough answers have come and none follows."""
    size = max(len(data) // pieces, 1)
    try:
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])
    except OSError:
        pass  # it has refused already
    answer = b""
    deadline = time.monotonic() + DEADLINE
    while True:
        connection.settimeout(QUIET if len(STATUS.findall(answer)) >= expected else deadline - time.monotonic())
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            return answer, False
        except OSError:
            return answer, True
        if not piece:
            return answer, True
        answer += piece


@pytest.mark.parametrize(("pieces", "tls"), [(1, False), (50, False), (1, True)])
@pytest.mark.parametrize("attack", CASES, ids=lambda attack: attack.id)
def test_attack(sessions: Sessions, attack: HttpAttack, pieces: int, tls: bool) -> None:
    with connect(sessions, tls=tls) as connection:
        answer, closed = exchange(connection, attack.data, pieces=pieces, expected=len(attack.statuses))
    statuses = tuple(int(status) for status in STATUS.findall(answer))
    assert statuses == attack.statuses, answer[:500]
    assert closed is attack.closes
    assert b"smuggled" not in answer


ORIGINS = [
    "https://evil.example", "https://app.example.evil.example", "null", "https://app.example:444",
    "http://app.example", "https://APP.example",
]  # fmt: skip


@pytest.mark.parametrize("origin", ORIGINS)
def test_other_origins_may_read_nothing(sessions: Sessions, origin: str) -> None:
    answer = sessions.stack.sql("select 1", token=sessions.stack.tokens["bob"], headers={"Origin": origin})
    assert answer.headers.get("access-control-allow-origin") != origin
    assert "access-control-allow-credentials" not in answer.headers
    assert "cookie" not in str(answer.headers).lower()


LEAKS = [
    ("authorization", {"Authorization": f"Bearer {SECRET}"}),
    ("a doubled scheme", {"Authorization": f"Bearer Bearer {SECRET}"}),
    ("another scheme", {"Authorization": f"Basic {SECRET}"}),
    ("the connection string", {"Neon-Connection-String": f"postgresql://authenticated:{SECRET}@x/neondb"}),
    ("one that is none", {"Neon-Connection-String": f"{SECRET}://x"}),
    ("a port that is none", {"Neon-Connection-String": f"postgresql://authenticated:{SECRET}@x:port/neondb"}),
]


@pytest.mark.parametrize("headers", [row[1] for row in LEAKS], ids=[row[0] for row in LEAKS])
def test_no_secret_comes_back(sessions: Sessions, headers: dict[str, str]) -> None:
    answer = sessions.stack.sql("select 1", headers=headers)
    assert answer.status_code == 400
    assert SECRET not in answer.text + str(answer.headers)
    assert SECRET.split(".")[1] not in answer.text


def test_slow_clients_keep_nobody_waiting(sessions: Sessions) -> None:
    crowd = [connect(sessions) for _ in range(100)]
    try:
        for number, one in enumerate(crowd):
            one.sendall(
                (b"POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", b"POST /s", b"P")[number % 3]
            )
        assert sessions.stack.sql("select 1", token=sessions.stack.tokens["bob"]).status_code == 200
    finally:
        for one in crowd:
            one.close()
