"""Fills the database of a World with SQL: the past of many batches, and calls in progress of another one."""

from pendulum import DateTime

from support.world import MONDAY, World

FILL_BATCHES = """
INSERT INTO batches (id, workspace_id, name, agent_id, status, sticky_caller_id, max_calls_per_day)
SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), :workspace, 'one of many', :agent, 'active', n % 2 = 0, 1000
FROM generate_series(1, 3000) AS n
"""
# Five contacts in six are over, with an attempt and its report each; of the others some wait and some are pending.
FILL_CONTACTS = """
INSERT INTO contacts (id, batch_id, phone_number, status, status_reason, outcome, finished_at, due_at)
SELECT gen_random_uuid(), CAST(lpad(to_hex(1 + n % 200), 32, '0') AS uuid), '+1' || 2010000000 + n, s.status, 'test',
       'busy', CASE WHEN s.status = 'failed' THEN dialer_now() END, dialer_now() + interval '1 day' * (1 + n / 400)
FROM generate_series(1, 20000) AS n,
     LATERAL (SELECT CASE n / 200 % 12 WHEN 0 THEN 'waiting' WHEN 1 THEN 'pending' ELSE 'failed' END AS status) AS s
"""
FILL_ATTEMPTS = """
INSERT INTO attempts (id, batch_id, contact_id, trunk_id, phone_number_id, to_number, from_number, state, outcome,
                      local_on, utc_on, granted_at, created_at, ended_at, allowed_by, workspace_id)
SELECT gen_random_uuid(), c.batch_id, c.id, :trunk, :number, c.phone_number, '+12025550191', 'ended', 'busy',
       DATE '2026-03-01', DATE '2026-03-01', :at, :at, :at, '{}', CAST(:workspace AS uuid)
FROM contacts c WHERE c.status = 'failed'
"""
FILL_INBOX = """
INSERT INTO inbox (trunk_id, event_key, attempt_id, kind, at, outcome, settled_at, verdict)
SELECT trunk_id, id, id, 'ended', ended_at, outcome, ended_at, 'applied' FROM attempts
"""
FILL_DAYS = """
INSERT INTO batch_days (batch_id, local_on, attempts)
SELECT b.id, DATE '2026-02-01' + n, 1 FROM batches b, generate_series(1, 10) AS n
"""
FILL_SUPPRESSIONS = """
INSERT INTO suppressions (workspace_id, phone_number)
SELECT :workspace, '+1' || 3010000000 + n FROM generate_series(1, 20000) AS n
"""
LIVE_BATCH = """
INSERT INTO batches (id, workspace_id, name, agent_id, status)
VALUES (gen_random_uuid(), :workspace, 'in progress', :agent, 'active') RETURNING id
"""
LIVE_CONTACTS = """
INSERT INTO contacts (id, batch_id, phone_number, status, attempts)
SELECT gen_random_uuid(), :batch, '+1' || 2020000000 + n, 'dialing', 1 FROM generate_series(1, :calls) AS n
"""
LIVE_ATTEMPTS = """
INSERT INTO attempts (id, batch_id, contact_id, trunk_id, phone_number_id, to_number, from_number, state, local_on,
                      utc_on, granted_at, created_at, sent_at, placed_at, rescue_at, allowed_by)
SELECT gen_random_uuid(), c.batch_id, c.id, :trunk, :number, c.phone_number, '+12025550191', 'placed',
       DATE '2026-03-02', DATE '2026-03-02', :at, :at, :at, :at, :at + interval '1 hour', '{}'
FROM contacts c WHERE c.batch_id = :batch
"""


def store_past(world: World) -> None:
    """Store 3,000 batches, 20,000 contacts in 200 of them, and their past; nobody of them is due."""
    installed = world.installed
    world.sql(FILL_BATCHES, workspace=installed.workspace_id, agent=installed.agent_id)
    world.sql(FILL_CONTACTS)
    fill_attempts(world, MONDAY.subtract(days=1))
    world.sql(FILL_INBOX)
    world.sql(FILL_DAYS)
    world.sql(FILL_SUPPRESSIONS, workspace=installed.workspace_id)
    world.sql("DELETE FROM suppressed_numbers")
    # The filling has woken every batch.
    world.sql("UPDATE batch_progress SET next_dispatch_at = NULL")


def fill_attempts(world: World, at: DateTime) -> None:
    """Store an attempt of this moment for each contact that failed."""
    of = world.installed
    world.sql(FILL_ATTEMPTS, workspace=of.workspace_id, trunk=of.trunk_id, number=of.number_ids[0], at=at)


def live_calls(world: World, calls: int) -> None:
    """Store so many calls in progress, of a batch of their own."""
    installed = world.installed
    batch_id = world.value(LIVE_BATCH, workspace=installed.workspace_id, agent=installed.agent_id)
    world.sql(LIVE_CONTACTS, batch=batch_id, calls=calls)
    world.sql(LIVE_ATTEMPTS, batch=batch_id, trunk=installed.trunk_id, number=installed.number_ids[0], at=MONDAY)
