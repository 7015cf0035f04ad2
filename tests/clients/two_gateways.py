"""``rowgate serve`` on one database, and a provider whose keys the test holds, so that tokens have any shape."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.clients.commands import run_apart
from tests.clients.gateways import environment, running_gateway
from tests.database.conftest import Prepared, prepared_on
from tests.plain_http import HTTP
from tests.servers import TestServer
from tests.unit.identity.forge import key_for, public, sign

ISSUER = "https://issuer.example"
NAME = "example"
_numbers = count(1)


def key_set() -> str:
    """The key set of the provider."""
    return json.dumps({"keys": [public(key_for(name), name, alg=name) for name in ("RS256", "ES256")]})


@dataclass
class Gateways:
    """The gateways, and ways to ask them."""

    prepared: Prepared
    ready: list[dict[str, Any]]
    variables: dict[str, str]
    key_file: str

    def token(self, subject: str, *, age: float = 5, lifetime: float = 300, **claims: Any) -> str:
        """A token that was issued ``age`` seconds ago; a claim ``...`` is left out."""
        now = time.time()
        made = {
            "iss": ISSUER, "sub": subject, "iat": int(now - age), "exp": int(now + lifetime),
            "aud": "api", "jti": f"jti_{next(_numbers)}", **claims,
        }  # fmt: skip
        return sign(payload={name: value for name, value in made.items() if value is not ...})

    def ask(
        self, gateway: int, token: str, role: str = "authenticated", *, query: str = "select auth.user_id() as me"
    ) -> dict[str, Any]:
        """What ``token`` gets at a gateway, or its error."""
        headers = {
            "Neon-Connection-String": f"postgresql://{role}@any/{self.prepared.name}",
            "Authorization": f"Bearer {token}",
        }
        found: dict[str, Any] = HTTP.post(
            self.ready[gateway]["sql_url"], json={"query": query}, headers=headers, timeout=30
        ).json()
        return found

    def code(self, gateway: int, token: str, role: str = "authenticated") -> str | None:
        """The code of the refusal; None where it is accepted."""
        return self.ask(gateway, token, role).get("routine")

    def connect(
        self, gateway: int, token: str, *, role: str = "authenticated", port: int | None = None
    ) -> psycopg.Connection[Any]:
        """A session over TCP, or by another ``port`` that leads to the gateway."""
        port = port or urlsplit(self.ready[gateway]["tcp_url"]).port
        return psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=role,
            password=token,
            dbname=self.prepared.name,
            autocommit=True,
        )

    def cli(self, *arguments: str, status: int = 0, stdin: str = "") -> str:
        """What a command says."""
        done = run_apart(*arguments, variables=self.variables, stdin=stdin)
        assert done.status == status, done.stdout + done.stderr
        return done.stdout or done.stderr

    def add_provider(self, *more: str, audience: str = "api") -> None:
        """Registers the provider, by its key file."""
        name = ("--issuer", ISSUER, "--name", NAME, "--audience", audience)
        self.cli("provider", "add", "--jwks-file", self.key_file, *name, *more)


@contextmanager
def gateways_of(number: int, server: TestServer, folder: Any, *provider: str, **settings: str) -> Iterator[Gateways]:
    """So many gateways in front of one database of ``server``, with the provider registered."""
    key_file = folder / "keys.json"
    key_file.write_text(key_set())
    with ExitStack() as stack:
        prepared = stack.enter_context(prepared_on(server))
        variables = environment(prepared.control_conninfo(), **settings)
        ready = [stack.enter_context(running_gateway(variables))[1] for _ in range(number)]
        gateways = Gateways(prepared, ready, variables, str(key_file))
        gateways.add_provider(*provider)
        yield gateways


def two_gateways(server: TestServer, folder: Any, *provider: str, **settings: str) -> AbstractContextManager[Gateways]:
    """Both, with the provider registered."""
    return gateways_of(2, server, folder, *provider, **settings)


def eventually(holds: Callable[[], bool], seconds: float = 1.0) -> float | None:
    """After how many seconds it held; None where it did not in time."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if holds():
            return time.monotonic() - started
    return None
