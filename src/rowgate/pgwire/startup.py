"""The start of a connection to Postgres: TLS or not, authentication, and what the server says until it is ready.

A state machine that takes bytes and gives bytes: the caller owns the socket and does the TLS handshake. It trusts
nothing that came before the server has authenticated itself, and it never answers a second request for a
credential: one that follows another is a way to get at the password in clear.

Source: the Postgres documentation, sections "Start-up", "SSL Session Encryption" and "SASL Authentication".
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from struct import Struct
from typing import Final, Literal

from rowgate.errors import ConnectFailed, DatabaseError, ProtocolViolation
from rowgate.pgwire import messages, stream
from rowgate.pgwire.fields import backend_key, error_fields, parameter_status, protocol_negotiation, strings
from rowgate.pgwire.scram import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramExchange

TlsMode = Literal["disable", "prefer", "require"]

MAX_MESSAGE_BYTES: Final = 65_536
MAX_STARTUP_MESSAGES: Final = 1_000
MAX_STARTUP_BYTES: Final = 1_048_576
"""A server that says more than this before it is ready is stopped. A start takes about 20 messages and 600 bytes."""

_INT32 = Struct(">i").unpack_from

_OK, _CLEARTEXT, _MD5, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 3, 5, 10, 11, 12
_UNSUPPORTED_METHODS: Final[Mapping[int, str]] = {2: "Kerberos V5", 6: "SCM", 7: "GSSAPI", 8: "GSSAPI", 9: "SSPI"}


class _State(Enum):
    NEW = auto()
    TLS_ANSWER = auto()
    TLS_HANDSHAKE = auto()
    AUTHENTICATION = auto()  # the server has not asked for anything yet
    SASL_CONTINUE = auto()
    SASL_FINAL = auto()
    CREDENTIAL_SENT = auto()  # all is said from our side, only AuthenticationOk may follow
    SETTLING = auto()  # authenticated, until ReadyForQuery
    READY = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Ready:
    """A connection that is ready for its first statement.

    ``process_id`` and ``secret_key`` are what a CancelRequest needs. ``rest`` are bytes that came after
    ReadyForQuery: feed them to the connection's own MessageStream first.
    """

    parameters: dict[str, str]
    process_id: int
    secret_key: bytes = field(repr=False)
    rest: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class StartupStep:
    """What the caller does next: write ``send``; then do the TLS handshake if ``begin_tls``; stop when ``ready``."""

    send: bytes = field(default=b"", repr=False)
    begin_tls: bool = False
    ready: Ready | None = None


class Startup:
    """The start of one connection. After any error it stays failed and the connection is to be closed."""

    def __init__(
        self,
        parameters: Mapping[str, str],
        password: bytes | None,
        tls: TlsMode,
        channel_binding_data: Callable[[], bytes | None] | None = None,
        *,
        allow_cleartext: bool = False,
        nonce: Callable[[], str] = secrets.token_hex,
    ) -> None:
        """``parameters`` go into the startup message as they are; ``user`` is needed.

        ``tls``: "disable" never asks for it, "prefer" goes on without it where the server has none, "require" does
        not. ``channel_binding_data`` is called after the TLS handshake for the hash of the server's certificate
        (tls-server-end-point, RFC 5929 section 4.1); it may return None. ``allow_cleartext`` lets the password travel
        without TLS, which is for local sockets only. ``nonce`` gives printable ASCII without commas for SCRAM.
        """
        self._user = parameters.get("user", "")
        self._startup_message = messages.startup(parameters)
        self._options_sent = frozenset(name for name in parameters if name.startswith("_pq_."))
        self._password = password or None
        self._tls = tls
        self._channel_binding_data = channel_binding_data
        self._allow_cleartext = allow_cleartext
        self._nonce = nonce
        self._encrypted = False
        self._state = _State.NEW
        self._stream = stream.MessageStream(MAX_MESSAGE_BYTES)
        self._message_count = 0
        self._byte_count = 0
        self._scram: ScramExchange | None = None
        self._server_parameters: dict[str, str] = {}
        self._key: tuple[int, bytes] | None = None
        self._negotiated = False

    def start(self) -> bytes:
        """The first bytes to send: SSLRequest, or the startup message when TLS is disabled."""
        self._expect(_State.NEW)
        if self._tls == "disable":
            self._state = _State.AUTHENTICATION
            return self._startup_message
        self._state = _State.TLS_ANSWER
        return messages.ssl_request()

    def tls_established(self) -> bytes:
        """The bytes to send once the TLS handshake is done: the startup message."""
        self._expect(_State.TLS_HANDSHAKE)
        self._encrypted = True
        self._state = _State.AUTHENTICATION
        return self._startup_message

    def receive(self, data: bytes) -> StartupStep:
        """Take the server's next bytes, cut anywhere, and say what to do.

        Raises DatabaseError for the server's own error, ConnectFailed where it asks for what this client does not
        give (and the other way round), ProtocolViolation for everything that does not belong here.
        """
        try:
            return self._receive(data)
        except Exception:
            self._state = _State.FAILED
            self._forget()
            raise

    def _receive(self, data: bytes) -> StartupStep:
        if self._state is _State.TLS_ANSWER:
            return self._tls_answered(data)
        if self._state in (_State.NEW, _State.TLS_HANDSHAKE, _State.READY, _State.FAILED):
            raise ProtocolViolation(
                "Bytes came when none may come.", detail=f"The state of the start is {self._state.name}."
            )
        self._byte_count += len(data)
        answers: list[bytes] = []
        incoming = self._stream.feed(data)
        for position, (kind, body) in enumerate(incoming, 1):
            self._message_count += 1
            if self._message_count > MAX_STARTUP_MESSAGES:
                break
            if kind == stream.READY_FOR_QUERY:
                return StartupStep(b"".join(answers), ready=self._ready(body, incoming[position:]))
            answers.append(self._message(kind, body))
        if self._message_count > MAX_STARTUP_MESSAGES or self._byte_count > MAX_STARTUP_BYTES:
            raise ProtocolViolation(
                "The server does not come to an end of its start.",
                detail=f"Expected at most {MAX_STARTUP_MESSAGES} messages and {MAX_STARTUP_BYTES} bytes.",
            )
        return StartupStep(b"".join(answers))

    def _tls_answered(self, data: bytes) -> StartupStep:
        if not data:
            return StartupStep()
        answer = data[:1]
        if answer in (b"S", b"N") and len(data) > 1:
            # Bytes sent before the handshake could be taken for what TLS protects (CVE-2021-23222).
            raise ProtocolViolation(
                "Bytes came together with the answer to the request for TLS.",
                detail=f"Expected one byte, got {len(data)}.",
            )
        if answer == b"S":
            self._state = _State.TLS_HANDSHAKE
            return StartupStep(begin_tls=True)
        if answer == b"N" and self._tls == "prefer":
            self._state = _State.AUTHENTICATION
            return StartupStep(self._startup_message)
        if answer == b"N":
            raise ConnectFailed(
                "Postgres does not offer TLS.",
                detail="Expected the answer S to the request for TLS, got N.",
                hint="Set ssl = on in postgresql.conf, or connect without TLS on a trusted path.",
            )
        if answer == b"E":
            # The text is not shown: nobody has authenticated who sent it (CVE-2024-10977).
            raise ConnectFailed("Postgres refused the connection before TLS could begin.")
        raise ProtocolViolation(
            "The answer to the request for TLS is not one.", detail=f"Expected S or N, got {answer!r}."
        )

    def _message(self, kind: int, body: bytes) -> bytes:
        """Handle one message; return what to send back."""
        if kind == stream.ERROR_RESPONSE:
            raise DatabaseError(error_fields(body))
        if kind == stream.NOTICE_RESPONSE:
            return b""
        if kind == stream.AUTHENTICATION:
            return self._authentication(body)
        if kind == stream.NEGOTIATE_PROTOCOL_VERSION and self._state is _State.AUTHENTICATION:
            self._negotiate(body)
        elif kind == stream.PARAMETER_STATUS and self._state is _State.SETTLING:
            name, value = parameter_status(body)
            self._server_parameters[name] = value
        elif kind == stream.BACKEND_KEY_DATA and self._state is _State.SETTLING and self._key is None:
            self._key = backend_key(body)
        else:
            raise self._unexpected(f"a message of type {chr(kind)!r}")
        return b""

    def _authentication(self, body: bytes) -> bytes:
        if len(body) < 4:
            raise ProtocolViolation("An authentication request is cut short.", detail=f"It has {len(body)} bytes.")
        (method,) = _INT32(body)
        if method == _OK and self._state in (_State.AUTHENTICATION, _State.CREDENTIAL_SENT):
            self._state = _State.SETTLING
            self._forget()
            return b""
        if method == _SASL_CONTINUE and self._state is _State.SASL_CONTINUE and self._scram is not None:
            self._state = _State.SASL_FINAL
            return messages.sasl_response(self._scram.final(body[4:]))
        if method == _SASL_FINAL and self._state is _State.SASL_FINAL and self._scram is not None:
            self._scram.verify(body[4:])
            self._state = _State.CREDENTIAL_SENT
            return b""
        if method in (_OK, _SASL_CONTINUE, _SASL_FINAL) or self._state is not _State.AUTHENTICATION:
            raise self._unexpected(f"authentication request {method}")
        return self._credential(method, body)

    def _credential(self, method: int, body: bytes) -> bytes:
        if method not in (_CLEARTEXT, _MD5, _SASL):
            name = _UNSUPPORTED_METHODS.get(method, f"method {method}")
            raise ConnectFailed(
                "Postgres asks for an authentication method that is not supported.",
                detail=f"Expected a password, md5 or SCRAM, got {name}.",
                hint="Use scram-sha-256 in pg_hba.conf for this role.",
            )
        if self._password is None:
            raise ConnectFailed(
                "Postgres asks for a password and none is configured.",
                detail=f"Authentication request {method} came.",
                hint="Add the password of the login role to the connection's configuration.",
            )
        if method == _SASL:
            return self._begin_scram(strings(body, 4), self._password)
        self._state = _State.CREDENTIAL_SENT
        if method == _MD5:
            return messages.password(_md5_answer(self._password, self._user, body[4:]))
        if not (self._encrypted or self._allow_cleartext):
            raise ConnectFailed(
                "Postgres asks for the password in clear on a connection without TLS.",
                detail="Expected SCRAM, or TLS.",
                hint="Use scram-sha-256 in pg_hba.conf, or require TLS.",
            )
        return messages.password(self._password)

    def _begin_scram(self, offered: tuple[str, ...], password: bytes) -> bytes:
        if SCRAM_SHA_256_PLUS in offered and not self._encrypted:
            raise ProtocolViolation(
                "The server offers channel binding on a connection without TLS.",
                detail=f"Expected {SCRAM_SHA_256} only.",
                hint="Something between here and Postgres may have taken TLS away.",
            )
        binding = self._channel_binding_data() if self._encrypted and self._channel_binding_data else None
        mechanism = SCRAM_SHA_256_PLUS if binding is not None and SCRAM_SHA_256_PLUS in offered else SCRAM_SHA_256
        if mechanism not in offered:
            raise ConnectFailed(
                "Postgres offers no SASL mechanism that is supported.",
                detail=f"Expected {SCRAM_SHA_256}, got {', '.join(offered) or 'none'}.",
                hint="Use scram-sha-256 in pg_hba.conf for this role.",
            )
        # With a binding and the plain mechanism, the exchange says "I could have bound": a server that did offer
        # it notices that its offer was taken away (RFC 5802 section 6, the flag "y").
        self._scram = ScramExchange(mechanism, password, self._nonce(), binding)
        self._state = _State.SASL_CONTINUE
        return messages.sasl_initial(mechanism.encode(), self._scram.first())

    def _negotiate(self, body: bytes) -> None:
        """NegotiateProtocolVersion: 3.0 is the oldest there is, so nothing but 3.0 and refused options may come."""
        version, refused = protocol_negotiation(body)
        if (
            self._negotiated
            or version not in (0, messages.PROTOCOL_VERSION)
            or not self._options_sent.issuperset(refused)
        ):
            raise ProtocolViolation(
                "The server negotiates what was not asked for.",
                detail=f"Expected protocol 3.0 and options that were sent, got version {version}.",
            )
        self._negotiated = True

    def _ready(self, body: bytes, later: list[tuple[int, bytes]]) -> Ready:
        if self._state is not _State.SETTLING:
            raise self._unexpected("ReadyForQuery")
        if body != b"I":
            raise ProtocolViolation("The server starts inside a transaction.", detail=f"Expected I, got {body[:8]!r}.")
        if self._key is None:
            raise ProtocolViolation(
                "The server gave no key to cancel with.",
                detail="Expected BackendKeyData before ReadyForQuery.",
                hint="Connect to Postgres itself, or to a pooler that passes cancel requests on.",
            )
        self._state = _State.READY
        rest = [bytes((kind,)) + (len(content) + 4).to_bytes(4, "big") + content for kind, content in later]
        return Ready(self._server_parameters, *self._key, b"".join(rest) + self._stream.remainder())

    def _expect(self, state: _State) -> None:
        if self._state is not state:
            raise ProtocolViolation(
                "The start of the connection is not at this step.",
                detail=f"Expected {state.name}, it is {self._state.name}.",
            )

    def _unexpected(self, what: str) -> ProtocolViolation:
        return ProtocolViolation(
            "A message came that does not belong here.",
            detail=f"Got {what} while the start of the connection was at {self._state.name}.",
        )

    def _forget(self) -> None:
        """Drop what is secret as soon as it is not needed."""
        self._password = None
        self._scram = None


def _md5_answer(password: bytes, user: str, salt: bytes) -> bytes:
    """md5(md5(password, user), salt), both in hexadecimal (section "Start-up", AuthenticationMD5Password)."""
    if len(salt) != 4:
        raise ProtocolViolation("The salt of an md5 request is not one.", detail=f"Expected 4 bytes, got {len(salt)}.")
    inner = hashlib.md5(password + messages.text(user), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()
