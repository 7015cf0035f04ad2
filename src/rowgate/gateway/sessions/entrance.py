"""Where every session begins: TLS, startup, credentials; then the session itself, or the way through for passwords.

The fronts give it streams of bytes. Never asks for a password that could be read on its way, and lets nothing of the
client's reach Postgres before the credentials hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from rowgate.errors import AuthenticationFailed, CredentialsMissing, InternalFault, RequestRefused, RowgateError
from rowgate.gateway.allowlist import AllowList
from rowgate.gateway.audit.journal import Journal
from rowgate.gateway.connection_string import ConnectionString
from rowgate.gateway.database import ANONYMOUS, Database
from rowgate.gateway.endpoint import Endpoint
from rowgate.gateway.limits import Limits
from rowgate.gateway.meter import Meter
from rowgate.gateway.pipeline import RESERVED_ROLE_PREFIX
from rowgate.gateway.sessions.cancel import CancelKeys, Siblings
from rowgate.gateway.sessions.login import LoginRequest, read_login, session_settings
from rowgate.gateway.sessions.passthrough import PassedBackend, pass_through
from rowgate.gateway.sessions.password_records import PasswordRecords
from rowgate.gateway.sessions.session import Session
from rowgate.gateway.sessions.stream import ClientStream
from rowgate.identity.principal import Principal
from rowgate.pgwire.server import answers, requests
from rowgate.pgwire.server.connection_protocol import ConnectionProtocol, Event, Violation
from rowgate.postgres.opening import Login
from rowgate.settings import Settings

log = logging.getLogger("rowgate.sessions")


class Entrance:
    """Serves clients of the Postgres protocol. ``locate`` finds the endpoint that a client means."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        locate: Callable[[ConnectionString], Endpoint],
        meter: Meter,
        journal: Journal | None = None,
        allowlist: AllowList | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._locate = locate
        self.meter = meter
        self.journal = journal
        self.allowlist = allowlist
        self._cancels = CancelKeys(siblings)
        self._sessions: set[Session] = set()

    def stop(self) -> None:
        """The gateway stops: sessions end with the transaction that is open, and idle ones now."""
        for session in list(self._sessions):
            session.stop()

    async def serve(self, stream: ClientStream) -> None:
        """Serves one client to its end; every refusal is told as FATAL before the connection closes."""
        visit = _Visit(self, stream)
        try:
            await visit.run()
        except RowgateError as problem:
            self.meter.errors["session", problem.code] += 1
            stream.write(answers.error_of(problem, "FATAL"))
        except ConnectionError:
            return
        except Exception:
            log.exception("a defect in Rowgate: please report it")
            stream.write(answers.error_of(InternalFault("an internal error occurred"), "FATAL"))

    # --- what a visit needs -----------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The gateway's settings."""
        return self._settings

    @property
    def limits(self) -> Limits:
        """The limits that all sessions and requests share."""
        return self._limits

    @property
    def cancels(self) -> CancelKeys:
        """The keys of all sessions."""
        return self._cancels

    @property
    def sessions(self) -> set[Session]:
        """The sessions of exposed roles that are open."""
        return self._sessions

    def endpoint(self, login: LoginRequest) -> Endpoint:
        """The endpoint that the client means. Raises AuthenticationFailed."""
        return self._locate(ConnectionString(login.role, None, login.endpoint, login.database))


