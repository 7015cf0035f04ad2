"""A web site on a port, and so of an origin, of its own: the tests' page and the drivers' packages as they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.clients.stack import HERE as CLIENTS
from tests.clients.stack import SERVERLESS_DRIVERS

HERE = Path(__file__).parent
PACKAGES = CLIENTS / "node_modules"
SCRIPTS = {"/page.mjs": HERE / "page.mjs"} | {
    f"/packages/{name}/index.mjs": PACKAGES / name / "index.mjs" for name in SERVERLESS_DRIVERS
}


class _Pages(BaseHTTPRequestHandler):
    """An empty page, and the scripts of ``SCRIPTS``."""

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer("text/html", b"<!doctype html><title>Rowgate</title>")
        elif self.path in SCRIPTS:
            self._answer("text/javascript", SCRIPTS[self.path].read_bytes())
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def running_site() -> AbstractContextManager[str]:
    """The site's origin, while it runs."""
    return serving(_Pages)


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler], host: str = "127.0.0.1") -> Iterator[str]:
    """The origin, by the name ``host`` of this machine, of a server that answers by ``handler``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
