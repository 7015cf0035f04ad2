"""``rowgate serve`` as a process of its own, configured by environment alone."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.clients.stack import ROWGATE


def environment(control_url: str, **more: str) -> dict[str, str]:
    """What a gateway on free ports, and the commands beside it, have in their environment."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ROWGATE_")},
        "ROWGATE_DATABASE_URL": control_url,
        "ROWGATE_PORT": "0",
        "ROWGATE_INSECURE_ISSUERS": "true",
        "ROWGATE_TRUST_LOCAL_ISSUER": "true",
        **more,
    }


@contextmanager
def running_gateway(variables: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The process, and what it printed when it was ready."""
    # Into a file: nobody reads a pipe while the tests run, and a full one would stop the gateway.
    with tempfile.TemporaryFile("w+") as log:

        def logged() -> str:
            log.seek(0)
            return log.read()

        process = subprocess.Popen(
            [*ROWGATE, "serve", "--json"], stdout=subprocess.PIPE, stderr=log, text=True, env=variables
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            assert line, logged()
            yield process, json.loads(line)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, logged()
