"""Bulk changes by real workers, of which one is killed in the middle."""

from pathlib import Path

import pytest

from dialer.engine.audit import audit
from support.cluster import cluster
from support.deadline import wait_until

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]

CONTACTS = 20_000


def test_workers_end_and_remove_the_contacts_of_a_large_batch_although_one_of_them_is_killed(tmp_path: Path) -> None:
    with cluster(tmp_path, {}) as made:
        batch_id = made.batch(CONTACTS, start=False)

        def cancelled() -> int:
            return int(made.rows("SELECT cancelled FROM batch_progress")[0].cancelled)

        made.add("beat", "beat")
        for name in ("worker-1", "worker-2"):
            made.add(name, "worker")
        assert made.sql("UPDATE batches SET status = 'cancelled'") == 1
        wait_until(cancelled, 60, "the first page is done")
        made.kill("worker-1")
        assert audit(made.db, made.db.now()).is_clean
        wait_until(lambda: cancelled() == CONTACTS, 120, "every contact has ended")
        assert made.sql("DELETE FROM batches WHERE id = :id", id=batch_id) == 1
        wait_until(lambda: not made.rows("SELECT 1 FROM bulk_changes"), 120, "every row is removed")
        assert made.rows("SELECT id FROM contacts LIMIT 1") == []
