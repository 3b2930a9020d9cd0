"""Child processes that do not outlive their parent, and how to stop them.

In: a command, or a pid. Out: the process, or its exit code. A process is never signalled by name, and one that is not
our child only after a check of its arguments.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import IO

from dialer.errors import Unavailable
from dialer.stop_signals import accept_stop_signals

Stream = int | IO[bytes] | None

# A process that has run for this long has started; if it dies then, it is restarted at once.
STARTED_SECONDS = 10.0
FIRST_BACKOFF_SECONDS = 0.5
MAX_FAILED_STARTS = 6

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def child(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    user: int | None = None,
    death_signal: Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a process that gets `death_signal` when its parent dies, even by `kill -9`.

    The kernel sends the signal when the calling *thread* ends, so call this from one that lives as long as the child
    should. Linux only; elsewhere the child may outlive a killed parent. The child has a session of its own, so that
    Ctrl-C in the terminal reaches only the parent, and it accepts TERM and INT even if the parent ignores or blocks
    them. With `user` (a uid, also used as the gid) it runs as that user.
    """
    return subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        start_new_session=True,
        preexec_fn=_prepare_child(death_signal),
    )


def stop(process: subprocess.Popen[bytes], seconds: float, stop_signals: Sequence[Signals] = (signal.SIGTERM,)) -> int:
    """Send each signal in turn, within `seconds` in total, then kill; return the exit code. Safe to call twice."""
    for number in stop_signals:
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(seconds / len(stop_signals))
    process.kill()
    return process.wait()


def stop_leftover(pid: int, argument: Path, seconds: float, stop_signals: Sequence[Signals]) -> None:
    """Stop a process of a dead parent like `stop`, but only while `argument` is one of its arguments."""
    for number in (*stop_signals, signal.SIGKILL):
        if not _has_argument(pid, argument):
            return
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds / len(stop_signals)
        while _has_argument(pid, argument) and time.monotonic() < deadline:
            time.sleep(0.02)


@dataclass(slots=True)
class RestartPolicy:
    """When a dead process is restarted: at once if it had started, with exponential backoff if it fails to start."""

    first_backoff_seconds: float
    failed_starts: int = 0

    def backoff_after(self, ran_seconds: float) -> float | None:
        """Return the seconds to wait before the restart; None: it has failed to start too often."""
        if ran_seconds >= STARTED_SECONDS:
            self.failed_starts = 0
            return 0.0
        self.failed_starts += 1
        if self.failed_starts >= MAX_FAILED_STARTS:
            return None
        backoff: float = self.first_backoff_seconds * 2 ** (self.failed_starts - 1)
        return backoff


class SupervisedProcess:
    """A process that is restarted when it dies. `launch` starts it; `log` is what messages refer to."""

    def __init__(
        self, name: str, log: Path, policy: RestartPolicy, launch: Callable[[], subprocess.Popen[bytes]]
    ) -> None:
        self.name = name
        self._log = log
        self._policy = policy
        self._launch = launch
        self._restart_at: float | None = None
        self._start()

    def tend(self) -> str | None:
        """Restart the process if it is dead and its backoff has passed; return a message if it has just died.

        Raises Unavailable when it keeps dying.
        """
        exit_code, now = self.process.poll(), time.monotonic()
        if exit_code is None:
            return None
        if self._restart_at is None:
            backoff = self._policy.backoff_after(now - self._started_at)
            if backoff is None:
                raise Unavailable(f"{self.name} keeps dying, last with exit code {exit_code}; {self._log} says why")
            self._restart_at = now + backoff
            return f"{self.name} ended with exit code {exit_code} and is restarted; {self._log} may say why"
        if now >= self._restart_at:
            self._start()
        return None

    def _start(self) -> None:
        self._restart_at = None
        self.process = self._launch()
        self._started_at = time.monotonic()


def _prepare_child(death_signal: Signals) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        accept_stop_signals()
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(death_signal))
        if os.getppid() != parent:  # the parent died before prctl
            os._exit(1)

    return prepare


def _has_argument(pid: int, argument: Path) -> bool:
    return pid > 0 and f" {argument} " in f"{_command_line(pid)} "


def _command_line(pid: int) -> str:
    """Return the arguments of a process; "": it is gone, or a zombie."""
    if not Path("/proc/self/cmdline").exists():
        ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(ps, capture_output=True, text=True, check=False).stdout.strip()
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" "))
    except OSError:
        return ""
