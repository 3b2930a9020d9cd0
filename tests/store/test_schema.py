"""What the database refuses, whatever the code above believes: rows that contradict themselves or the promises."""

import pytest
from sqlalchemy.exc import IntegrityError

from dialer.domain.states import LIVE_ATTEMPT, AttemptState
from support.engine_steps import dispatch_and_place
from support.world import World

ANOTHER_ATTEMPT = """
INSERT INTO attempts
SELECT (jsonb_populate_record(a, jsonb_build_object('id', gen_random_uuid(), 'state', 'reserved'))).* FROM attempts a
"""
ANOTHER_BATCH = (
    "INSERT INTO batches (id, workspace_id, name, agent_id, status) SELECT gen_random_uuid(), workspace_id, "
)
REPORT = "INSERT INTO inbox (trunk_id, event_key, attempt_id, at, kind, outcome, settled_at, verdict) SELECT trunk_id, "


@pytest.fixture
def calling(world: World) -> World:
    """A world with one batch, one contact and one call in progress."""
    dispatch_and_place(world, world.batch(1))
    return world


@pytest.mark.parametrize("state", sorted(LIVE_ATTEMPT))
def test_a_contact_with_a_live_attempt_gets_no_second_one(calling: World, state: AttemptState) -> None:
    calling.sql("UPDATE attempts SET state = :state", state=state)
    with pytest.raises(IntegrityError, match="attempts_one_live_per_contact"):
        calling.sql(ANOTHER_ATTEMPT)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE attempts SET outcome = 'busy'",
        "UPDATE attempts SET ended_at = created_at",
        "UPDATE attempts SET rescue_at = NULL",
        "UPDATE attempts SET talk_seconds = -1",
        "UPDATE attempts SET state = 'refused', rescue_at = NULL, ended_at = created_at - interval '1 second'",
        "UPDATE contacts SET finished_at = dialer_now()",
        "UPDATE contacts SET status = 'completed', finished_at = dialer_now()",
        "UPDATE contacts SET status = 'skipped', finished_at = dialer_now()",
        "UPDATE contacts SET phone_number = phone_number || '#'",
        "UPDATE contacts SET expires_at = 'infinity'",
        "UPDATE contacts SET not_before = '20300-01-31'",
        "UPDATE contacts SET due_at = '-infinity'",
        "UPDATE batches SET expires_at = '20300-01-31'",
        "UPDATE batches SET scheduled_at = 'infinity'",
        "UPDATE batches SET completed_at = dialer_now()",
        "UPDATE batches SET start_time = '09:00', end_time = '09:00'",
        """UPDATE batches SET retry_delays = '{"unknown": 5}'""",
        """UPDATE batches SET retry_delays = '{"busy": -1}'""",
        """UPDATE batches SET retry_delays = '{"busy": "5"}'""",
        f"{ANOTHER_BATCH} 'no time', agent_id, 'scheduled' FROM batches",
        "UPDATE batch_days SET attempts = -1",
        "UPDATE batch_progress SET total = total + 1",
        f"{REPORT} 'no outcome', id, dialer_now(), 'ended', NULL, NULL, NULL FROM attempts",
        f"{REPORT} 'no verdict', id, dialer_now(), 'ringing', NULL, dialer_now(), NULL FROM attempts",
        """INSERT INTO inbox (trunk_id, event_key, attempt_id, at, kind, due_at)
           SELECT trunk_id, 'due at no time', id, dialer_now(), 'ringing', NULL FROM attempts""",
        "INSERT INTO lease_epoch (only_row) VALUES (false)",
        """INSERT INTO trunk_health (trunk_id, failures, reason, opened_at)
           SELECT id, 1, 'no probe', dialer_now() FROM trunks""",
        """INSERT INTO trunk_links (trunk_id, listener_id, heard_at)
           SELECT id, gen_random_uuid(), dialer_now() FROM trunks""",
        """INSERT INTO api_keys (id, workspace_id, name, role, secret_hash)
           SELECT gen_random_uuid(), id, 'key', 'owner', '' FROM workspaces""",
    ],
)
def test_a_row_that_contradicts_itself_is_refused(calling: World, statement: str) -> None:
    with pytest.raises(IntegrityError, match="violates check constraint"):
        calling.sql(statement)
