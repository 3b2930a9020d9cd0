"""Processes that do not outlive their parent, and their orderly end.

In: a command, or the id of a process. Out: the process, or its exit code. A process is never signalled by its name, and
one that is not our child never without a look at its arguments.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import IO

Stream = int | IO[bytes] | None

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def accept_stop_signals() -> None:
    """Undo what this process inherited: TERM and Ctrl-C (INT) are neither ignored nor blocked any more.

    A shell ignores INT in what it starts in the background, `nohup make test &` for one, and any parent may ignore or
    block both; children inherit it. Python then installs no handler for INT, so Ctrl-C and TERM would stop nothing.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))


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
    """Start a process that gets `death_signal` when its parent dies, also when that is killed with -9.

    It is the calling *thread* whose end the kernel reports: call this from one that lives as long as the child shall.
    Linux only; elsewhere the child may outlive a killed parent. The child has a session of its own, so that a Ctrl-C
    in the terminal reaches the parent alone, and it accepts TERM and INT whatever the parent ignores or blocks. With
    `user` (a uid, also taken as the gid) it runs as that one.
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
        preexec_fn=_prepared(death_signal),
    )


def stop(process: subprocess.Popen[bytes], seconds: float, asking: Sequence[Signals] = (signal.SIGTERM,)) -> int:
    """Ask with each signal in turn, within `seconds` in all, then kill; return the exit code.

    Called twice: the same.
    """
    for number in asking:
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(seconds / len(asking))
    process.kill()
    return process.wait()


def stop_leftover(pid: int, argument: Path, seconds: float, asking: Sequence[Signals]) -> None:
    """Stop a process of a dead parent like `stop` does, if and while `argument` is among its arguments."""
    for number in (*asking, signal.SIGKILL):
        if not _has_argument(pid, argument):
            return
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds / len(asking)
        while _has_argument(pid, argument) and time.monotonic() < deadline:
            time.sleep(0.02)


def _prepared(death_signal: Signals) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        accept_stop_signals()
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(death_signal))
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)

    return prepare


def _has_argument(pid: int, argument: Path) -> bool:
    return pid > 0 and f" {argument} " in f"{_command_line(pid)} "


def _command_line(pid: int) -> str:
    """Return the arguments of a process, "" if it is gone (or a zombie, which has none)."""
    if not Path("/proc/self/cmdline").exists():
        ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(ps, capture_output=True, text=True, check=False).stdout.strip()
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" "))
    except OSError:
        return ""
