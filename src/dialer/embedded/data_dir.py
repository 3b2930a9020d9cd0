"""The data folder: private, used by one process at a time, which publishes the URLs of its servers in it.

`lock`      locked (flock) by the process that runs the servers; contains its pid and, once they run, their URLs
`password`  password of both servers
`log/`      logs of the servers and processes; those of the previous start are `*.log.old`
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

# Every data folder contains these. The first start makes them before anything else.
REQUIRED = {"lock", "log", "password"}
# What an empty folder, or one whose first start was interrupted, may also contain.
HARMLESS = {"password.new", "lost+found"}

# How long a killed process, or a reader in `published_urls`, may still hold the lock.
LOCK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class FolderLock:
    """The exclusive lock of the folder. The kernel releases it when the process ends."""

    file: TextIO

    def publish(self, database_url: str = "", redis_url: str = "") -> None:
        """Write the pid of this process and the URLs of the servers."""
        self.file.seek(0)
        self.file.truncate()
        self.file.write(f"{os.getpid()}\n{database_url}\n{redis_url}\n")
        self.file.flush()


@contextmanager
def use_exclusively(data_dir: Path) -> Iterator[FolderLock]:
    """Create the folder if necessary and lock it; raises `Unavailable` while another process uses it."""
    with _lock_file(data_dir) as file:
        if not _lock_with_retries(file):
            raise Unavailable(f"{data_dir} is in use by another dialer (pid {file.readline().strip() or 'unknown'})")
        lock = FolderLock(file)
        lock.publish()
        try:
            yield lock
        finally:
            file.truncate(0)


def published_urls(data_dir: Path) -> tuple[str, str] | None:
    """Return the database and Redis URLs that the live user of the folder has published, if any."""
    try:
        # Otherwise contacts could be written to servers of another user.
        _check_owner(data_dir)
        with (data_dir / "lock").open() as lock:
            if _try_lock(lock, fcntl.LOCK_SH):
                return None
            _, database_url, redis_url = lock.read().splitlines()
    except FileNotFoundError:
        return None
    except ValueError:  # it is being written at this moment
        return None
    except OSError as error:
        raise _unusable(data_dir, error) from error
    return (database_url, redis_url) if database_url or redis_url else None


def password_of(data_dir: Path) -> str:
    """Return the password of this folder's servers, generated at the first call."""
    path = data_dir / "password"
    if not path.exists():
        write_private(path, secrets.token_hex(24))
    return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Write a file atomically, readable only by its owner."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _lock_file(data_dir: Path) -> TextIO:
    try:
        _check_contents(data_dir)
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        data_dir.chmod(0o700)
        (data_dir / "log").mkdir(mode=0o700, exist_ok=True)
        return os.fdopen(os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except OSError as error:
        raise _unusable(data_dir, error) from error


def _check_contents(data_dir: Path) -> None:
    """Raise Unavailable for a folder of another user or with other contents, before anything is changed."""
    if not data_dir.exists():
        return
    _check_owner(data_dir)
    names = {path.name for path in data_dir.iterdir()}
    others = names - REQUIRED - HARMLESS
    if others and not names >= REQUIRED:
        raise Unavailable(
            f"{data_dir} contains other files ({', '.join(sorted(others)[:3])}) and is no data folder of dialer: "
            "choose an empty folder, or one that does not exist yet (--data-dir)"
        )


def _check_owner(data_dir: Path) -> None:
    if data_dir.stat().st_uid != os.geteuid():
        raise Unavailable(f"{data_dir} belongs to another user: choose a data folder of your own (--data-dir)")


def _lock_with_retries(file: TextIO) -> bool:
    deadline = time.monotonic() + LOCK_SECONDS
    while not (is_locked := _try_lock(file, fcntl.LOCK_EX)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_locked


def _try_lock(file: TextIO, mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(data_dir: Path, error: OSError) -> Unavailable:
    return Unavailable(f"the data folder {data_dir} cannot be used: {error.strerror}")
