"""The local identity provider as a process of its own, which the soak may end and start again on the same port."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from rowgate.gateway.http.server import listen
from rowgate.issuer.app import create_app
from rowgate.issuer.issuer import LocalIssuer


def main() -> None:
    """Serves the issuer of a folder; ``python -m bench.soak.provider FOLDER PORT``."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    listener = listen("127.0.0.1", port)
    issuer = LocalIssuer(folder, f"http://localhost:{port}")
    print("ready", flush=True)
    uvicorn.Server(uvicorn.Config(create_app(issuer), log_level="warning", lifespan="off")).run(sockets=[listener])


if __name__ == "__main__":
    main()
