"""Starts and stops a server: find a free port, start the program, wait until it answers, stop it.

In: a `ServerProgram`. Out: the port on which the server answers. A temporary obstacle (another process took the port,
the lock of a killed server is still there) is retried; anything else raises `Unavailable` with the end of the log.
"""

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from typing import BinaryIO, Protocol

from dialer.embedded.processes import FIRST_BACKOFF_SECONDS, RestartPolicy, SupervisedProcess, stop
from dialer.errors import Unavailable

# Recovery after a crash replays up to about a gigabyte of write-ahead log.
START_SECONDS = 60.0
STOP_SECONDS = 20.0

_TEMPORARY_ERRORS = ("Address already in use", 'lock file "', "pre-existing shared memory block")


class ServerProgram(Protocol):
    """How one type of server is started, checked and stopped."""

    @property
    def name(self) -> str: ...
    @property
    def log(self) -> Path: ...
    @property
    def stop_signals(self) -> Sequence[Signals]: ...
    def launch(self, port: int, output: BinaryIO) -> subprocess.Popen[bytes]: ...
    def answers(self, pid: int, port: int, /) -> bool: ...


class RunningServer:
    """A server that is restarted on the same port when it dies. Up to the restart its log is in `*.log.old`."""

    def __init__(self, program: ServerProgram, choose_port: Callable[[], int]) -> None:
        self.url = ""
        self.port = 0
        self._program = program
        self._choose_port = choose_port
        self._process = SupervisedProcess(
            program.name, program.log.with_suffix(".log.old"), RestartPolicy(FIRST_BACKOFF_SECONDS), self._launch
        )

    def tend(self) -> str | None:
        """Restart the server if it is dead; return a message then. Raises Unavailable if it does not start."""
        return self._process.tend()

    def stop(self) -> None:
        """Stop the server; called twice: the same."""
        stop(self._process.process, STOP_SECONDS, self._program.stop_signals)

    def _launch(self) -> subprocess.Popen[bytes]:
        """Start the server and wait until it answers."""
        if self._program.log.exists():
            self._program.log.replace(self._program.log.with_suffix(".log.old"))
        deadline = time.monotonic() + START_SECONDS
        while True:
            port = self.port or self._choose_port()
            process = _started(self._program, port, deadline)
            if process is not None:
                self.port = port
                return process
            _raise_unless_temporary(self._program, deadline)
            time.sleep(0.1)


@contextmanager
def serving_port(program: ServerProgram, choose_port: Callable[[], int]) -> Iterator[RunningServer]:
    """Run the server until the context ends; yields it once it answers."""
    server = RunningServer(program, choose_port)
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """Choose a port of 127.0.0.1 that is free now; another process may take it before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def version(executable: Path, pattern: str, user: int | None = None) -> tuple[int, ...] | None:
    """Return the numbers that `pattern` finds in the output of `--version`; None: it cannot be run (by `user`)."""
    groups: list[int] | None = None if user is None else []
    try:
        output = subprocess.run(
            [executable, "--version"],
            capture_output=True,
            timeout=10,
            user=user,
            group=user,
            extra_groups=groups,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(pattern, output.decode(errors="replace"))
    return tuple(int(number) for number in match.groups()) if match else None


def wheel(package: str) -> Path | None:
    """Return the folder of an installed package, without importing it; None: it is not installed."""
    spec = find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def tail(text: str) -> str:
    """Return the last lines of a program's output."""
    return "\n".join(text.strip().splitlines()[-8:])


def _started(program: ServerProgram, port: int, deadline: float) -> subprocess.Popen[bytes] | None:
    """Start the server; None: it does not answer, and was stopped."""
    with program.log.open("wb") as output:
        process = program.launch(port, output)
    is_up = False
    try:
        is_up = _comes_up(program, process, port, deadline)
    finally:
        if not is_up:
            stop(process, STOP_SECONDS, program.stop_signals)
    return process if is_up else None


def _comes_up(program: ServerProgram, process: subprocess.Popen[bytes], port: int, deadline: float) -> bool:
    while process.poll() is None and time.monotonic() < deadline:
        if program.answers(process.pid, port):
            return True
        time.sleep(0.02)
    return False


def _raise_unless_temporary(program: ServerProgram, deadline: float) -> None:
    log_end = tail(program.log.read_text(errors="replace"))
    if time.monotonic() > deadline or not any(error in log_end for error in _TEMPORARY_ERRORS):
        raise Unavailable(f"{program.name} did not start; {program.log} ends with:\n{log_end}")
