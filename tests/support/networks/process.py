"""A fake network as a process of its own, with a journal by which it can be judged."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dialer.embedded.server import free_port


class NetworkProcess:
    """`prefix`: a command that runs the process elsewhere; `host`: the address there on which it listens."""

    def __init__(
        self,
        name: str,
        folder: Path,
        profile: Mapping[str, Any],
        prefix: Sequence[str] = (),
        host: str = "127.0.0.1",
    ) -> None:
        self.module = importlib.import_module(f"support.networks.{name}")
        self.port = free_port()
        self.journal = folder / f"{name}.jsonl"
        self.name, self._folder = name, folder
        command = [*prefix, sys.executable, "-m", f"support.networks.{name}", "--host", host, "--port", str(self.port)]
        self._command = [*command, "--journal", str(self.journal), "--profile", json.dumps(profile)]
        self.start()

    def start(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        with (self._folder / "network.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
