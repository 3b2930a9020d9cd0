"""What each design does wrong when something fails: people rung by mistake, slots leaked, contacts lost.

What rang is read from the network's own record, and compared with the rules of the batches: a person is called again
once, after a call that did not reach them.
"""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import redis

from benchmarks.baseline import processes
from benchmarks.baseline.names import RETRYABLE
from dialer.bench.engine import MAX_SLOTS, Engine
from dialer.bench.figure import Figure, Row, Size
from dialer.bench.servers import FAST, Bench
from dialer.providers.simulator.call import CarrierCall
from dialer.providers.simulator.journal import Journal
from dialer.providers.simulator.state import Opened

BATCHES = 5
MAX_RETRIES = 1
RETRY_SECONDS = 3.0
# The same rules as settings of a batch of Dialer.
RETRIES: Mapping[str, Any] = {
    "retry_failed": True,
    "max_retry_attempts": MAX_RETRIES,
    "retry_delays": dict.fromkeys(RETRYABLE, RETRY_SECONDS / 60),
}
# The part of the contacts that is still open when the worker is killed.
KILL_AT = 0.6
GIVE_UP_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Fault:
    """`network`: what the simulated network does wrong, as in its profile."""

    what: str
    network: Mapping[str, float]
    kills_worker: bool = False


KILLED = Fault("worker killed", {}, kills_worker=True)
FAULTS = (KILLED, Fault("1 % of reports lost", {"lost": 0.01}))
UNCLEAR = Fault("1 % of answers lost", {"timeout_after": 0.01})


@dataclass(frozen=True, slots=True)
class Work:
    contacts: int
    faults: tuple[Fault, ...]


WORK = {
    Size.QUICK: Work(200, (KILLED,)),
    Size.USUAL: Work(1_000, FAULTS),
    Size.FULL: Work(20_000, (*FAULTS, UNCLEAR)),
}


class Design(Protocol):
    """A running design. `quiet_seconds`: if nothing has changed for so long, nothing will."""

    name: str
    quiet_seconds: float

    def start(self, contacts: int) -> None: ...
    def open_contacts(self) -> int: ...
    def held_slots(self) -> int: ...
    def kill_worker(self) -> None: ...
    def wait_until(self, is_true: Callable[[], bool], seconds: float, what: str) -> None: ...
    def journal(self) -> Path: ...
    def violations(self) -> int: ...


class Dialer:
    name = "dialer"
    # Rescue asks the network about a call without reports after up to 120 seconds, and looks at its slot then.
    quiet_seconds = 200.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.wait_until = engine.wait_until
        self.violations = engine.violations

    def start(self, contacts: int) -> None:
        self._engine.start([self._engine.add_batch(contacts // BATCHES, **RETRIES) for _ in range(BATCHES)])

    def open_contacts(self) -> int:
        sql = "SELECT coalesce(sum(pending + waiting + dialing), 0) AS n FROM batch_progress"
        return int(self._engine.rows(sql)[0].n)

    def held_slots(self) -> int:
        with redis.Redis.from_url(self._engine.settings.redis) as client:
            return sum(client.scard(key) for key in client.scan_iter("{dialer}:slots:batch:*"))

    def kill_worker(self) -> None:
        os.kill(self._engine.pids["worker-1"], signal.SIGKILL)

    def journal(self) -> Path:
        return journal_of(self._engine)


class UsualDesign:
    name = "usual design"
    # Nothing in it repairs anything, and no retry waits longer.
    quiet_seconds = 20.0

    def __init__(self, baseline: processes.Baseline) -> None:
        self._baseline = baseline
        self.wait_until = baseline.wait_until
        self.open_contacts = baseline.open_contacts
        self.held_slots = baseline.held_slots
        self.kill_worker = baseline.kill_worker

    def start(self, contacts: int) -> None:
        add = self._baseline.add_campaign
        self._baseline.activate(
            [add(contacts // BATCHES, MAX_SLOTS, MAX_RETRIES, RETRY_SECONDS) for _ in range(BATCHES)]
        )

    def journal(self) -> Path:
        return self._baseline.journal

    def violations(self) -> int:
        return 0


def faults(bench: Bench) -> Figure:
    """Let the same fault befall both designs, one after the other."""
    work, violations = WORK[bench.size], 0
    found: list[Row] = []
    for fault in work.faults:
        for running in (running_dialer, running_usual):
            with running(bench, {**FAST, "faults": fault.network}) as design:
                found.append({"fault": fault.what, "what": design.name, **suffer(design, fault, work.contacts)})
                violations += design.violations()
    return Figure(found, violations)


@contextmanager
def running_dialer(bench: Bench, network: Mapping[str, Any]) -> Iterator[Design]:
    yield Dialer(bench.engine(network=network))
    bench.stop()


@contextmanager
def running_usual(bench: Bench, network: Mapping[str, Any]) -> Iterator[Design]:
    with processes.running(bench, network) as baseline:
        yield UsualDesign(baseline)


def suffer(design: Design, fault: Fault, contacts: int) -> Row:
    """Call the contacts with this fault, until all are final and no slot is held, or nothing changes any more."""
    began = time.monotonic()
    design.start(contacts)
    if fault.kills_worker:
        design.wait_until(lambda: design.open_contacts() <= KILL_AT * contacts, GIVE_UP_SECONDS, "the first calls")
        design.kill_worker()
    last_change = wait_until_quiet(design)
    return {
        "contacts": contacts,
        "rung_by_mistake": rung_by_mistake(calls_in(design.journal())),
        "slots_leaked": design.held_slots(),
        "contacts_lost": design.open_contacts(),
        "seconds": last_change - began,
    }


def wait_until_quiet(design: Design) -> float:
    """Wait, and return when the last change was seen."""
    last, changed_at = (-1, -1), time.monotonic()

    def is_quiet() -> bool:
        nonlocal last, changed_at
        present = (design.open_contacts(), design.held_slots())
        if present != last:
            last, changed_at = present, time.monotonic()
        return present == (0, 0) or time.monotonic() - changed_at > design.quiet_seconds

    design.wait_until(is_quiet, GIVE_UP_SECONDS, "the end of the calls")
    return changed_at


def journal_of(engine: Engine) -> Path:
    """Return the file in which the simulated network records its calls."""
    (trunk,) = engine.rows("SELECT id FROM trunks WHERE provider = 'simulator'")
    return engine.settings.data_dir / "simulator" / f"{trunk.id}.jsonl"


def calls_in(journal: Path) -> Iterator[CarrierCall]:
    """Yield the calls that existed, by the network's own record."""
    return (change.call for change in Journal(journal).read() if isinstance(change, Opened))


def rung_by_mistake(calls: Iterable[CarrierCall]) -> int:
    """Count the people who were called again although a call reached them or was still up, or too often."""
    by_number: defaultdict[str, list[CarrierCall]] = defaultdict(list)
    for call in calls:
        by_number[call.to_number].append(call)
    return sum(is_mistake(sorted(of_one, key=lambda call: call.placed)) for of_one in by_number.values())


def is_mistake(calls: Sequence[CarrierCall]) -> bool:
    """Say whether one person's calls, in the order of placing, break the rules."""
    return len(calls) > 1 + MAX_RETRIES or any(
        call.outcome not in RETRYABLE or call.ended > following.placed for call, following in pairwise(calls)
    )
