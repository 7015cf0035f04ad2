"""The local identity provider on a port of its own, for gateways that are not ``rowgate dev``."""

import tempfile
import threading
from pathlib import Path
from typing import Self

import uvicorn

from rowgate.gateway.listener import listen
from rowgate.issuer.app import create_app
from rowgate.issuer.issuer import LocalIssuer


class RunningIssuer:
    """Serves in a thread; use it in a ``with``. It mints tokens like the issuer that it wraps."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        listener = listen("127.0.0.1", 0)
        self._issuer = LocalIssuer(Path(self._folder.name), f"http://localhost:{listener.getsockname()[1]}")
        self.url = self._issuer.url
        self.jwks_url = self._issuer.jwks_url
        self.mint = self._issuer.mint
        self._server = uvicorn.Server(uvicorn.Config(create_app(self._issuer), log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._folder.cleanup()
