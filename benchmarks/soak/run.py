"""One run: load, faults, an idle reader in the second quarter, samples, and an audit whenever something is cleared."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import psycopg

from benchmarks.faults import calls_in, journal_of, rung_by_mistake
from benchmarks.soak.faults import Faults
from benchmarks.soak.load import CALL_SECONDS, NETWORK, SLOTS_PER_BATCH, Load
from benchmarks.soak.samples import sample
from benchmarks.soak.verdict import Verdict, judge
from dialer.bench.engine import Engine, driver_url
from dialer.bench.figure import Row
from dialer.bench.report import text
from dialer.bench.servers import Bench
from dialer.cli.supervisor import POLL_SECONDS

SAMPLES = 60
# A batch lasts for this part of the run, but has at least so many contacts for each slot that slots are refilled.
BATCH_SHARE = 1 / 24
FEWEST_CONTACTS = 4 * SLOTS_PER_BATCH
FAULT_SECONDS = 30.0
# Rescue asks the network about a call without reports after up to 120 seconds, twice.
DRAIN_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Result:
    """`violations`: of all audits together. `left`: calls without an end long after the load. Both should be 0."""

    minutes: float
    seed: int
    faults: Sequence[tuple[float, str]]
    samples: Sequence[Row]
    verdicts: Sequence[Row]
    violations: int
    rung_by_mistake: int
    left: int

    @property
    def is_good(self) -> bool:
        is_flat = all(row["verdict"] != Verdict.GROWS for row in self.verdicts)
        return is_flat and not (self.violations or self.rung_by_mistake or self.left)


@dataclass(slots=True)
class Soak:
    """A run in progress. `seconds`: of the load."""

    bench: Bench
    seconds: float
    seed: int
    engine: Engine = field(init=False)
    load: Load = field(init=False)
    faults: Faults = field(init=False)
    samples: list[Row] = field(default_factory=list, init=False)
    violations: int = field(default=0, init=False)
    _began: float = field(init=False)
    _sampled_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.engine = self.bench.engine(workers=2, network=NETWORK, listeners=2)
        # As many contacts as are called while a batch lasts, where a third of them is called twice.
        contacts = round(BATCH_SHARE * self.seconds * SLOTS_PER_BATCH / CALL_SECONDS * 0.75)
        self.load = Load(self.engine, max(FEWEST_CONTACTS, contacts), keep_seconds=2 * self.sample_seconds)
        self.faults = Faults(self.engine, Random(self.seed), self.wait, self._poll)

    @property
    def sample_seconds(self) -> float:
        return max(1.0, self.seconds / SAMPLES)

    @property
    def fault_seconds(self) -> float:
        return max(3.0, min(FAULT_SECONDS, self.seconds / 20))

    def run(self) -> Result:
        """Load with a reader in the second quarter, wait for the end of the last calls, and judge."""
        quarter = self.seconds / 4
        self._began = self._sampled_at = time.monotonic()
        self.load.start()
        self._go_on_until(quarter)
        with snapshot(self.engine):
            self._go_on_until(2 * quarter)
        self._go_on_until(4 * quarter)
        self.load.stop()
        left = self._drain()
        mistakes = rung_by_mistake(calls_in(journal_of(self.engine)))
        self.violations += self.engine.violations()
        verdicts, faults = judge(self.samples), self.faults.injected
        return Result(self.seconds / 60, self.seed, faults, self.samples, verdicts, self.violations, mistakes, left)

    def wait(self, seconds: float) -> None:
        """Keep the processes and the load running for so long, and sample when it is time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._poll()
            self.load.keep_up()
            if time.monotonic() - self._sampled_at >= self.sample_seconds:
                self._sample()

    def _go_on_until(self, seconds: float) -> None:
        """Inject faults until so many seconds after the start."""
        while (passed := time.monotonic() - self._began) < seconds:
            self.wait(POLL_SECONDS)
            if passed >= self.fault_seconds * (1 + len(self.faults.injected)):
                self.faults.inject()

    def _sample(self) -> None:
        """Measure, audit, and only then clear: the audit ignores batches that are archived."""
        now = time.monotonic()
        measured = sample(self.engine, now - self._sampled_at, SLOTS_PER_BATCH)
        self._sampled_at = now
        self.violations += self.engine.violations()
        self.load.clear()
        minute = round((now - self._began) / 60, 2)
        self.samples.append({"minute": minute, **measured, "requests_refused": self.load.refused})
        self.bench.echo(progress(self.samples[-1], self.violations))

    def _drain(self) -> int:
        """Wait until the last calls have ended; return how many have not."""
        calls = "SELECT coalesce(sum(dialing), 0)::int AS n FROM batch_progress"
        until = time.monotonic() + DRAIN_SECONDS
        while (left := self.engine.rows(calls)[0].n) and time.monotonic() < until:
            self._poll()
        return int(left)

    def _poll(self) -> None:
        """Restart what has died."""
        time.sleep(POLL_SECONDS)
        self.bench.servers.tend()
        self.engine.supervisor.tend()
        self.engine.server_pids = self.bench.server_pids


@contextmanager
def snapshot(engine: Engine) -> Iterator[None]:
    """Keep a transaction open that has read something, and do nothing in it: vacuum keeps all rows that it may see."""
    with psycopg.connect(driver_url(engine.settings.database)) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM batches")
        yield


def progress(sample: Row, violations: int) -> str:
    """Return a line for the user."""
    names = ("calls_per_second", "refill_median_ms", "refill_p99_ms", "queue", "attempts_mib")
    figures = "  ".join(f"{name} {text(sample[name])}" for name in names)
    return f"minute {sample['minute']:>5}  {figures}  violations {violations}"
