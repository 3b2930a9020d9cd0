"""Everything on this machine: embedded servers where no URLs are set, and each process of a cluster as a child.

A child that dies is started again. When the context ends they are stopped in the order in which work flows, so that
what is in hand is finished; a kill -9 of this process takes them all along, and the next start recovers.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import httpx2

from dialer import embedded, wiring
from dialer.cli import admin_key
from dialer.errors import Unavailable
from dialer.service import demo_setup
from dialer.settings import Settings
from dialer.store import health

# The file of the data folder that says where the API is.
ADDRESS = "api.url"
POLL_SECONDS = 0.2
# A worker that is told to stop finishes the tasks it has.
STOP_SECONDS = 30
# A process that has lived for this long is not one that cannot start.
SETTLED_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
MAX_QUICK_DEATHS = 6

Tell = Callable[[str], None]


@dataclass(slots=True)
class Restarts:
    """When a process that has died is started again: at once if it had lived, later and later if it keeps dying."""

    first_pause_seconds: float
    quick_deaths: int = 0

    def pause_after(self, lived_seconds: float) -> float | None:
        """Return the seconds to wait after this death; None: it has died too often."""
        if lived_seconds >= SETTLED_SECONDS:
            self.quick_deaths = 0
            return 0.0
        self.quick_deaths += 1
        if self.quick_deaths >= MAX_QUICK_DEATHS:
            return None
        pause: float = self.first_pause_seconds * 2 ** (self.quick_deaths - 1)
        return pause


class Child:
    """One process of the engine: a command of `dialer` that writes to a log of its own."""

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path, restarts: Restarts
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", "dialer", *arguments]
        self._environment = environment
        self._log = log
        self._restarts = restarts
        self._start_at: float | None = None
        self._start()

    def tend(self) -> str | None:
        """Start it again when it is dead and its time has come; say what happened, if anything did.

        Raises Unavailable when it keeps dying.
        """
        code, now = self.process.poll(), time.monotonic()
        if code is None:
            return None
        if self._start_at is None:
            pause = self._restarts.pause_after(now - self._started_at)
            if pause is None:
                raise Unavailable(f"{self.name} keeps dying, last with exit code {code}; {self._log} says why")
            self._start_at = now + pause
            return f"{self.name} ended with exit code {code} and is started again; {self._log} may say why"
        if now >= self._start_at:
            self._start()
        return None

    def _start(self) -> None:
        self._start_at, self._started_at = None, time.monotonic()
        with self._log.open("ab") as log:
            self.process: subprocess.Popen[bytes] = embedded.child(
                self._command, env=self._environment, stdout=log, stderr=log
            )


class Machine:
    """The children of one `dialer up`."""

    def __init__(self, settings: Settings, tell: Tell, first_pause_seconds: float = FIRST_PAUSE_SECONDS) -> None:
        self.settings = settings
        self.log_dir = settings.data_dir / "log"
        self._tell = tell
        self._first_pause_seconds = first_pause_seconds
        self._environment = os.environ | settings.environment()
        self._children: list[Child] = []
        self.url = ""
        self.new_key: str | None = None

    def start(self, name: str, *arguments: str) -> None:
        """Run a command of `dialer` under this name."""
        restarts, log = Restarts(self._first_pause_seconds), self.log_dir / f"{name}.log"
        self._children.append(Child(name, arguments, self._environment, log, restarts))

    def reach_at(self, port: int) -> None:
        """Say to every process where the API will be, for networks on this machine that report to it."""
        self.url = f"http://127.0.0.1:{port}"
        self._environment.setdefault("DIALER_PUBLIC_URL", self.url)

    def serve(self, port: int) -> None:
        """Run the HTTP API; leave its address, and a key for it, in the data folder."""
        database = wiring.database_of(self.settings)
        try:
            self.new_key = admin_key.ensure(database, self.settings.data_dir)
        finally:
            database.close()
        (self.settings.data_dir / ADDRESS).write_text(self.url)
        self.start("api", "api", "--port", str(port))

    def tend(self) -> None:
        """Start dead children again; to be called a few times a second. Unavailable: one of them keeps dying."""
        for child in self._children:
            if news := child.tend():
                self._tell(news)

    def stop(self) -> None:
        """Stop the children, those that bring work first."""
        for kind in ("api", "beat", "worker", "listener", "simulator"):
            mine = [child.process for child in self._children if child.name.startswith(kind)]
            for process in mine:
                process.terminate()
            for process in mine:
                embedded.stop(process, STOP_SECONDS)


@contextmanager
def machine(
    settings: Settings,
    *,
    workers: int,
    network: Mapping[str, object],
    tell: Tell,
    listeners: int = 1,
    api_port: int | None = None,
) -> Iterator[Machine]:
    """Run everything on this machine. `network`: settings of the simulated network, on top of those it has.

    `api_port`: where the HTTP API is, 0: at any free port; None: there is none.
    """
    data_dir = settings.data_dir
    # A folder that is in use says so itself, and its `up` may be what has the port.
    if api_port and embedded.running_at(data_dir) is None:
        _check_free(api_port)
    with ExitStack() as stack:
        servers = stack.enter_context(
            embedded.running(
                data_dir, need_postgres=settings.database_url is None, need_redis=settings.redis_url is None
            )
        )
        running = Machine(settings.with_servers(servers.database_url, servers.redis_url), tell)
        port = _free_port()
        _prepare(running.settings, dict(network) | {"url": f"tcp://127.0.0.1:{port}"})
        if api_port is not None:
            api_port = api_port or _free_port()
            running.reach_at(api_port)
        stack.callback(running.stop)
        running.start("simulator", "simulator", "--port", str(port), "--journal", str(data_dir / "simulator"))
        for number in range(1, workers + 1):
            running.start(f"worker-{number}", "worker")
        for number in range(1, listeners + 1):
            running.start(f"listener-{number}", "listener")
        running.start("beat", "beat")
        if api_port is not None:
            running.serve(api_port)
        yield running


def wait_for_api(running: Machine, stopped: Event) -> None:
    """Wait until the API answers, or something is told to stop; Unavailable: it keeps dying."""
    with httpx2.Client(verify=False, timeout=5) as client:
        while not stopped.is_set():
            running.tend()
            try:
                if client.get(f"{running.url}/readyz").is_success:
                    return
            except httpx2.TransportError:
                time.sleep(POLL_SECONDS)


def _prepare(settings: Settings, network: Mapping[str, object]) -> None:
    """Bring the schema up to date and set up what can be called with."""
    context = wiring.context_of(settings)
    try:
        health.upgrade(context.db)
        health.check_leases(context.leases)
        # A Redis that was restored from its file may lack its last second, though its epoch looks good.
        context.leases.void()
        demo_setup.install(context.db, network, wiring.clock(), wiring.chance())
    finally:
        wiring.close(context)


def _check_free(port: int) -> None:
    """Raise Unavailable where the port is taken, before anything is started."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise Unavailable(f"Port {port} cannot be had: {reason}; choose another with --port") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
