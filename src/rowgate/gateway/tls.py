"""Certificates of the fronts: read from files, and read again when the files change.

A file that cannot be used never replaces one that could: the gateway goes on with the old certificate and says so in
the log. Never keeps a private key outside OpenSSL, and never writes a file.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final

from rowgate.errors import SettingInvalid
from rowgate.settings import Settings

CHECK_SECONDS: Final = 1.0
FileState = tuple[int, int, int]

log = logging.getLogger("rowgate.tls")


class Application(Enum):
    """What is spoken inside TLS, by its ALPN name (RFC 7301; PostgreSQL 18, section 54.2.11)."""

    POSTGRESQL = "postgresql"
    HTTP = "http/1.1"


class ServerTls(ssl.SSLObject):
    """One TLS connection, which remembers the name that the client asked for (RFC 6066, section 3)."""

    requested_name: str | None = None


class TlsCertificates:
    """A certificate chain with its key, as contexts for new connections."""

    def __init__(self, cert_file: Path, key_file: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads both files. ``clock`` is in seconds. Raises SettingInvalid where they cannot be used."""
        self._files = (cert_file, key_file)
        self._clock = clock
        self._checked_at = clock()
        self._state = self._read_state()
        try:
            self._contexts = self._load()
        except (OSError, ssl.SSLError) as problem:
            raise SettingInvalid(
                "the certificate cannot be used",
                detail=f"{cert_file} with {key_file}: {_reason(problem)}",
                hint="tls_cert is the chain in PEM, the server's own certificate first; tls_key its key, unencrypted.",
            ) from problem

    @classmethod
    def of(cls, settings: Settings) -> TlsCertificates | None:
        """The certificates that the settings name, or None. Raises SettingInvalid."""
        if not settings.tls_cert and not settings.tls_key:
            return None
        if not settings.tls_cert or not settings.tls_key:
            missing = "tls_cert" if settings.tls_key else "tls_key"
            raise SettingInvalid(f"tls_cert and tls_key go together, and {missing} is not set")
        return cls(Path(settings.tls_cert), Path(settings.tls_key))

    def context(self, application: Application) -> ssl.SSLContext:
        """The context for a new connection; looks at the files at most once a second. Raises nothing."""
        now = self._clock()
        if now - self._checked_at >= CHECK_SECONDS:
            self._checked_at = now
            self._reload()
        return self._contexts[application]

    def _reload(self) -> None:
        state = self._read_state()
        if state == self._state:
            return
        self._state = state  # a broken file is told of once, and looked at again when it changes
        try:
            self._contexts = self._load()
        except (OSError, ssl.SSLError) as problem:
            log.error("the new certificate cannot be used, the old one stays: %s", _reason(problem))
        else:
            log.info("the certificate was read again")

    def _load(self) -> dict[Application, ssl.SSLContext]:
        return {application: _context(*self._files, application) for application in Application}

    def _read_state(self) -> tuple[FileState | None, ...]:
        return tuple(_file_state(file) for file in self._files)


def _file_state(file: Path) -> FileState | None:
    """What changes when a file is written or replaced; the time alone may stay within its resolution."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _context(cert_file: Path, key_file: Path, application: Application) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # An empty passphrase, so that an encrypted key is an error and never a question on the terminal.
    context.load_cert_chain(cert_file, key_file, password="")
    context.set_alpn_protocols([application.value])
    context.sslobject_class = ServerTls
    context.sni_callback = _remember_name
    return context


def _remember_name(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
    if isinstance(connection, ServerTls) and name:
        connection.requested_name = name.lower()


def _reason(problem: OSError) -> str:
    return problem.strerror or str(problem)
