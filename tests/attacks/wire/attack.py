"""What an attack on a front is, where it is not a statement: bytes, and what must come back. Values without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Front(StrEnum):
    """Where a client of the Postgres protocol comes in."""

    TCP = "TCP"
    TLS = "TLS"
    WEBSOCKET = "WebSocket"


class Stage(StrEnum):
    """When the bytes of an attack are sent."""

    FIRST = "as the first bytes"
    STARTUP = "as parameters of the startup, with a valid token"
    PASSWORD = "in the place of the token"
    SESSION = "in a session of one's own"


@dataclass(frozen=True)
class WireAttack:
    """One row. ``sent`` are bytes, or the parameters that a startup has beside role and database.

    ``answer`` is what comes back on every front: the severity and SQLSTATE of the first error (``FATAL`` is the end of
    the connection), ``N`` where encryption is declined, ``asked`` where the password is asked for and no more,
    ``closed`` for an end without a word, or ``served`` where it is harmless. ``wall`` is what stops it.
    """

    id: str
    wall: str
    stage: Stage
    what: str
    sent: bytes | Mapping[str, str]
    gain: str
    answer: str


@dataclass(frozen=True)
class TlsAttack:
    """One row about TLS. ``port`` is ``TCP`` or ``HTTPS``. The client asks for TLS as Postgres's do where ``asks`` is
    set, sends ``in_clear`` together with that, ``raw`` in the place of its handshake, and ``sent`` inside TLS;
    or ``sent`` without TLS, as a client of another machine, where ``from_elsewhere`` is set.

    ``answer`` is ``refused`` (no TLS came about), ``closed``, what a ``WireAttack`` answers, or ``served``.
    """

    id: str
    what: str
    gain: str
    answer: str
    port: str = "TCP"
    asks: bool = False
    oldest: str = "TLSv1_2"
    newest: str = "TLSv1_3"
    ciphers: str = ""
    alpn: tuple[str, ...] = ()
    name: str = "localhost"
    in_clear: bytes = b""
    raw: bytes = b""
    sent: bytes = b""
    from_elsewhere: bool = False


@dataclass(frozen=True)
class WebSocketAttack:
    """One row about WebSockets. ``head`` is the request with what follows it, ``sent`` goes out once it is open.

    ``answer`` is the status of a refused handshake, the code of the Close frame, or ``served``.
    """

    id: str
    what: str
    gain: str
    answer: str
    head: bytes
    sent: bytes = b""
