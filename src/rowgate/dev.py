"""The whole stack on one machine: embedded Postgres, set-up, local identity provider, gateway.

Composes what the rooms offer, in one process group, and stops it in reverse order. For development only: it lets
passwords and every origin through. Never stores anything outside its data folder.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg
import uvicorn
from psycopg.conninfo import make_conninfo

from rowgate.errors import PortTaken, SetupIncomplete
from rowgate.gateway.gateway import Gateway
from rowgate.gateway.http.server import listen
from rowgate.issuer.app import create_app
from rowgate.issuer.issuer import LocalIssuer
from rowgate.postgres.embedded import EmbeddedPostgres
from rowgate.registry.registry import Registry
from rowgate.rls import extension
from rowgate.rls.plan import SetupOptions, StepState
from rowgate.rls.setup import apply
from rowgate.settings import Settings, load

STATE_FILE: Final = "dev.json"
DATABASE: Final = "neondb"
OWNER: Final = "neondb_owner"
CONTROL: Final = "rowgate_control"
GATEWAY_PORT: Final = 4444
LOCAL_PROVIDER: Final = "local"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports: ``first`` for the gateway, the next two for the issuer and Postgres; 0 takes free ones."""

    first: int = GATEWAY_PORT

    def at(self, distance: int) -> int:
        """The port ``distance`` after the first."""
        return self.first + distance if self.first else 0


@dataclass(frozen=True, slots=True)
class Ready:
    """What is running, as ``rowgate dev --json`` prints it."""

    sql_url: str
    jwks_url: str
    issuer_url: str
    database_url: str = field(repr=False)
    authenticated_url: str
    anonymous_url: str
    control_url: str = field(repr=False)
    superuser_url: str = field(repr=False)
    tokens: dict[str, str] = field(repr=False)
    socket_dir: str
    data_dir: str
    notices: list[str]

    def json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


class DevelopmentStack:
    """Everything that ``rowgate dev`` starts. Use it as ``async with DevelopmentStack(...) as stack``."""

    def __init__(self, data_dir: Path, ports: Ports, *, fsync: bool = True, progress: Progress | None = None) -> None:
        self._data_dir = data_dir.absolute()
        self._ports = ports
        self._fsync = fsync
        self._progress = progress or (lambda text: None)
        self._exit = AsyncExitStack()
        self.ready: Ready

    async def __aenter__(self) -> DevelopmentStack:
        try:
            await self._start()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._exit.aclose()

    async def _start(self) -> None:
        listener = listen("127.0.0.1", self._ports.at(1))
        self._exit.callback(listener.close)
        server = EmbeddedPostgres(
            self._data_dir, port=self._ports.at(2), extension_files=extension.files(), fsync=self._fsync
        )
        self._progress("starting Postgres" if (self._data_dir / STATE_FILE).exists() else "making a Postgres cluster")
        await asyncio.to_thread(server.start)
        self._exit.push_async_callback(asyncio.to_thread, server.stop)
        self._progress("setting up the database")
        await asyncio.to_thread(set_up_database, server)

        issuer = LocalIssuer(self._data_dir / "issuer", f"http://localhost:{listener.getsockname()[1]}")
        await self._serve_issuer(issuer, listener)
        control_url = url(CONTROL, server.host, server.port, server.password(CONTROL))
        await register_issuer(control_url, issuer)

        self._progress("starting the gateway")
        gateway = Gateway(development_settings(socket_conninfo(server), self._ports.at(0), os.environ))
        await gateway.start()
        self._exit.push_async_callback(gateway.stop)
        self.ready = Ready(
            sql_url=f"http://localhost:{gateway.port}/sql",
            jwks_url=issuer.jwks_url,
            issuer_url=issuer.url,
            database_url=url(OWNER, "localhost", server.port, server.password(OWNER)),
            authenticated_url=url("authenticated", "localhost", gateway.port),
            anonymous_url=url("anonymous", "localhost", gateway.port),
            control_url=control_url,
            superuser_url=url("postgres", server.host, server.port, server.password("postgres")),
            tokens={user.split("_")[-1]: issuer.mint(user) for user in ("user_alice", "user_bob")},
            socket_dir=str(server.socket_folder),
            data_dir=str(self._data_dir),
            notices=list(server.notices),
        )
        self._write_state()

    async def _serve_issuer(self, issuer: LocalIssuer, listener: Any) -> None:
        config = uvicorn.Config(create_app(issuer), log_level="warning", lifespan="off", access_log=False)
        server = uvicorn.Server(config)
        serving = asyncio.get_running_loop().create_task(server._serve(sockets=[listener]))

        async def stop() -> None:
            server.should_exit = True
            await serving

        self._exit.push_async_callback(stop)
        while not server.started:
            if serving.done():
                serving.result()
                raise PortTaken("the local identity provider did not start")
            await asyncio.sleep(0.005)

    def _write_state(self) -> None:
        """For the other commands; it holds passwords, so it is the user's alone, and goes when the stack stops."""
        path = self._data_dir / STATE_FILE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.ready.json())
        self._exit.callback(path.unlink, missing_ok=True)


def url(role: str, host: str, port: int, password: str | None = None) -> str:
    """A connection string of the development database."""
    secret = "" if password is None else ":" + quote(password, safe="")
    return f"postgresql://{role}{secret}@{host}:{port}/{DATABASE}"


def socket_conninfo(server: EmbeddedPostgres) -> str:
    """The control role's way through the Unix socket, which takes less of the processor than TCP on one machine."""
    return make_conninfo(server.conninfo(DATABASE, user=CONTROL), host=str(server.socket_folder))


def set_up_database(server: EmbeddedPostgres) -> None:
    """The database, its owner, and all that `rowgate setup` makes; what is there already stays."""
    server.ensure_database(DATABASE, owner=OWNER)
    options = SetupOptions(owners=(OWNER,), control_password=server.password(CONTROL))
    with psycopg.connect(server.conninfo(DATABASE), autocommit=True) as connection:
        left = apply(connection, options).plan.in_state(StepState.NOT_PERMITTED)
    if left:
        raise SetupIncomplete(f"set-up could not do: {left[0].title}", detail=left[0].problem)


async def register_issuer(control_url: str, issuer: LocalIssuer) -> None:
    """Makes the local issuer a provider, at the address it has now."""
    registry = await Registry.connect(control_url)
    try:
        snapshot = await registry.snapshot()
        wanted = issuer.provider(name=LOCAL_PROVIDER)
        if wanted in snapshot.providers:
            return
        for known in snapshot.providers:
            if known.kind == "local" or known.name == LOCAL_PROVIDER:
                await registry.remove_provider(known.name)
        await registry.add_provider(wanted)
    finally:
        await registry.close()


def development_settings(control_url: str, port: int, environment: Mapping[str, str]) -> Settings:
    """What is open in development and closed in `rowgate serve`; the environment may say otherwise."""
    open_in_development = {
        "ROWGATE_CORS_ORIGINS": "*",
        "ROWGATE_PASSWORD_ROLES": "true",
        "ROWGATE_ALLOW_EXPLAIN": "true",
        "ROWGATE_INSECURE_ISSUERS": "true",
        "ROWGATE_SHUTDOWN_SECONDS": "2",
    }
    own = {"database_url": control_url, "endpoints": (), "host": "127.0.0.1", "port": port}
    return load({**open_in_development, **environment}, overrides=own)
