"""The processes of a cluster, one command each: check the servers, run until TERM or Ctrl-C, exit."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import asyncio

    from dialer.listener import Listener
    from dialer.settings import Settings


def worker(
    queues: Annotated[
        str, typer.Option(help="What it works on, separated by commas: calls, bulk (changes of many rows, retention).")
    ] = "calls,bulk",
) -> None:
    """Run the steps: dispatch, settle, retry, rescue, bulk changes, retention. Start as many as you like.

    TERM lets it finish its running tasks. Work that a killed worker leaves behind is found by the others. Bulk steps
    never take a thread from those of calling, also where a worker does both; each purpose needs at least one worker.
    """
    celery_queues = _celery_queues(queues)
    settings = _checked_settings()
    import warnings

    from dialer.worker import app  # imported late: it makes the Celery app from the settings

    # Celery warns about root because of pickle. Tasks here use JSON, so the warning does not apply.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    # Without Celery's own events, which nobody reads: sending them would block the main loop while the broker is away.
    with _running("worker", settings):
        app.worker_main(
            ["--quiet", "worker", "--pool", "threads", "--concurrency", str(settings.worker_threads),
             "--queues", celery_queues, "--without-gossip", "--without-mingle", "--without-heartbeat",
             "--loglevel", settings.log_level.upper()]
        )  # fmt: skip


def _celery_queues(purposes: str) -> str:
    from dialer.settings import QUEUES_OF

    names = [name.strip() for name in purposes.split(",")]
    unknown = [name for name in names if name not in QUEUES_OF]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(QUEUES_OF)}", param_hint="--queues")
    return ",".join(queue for name in names for queue in QUEUES_OF[name])


def beat() -> None:
    """Tick. Run two for high availability: a tick is safe to run twice."""
    settings = _checked_settings()
    from dialer.worker import app

    with _running("beat", settings):
        app.start(
            ["--quiet", "beat", "--scheduler", "dialer.worker:InMemory", "--loglevel", settings.log_level.upper()]
        )


def listener() -> None:
    """Hold the providers' event sockets and store their call events in the inbox."""
    import asyncio
    from functools import partial

    settings = _checked_settings()
    import uvloop

    from dialer import wiring
    from dialer.domain.ids import uuid7
    from dialer.listener import Listener
    from dialer.worker import ask_settle, check_servers

    heartbeat = wiring.heartbeat_of(settings, "listener")
    context = wiring.context_of(settings)
    heartbeat.check_servers(partial(check_servers, "listener"))
    listener_id = uuid7(wiring.clock(), wiring.chance())
    try:
        with _running("listener", settings), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            connect = wiring.connecting(settings)
            runner.run(_listen(Listener(context.db, listener_id, connect, ask_settle, touch=heartbeat.touch)))
    finally:
        wiring.close(context)


async def _listen(listener: "Listener") -> None:
    await listener.run(_stop_signals())


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
) -> None:
    """Answer HTTP requests. Start as many as you like, behind a load balancer that terminates TLS.

    TERM lets it finish its running requests.
    """
    from dialer.cli.signals import stop_signals

    settings = _checked_settings()
    from dialer.api.server import serve
    from dialer.worker import ask_settle

    # uvicorn raises the stop signal again when it ends; with this handler that does not kill the process.
    stopped = stop_signals()
    typer.echo(f"Dialer's API is at http://{host}:{port}; its documentation at /docs")
    serve(settings, host, port, ask_settle, stopped, _running("api", settings))


def simulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5099,
    journal: Annotated[
        Path | None, typer.Option(help="Folder in which the network keeps its calls across restarts.")
    ] = None,
) -> None:
    """Run a simulated telephone network for trunks of the provider `simulator`."""
    import asyncio

    asyncio.run(_simulate(host, port, journal))


async def _simulate(host: str, port: int, journal: Path | None) -> None:
    from dialer.clock import clock
    from dialer.errors import Unavailable
    from dialer.providers.simulator import serve

    stopped = _stop_signals()
    try:
        server = await serve(host, port, clock, journal)
    except OSError as error:
        raise Unavailable(f"The simulated network cannot be served at {host}:{port}: {error.strerror}") from None
    typer.echo(f"simulated network at {server.url}")
    await stopped.wait()
    await server.close()


def _collect_less_often() -> None:
    """Have the garbage collector skip what is loaded by now, and run less often.

    More than 100,000 objects live as long as the process. By default they are examined again and again while a page of
    calls is handled, which costs a fifth of a worker's CPU time. Nearly none of them is garbage, so they are not
    examined before either, which would take 0.2 s of the start.
    """
    import gc

    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@contextmanager
def _running(kind: str, settings: "Settings") -> Iterator[None]:
    """Log that a process of this kind starts and, at the end of the body of a `with`, that it has stopped.

    Its traces and errors are sent meanwhile, if that is configured.
    """
    import structlog

    from dialer import error_reports, tracing
    from dialer.wiring import version

    dsn = settings.sentry_dsn.get_secret_value() if settings.sentry_dsn else None
    ends = (tracing.start(kind, version(), os.environ), error_reports.start(dsn, kind, version()))
    log = structlog.get_logger()
    started_at = time.monotonic()
    _collect_less_often()
    log.info("process started", kind=kind, version=version(), pid=os.getpid())
    try:
        yield
    finally:
        for end in ends:
            end()
        log.info("process stopped", kind=kind, pid=os.getpid(), seconds=round(time.monotonic() - started_at, 1))


def _stop_signals() -> "asyncio.Event":
    """Return an event that TERM or Ctrl-C sets, in the running event loop."""
    import asyncio
    import signal

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def _checked_settings() -> "Settings":
    """Load the settings and check Postgres, its schema and Redis."""
    from dialer import wiring
    from dialer.cli.target import load_settings_and_log

    settings = load_settings_and_log(for_process=True)
    context = wiring.context_of(settings)
    try:
        wiring.check(context)
    finally:
        wiring.close(context)
    return settings