class _Visit:
    """One client's way from its first byte to its session."""

    def __init__(self, entrance: Entrance, stream: ClientStream) -> None:
        self._entrance = entrance
        self._stream = stream
        self._protocol = ConnectionProtocol(max_message_bytes=entrance.settings.max_body_bytes)
        self._events: deque[Event] = deque()
        self._deadline: asyncio.Timeout | None = None

    async def run(self) -> None:
        try:
            async with asyncio.timeout(self._entrance.settings.login_timeout_seconds) as self._deadline:
                startup = await self._startup()
                if startup is None:
                    return
                login = read_login(startup.parameters, self._stream.server_name)
                endpoint = self._entrance.endpoint(login)
                database = await self._database(endpoint, login)
                if database is None or login.role not in database.exposes:
                    await self._pass(endpoint, login, startup)
                else:
                    await self._session(database, login, await self._identify(database, login), startup)
        except TimeoutError as problem:
            raise RequestRefused("the client did not log in in time") from problem

    async def _startup(self) -> requests.StartupMessage | None:
        while True:
            event = await self._next()
            if isinstance(event, requests.StartupMessage):
                if event.needs_negotiation:
                    self._stream.write(answers.negotiate_protocol_version(event.minor, event.unknown_options))
                return event
            if isinstance(event, requests.SslRequest):
                await self._answer_tls()
            elif isinstance(event, requests.GssEncRequest):
                self._stream.write(self._protocol.decline_encryption())
            elif isinstance(event, requests.CancelRequest):
                await self._entrance.cancels.cancel(event.process_id, event.key)
                return None
            else:
                return None

    async def _answer_tls(self) -> None:
        if not self._stream.can_start_tls:
            self._stream.write(self._protocol.decline_encryption())
            return
        self._stream.write(self._protocol.accept_tls())
        await self._stream.start_tls()
        self._protocol.tls_established()

    async def _next(self) -> requests.Request:
        while not self._events:
            data = await self._stream.read()
            if not data:
                raise ConnectionError("the client has gone")
            self._events.extend(self._protocol.receive(data))
        event = self._events.popleft()
        if isinstance(event, Violation):
            raise event.error
        return event

    async def _database(self, endpoint: Endpoint, login: LoginRequest) -> Database | None:
        """The database, or None where it has not been set up for Rowgate: then only passwords can help."""
        try:
            return endpoint.ready_database(login.database) or await endpoint.database(login.database)
        except RowgateError:
            if self._entrance.settings.password_roles:
                return None
            raise

    async def _password(self) -> bytes:
        if not self._stream.is_private:
            raise AuthenticationFailed(
                "passwords and tokens are taken over TLS only",
                hint="Connect with sslmode=require, or from this machine.",
            )
        self._stream.write(answers.AUTHENTICATION_CLEARTEXT_PASSWORD)
        event = await self._next()
        if not isinstance(event, requests.PasswordMessage):
            raise ConnectionError("the client has gone")
        return event.password

    async def _identify(self, database: Database, login: LoginRequest) -> Principal | None:
        if login.role == ANONYMOUS:
            return await database.identify(login.role, None)
        token = (await self._password()).decode("utf-8", "replace")
        if not token:
            raise CredentialsMissing("missing authentication credentials: required token in JWT format as the password")
        return await database.identify(login.role, token)

    async def _session(
        self, database: Database, login: LoginRequest, principal: Principal | None, startup: requests.StartupMessage
    ) -> None:
        entrance = self._entrance
        chosen = session_settings(login.settings)
        providers = database.providers
        parameters = await database.session_parameters(login.role)
        session = Session(
            self._stream, self._protocol, database, login.role, principal, chosen,
            limits=entrance.limits, settings=entrance.settings, meter=entrance.meter, parameters=parameters,
            keeps_backend=login.keeps_backend, journal=entrance.journal, allowlist=entrance.allowlist,
        )  # fmt: skip
        process_id, key = entrance.cancels.register(session.cancel, long_key=startup.minor >= 2)
        entrance.sessions.add(session)
        try:
            database.enter(session, providers)
            self._welcome(session.parameters, process_id, key)
            await session.run(self._protocol.authenticated())
        finally:
            database.leave(session)
            entrance.sessions.discard(session)
            entrance.cancels.forget(process_id)

    def _welcome(self, parameters: dict[str, str], process_id: int, key: bytes) -> None:
        parts = [answers.AUTHENTICATION_OK]
        parts += [answers.parameter_status(name, value) for name, value in parameters.items()]
        parts += [answers.backend_key_data(process_id, key), answers.ready_for_query(answers.IDLE)]
        self._stream.write(b"".join(parts))
        if self._deadline is not None:
            self._deadline.reschedule(None)

    async def _pass(self, endpoint: Endpoint, login: LoginRequest, startup: requests.StartupMessage) -> None:
        """A role with a password, judged by Postgres."""
        records = PasswordRecords(
            self._entrance.journal,
            endpoint=endpoint.name,
            database=login.database,
            role=login.role,
            client=self._stream.peer,
        )
        try:
            backend = await self._open_with_password(endpoint, login)
        except RowgateError as problem:
            records.refused(problem)
            raise
        records.opened()
        ready = backend.ready

        async def cancel() -> None:
            await endpoint.opener.cancel_backend(ready.process_id, ready.secret_key)

        process_id, key = self._entrance.cancels.register(cancel, long_key=startup.minor >= 2)
        by_client: bool | None = None
        try:
            self._welcome(dict(ready.parameters), process_id, key)
            by_client = await pass_through(self._stream, backend, self._protocol.hand_over())
            await cancel()  # no statement outlives its client
        finally:
            self._entrance.cancels.forget(process_id)
            records.closed(backend, by_client=by_client)

    async def _open_with_password(self, endpoint: Endpoint, login: LoginRequest) -> PassedBackend:
        """The backend, once Postgres has taken the password."""
        settings = self._entrance.settings
        if not settings.password_roles or login.role.startswith(RESERVED_ROLE_PREFIX):
            raise AuthenticationFailed(
                f'password authentication failed for user "{login.role}"',
                detail="The role is not exposed here, and roles with a password are not served.",
                hint="Use an exposed role with a token, or set password_roles.",
            )
        password = await self._password()
        own = {name: value for name, value in login.settings if not name.startswith("_pq_.")}
        upstream = Login(login.role, password.decode("utf-8", "replace"), login.database, own)
        return await endpoint.opener.open_as(upstream, lambda ready: PassedBackend(ready, self._stream))
