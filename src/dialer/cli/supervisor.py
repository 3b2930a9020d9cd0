"""Runs a whole engine on this machine: embedded servers where no URLs are set, and the processes of a cluster.

A process that dies is restarted. At the end they are stopped in the order in which work flows, so that running work is
finished. A kill -9 of this process kills them all, and the next start recovers.
"""

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event

import httpx2

from dialer import embedded, wiring
from dialer.cli import admin_key
from dialer.cli.data_folder import API_URL_FILE
from dialer.cli.tables import say
from dialer.embedded.processes import FIRST_BACKOFF_SECONDS, RestartPolicy, SupervisedProcess
from dialer.errors import Unavailable
from dialer.service import demo_setup
from dialer.settings import Settings
from dialer.store import server_checks

POLL_SECONDS = 0.2
# A worker finishes its running tasks before it stops.
STOP_SECONDS = 30


class Supervisor:
    """Starts, restarts and stops the processes of one engine."""

    def __init__(
        self,
        settings: Settings,
        echo: Callable[[str], None],
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
        tend_servers: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.settings = settings
        self.log_dir = settings.data_dir / "log"
        self._echo = echo
        self._tend_servers = tend_servers
        self._first_backoff_seconds = first_backoff_seconds
        self._environment = os.environ | settings.environment()
        self._children: list[SupervisedProcess] = []
        self.url = ""
        self.new_key: str | None = None

    def start(self, name: str, *arguments: str) -> None:
        """Start a command of `dialer` as the process of this name."""
        command, log = [sys.executable, "-m", "dialer", *arguments], self.log_dir / f"{name}.log"

        def launch() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return embedded.child(command, env=self._environment, stdout=output, stderr=output)

        self._children.append(SupervisedProcess(name, log, RestartPolicy(self._first_backoff_seconds), launch))

    @property
    def pids(self) -> dict[str, int]:
        """The process ids by name. A process that was restarted has a new one."""
        return {child.name: child.process.pid for child in self._children}

    def set_api_port(self, port: int) -> None:
        """Pass the URL of the API to processes that start from now on, for webhooks of networks on this machine."""
        self.url = f"http://127.0.0.1:{port}"
        self._environment.setdefault("DIALER_PUBLIC_URL", self.url)

    def start_api(self, port: int) -> None:
        """Start the HTTP API; write its URL into the data folder."""
        (self.settings.data_dir / API_URL_FILE).write_text(self.url)
        self.start("api", "api", "--port", str(port))

    def tend(self) -> None:
        """Restart dead processes. Call this a few times a second. Raises Unavailable if one of them keeps dying."""
        news = [*self._tend_servers(), *(child.tend() for child in self._children)]
        for message in filter(None, news):
            self._echo(message)

    def stop(self) -> None:
        """Stop the processes, those that bring work first."""
        for role in ("api", "beat", "worker", "listener", "simulator"):
            processes = [child.process for child in self._children if child.name.startswith(role)]
            for process in processes:
                process.terminate()
            for process in processes:
                embedded.stop(process, STOP_SECONDS)


@contextmanager
def supervised_engine(
    settings: Settings,
    *,
    workers: int,
    network: Mapping[str, object],
    echo: Callable[[str], None],
    listeners: int = 1,
    api_port: int | None = None,
) -> Iterator[Supervisor]:
    """Run an engine on this machine until the context ends.

    Args:
        settings: the settings; servers without a URL are embedded.
        workers: number of worker processes.
        network: settings of the simulated network, on top of those it has.
        echo: gets messages for the user.
        listeners: number of listener processes.
        api_port: port of the HTTP API; 0: any free port; None: no API.
    """
    data_dir = settings.data_dir
    # If the folder is in use, that error is more useful: its `dialer up` may be what uses the port.
    if api_port and embedded.running_at(data_dir) is None:
        _check_free(api_port)
    if not settings.has_servers:
        say(f"Starting {_embedded_servers(settings)} …")
    with ExitStack() as stack:
        servers = stack.enter_context(
            embedded.running(
                data_dir, need_postgres=settings.database_url is None, need_redis=settings.redis_url is None
            )
        )
        reachable = settings.with_servers(servers.database_url, servers.redis_url)
        supervisor = Supervisor(reachable, echo, tend_servers=servers.tend)
        say("Bringing the database to this version …")
        port = _free_port()
        network = dict(network) | {"url": f"tcp://127.0.0.1:{port}"}
        supervisor.new_key = _prepare(supervisor.settings, network, needs_key=api_port is not None)
        # That of an earlier engine; this one may have no API.
        (data_dir / API_URL_FILE).unlink(missing_ok=True)
        if api_port is not None:
            api_port = api_port or _free_port()
            supervisor.set_api_port(api_port)
        say(f"Starting {workers} worker{'s' if workers > 1 else ''}, beat, listener, simulated network"
            f"{'' if api_port is None else ', API'} …")  # fmt: skip
        stack.callback(supervisor.stop)
        # First the one that takes longest to start.
        if api_port is not None:
            supervisor.start_api(api_port)
        supervisor.start("simulator", "simulator", "--port", str(port), "--journal", str(data_dir / "simulator"))
        for number in range(1, workers + 1):
            supervisor.start(f"worker-{number}", "worker")
        for number in range(1, listeners + 1):
            supervisor.start(f"listener-{number}", "listener")
        supervisor.start("beat", "beat")
        yield supervisor


def wait_for_api(supervisor: Supervisor, stopped: Event) -> bool:
    """Wait until the API is ready; return whether it is, before `stopped` was set.

    Raises Unavailable if a process keeps dying.
    """
    with httpx2.Client(verify=False, timeout=5) as client:
        while not stopped.is_set():
            supervisor.tend()
            try:
                if client.get(f"{supervisor.url}/readyz").is_success:
                    return True
            except httpx2.TransportError:
                pass
            time.sleep(POLL_SECONDS)
    return False


def _prepare(settings: Settings, network: Mapping[str, object], *, needs_key: bool) -> str | None:
    """Upgrade the schema and create the demo setup, and a key if one is needed; return it if it is new."""
    database, leases = wiring.database_of(settings), wiring.leases_of(settings)
    try:
        server_checks.upgrade(database)
        server_checks.check_leases(leases)
        # A Redis restored from its file may lack its last second of writes, although its epoch is the current one.
        leases.void()
        demo_setup.install(database, network, wiring.clock(), wiring.chance())
        return admin_key.ensure(database, settings.data_dir) if needs_key else None
    finally:
        leases.close()
        database.close()


def _check_free(port: int) -> None:
    """Raise Unavailable if the port is in use, before anything is started."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(f"Port {port} is already in use; stop the other process or pass --port") from None
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise Unavailable(f"Port {port} cannot be used: {reason}; pass --port") from None


def _embedded_servers(settings: Settings) -> str:
    given = {"Postgres": settings.database_url, "Redis": settings.redis_url}
    return " and ".join(name for name, url in given.items() if url is None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
