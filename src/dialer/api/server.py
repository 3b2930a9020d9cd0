"""One API process: its socket, its connections to Postgres, and how it stops."""

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from threading import Event

import uvicorn
from fastapi import FastAPI
from uvicorn import Config

from dialer import wiring
from dialer.api.app import make_app, warm_up
from dialer.api.protocol import BoundedProtocol, Bounds
from dialer.api.transfers import AT_ONCE
from dialer.engine.context import EngineContext
from dialer.errors import Unavailable
from dialer.settings import Settings

BACKLOG = 2048
# How long running requests may take to finish. A longer upload is aborted, and nothing of its file is stored.
STOP_SECONDS = 20


class Server(uvicorn.Server):
    """Closes the event streams on shutdown: uvicorn waits for every running request, and streams would not end.

    Args:
        config: uvicorn's configuration.
        stopped: set if a stop signal arrived before uvicorn installed its own handlers.
        touch: called ten times a second while the event loop runs.
    """

    def __init__(self, config: Config, stopped: Event, touch: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._stopped, self._touch = stopped, touch

    async def on_tick(self, counter: int) -> bool:
        self._touch()
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.should_exit = self.should_exit or self._stopped.is_set()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.batch_streams.close()
        app.state.live_pages.close()
        await super().shutdown(sockets)


def serve(
    settings: Settings,
    host: str,
    port: int,
    ask_settle: Callable[[], object],
    stopped: Event,
    running: AbstractContextManager[None],
) -> None:
    """Answer requests until TERM or Ctrl-C.

    Args:
        settings: the settings of this process.
        host: address to listen on.
        port: port to listen on.
        ask_settle: called after call events were stored; if it fails, the next tick finds them.
        stopped: set if a stop signal arrived before this call.
        running: entered once the address is taken, and left at the end.

    Raises:
        Unavailable: the address cannot be used.
    """
    # Each thread uses one connection at a time; uploads, event streams and metrics need further ones.
    connections = settings.api_threads + AT_ONCE + 2
    context = wiring.context_of(settings, connections=connections, timeouts=wiring.REQUESTS)
    listening = _listen(host, port)
    app = make_app(context, settings, wiring.LedgerClock(context.db, wiring.seconds), wiring.chance(), ask_settle)
    warm_up(app)
    heartbeat = wiring.heartbeat_of(settings, "api")
    heartbeat.check_servers(partial(_check_servers, app, context))
    try:
        with running:
            Server(server_config(app, settings), stopped, heartbeat.touch).run([listening])
    finally:
        listening.close()
        wiring.close(context)


def _check_servers(app: FastAPI, context: EngineContext) -> None:
    """Record in Redis that this process runs; raise Unavailable unless Postgres and Redis answer it."""
    app.state.metrics.note_process(f"api {wiring.process_name()}")
    wiring.check_servers(context)


def server_config(app: FastAPI, settings: Settings, stop_seconds: int = STOP_SECONDS) -> Config:
    """Configure the server: HTTP/1.1 only, with limits per client.

    Forwarded headers are read from trusted proxies only, because any client can send them.
    """
    bounds = Bounds(settings.max_connections, settings.header_timeout_seconds, settings.send_timeout_seconds)
    return Config(
        app,
        http=type("Protocol", (BoundedProtocol,), {"bounds": bounds}),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=stop_seconds,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise Unavailable(f"The API cannot be served at {host}:{port}: {reason}") from None
