"""What both servers have in common: a program, a free port, a log, a start that is waited for, an end that is sure.

In: a recipe. Out: the port on which the server answers. What stands in the way only for a moment (the port was taken in
between, a killed server's lock is still there) is tried again; anything else is `Unavailable`, with the end of the log.
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

from dialer.embedded.processes import stop
from dialer.errors import Unavailable

# Recovery after a crash replays at most about a gigabyte of log.
START_SECONDS = 60.0
STOP_SECONDS = 20.0

_PASSES = ("Address already in use", 'lock file "', "pre-existing shared memory block")


class Recipe(Protocol):
    """How one kind of server is started, seen to answer, and asked to end."""

    @property
    def name(self) -> str: ...
    @property
    def log(self) -> Path: ...
    @property
    def asking(self) -> Sequence[Signals]: ...
    def launch(self, port: int, output: BinaryIO) -> subprocess.Popen[bytes]: ...
    def answers(self, pid: int, port: int, /) -> bool: ...


@contextmanager
def serving_port(recipe: Recipe, choose_port: Callable[[], int]) -> Iterator[int]:
    """Run the server until the context ends; yields its port once it answers."""
    if recipe.log.exists():
        recipe.log.replace(recipe.log.with_suffix(".log.old"))
    deadline = time.monotonic() + START_SECONDS
    while True:
        port = choose_port()
        with _launched(recipe, port) as process:
            if _comes_up(recipe, process, port, deadline):
                yield port
                return
        _raise_unless_it_passes(recipe, deadline)
        time.sleep(0.1)


def free_port() -> int:
    """Choose a port that is free on 127.0.0.1 now; it may be taken a moment later."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def version(program: Path, pattern: str, user: int | None = None) -> tuple[int, ...] | None:
    """Return the numbers that `pattern` finds in what `--version` prints; None if it cannot be run (by `user`)."""
    groups: list[int] | None = None if user is None else []
    try:
        printed = subprocess.run(
            [program, "--version"],
            capture_output=True,
            timeout=10,
            user=user,
            group=user,
            extra_groups=groups,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(pattern, printed.decode(errors="replace"))
    return tuple(int(number) for number in found.groups()) if found else None


def wheel(package: str) -> Path | None:
    """Return the folder of an installed package without importing it."""
    spec = find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def tail(text: str) -> str:
    """Return the last lines of what a program wrote."""
    return "\n".join(text.strip().splitlines()[-8:])


@contextmanager
def _launched(recipe: Recipe, port: int) -> Iterator[subprocess.Popen[bytes]]:
    with recipe.log.open("wb") as output:
        process = recipe.launch(port, output)
    try:
        yield process
    finally:
        stop(process, STOP_SECONDS, recipe.asking)


def _comes_up(recipe: Recipe, process: subprocess.Popen[bytes], port: int, deadline: float) -> bool:
    while process.poll() is None and time.monotonic() < deadline:
        if recipe.answers(process.pid, port):
            return True
        time.sleep(0.02)
    return False


def _raise_unless_it_passes(recipe: Recipe, deadline: float) -> None:
    said = tail(recipe.log.read_text(errors="replace"))
    if time.monotonic() > deadline or not any(obstacle in said for obstacle in _PASSES):
        raise Unavailable(f"{recipe.name} did not start; {recipe.log} ends with:\n{said}")
