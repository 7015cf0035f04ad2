"""The gateway: its endpoints and its fronts, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator

from rowgate.errors import AuthenticationFailed, SettingInvalid
from rowgate.gateway.allowlist import AllowList
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.connection_string import ConnectionString
from rowgate.gateway.database import Database
from rowgate.gateway.endpoint import Endpoint
from rowgate.gateway.exposition import exposition
from rowgate.gateway.http.message import HttpRequest
from rowgate.gateway.http.server import HttpServer
from rowgate.gateway.limits import Limits
from rowgate.gateway.meter import Meter
from rowgate.gateway.notices import Notices
from rowgate.gateway.pipeline import Pipeline
from rowgate.gateway.response import Response
from rowgate.gateway.session_host import SessionHost
from rowgate.gateway.sessions.entrance import Entrance
from rowgate.gateway.tcp import TcpServer
from rowgate.gateway.tls import TlsCertificates
from rowgate.gateway.workers.channel import Front, Seat
from rowgate.postgres.target import Target
from rowgate.settings import Settings

ANY_HOST = ""

log = logging.getLogger("rowgate.gateway")


class Gateway:
    """One gateway process. Make it inside a running event loop. With a ``seat`` it is one of several workers: clients
    come to it over the seat, and it listens nowhere."""

    def __init__(self, settings: Settings, seat: Seat | None = None) -> None:
        """Raises SettingInvalid."""
        self._seat = seat
        self._taking: set[asyncio.Task[None]] = set()
        certificates = TlsCertificates.of(settings)
        self._endpoints = _endpoints(settings)
        self._limits = Limits(settings)
        self.journal = Journal.of(settings)
        self.allowlist = AllowList.of(settings)
        self._meter = Meter()
        pipeline = Pipeline(settings, self._limits, self._locate, self._meter, self.journal, self.allowlist)
        self.answer_sql = pipeline.answer
        self._entrance = Entrance(settings, self._limits, self._locate, self._meter, self.journal, self.allowlist, seat)
        self._sessions = SessionHost(settings, self._entrance.serve)
        self.notices = Notices(self.open_databases, leeway=settings.token_leeway_seconds)
        self._http = HttpServer(
            settings,
            answer_sql=pipeline.answer,
            answer_health=self._answer_health,
            notices=self.notices if settings.public_notices else None,
            sessions=self._sessions,
            certificates=certificates,
        )
        self._tcp = None if settings.tcp_port is None else TcpServer(settings, self._sessions, certificates)
        self.port = settings.port
        self.tcp_port = settings.tcp_port

    async def start(self) -> None:
        """Connects to every endpoint and listens, or takes its seat.

        Raises PortTaken, SetupIncomplete or ConnectFailed.
        """
        try:
            for endpoint in self._endpoints.values():
                await endpoint.start()
            if self.allowlist is not None:
                self.allowlist.start()
            if self._seat is not None:
                self._http.begin()
                self._seat.open(self._take, self._entrance.cancels.cancel_here)
                return
            self.port = await self._http.start()
            if self._tcp is not None:
                self.tcp_port = await self._tcp.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Lets requests and sessions under way end, then closes everything."""
        if self._seat is not None:
            self._seat.leave()
        if self._tcp is not None:
            self._tcp.stop()
        await asyncio.gather(*self._taking, return_exceptions=True)
        self._entrance.stop()
        await asyncio.gather(self._http.stop(), self._sessions.stop())
        for endpoint in self._endpoints.values():
            await endpoint.close()
        if self.allowlist is not None:
            await self.allowlist.stop()
        if self.journal is not None:
            self.journal.close()

    def endpoint(self, name: str | None) -> Endpoint | None:
        """The endpoint called ``name``; the only one where there is one without a name, or none is asked for."""
        if ANY_HOST in self._endpoints:
            return self._endpoints[ANY_HOST]
        if name is None:
            return next(iter(self._endpoints.values())) if len(self._endpoints) == 1 else None
        return self._endpoints.get(name.lower())

    @property
    def endpoint_names(self) -> tuple[str, ...]:
        """The names of all endpoints; one that is empty serves any host."""
        return tuple(self._endpoints)

    @property
    def session_count(self) -> int:
        """How many clients of the Postgres protocol are connected, over TCP and WebSocket."""
        return self._sessions.clients

    def open_databases(self) -> Iterator[Database]:
        """Every database that is open, those of all endpoints."""
        for endpoint in self._endpoints.values():
            yield from endpoint.open_databases

    def metrics(self) -> str:
        """What is counted, as Prometheus reads it."""
        databases = list(self.open_databases())
        return exposition(
            self._meter,
            sessions=self._sessions.clients,
            pools=[
                ({"endpoint": one.endpoint, "database": one.name, "role": role}, pool.counts)
                for one in databases
                for role, pool in one.pools.items()
            ],
            registries=[({"endpoint": one.endpoint, "database": one.name}, one.is_in_step) for one in databases],
            dropped=0 if self.journal is None else self.journal.dropped,
        )

    def _take(self, front: Front, client: socket.socket) -> None:
        """A client that the supervisor has accepted."""
        server = self._http if front is Front.HTTP else self._tcp
        if server is None:
            client.close()
            return
        client.setblocking(False)
        task = asyncio.get_running_loop().create_task(server.take(client))
        self._taking.add(task)
        task.add_done_callback(self._taken)

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._taking.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.info("a client was gone before it was served: %s", task.exception())

    def _locate(self, connection: ConnectionString) -> Endpoint:
        """The endpoint that the host names. An unknown one looks like a wrong password: nobody can list them."""
        endpoint = self._endpoints.get(connection.endpoint) or self._endpoints.get(
            connection.endpoint.removesuffix("-pooler")
        )
        endpoint = endpoint or self._endpoints.get(ANY_HOST)
        if endpoint is None:
            raise AuthenticationFailed(f"password authentication failed for user '{connection.role}'")
        return endpoint

    async def _answer_health(self, request: HttpRequest) -> Response:
        healthy = all(endpoint.is_healthy for endpoint in self._endpoints.values())
        return Response(200, b'{"status":"ok"}') if healthy else Response(503, b'{"status":"database unreachable"}')


def _endpoints(settings: Settings) -> dict[str, Endpoint]:
    if bool(settings.database_url) == bool(settings.endpoints):
        raise SettingInvalid(
            "exactly one of database_url and endpoints must be set",
            hint="Set ROWGATE_DATABASE_URL=postgresql://rowgate_control:...@host/database; `rowgate setup` prints it.",
        )
    named = settings.endpoints or ((ANY_HOST, settings.database_url),)
    return {name.lower(): Endpoint(name.lower(), Target.parse(url), settings) for name, url in named}
