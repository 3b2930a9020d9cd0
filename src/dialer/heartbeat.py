"""Heartbeats: each process writes into a file of its own that its main loop runs, and `dialer alive` reads it.

The folder has one file for each process, KIND.PID: the monotonic clock of this machine at the last heartbeat, and why
the process is not ready, if it is not. A process keeps its file locked, so that the file of a killed process, or one
from before a restart, is not taken for a live one.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Event, Lock, Thread, get_ident
from typing import IO

# How often a heartbeat is written, and after how long without one a process has failed. In between, a worker or beat
# may wait half a minute for its broker.
EVERY_SECONDS = 1.0
FAILED_SECONDS = 60.0
# A step that takes longer than this does not end any more: the longest takes less than a minute.
STUCK_SECONDS = 600.0
# How often a process checks its servers, and after how long a check that has not ended has failed.
CHECK_SECONDS, CHECK_FAILED_SECONDS = 5.0, 20.0
MAX_REASON = 200

KINDS = ("api", "beat", "listener", "worker")


class Heartbeat:
    """The heartbeat of this process. Every method is thread-safe, and none raises.

    Args:
        folder: where the file is written; it is created if it does not exist.
        kind: one of KINDS.
        seconds: the monotonic clock of this machine, the same for all of its processes.
        threads: how many steps the process runs at once; 0: it runs none.
        note_error: called if the file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        seconds: Callable[[], float],
        note_error: Callable[[Exception], None],
        threads: int = 0,
    ) -> None:
        self._folder, self._kind, self._seconds, self._threads = folder, kind, seconds, threads
        self._note_error = note_error
        self._lock = Lock()
        self._file: int | None = None
        self._written_at: float | None = None
        self._began: dict[int, float] = {}
        self._reason, self._checked_at = "", inf

    def touch(self) -> None:
        """Record that the main loop runs, at most once a second; but not while all threads are stuck in a step."""
        now = self._seconds()
        with self._lock:
            if self._written_at is not None and now - self._written_at < EVERY_SECONDS:
                return
            if self._is_stuck(now):
                return
            try:
                if self._file is None:
                    self._file = _locked_file(self._folder, f"{self._kind}.{os.getpid()}")
                os.pwrite(self._file, f"{now:20.3f} {self._not_ready(now):{MAX_REASON}}\n".encode(), 0)
            except OSError as error:
                self._note_error(error)
            self._written_at = now

    @contextmanager
    def step(self) -> Iterator[None]:
        """Record that this thread runs a step in the body of a `with`."""
        self._began[get_ident()] = self._seconds()
        try:
            yield
        finally:
            self._began.pop(get_ident(), None)

    def check_servers(self, check: Callable[[], None]) -> None:
        """Start to check every few seconds, on a thread, whether this process is ready. `check` raises if it is not."""
        self._reason, self._checked_at = "its servers are not checked yet", self._seconds()
        Thread(target=self._check_again_and_again, args=(check,), name="readiness", daemon=True).start()

    def _check_again_and_again(self, check: Callable[[], None]) -> None:
        while True:
            try:
                check()
                self._reason = ""
            except Exception as error:
                self._reason = str(error).partition("\n")[0]
            self._checked_at = self._seconds()
            Event().wait(CHECK_SECONDS)

    def _not_ready(self, now: float) -> str:
        if now - self._checked_at > CHECK_SECONDS + CHECK_FAILED_SECONDS:
            return f"its servers have not answered for {now - self._checked_at:.0f} s"
        # A character may take four bytes, and each record must have the same length as the one that it replaces.
        return self._reason.encode("ascii", "replace").decode()[:MAX_REASON]

    def _is_stuck(self, now: float) -> bool:
        began = list(self._began.values())
        return 0 < self._threads <= len(began) and now - max(began) > STUCK_SECONDS


@dataclass(frozen=True, slots=True)
class Pulse:
    """A process that runs, and how long ago its main loop did. `not_ready`: why it cannot work now; "": it can."""

    kind: str
    pid: int
    seconds_ago: float
    not_ready: str = ""

    @property
    def has_failed(self) -> bool:
        return self.seconds_ago > FAILED_SECONDS


def run_folder(given: Path | str | None) -> Path:
    """Return the folder that DIALER_RUN_DIR gives, or by default one of this user among the temporary files."""
    return Path(given or Path(tempfile.gettempdir()) / f"dialer-{os.getuid()}")


def pulses(folder: Path, kind: str | None, now: float) -> list[Pulse]:
    """Return the processes that run, of one kind or of all. `now`: the monotonic clock of this machine."""
    found = []
    for file in sorted(folder.glob(f"{kind or '*'}.*")):
        name, _, pid = file.name.partition(".")
        with suppress(OSError, ValueError), file.open("rb") as opened:
            if name in KINDS and _is_locked(opened):
                at, _, not_ready = opened.read().decode().strip().partition(" ")
                found.append(Pulse(name, int(pid), max(0.0, now - float(at)), not_ready))
    return found


def _locked_file(folder: Path, name: str) -> int:
    """Open a file that stays locked as long as this process runs. It appears under its name when it is locked."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    for old in folder.iterdir():
        _remove_if_ended(old)
    new = folder / f".{name}"
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o600)
    fcntl.flock(file, fcntl.LOCK_EX)
    new.rename(folder / name)
    return file


def _remove_if_ended(file: Path) -> None:
    with suppress(OSError):
        if file.name.partition(".")[0] in KINDS and not _is_locked_at(file):
            file.unlink()


def _is_locked_at(file: Path) -> bool:
    with file.open("rb") as opened:
        return _is_locked(opened)


def _is_locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
