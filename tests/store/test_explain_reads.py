"""What explain reads: a large batch is counted by indexes alone, and the counts are those of reading every contact."""

from collections import Counter
from typing import Any

import pytest

from dialer.domain.explanation import ContactGroup
from dialer.domain.ids import BatchId
from dialer.store import explain
from support.recorded_statements import recorded_statements, sequentially_scanned_tables
from support.stored_past import store_past
from support.world import World, made_up_phones


def a_batch(world: World, **fields: Any) -> BatchId:
    """A batch with contacts in three lanes: pending, waiting, due again, suppressed, in a call, and over."""
    batch_id = world.batch(made_up_phones(40), max_concurrent_calls=2, **fields)
    world.dispatch([batch_id])
    lane = "CASE position % 3 WHEN 0 THEN 'UTC' WHEN 1 THEN 'Asia/Tokyo' ELSE '' END" if fields else "''"
    world.sql(f"UPDATE contacts SET lane = {lane}")
    for status, first in (("waiting", 10), ("completed", 20), ("failed", 22), ("skipped", 24)):
        world.sql(
            """
            UPDATE contacts SET status = :status, status_reason = 'test', outcome = 'busy',
                   due_at = dialer_now() + interval '1 minute' * (position % 2),
                   finished_at = CASE WHEN :status <> 'waiting' THEN dialer_now() END
            WHERE position BETWEEN :first AND :last AND status = 'pending'
            """,
            status=status,
            first=first,
            last=first + 1,
        )
    world.sql(
        "INSERT INTO suppressions (workspace_id, phone_number) "
        "SELECT :workspace, phone_number FROM contacts WHERE position >= 30",
        workspace=world.installed.workspace_id,
    )
    return batch_id


def counted(world: World, batch_id: BatchId, most_read: int) -> Counter[tuple[object, ...]]:
    """Count the contacts by what both ways of reading know of them."""
    with world.db.begin() as connection:
        groups = explain.groups(connection, batch_id, world.clock.now, most_read=most_read)
    counts: Counter[tuple[object, ...]] = Counter()
    for group in groups:
        counts[_key(group)] += group.count
    return counts


def _key(group: ContactGroup) -> tuple[object, ...]:
    facts = group.facts
    lane = "" if facts.is_suppressed or facts.status != "pending" else str(facts.lane)
    due_at = facts.due_at if facts.status == "waiting" else None
    return facts.status, lane, facts.is_suppressed, due_at, facts.attempt and facts.attempt.state


@pytest.mark.parametrize("fields", [{}, {"respect_contact_timezone": True}])
def test_a_batch_that_is_too_large_to_be_read_is_counted_by_its_indexes(world: World, fields: dict[str, Any]) -> None:
    batch_id = a_batch(world, **fields)
    by_index = counted(world, batch_id, most_read=0)
    assert by_index == counted(world, batch_id, most_read=1_000)
    assert by_index.total() == 40


def test_explaining_a_large_batch_reads_no_table_from_end_to_end(world: World) -> None:
    store_past(world)
    batch_id = a_batch(world, respect_contact_timezone=True)
    world.sql("ANALYZE")
    statements = recorded_statements(world.db, lambda: counted(world, batch_id, most_read=0))
    with world.db.begin() as connection:
        for statement in statements:
            if statement.sql.lstrip().startswith(("SELECT", "WITH")):
                assert sequentially_scanned_tables(connection, statement) & {"contacts", "attempts"} == set()
