"""SCRAM-SHA-256, the client's side: the server's messages in, ours out, and the proof that the server knows us too.

The cryptography and the grammar are ``scramp``'s; here are the bounds, the error tree and Postgres's way with
passwords that SASLprep refuses. The library is imported with the first exchange. This module never sends, and never
puts a password into an error.

Source: RFC 5802, RFC 7677, RFC 5929 section 4 (tls-server-end-point); the Postgres documentation, section "SASL
Authentication".
"""

from __future__ import annotations

import re
from typing import Any, Final

from rowgate.errors import ConnectFailed, ProtocolViolation

SCRAM_SHA_256: Final = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS: Final = "SCRAM-SHA-256-PLUS"

MIN_ITERATIONS: Final = 4096
"""RFC 7677 section 4 asks for it; fewer would make the proof cheap to guess for a false server."""

MAX_ITERATIONS: Final = 1_000_000
"""A quarter of a second of computing. Without a bound a false server could keep this process busy at will."""

_ITERATIONS = re.compile(r"(?:^|,)i=([0-9]{1,12})(?:,|$)")
_USER = "*"  # the startup message named the user, and Postgres ignores the name here


class ScramExchange:
    """One exchange: ``first``, then ``final``, then ``verify``, each once and in this order."""

    __slots__ = ("_client",)

    def __init__(self, mechanism: str, password: bytes, nonce: str, channel_binding: bytes | None) -> None:
        """``channel_binding`` is the hash of the server's certificate (tls-server-end-point), None without TLS.

        Raises ConnectFailed when ``mechanism`` cannot be used with it.
        """
        from scramp import ScramException  # type: ignore[import-untyped]

        binding = None if channel_binding is None else ("tls-server-end-point", channel_binding)
        try:
            self._client = _client(mechanism, password, nonce, binding)
        except ScramException as error:
            raise ConnectFailed("SCRAM could not begin.", detail=_reason(error)) from None

    def first(self) -> bytes:
        """client-first-message."""
        first: str = self._client.get_client_first()
        return first.encode()

    def final(self, server_first: bytes) -> bytes:
        """client-final-message, the answer to server-first-message.

        Raises ProtocolViolation for a message that is not SCRAM or not the answer to ours, ConnectFailed for an
        iteration count out of bounds.
        """
        from scramp import ScramException

        challenge = _text(server_first)
        iterations = _ITERATIONS.search(challenge)
        if iterations is not None and not MIN_ITERATIONS <= int(iterations[1]) <= MAX_ITERATIONS:
            raise ConnectFailed(
                "The server's SCRAM iteration count is out of bounds.",
                detail=f"Expected {MIN_ITERATIONS} to {MAX_ITERATIONS}, got {int(iterations[1])}.",
                hint="Set scram_iterations on the server within these bounds and set the role's password again.",
            )
        try:
            self._client.set_server_first(challenge)
            answer: str = self._client.get_client_final()
        except ScramException as error:
            raise ProtocolViolation("The server's SCRAM challenge is not valid.", detail=_reason(error)) from None
        return answer.encode()

    def verify(self, server_final: bytes) -> None:
        """Check the server's signature in server-final-message.

        Raises ProtocolViolation when the server has not proved that it knows the password.
        """
        from scramp import ScramException

        try:
            self._client.set_server_final(_text(server_final))
        except ScramException as error:
            raise ProtocolViolation(
                "The server did not prove that it knows the password.",
                detail=_reason(error),
                hint="Something else may be answering in the place of Postgres: check host, port and TLS.",
            ) from None


def _client(mechanism: str, password: bytes, nonce: str, binding: tuple[str, bytes] | None) -> Any:
    from scramp import ScramClient, ScramException

    try:
        return ScramClient([mechanism], _USER, password.decode(), binding, nonce)
    except (UnicodeDecodeError, ScramException):
        # Postgres hashes the bytes as they are where a password is not UTF-8 or SASLprep forbids a character of it
        # (an emoji newer than Unicode 3.2), so this has to do the same.
        client = ScramClient([mechanism], _USER, "replaced below", binding, nonce)
        client.password = password
        return client


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation(
            "A SCRAM message is not UTF-8.", detail=f"Its length is {len(message)} bytes."
        ) from None


def _reason(error: Exception) -> str:
    return str(error)
