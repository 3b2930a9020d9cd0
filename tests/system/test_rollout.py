"""A rollout: each worker is replaced by a new one while calls go on. Prints how long slots were idle."""

import sys
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from dialer.domain.ids import BatchId
from support.cluster import POLL, Cluster, cluster
from support.deadline import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="the servers are killed by pids that only Linux keeps so"),
]

SLOTS = 10
# Short calls, so that slots become free all the time.
PROFILE = {
    "speed": 1,
    "outcomes": {"answered": 1},
    "ring_seconds": {"mean": 0.5, "min": 0.5, "max": 0.5},
    "talk_seconds": {"mean": 3, "min": 1, "max": 6},
}


def idle_ms(made: Cluster) -> list[float]:
    """How long each slot was idle after its call had ended, by the network's own records, in the order of time."""
    calls = made.calls()
    now = max(call.placed for call in calls)
    ends = sorted(call.ended for call in calls if call.ended <= now)
    # The slot that became free first is taken first.
    starts = [call.placed for call in calls][SLOTS:]
    return [(start - end) / 1000 for end, start in zip(ends, starts, strict=False)]


def is_past(made: Cluster, batch_id: BatchId, attempts: int) -> bool:
    return made.attempts(batch_id) > attempts


def test_calls_go_on_while_each_worker_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    with cluster(tmp_path, PROFILE) as made:
        made.add_simulator()
        for name in ("beat-1", "listener-1", "worker-1", "worker-2"):
            made.add(name, name.partition("-")[0])
        batch_id = made.batch(1_000, max_concurrent_calls=SLOTS)
        wait_until(lambda: made.attempts(batch_id) > 3 * SLOTS, 200, "calls are placed")
        before = len(idle_ms(made))
        for old, new in (("worker-1", "worker-3"), ("worker-2", "worker-4")):
            made.add(new, "worker")
            # As the readiness probe of a cluster has it: the new one works before the old one stops.
            POLL.wait(10)
            assert made.terminate(old) == 0
            del made.processes[old]
            enough = made.attempts(batch_id) + SLOTS
            wait_until(partial(is_past, made, batch_id, enough), 120, "slots are refilled")
        idle = idle_ms(made)
        for name, figures in (("before", idle[:before]), ("during the rollout", idle[before:])):
            waits = f"idle {median(figures):.0f} ms (median), {max(figures):.0f} ms (longest)"
            sys.stdout.write(f"{name}: {len(figures)} slots refilled; {waits}\n")
        made.sql("UPDATE batches SET status = 'cancelled'")
        left = "SELECT id FROM contacts WHERE finished_at IS NULL"
        wait_until(lambda: not made.rows(left), 120, "the batch is over, and its calls")
        made.check_promises(SLOTS, 1)
