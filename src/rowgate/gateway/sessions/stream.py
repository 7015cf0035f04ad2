"""The seam between a front and a session: one client as a stream of bytes, whatever carries them.

A front makes a stream for every client and calls ``ServeSession`` with it. The stream knows sockets, TLS and frames,
and nothing of Postgres; the session knows Postgres, and nothing of what carries its bytes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

READ_AHEAD_BYTES: Final = 64 * 1024


class ClientStream(Protocol):
    """One client. No method raises because the client has gone: ``read`` gives ``b""``, writes are forgotten."""

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done as soon as the client has ended its sending or the connection is lost, also while nobody reads.

        What the client sent before can still be read. Its result is None; it is never cancelled by the front, so shield
        it, or wait with ``asyncio.wait``, where a cancelled wait would cancel it.
        """
        ...

    @property
    def is_private(self) -> bool:
        """Whether a password may cross it: TLS, or both ends on this machine."""
        ...

    @property
    def has_tls(self) -> bool:
        """Whether what is read now came through TLS of this process."""
        ...

    @property
    def can_start_tls(self) -> bool:
        """Whether ``start_tls`` can be called now: a TCP client without TLS, and certificates at hand."""
        ...

    @property
    def server_name(self) -> str | None:
        """The host that the client asked for: SNI, or the Host header of a WebSocket; in small letters, no port."""
        ...

    @property
    def peer(self) -> str:
        """The client's address and port, for logs."""
        ...

    @property
    def silent_since(self) -> float | None:
        """Since when (the loop's time) a ``read`` waits for bytes; None where none waits."""
        ...

    @property
    def unread_since(self) -> float | None:
        """Since when (the loop's time) the client is behind with reading; None where it is not."""
        ...

    async def read(self) -> bytes:
        """The next bytes, as many as are there; ``b""`` at the end. Only one task may read.

        At most READ_AHEAD_BYTES are taken from the client before somebody reads them.
        """
        ...

    def write(self, data: bytes) -> None:
        """Sends bytes, later if need be. Whoever writes much calls ``drain`` in between."""
        ...

    async def drain(self) -> None:
        """Waits while the client reads too slowly; returns at once when it has gone, and after ``close``. Only one task
        may wait.
        """
        ...

    async def start_tls(self, context: ssl.SSLContext | None = None) -> None:
        """Begins TLS on a TCP connection, after everything written so far; the session has answered ``S`` before.

        Args:
            context: certificates to show; without it the front's own.

        Raises:
            ConnectionError: no TLS came about: the handshake failed, the client has gone, or it sent bytes before TLS
                began, which somebody between could have slipped in (CVE-2021-23214). The connection is lost then.
        """
        ...

    def close(self) -> None:
        """Ends the connection once everything written has gone out. Reading ends at once."""
        ...

    def abort(self) -> None:
        """Ends the connection now, and forgets what was written."""
        ...


ServeSession = Callable[[ClientStream], Awaitable[None]]
"""Serves one client to its end; the front closes the stream after it, whatever happens."""
