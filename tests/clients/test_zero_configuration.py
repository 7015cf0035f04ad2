"""With a wildcard certificate the serverless driver finds everything at its own default addresses."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.stack import Stack, run_node, start

HOST = "ep-x.db.localhost"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = start(tmp_path_factory.mktemp("wildcard") / "data", "--no-fsync", "--tls-name", "*.db.localhost")
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("driver", ["neon-0", "neon-1"])
def test_no_address_has_to_be_configured(stack: Stack, driver: str) -> None:
    owner = urlsplit(stack.database_url)
    job = {
        "driver": driver, "host": HOST, "port": urlsplit(stack.sql_url).port, "token": stack.tokens["alice"],
        "ownerUrl": f"postgresql://{owner.username}:{owner.password}@{HOST}/neondb",
    }  # fmt: skip
    seen = run_node("zero_configuration.mjs", job, NODE_EXTRA_CA_CERTS=stack.ca_file)
    assert seen == {
        "token": "user_alice",
        "password": "neondb_owner",
        "pool": "user_alice",
        "asked": ["api.db.localhost:443", "apiauth.db.localhost:443", f"{HOST}:443"],
    }


def test_another_name_is_not_trusted(stack: Stack) -> None:
    script = f"await fetch('https://localhost:{urlsplit(stack.sql_url).port}/healthz').then(r => console.log(r.status))"
    for certificates, status in ((stack.ca_file, 0), ("", 1)):
        done = subprocess.run(
            ["node", "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60,
            env={**os.environ, "NODE_EXTRA_CA_CERTS": certificates},
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr


def test_the_authoritys_key_is_its_owners_alone(stack: Stack) -> None:
    assert (Path(stack.ca_file).parent / "ca-key.pem").stat().st_mode & 0o777 == 0o600
