"""`dialer up` as a user runs it, and its child processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dialer.embedded import Servers, running_at
from dialer.store.database import Database, rows

DIALER = [sys.executable, "-m", "dialer"]
# The same command, started with SIGINT and SIGTERM ignored and blocked, as a shell or another parent may start it.
IGNORE_SIGNALS = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
os.execv(sys.argv[1], sys.argv[1:])
"""
SIGNAL_IGNORING_DIALER = [sys.executable, "-c", IGNORE_SIGNALS, *DIALER]


class Up:
    """A running `dialer up` with its data directory. `output`: the lines that it has printed."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = DIALER,
    ) -> None:
        self.data_dir = data_dir
        self._database: Database | None = None
        self.process = subprocess.Popen(
            [*command, "up", "--data-dir", str(data_dir), "--speed", "60", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | dict(environment or {}),
        )
        assert self.process.stdout is not None
        self.output = []
        for line in self.process.stdout:
            self.output.append(line)
            if "Dialer is up" in line:
                break
        assert "Dialer is up" in self.output[-1], "".join(self.output)

    @property
    def servers(self) -> Servers:
        servers = running_at(self.data_dir)
        assert servers is not None
        return servers

    def children(self) -> dict[int, str]:
        """Return the process ids of its children, with their command lines."""
        return {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in children(self.process.pid)}

    def kill(self, name: str) -> None:
        """Kill one child with -9."""
        os.kill(next(pid for pid, command in self.children().items() if command.endswith(f"dialer {name} ")), 9)

    def query(self, sql: str) -> Any:
        return self.rows(sql)[0][0]

    def rows(self, sql: str) -> list[Any]:
        self._database = self._database or Database(self.servers.database_url)
        with self._database.begin() as connection:
            return list(rows(connection, sql))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait(60)
        if self._database:
            self._database.close()
        assert self.process.stdout is not None
        self.output += self.process.stdout.readlines()
        self.process.stdout.close()
        return code


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
