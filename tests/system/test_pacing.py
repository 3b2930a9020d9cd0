"""The rate limit of a trunk, checked with the network's own records: no second exceeds it, over all workers."""

import sys
from pathlib import Path

import pendulum
import pytest
import structlog

from dialer.engine.audit import audit
from dialer.providers.simulator.network import most_in_any_second
from support.cluster import Cluster, cluster
from support.deadline import wait_until

log = structlog.get_logger()
pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

SECOND = 1_000_000
SKEWED = [sys.executable, str(Path(__file__).parents[1] / "support" / "skewed_clock.py")]
# Long calls: only the rate limits the calls while it is measured, not the slots.
PROFILE = {"speed": 1, "outcomes": {"no_answer": 1}, "setup_seconds": {"mean": 0.1, "max": 0.2}, "faults": {}}
MEASURED_SECONDS = 8


def test_a_rate_is_never_passed_in_any_second(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", PROFILE) as made:
        made.sql("UPDATE trunks SET calls_per_second = 5")
        made.add_simulator()
        made.add("beat-1", "beat")
        made.add("listener-1", "listener")
        for n in (1, 2, 3):
            made.add(f"worker-{n}", "worker")
        made.add_command("worker-4", SKEWED, "18000", "worker")
        # Enough batches that there are always free slots.
        for n in range(12):
            made.batch(200, first=n * 200, max_concurrent_calls=100)
        for rate in (10, 40):
            made.sql("UPDATE trunks SET calls_per_second = :rate", rate=rate)
            measured(made, rate)
        assert "the clock of this machine is wrong" in made.log("worker-4")
        assert [round(seconds) for seconds in made.context.leases.skews().values()] == [18_000]
        assert made.rows("SELECT id FROM attempts WHERE cause IN ('still_up', 'never_placed')") == []
        report = audit(made.db, pendulum.now("UTC"))
        assert report.is_clean, report.violations


def measured(made: Cluster, rate: int) -> None:
    """Place calls for a while; check those that were placed after the rate had changed."""
    before = len(made.calls())
    wait_until(lambda: len(made.calls()) > before + 4 * rate, 120, f"{rate} calls a second go out")
    begin = made.calls()[-1].placed
    wait_until(lambda: made.calls()[-1].placed > begin + MEASURED_SECONDS * SECOND, 60, "so many seconds have passed")
    calls = [call for call in made.calls() if begin < call.placed <= begin + MEASURED_SECONDS * SECOND]
    used, most = len(calls) / MEASURED_SECONDS / rate, most_in_any_second(call.placed for call in calls)
    log.info("measured", calls_per_second=rate, used=round(used, 3), most_in_any_second=most)
    assert most <= rate
    # The used part of the rate depends on the load of the machine; see `make bench-rate`.
