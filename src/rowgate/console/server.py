"""The management port: listens, serves the API and the console, and stops with the gateway."""

from __future__ import annotations

import asyncio
import logging
import socket
from ipaddress import ip_address
from typing import Final

import uvicorn

from rowgate.console.api.app import create_app
from rowgate.console.pages.development import Development
from rowgate.console.pages.sign_in import ConsoleSessions
from rowgate.errors import PortTaken
from rowgate.gateway.gateway import Gateway
from rowgate.gateway.listener import listen
from rowgate.identity.fetcher import HttpFetcher
from rowgate.settings import Settings

MOST_AT_ONCE: Final = 64
KEEP_ALIVE_SECONDS: Final = 10

log = logging.getLogger("rowgate.console")


class ConsoleServer:
    """Serves the management API and the console of a gateway that was started."""

    def __init__(
        self,
        gateway: Gateway,
        settings: Settings,
        development: Development | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        """``listener`` is one that is bound already."""
        self._settings = settings
        self._fetcher = HttpFetcher(
            allow_insecure_loopback=settings.insecure_issuers, networks=settings.issuer_networks
        )
        self._sessions = ConsoleSessions()
        self._app = create_app(gateway, settings, self._fetcher, self._sessions, development)
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._listener = listener
        self.url = ""

    async def start(self) -> str:
        """Listens; gives the URL. Raises PortTaken."""
        settings = self._settings
        listener = self._listener or listen(settings.admin_host, settings.admin_port or 0, option="--admin-port")
        self._listener = listener
        is_local = _is_loopback(settings.admin_host)
        has_tls = bool(settings.tls_cert) and not is_local
        if not is_local and not has_tls:
            log.warning("the management API listens on %s without TLS", settings.admin_host)
        config = uvicorn.Config(
            self._app, log_level="warning", lifespan="off", ws="none", access_log=False, server_header=False,
            limit_concurrency=MOST_AT_ONCE, timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.shutdown_seconds,
            ssl_certfile=settings.tls_cert if has_tls else None, ssl_keyfile=settings.tls_key if has_tls else None,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._serving = asyncio.get_running_loop().create_task(self._server._serve(sockets=[listener]))
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
                raise PortTaken("the management API did not start")
            await asyncio.sleep(0.005)
        host = f"[{settings.admin_host}]" if ":" in settings.admin_host else settings.admin_host
        self.url = f"http{'s' if has_tls else ''}://{host}:{listener.getsockname()[1]}"
        return self.url

    def sign_in_url(self) -> str:
        """A link to the console that signs in whoever opens it first, within an hour."""
        return f"{self.url}/sign-in?link={self._sessions.new_link()}"

    async def stop(self) -> None:
        """Lets requests under way end, then closes."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        await self._fetcher.close()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
