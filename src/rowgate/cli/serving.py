"""A gateway that serves until it is told to stop: in this process, or in several under a supervisor.

Holds what ``rowgate serve`` does beside reading its options. Nothing here runs before the settings are known to be
sound, and a worker's event loop exists only after its fork.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvloop

from rowgate.cli import memory
from rowgate.errors import RowgateError, SettingInvalid
from rowgate.gateway.gateway import Gateway
from rowgate.gateway.listener import listen
from rowgate.gateway.workers.budget import settings_of
from rowgate.gateway.workers.channel import Front, Seat
from rowgate.settings import Settings

if TYPE_CHECKING:
    from rowgate.console.server import ConsoleServer

Say = Callable[[dict[str, str]], None]


def serve_alone(settings: Settings, say: Say) -> None:
    """Serves in this process; ``say`` is called with the URLs once it is ready. Raises what the start fails with."""
    uvloop.run(_serve(settings, lambda admin, gateway: say(_urls(settings, gateway.port, gateway.tcp_port) | admin)))


def serve_by_workers(settings: Settings, say: Say) -> None:
    """Serves in ``settings.workers`` processes; this one watches them.

    Raises PortTaken, SettingInvalid, what the workers' start fails with, or WorkersFailed.
    """
    from rowgate.gateway.workers.distribution import close_listeners
    from rowgate.gateway.workers.supervisor import Supervisor

    settings_of(settings, 1)  # what cannot be divided is told before anything starts
    listeners = {Front.HTTP: listen(settings.host, settings.port)}
    admin = None
    try:
        if settings.tcp_port is not None:
            listeners[Front.TCP] = listen(settings.host, settings.tcp_port, option="--tcp-port")
        if settings.admin_port is not None:
            admin = listen(settings.admin_host, settings.admin_port, option="--admin-port")
        ports = {front: int(listener.getsockname()[1]) for front, listener in listeners.items()}
        urls = _urls(settings, ports[Front.HTTP], ports.get(Front.TCP))
        has_spoken = False

        def ready(admin_urls: dict[str, str]) -> None:
            nonlocal has_spoken
            if not has_spoken:
                say(urls | admin_urls)
            elif admin_urls:
                print(f"The console is now at {admin_urls['console_url']}", file=sys.stderr, flush=True)
            has_spoken = True

        supervisor = Supervisor(
            settings.workers,
            listeners,
            lambda seat: _work(settings_of(settings, seat.number), seat, admin),
            ready,
            shutdown_seconds=settings.shutdown_seconds,
            reopens=bool(settings.audit_log),
        )
        memory.import_rest()
        gc.freeze()  # so that no collection in a worker touches the pages that all of them share
        supervisor.run()
    finally:
        close_listeners([*listeners.values(), *([admin] if admin is not None else [])])


def _work(settings: Settings, seat: Seat, admin: socket.socket | None) -> int:
    """A worker's life; gives its exit status."""
    if settings.admin_port is None and admin is not None:
        admin.close()
        admin = None
    try:
        uvloop.run(_serve(settings, lambda urls, gateway: seat.tell_ready(urls), seat=seat, admin=admin))
    except RowgateError as problem:
        seat.tell_failed(problem)
        return 1
    return 0


async def _serve(
    settings: Settings,
    ready: Callable[[dict[str, str], Gateway], None],
    *,
    seat: Seat | None = None,
    admin: socket.socket | None = None,
) -> None:
    """``ready`` is called with the URLs of the management port, to which ``admin`` is bound already, if it has one."""
    gateway = Gateway(settings, seat)
    stop = asyncio.Event() if seat is None else seat.stop
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, *((signal.SIGINT,) if seat is None else ())):
        loop.add_signal_handler(number, stop.set)
    if gateway.journal is not None:
        loop.add_signal_handler(signal.SIGHUP, gateway.journal.reopen)
    await gateway.start()
    console = settling = None
    try:
        urls = {}
        if settings.admin_port is not None:
            console = _console(gateway, settings, admin)
            urls = {"admin_url": await console.start(), "console_url": console.sign_in_url()}
        ready(urls, gateway)
        settling = loop.create_task(memory.settle_soon())
        await stop.wait()
    finally:
        if settling is not None:
            settling.cancel()
        if console is not None:
            await console.stop()
        await gateway.stop()


def _console(gateway: Gateway, settings: Settings, listener: socket.socket | None) -> ConsoleServer:
    """Imported here, because only the extra ``console`` has what it needs."""
    try:
        from rowgate.console.server import ConsoleServer
    except ImportError as error:
        raise SettingInvalid(
            "The management API needs packages that are not installed.",
            detail=f"{error.name} is missing",
            hint="Install them with `pip install 'rowgate[console]'`, or set admin_port to off.",
        ) from error
    return ConsoleServer(gateway, settings, listener=listener)


def _urls(settings: Settings, port: int, tcp_port: int | None) -> dict[str, str]:
    """Where it can be reached."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    secure = "s" if settings.tls_cert else ""
    address = f"{host}:{port}"
    urls = {
        "sql_url": f"http{secure}://{address}/sql",
        "health_url": f"http{secure}://{address}/healthz",
        "ws_url": f"ws{secure}://{address}/v2",
    }
    if tcp_port is not None:
        urls["tcp_url"] = f"postgresql://{host}:{tcp_port}"
    return urls
