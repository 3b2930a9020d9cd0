"""The data folder: private, used by one process at a time, which says in it where its servers are.

`lock`      held (flock) by the process that runs the servers; its pid, and once they serve, their URLs
`password`  of both servers
`log/`      what the servers say; of the start before in `*.log.old`
`postgres/`, `redis/`  the data
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from dialer.errors import Unavailable

# What every data folder has. The first start makes these before anything else.
MARKS = {"lock", "log", "password"}
# What an empty folder, or one whose first start was broken off, may also hold.
HARMLESS = {"password.new", "lost+found"}

# A holder that was killed, or a reader in `announced`, lets go within this time.
LOCK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to use the folder; lost with the process, however it ends."""

    lock: TextIO

    def announce(self, database_url: str = "", redis_url: str = "") -> None:
        """Write who we are and where the servers are."""
        self.lock.seek(0)
        self.lock.truncate()
        self.lock.write(f"{os.getpid()}\n{database_url}\n{redis_url}\n")
        self.lock.flush()


@contextmanager
def claimed(data_dir: Path) -> Iterator[Claim]:
    """Create the folder if need be and hold it; raises `Unavailable` while another process does."""
    with _lock_file(data_dir) as lock:
        if not _is_taken(lock):
            raise Unavailable(f"{data_dir} is in use by another dialer (pid {lock.readline().strip() or 'unknown'})")
        claim = Claim(lock)
        claim.announce()
        try:
            yield claim
        finally:
            lock.truncate(0)


def announced(data_dir: Path) -> tuple[str, str] | None:
    """Return the database and Redis URLs that the live holder of the folder announced, if any."""
    try:
        # Contacts would be written to whatever servers another user has put there.
        _refuse_another_users(data_dir)
        with (data_dir / "lock").open() as lock:
            if _locks(lock, fcntl.LOCK_SH):
                return None
            _, database_url, redis_url = lock.read().splitlines()
    except FileNotFoundError:
        return None
    except ValueError:  # being written this very moment
        return None
    except OSError as error:
        raise _unusable(data_dir, error) from error
    return (database_url, redis_url) if database_url or redis_url else None


def password_of(data_dir: Path) -> str:
    """Return the password of this folder's servers, made up at the first call."""
    path = data_dir / "password"
    if not path.exists():
        write_private(path, secrets.token_hex(24))
    return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Write a file, whole or not at all, that only its owner may read."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _lock_file(data_dir: Path) -> TextIO:
    try:
        _refuse_what_is_not_ours(data_dir)
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        data_dir.chmod(0o700)
        (data_dir / "log").mkdir(mode=0o700, exist_ok=True)
        return os.fdopen(os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except OSError as error:
        raise _unusable(data_dir, error) from error


def _refuse_what_is_not_ours(data_dir: Path) -> None:
    """Raise Unavailable for a folder that belongs to another user or holds other things, before anything is changed."""
    if not data_dir.exists():
        return
    _refuse_another_users(data_dir)
    names = {path.name for path in data_dir.iterdir()}
    others = names - MARKS - HARMLESS
    if others and not names >= MARKS:
        raise Unavailable(
            f"{data_dir} holds other things ({', '.join(sorted(others)[:3])}) and is no data folder of dialer: "
            "choose an empty one, or one that does not exist yet (--data-dir)"
        )


def _refuse_another_users(data_dir: Path) -> None:
    if data_dir.stat().st_uid != os.geteuid():
        raise Unavailable(f"{data_dir} belongs to another user: choose a data folder of your own (--data-dir)")


def _is_taken(lock: TextIO) -> bool:
    deadline = time.monotonic() + LOCK_SECONDS
    while not (taken := _locks(lock, fcntl.LOCK_EX)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return taken


def _locks(lock: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(data_dir: Path, error: OSError) -> Unavailable:
    return Unavailable(f"the data folder {data_dir} cannot be used: {error.strerror}")
