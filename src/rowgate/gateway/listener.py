"""Listening sockets, and what is said where there can be none. Accepts nobody."""

from __future__ import annotations

import errno
import socket
from typing import Final

from rowgate.errors import PortTaken

BACKLOG: Final = 2048
"""So many clients may wait to be accepted."""


def listen(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """A listening socket. Raises PortTaken when the port is in use or the address is not of this machine.

    ``option`` is the one that sets the port, for the hint.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as problem:
        listener.close()
        if problem.errno == errno.EADDRINUSE:
            hint = f"Stop the other program, or choose a port with {option} (0 takes any free one)."
            raise PortTaken(f"port {port} on {host} is taken by another program", hint=hint) from problem
        raise PortTaken(f"cannot listen on {host}:{port}", detail=problem.strerror) from problem
    listener.setblocking(False)
    return listener
