"""Prints the newest Python on this machine, if it is newer than the one that runs this: for the test of the wheel.

Looked for are python3.x on the PATH, and the versions of pyenv and uv. What is no final release is left out.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

RELEASE = "import sys; print(*sys.version_info[:2]) if sys.version_info[3] == 'final' else None"


def candidates() -> Iterator[Path]:
    """Yield the programs that may be a Python."""
    for folder in os.get_exec_path():
        yield from (path for path in Path(folder).glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name))
    yield from Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin/python3")
    yield from (Path.home() / ".local/share/uv/python").glob("*/bin/python3")


def release(python: Path) -> tuple[int, ...]:
    """Return its version, as (3, 13); (): it does not run."""
    try:
        done = subprocess.run([python, "-c", RELEASE], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else ()


if __name__ == "__main__":
    releases = {python: release(python) for python in {path.resolve() for path in candidates()}}
    newest = max(releases, key=releases.__getitem__, default=None)
    if newest and releases[newest] > sys.version_info[:2]:
        print(newest)
