"""What a command of `dialer` costs: the CPU time of its process, from its start to its exit."""

import os
import resource
import subprocess
import sys
import time

from dialer.bench.figure import Figure, Row, Size, medians
from dialer.bench.servers import Bench

COMMANDS = ("--version", "--help", "batch list", "batch show x", "calls list", "trunks list", "keys list", "db check",
            "quarantine list", "audit", "doctor")  # fmt: skip
REPEATS = {Size.QUICK: 1, Size.USUAL: 5, Size.FULL: 9}


def commands(bench: Bench) -> Figure:
    """Run each command alone; those of the API find none, so what a request costs is not in it."""
    environment = (
        os.environ | bench.ledger().settings.environment() | {"DIALER_URL": "http://127.0.0.1:1", "DIALER_API_KEY": "x"}
    )
    return Figure([medians([_run(words, environment) for _ in range(REPEATS[bench.size])]) for words in COMMANDS])


def _run(words: str, environment: dict[str, str]) -> Row:
    before, began = _cpu_seconds(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "dialer", *words.split()], env=environment, capture_output=True, check=False)
    took = time.perf_counter() - began
    return {"command": words, "cpu_ms": 1000 * (_cpu_seconds() - before), "took_ms": 1000 * took}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
