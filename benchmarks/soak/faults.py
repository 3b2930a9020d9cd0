"""Faults one after the other, in the order that a seed decides."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import psycopg
import redis

from dialer.bench.engine import Engine, driver_url

KILLED = ("worker-1", "worker-2", "listener-1", "listener-2", "beat", "api")
# Longer than a request may take to leave, and than a worker may be late.
STOPPED_SECONDS = 6.0


@dataclass(slots=True)
class Faults:
    """`wait`: keeps the load and the processes running for so many seconds. `tend`: restarts what has died.
    `injected`: seconds since the start.
    """

    engine: Engine
    rng: Random
    wait: Callable[[float], None]
    tend: Callable[[], None]
    injected: list[tuple[float, str]] = field(default_factory=list, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    def inject(self) -> None:
        """Inject one fault."""
        faults: Mapping[str, tuple[int, Callable[[], str]]] = {
            "kill": (5, self._kill),
            "stop": (2, self._stop),
            "kill redis": (1, self._kill_redis),
            "cut postgres": (1, self._cut_postgres),
            "cut redis": (1, self._cut_redis),
        }
        (name,) = self.rng.choices(list(faults), [weight for weight, _ in faults.values()])
        at = round(time.monotonic() - self._began, 1)
        self.injected.append((at, f"{name} {faults[name][1]()}".strip()))

    def _kill(self) -> str:
        name = self.rng.choice(KILLED)
        # It may be between its end and its restart.
        with suppress(ProcessLookupError):
            os.kill(self.engine.pids[name], signal.SIGKILL)
        return name

    def _stop(self) -> str:
        """Stop a worker in whatever it does, and let it go on after the others have taken over."""
        name = self.rng.choice(KILLED[:2])
        pid = self.engine.pids[name]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                self.wait(STOPPED_SECONDS)
            finally:
                os.kill(pid, signal.SIGCONT)
        return name

    def _kill_redis(self) -> str:
        """Kill it and wait until it is restarted. Its file may lack the last second of writes."""
        killed = self.engine.server_pids["redis"]
        os.kill(killed, signal.SIGKILL)
        while self.engine.server_pids["redis"] == killed:
            self.tend()
        return ""

    def _cut_postgres(self) -> str:
        with psycopg.connect(driver_url(self.engine.settings.database), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dialer'"
            )
        # It has also ended the connections of this process.
        self.engine.context.db.close()
        return ""

    def _cut_redis(self) -> str:
        with redis.Redis.from_url(self.engine.settings.redis) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        return ""
