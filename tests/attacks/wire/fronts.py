"""How the attacks of ``rows.py`` are tried: a gateway with TLS in front of a server, and one client for each row.

What came back is put into the words of the rows. Nobody's rows, tokens or keys may be in it, and Bob, whose session is
open all the while, is served after each.
"""

from __future__ import annotations

import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from struct import pack
from urllib.parse import urlsplit

import psutil
import psycopg
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.sync.client import ClientConnection, connect

from rowgate.errors import ProtocolViolation
from rowgate.gateway.dev_certificates import ensure_certificates
from rowgate.pgwire import messages
from rowgate.pgwire.fields import error_fields
from rowgate.pgwire.stream import MessageStream
from tests.attacks.wire.attack import Front, Stage, TlsAttack, WebSocketAttack, WireAttack
from tests.attacks.wire.rows import ASKS_FOR_TLS, LOGIN, STARTUP, TLS_ATTACKS, WEBSOCKET_ATTACKS, WIRE_ATTACKS
from tests.clients.session_stack import Sessions, sessions_before
from tests.servers import TestServer

DEADLINE = 10.0
WHO_AM_I = messages.query(b"select auth.user_id()")
SECRETS = (b"bob-secret", b"root:x:0:0", b"SCRAM-SHA-256$")
FREE_TABLE = "create table free (body text); grant select, insert on free to authenticated"


