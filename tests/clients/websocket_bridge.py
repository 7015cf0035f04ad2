"""Carries a TCP client's bytes over WebSocket, so that a client which knows no WebSocket can be heard through it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


@contextmanager
def bridge(url: str) -> Iterator[int]:
    """The port on which each client reaches a WebSocket of its own at ``url``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, url), daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(listener: socket.socket, url: str) -> None:
    carrying: list[threading.Thread] = []
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            break
        carrying.append(threading.Thread(target=_carry, args=(client, url), daemon=True))
        carrying[-1].start()
    for thread in carrying:
        thread.join()


def _carry(client: socket.socket, url: str) -> None:
    with client, connect(url, max_size=None) as gateway:
        downward = threading.Thread(target=_to_client, args=(gateway, client), daemon=True)
        downward.start()
        with suppress(ConnectionClosed, OSError):
            while data := client.recv(65536):
                gateway.send(data)
        gateway.close()
        downward.join()


def _to_client(gateway: ClientConnection, client: socket.socket) -> None:
    with suppress(OSError):
        for data in gateway:
            client.sendall(data if isinstance(data, bytes) else data.encode())
        client.shutdown(socket.SHUT_WR)
