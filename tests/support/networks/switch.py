"""The simulated network behind a fake network, in real time, and how one runs as a process."""

import argparse
import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pendulum
from pendulum import DateTime

from dialer.domain.call import CallEvent
from dialer.providers.simulator import NetworkProfile, SimulatedNetwork
from dialer.providers.simulator.delivery import Pump, Subscriber


def now() -> DateTime:
    return pendulum.now("UTC")


class Switch:
    """A simulated network whose reports are passed to `report` when they are due. Belongs to the running event loop.

    Reports are not kept for clients that are away. A `subscriber` takes the reports instead of `report`, and
    acknowledges them to the pump: those that it has not acknowledged are kept, also when it is killed. `cut_answers`:
    for this many placements, the carrier must close the connection in the middle of the answer, once the call exists.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        report: Callable[[CallEvent], object] = lambda _: None,
        journal: Path | None = None,
        subscriber: Subscriber | None = None,
    ) -> None:
        self.network = SimulatedNetwork(NetworkProfile.parse(config), journal)
        self.pump = Pump(self.network, now)
        self.cut_answers = 0
        self._report = report
        self.pump.join(subscriber or self._deliver)

    def cuts_this_answer(self) -> bool:
        """Say whether the answer to this placement must be cut, and count it."""
        self.cut_answers -= 1
        return self.cut_answers >= 0

    def lose_calls(self) -> None:
        """End the calls that are up, as a restarted switch does with the calls of the killed one."""
        for call in self.network.log:
            self.network.hang_up(call.attempt_id, now())

    def close(self) -> None:
        self.pump.stop()
        self.network.close()

    def _deliver(self, due: Any) -> None:
        for _, event in due:
            self._report(event)
        self.pump.acknowledge(self._deliver, [delivery for delivery, _ in due])


Serve = Callable[..., AbstractAsyncContextManager[Any]]


def run_as_process(serve: Serve, doc: str | None) -> None:
    """Run a carrier until TERM: `serve(port, profile, journal, host=host)`."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--profile", type=json.loads, default={})
    asked = parser.parse_args()

    async def until_told() -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        async with serve(asked.port, asked.profile, asked.journal, host=asked.host):
            await stopped.wait()

    asyncio.run(until_told())


async def wait_until(holds: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Poll until this holds; fail after the deadline."""
    async with asyncio.timeout(seconds):
        while True:
            held = holds()
            if await held if isinstance(held, Awaitable) else held:
                return
            await asyncio.sleep(0.01)