class Channel:
    """A WebSocket with the methods of a socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def sendall(self, data: bytes) -> None:
        with suppress(ConnectionClosed):
            self._connection.send(data)

    def recv(self, size: int) -> bytes:
        try:
            found = self._connection.recv(DEADLINE)
        except ConnectionClosed:
            return b""
        return found if isinstance(found, bytes) else found.encode()

    def close(self) -> None:
        self._connection.close()


class Client:
    """One client, and all that it was told."""

    def __init__(self, link: socket.socket | Channel) -> None:
        self.link = link
        self.told = b""
        self.has_ended = False
        self._stream = MessageStream(1 << 24)
        self._unread: list[tuple[int, bytes]] = []

    def send(self, data: bytes) -> None:
        with suppress(OSError):
            self.link.sendall(data)

    def _receive(self) -> bool:
        try:
            data = self.link.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.told += data
        self.has_ended = not data
        return bool(data)

    def byte(self) -> bytes:
        """The one byte that answers a request for encryption."""
        while not self.told and self._receive():
            pass
        return self.told[:1]

    def message(self) -> tuple[int, bytes] | None:
        """The next message, or None at the end."""
        while not self._unread:
            before = len(self.told)
            if not self._receive():
                return None
            self._unread += self._stream.feed(self.told[before:])
        return self._unread.pop(0)

    def answer(self) -> str:
        """Up to the next ReadyForQuery, a request for a password or the end: the first error, ``served``, ``asked`` or
        ``closed``."""
        error = ""
        while (found := self.message()) is not None:
            kind, body = found
            if kind == 0x45 and not error:
                fields = error_fields(body)
                error = f"{fields['S']} {fields['C']}"
            elif kind == 0x5A:
                return error or "served"
            elif kind == 0x52 and body == pack(">i", 3):
                return "asked"
        return error or "closed"


@dataclass
class Grounds:
    """A gateway with TLS on all addresses, and Bob's session on it."""

    sessions: Sessions
    authority: Path
    bob: psycopg.Connection[tuple[str]]

    @property
    def http_port(self) -> int:
        return urlsplit(self.sessions.stack.sql_url).port or 0

    def trusting(self, *alpn: str) -> ssl.SSLContext:
        """A client's context that trusts the gateway."""
        context = ssl.create_default_context(cafile=str(self.authority))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def socket(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection((host, port), timeout=DEADLINE)

    @contextmanager
    def client(self, front: Front) -> Iterator[Client]:
        """A client that has connected there and said nothing."""
        link: socket.socket | Channel
        if front is Front.WEBSOCKET:
            link = Channel(connect(f"ws://127.0.0.1:{self.http_port}/v2", max_size=None))
        else:
            link = self.socket(self.sessions.port)
            if front is Front.TLS:
                link = self.trusting("postgresql").wrap_socket(link, server_hostname="localhost")
        try:
            yield Client(link)
        finally:
            link.close()

    def check(self, told: bytes, tried: str) -> None:
        """Nothing of anybody else's was told, and Bob is who he was."""
        assert not [secret for secret in SECRETS if secret in told], tried
        assert self.sessions.stack.tokens["alice"].split(".")[2].encode() not in told, tried
        assert b"user_bob" not in told, tried
        assert self.bob.execute("select auth.user_id()").fetchone() == ("user_bob",), tried

    # --- the three tables -------------------------------------------------------------------------------------

    def try_wire(self, attack: WireAttack, front: Front) -> str:
        """What comes back on one front."""
        password = messages.raw(b"p", self.sessions.stack.tokens["alice"].encode() + b"\0")
        sent = attack.sent if isinstance(attack.sent, bytes) else messages.startup({**LOGIN, **attack.sent})
        with self.client(front) as client:
            if attack.stage is Stage.SESSION:
                client.send(STARTUP + password)
                assert (client.answer(), client.answer()) == ("asked", "served")
                before = len(client.told)
                client.send(sent)
                return self._in_session(client, attack.id, before)
            if attack.stage is Stage.PASSWORD:
                client.send(STARTUP)
                assert client.answer() == "asked"
                client.send(messages.raw(b"p", sent + b"\0"))
            else:
                client.send(sent)
            found = client.answer()
            if found == "asked":
                if attack.stage is Stage.STARTUP:
                    client.send(password)
                found = client.answer()
            self.check(client.told, attack.id)
            return found

    def _in_session(self, client: Client, tried: str, before: int) -> str:
        """What was answered; a session that goes on must still be Alice's."""
        client.send(messages.SYNC + WHO_AM_I)
        found = []
        while not client.told.endswith(b"user_alice" + b"C\0\0\0\rSELECT 1\0" + b"Z\0\0\0\5I"):
            found.append(client.answer())
            if client.has_ended:
                break
        self.check(client.told[before:], tried)
        return next((one for one in found if one != "served"), "served")

    def try_tls(self, attack: TlsAttack) -> str:
        """What comes back on the port of sessions, or on HTTPS."""
        port = self.http_port if attack.port == "HTTPS" else self.sessions.port
        with self.socket(port, own_address() if attack.from_elsewhere else "127.0.0.1") as plain:
            if attack.from_elsewhere:
                client = Client(plain)
                client.send(attack.sent)
                return self._read(client, attack)
            if attack.asks and attack.in_clear:
                plain.sendall(ASKS_FOR_TLS + attack.in_clear)
                return self._after_asking(plain, attack)
            if attack.asks:
                plain.sendall(ASKS_FOR_TLS)
                assert plain.recv(1) == b"S"
            if attack.raw:
                return self._after_nonsense(plain, attack)
            context = self.trusting(*attack.alpn)
            context.check_hostname = False
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # old versions are what is tried
                context.minimum_version = getattr(ssl.TLSVersion, attack.oldest)
                context.maximum_version = getattr(ssl.TLSVersion, attack.newest)
            if attack.ciphers:
                context.set_ciphers(attack.ciphers)
            try:
                encrypted = context.wrap_socket(plain, server_hostname=attack.name)
            except (ssl.SSLError, ConnectionError):
                return "refused"
            with encrypted:
                assert encrypted.compression() is None, "compression tells of what is encrypted (CRIME)"
                client = Client(encrypted)
                client.send(attack.sent)
                return self._read(client, attack)

    def _read(self, client: Client, attack: TlsAttack) -> str:
        if attack.port == "HTTPS":
            while client._receive():
                pass
            found = f"HTTP {client.told[9:12].decode()}" if client.told.startswith(b"HTTP/1.1 ") else "closed"
        elif attack.sent[4:8] in (ASKS_FOR_TLS[4:], pack(">i", 80877104)):
            found = client.byte().decode()
        else:
            found = client.answer()
        self.check(client.told, attack.id)
        return found

    def _after_asking(self, plain: socket.socket, attack: TlsAttack) -> str:
        """Bytes in clear came with the request: it is refused, and not answered with a yes."""
        told = _rest(plain)
        self.check(told, attack.id)
        return "closed" if told == b"" else _first_error(told)

    def _after_nonsense(self, plain: socket.socket, attack: TlsAttack) -> str:
        """Bytes that are no handshake: an alert (RFC 8446, section 6), or what the protocol says."""
        with suppress(OSError):
            plain.sendall(attack.raw)
            plain.shutdown(socket.SHUT_WR)
        told = _rest(plain)
        self.check(told, attack.id)
        if not told or told[0] == 0x15:
            return "refused"
        return _first_error(told)

    def try_websocket(self, attack: WebSocketAttack) -> str:
        """The status of the handshake, or how the WebSocket ends; ``served`` where it does not."""
        with self.socket(self.http_port) as plain:
            with suppress(OSError):
                plain.sendall(attack.head)
            told = _head(plain)
            if told.startswith(b"HTTP/1.1 400") and b"query is not" in told:
                told = _head(plain)
            status = told[9:12].decode()
            if status != "101":
                self.check(told + _rest(plain), attack.id)
                return status
            assert b"sec-websocket-extensions" not in told.lower()
            with suppress(OSError):
                plain.sendall(attack.sent)
            return self._frames(plain, attack)

    def _frames(self, plain: socket.socket, attack: WebSocketAttack) -> str:
        protocol = Protocol(Side.CLIENT, state=OPEN)
        with suppress(OSError):
            plain.sendall(_ping(b"last"))
        told = b""
        while data := _some(plain):
            told += data
            protocol.receive_data(data)
            for event in protocol.events_received():
                assert isinstance(event, Frame)
                if event.opcode is Opcode.CLOSE:
                    self.check(told, attack.id)
                    return str(int.from_bytes(event.data[:2]))
                if bytes(event.data) == b"last":  # an answer that was on its way may have been quicker than an end
                    with suppress(OSError):
                        plain.sendall(_ping(b"very last"))
                elif bytes(event.data) == b"very last":
                    self.check(told, attack.id)
                    return "served"
        return "closed"


def _ping(payload: bytes) -> bytes:
    return bytes((0x89, 0x80 | len(payload))) + bytes(4) + payload


def _some(plain: socket.socket) -> bytes:
    try:
        return plain.recv(65536)
    except ConnectionError:
        return b""


def _rest(plain: socket.socket) -> bytes:
    told = b""
    while data := _some(plain):
        told += data
    return told


def _head(plain: socket.socket) -> bytes:
    """The head of an answer, and of its body what came with it."""
    told = b""
    while b"\r\n\r\n" not in told and (data := _some(plain)):
        told += data
    return told


def _first_error(told: bytes) -> str:
    for kind, body in MessageStream(1 << 20).feed(told):
        if kind == 0x45:
            fields = error_fields(body)
            return f"{fields['S']} {fields['C']}"
    return repr(told)


def own_address() -> str:
    """An address of this machine that is not its loopback: whoever connects by it might be anybody."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family is socket.AF_INET and not one.address.startswith("127."):
                return str(one.address)
    raise AssertionError("this machine has no address but its loopback")


@contextmanager
def grounds_on(server: TestServer, folder: Path) -> Iterator[Grounds]:
    """A gateway before ``server``."""
    made = ensure_certificates(folder)
    settings = {
        "ROWGATE_HOST": "0.0.0.0", "ROWGATE_TCP_PORT": "0", "ROWGATE_CORS_ORIGINS": "https://app.example",
        "ROWGATE_TLS_CERT": str(made.cert_file), "ROWGATE_TLS_KEY": str(made.key_file),
        "ROWGATE_MAX_BODY_BYTES": "1048576",
    }  # fmt: skip
    with sessions_before(server, FREE_TABLE, **settings) as sessions:
        address = f"host=127.0.0.1 port={sessions.port} dbname=neondb user=authenticated sslmode=require"
        with _once_known(f"{address} password={sessions.stack.tokens['bob']}") as bob:
            bob.execute("insert into todos (task) values ('bob-secret')")
            bob.pgconn.prepare(b"bobs", b"select task from todos")
            yield Grounds(sessions, made.authority_file, bob)


def _once_known(conninfo: str) -> psycopg.Connection[tuple[str]]:
    """A connection as soon as the gateway has heard of the provider, which was registered a moment ago."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return psycopg.connect(conninfo, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise


def outcomes_on(server: TestServer, folder: Path) -> dict[str, str]:
    """What comes back to each attack, by its id, and by id and front where it has several."""
    with grounds_on(server, folder) as grounds:
        tries: dict[str, Callable[[], str]] = {
            f"{attack.id} {front}": partial(grounds.try_wire, attack, front)
            for front in Front
            for attack in WIRE_ATTACKS
        }
        tries |= {attack.id: partial(grounds.try_tls, attack) for attack in TLS_ATTACKS}
        tries |= {attack.id: partial(grounds.try_websocket, attack) for attack in WEBSOCKET_ATTACKS}
        return {key: _outcome(one) for key, one in tries.items()}


def _outcome(tried: Callable[[], str]) -> str:
    """What came back, or what went wrong instead, which is no row's answer."""
    try:
        return tried()
    except (AssertionError, OSError, ProtocolViolation) as problem:
        return f"{type(problem).__name__}: {problem}"


def expected() -> dict[str, str]:
    """The same as the rows say it."""
    rows = {f"{attack.id} {front}": attack.answer for front in Front for attack in WIRE_ATTACKS}
    return rows | {attack.id: attack.answer for attack in (*TLS_ATTACKS, *WEBSOCKET_ATTACKS)}
