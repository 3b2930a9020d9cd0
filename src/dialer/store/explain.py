"""What explain reads: the facts of a batch, one contact, and its contacts in groups that the gates see as equal.

Plain reads. Nothing is locked, and nothing that dispatch writes is waited for.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pendulum import DateTime
from sqlalchemy import Connection, Row

from dialer.domain.calling_rules import CallingRules
from dialer.domain.explanation import ContactGroup
from dialer.domain.gates.of_batch import StatusChange
from dialer.domain.gates.of_contact import ContactFacts, LiveAttempt
from dialer.domain.ids import BatchId, ContactId, TrunkId, WorkspaceId
from dialer.domain.lane import Lane
from dialer.domain.outcomes import Outcome
from dialer.domain.states import AttemptState, ContactStatus
from dialer.store.attempts import LIVE
from dialer.store.contacts import IS_SPENT, IS_SUPPRESSED
from dialer.store.database import optional_moment, rows
from dialer.store.person_limits import free_at, live_call
from dialer.store.quarantine import AGAIN_SECONDS
from dialer.store.workspaces import rules_of

MOST_AHEAD = 1_000
"""How many of the contacts before one are counted at most."""

MOST_READ = 50_000
"""Of a batch with more contacts, only indexes and counts are read."""
MOST_SUPPRESSED = 50_000
# Lane by lane, so that Postgres reads the index alone: by its statistics it would read the rows of all lanes at once.
PENDING_BY_LANE = """
WITH RECURSIVE lane AS (
    SELECT (SELECT min(lane) FROM contacts WHERE batch_id = :id AND status = 'pending') AS lane
    UNION ALL
    SELECT (SELECT min(c.lane) FROM contacts c WHERE c.batch_id = :id AND c.status = 'pending' AND c.lane > l.lane)
    FROM lane l WHERE l.lane IS NOT NULL)
SELECT l.lane, (SELECT count(*) FROM contacts c
                WHERE c.batch_id = :id AND c.status = 'pending' AND c.lane = l.lane) AS n
FROM lane l WHERE l.lane IS NOT NULL
"""
# The suppressed contacts of a batch, by the numbers that were suppressed since it was created: an import leaves out
# those before. A day earlier, since a transaction may be open for a while.
SUPPRESSED = f"""
SELECT c.lane, count(*) AS n
FROM (SELECT s.phone_number FROM suppressions s JOIN batches b ON b.workspace_id = s.workspace_id
      WHERE b.id = :id AND s.updated_at > b.created_at - interval '1 day' LIMIT {MOST_SUPPRESSED}) AS s
JOIN contacts c ON c.batch_id = :id AND c.phone_number = s.phone_number
WHERE c.status = 'pending' GROUP BY c.lane
"""
# The contacts of a batch that are due while another contact with their number is being called.
PERSONS_IN_CALL = f"""
SELECT c.status, c.lane, count(*) AS n
FROM batches b JOIN attempts l ON l.workspace_id = b.workspace_id AND l.state IN {LIVE}
JOIN contacts c ON c.batch_id = b.id AND c.phone_number = l.to_number
WHERE b.id = :id AND (c.status = 'pending' OR c.status = 'waiting' AND c.due_at <= :now) AND NOT {IS_SUPPRESSED}
GROUP BY c.status, c.lane
"""
KEPT_BACK = """
SELECT waits_for, count(*) AS n, min(due_at) AS due_at FROM contacts
WHERE batch_id = :id AND status = 'waiting' AND waits_for IS NOT NULL AND due_at > :now GROUP BY waits_for
"""
# Of a contact `c` of a batch `b` in a workspace `w`.
PERSON_FREE_AT = free_at(
    "b.person_limits || w.person_limits", "b.workspace_id", "c.phone_number", "CAST(:now AS timestamptz)"
)


# The contacts of the batch `:id` in `:statuses` as the gates see them at `:now`; and what is equal in a group.
SEEN = f"""
SELECT c.id, c.status, c.status_reason, c.outcome, c.priority, c.due_at, c.position, c.expires_at, c.attempts,
       c.attempts_allowed, a.state, a.created_at, a.sent_at IS NOT NULL AS is_sent, a.rescue_at, a.looked_up_at,
       {IS_SUPPRESSED} AS is_suppressed,
       CASE WHEN c.status IN ('pending', 'waiting') THEN c.lane ELSE '' END AS lane,
       c.status = 'waiting' AND c.due_at > :now AS is_waiting,
       coalesce(c.expires_at <= :now, false) AS is_expired, {IS_SPENT} AS is_spent,
       coalesce(c.waits_for, 'retry') AS waits_for,
       CASE WHEN c.status IN ('pending', 'waiting') THEN {PERSON_FREE_AT} END AS person_free_at,
       -- Reads the live calls of the workspace once.
       c.status IN ('pending', 'waiting') AND c.phone_number IN (
           SELECT to_number FROM attempts l WHERE l.state IN {LIVE}
           AND l.workspace_id = (SELECT workspace_id FROM batches WHERE id = :id)) AS is_person_in_call
FROM contacts c JOIN batches b ON b.id = c.batch_id JOIN workspaces w ON w.id = b.workspace_id
LEFT JOIN attempts a ON c.status = 'dialing' AND a.contact_id = c.id AND a.state IN {LIVE}
WHERE c.batch_id = :id AND c.status = ANY(:statuses)"""
_EQUAL = """status, status_reason, outcome, lane, is_suppressed, state, is_sent, is_waiting, is_expired, is_spent,
waits_for, is_person_in_call, person_free_at IS NULL, due_at < person_free_at,
width_bucket(CASE WHEN is_waiting THEN due_at END, CAST(:moments AS timestamptz[])),
width_bucket(person_free_at, CAST(:moments AS timestamptz[]))"""
KEY = f"CAST(jsonb_build_array({_EQUAL}) AS text)"
MOST_HOLDERS = 5


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What the ledger knows of a batch besides its settings and counts."""

    change: StatusChange
    due_since: DateTime | None
    failing_since: DateTime | None
    fails_until: DateTime | None
    rules: CallingRules
    is_importing: bool


@dataclass(frozen=True, slots=True)
class ContactRecord:
    """A contact as the gates see it, and its place in the calling order of its lane."""

    facts: ContactFacts
    priority: int
    due_at: DateTime
    position: int


def batch(connection: Connection, batch_id: BatchId) -> BatchRecord:
    """Read the last change of a batch's status, when it is due, whether it is failing, and whether contacts come in."""
    (row,) = rows(
        connection,
        f"""
        SELECT CASE WHEN b.schedule_type = 'scheduled' THEN b.scheduled_at END AS scheduled_at, p.next_dispatch_at,
               h.at, h.by, h.reason, q.since AS failing_since,
               q.last_at + interval '{AGAIN_SECONDS} seconds' AS fails_until, w.countries, w.premium_rate,
               EXISTS (SELECT 1 FROM pg_locks
                       WHERE locktype = 'advisory' AND granted AND objsubid = 1
                         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                         AND (CAST(classid AS bigint) << 32) | CAST(objid AS bigint)
                             = hashtextextended('import ' || CAST(b.id AS text), 0)) AS is_importing
        FROM batches b JOIN batch_progress p ON p.batch_id = b.id JOIN workspaces w ON w.id = b.workspace_id
        LEFT JOIN LATERAL (SELECT c.at, coalesce(k.name, c.by) AS by, c.reason
                           FROM batch_history c LEFT JOIN api_keys k ON k.id = c.key_id
                           WHERE c.batch_id = b.id ORDER BY c.id DESC LIMIT 1) AS h ON true
        LEFT JOIN quarantine q ON q.kind = 'batch' AND q.subject = CAST(b.id AS text)
        WHERE b.id = :id
        """,
        id=batch_id,
    )
    change = StatusChange(optional_moment(row.at), row.by, row.reason, optional_moment(row.scheduled_at))
    return BatchRecord(
        change,
        optional_moment(row.next_dispatch_at),
        optional_moment(row.failing_since),
        optional_moment(row.fails_until),
        rules_of(row),
        row.is_importing,
    )


def contact(connection: Connection, batch_id: BatchId, contact_id: ContactId, now: DateTime) -> ContactRecord | None:
    """Read one contact of a batch with its live attempt."""
    records = rows(
        connection,
        f"""
        SELECT c.status, c.status_reason, c.outcome, c.phone_number, c.lane, c.timezone, c.due_at, c.attempts,
               c.attempts_allowed, c.expires_at, c.priority, c.position, {IS_SUPPRESSED} AS is_suppressed,
               coalesce(c.waits_for, 'retry') AS waits_for, {PERSON_FREE_AT} AS person_free_at,
               {live_call("b.workspace_id", "c.phone_number")} AS is_person_in_call, a.state, a.created_at,
               a.sent_at IS NOT NULL AS is_sent, a.rescue_at, a.looked_up_at
        FROM contacts c JOIN batches b ON b.id = c.batch_id JOIN workspaces w ON w.id = b.workspace_id
        LEFT JOIN attempts a ON a.contact_id = c.id AND a.state IN {LIVE}
        WHERE c.id = :id AND c.batch_id = :batch
        """,
        id=contact_id,
        batch=batch_id,
        now=now,
    )
    if not records:
        return None
    (row,) = records
    due_at = optional_moment(row.due_at)
    assert due_at is not None
    facts = _facts(row)
    return ContactRecord(facts, row.priority, due_at, row.position)


def _facts(row: Row[Any]) -> ContactFacts:
    created_at = optional_moment(row.created_at)
    attempt = created_at and LiveAttempt(
        AttemptState(row.state),
        created_at,
        row.is_sent,
        optional_moment(row.looked_up_at),
        optional_moment(row.rescue_at),
    )
    return ContactFacts(
        status=ContactStatus(row.status),
        status_reason=row.status_reason,
        outcome=Outcome(row.outcome) if row.outcome else None,
        phone_number=row.phone_number,
        lane=Lane.parse(row.lane),
        zone_is_given=row.timezone is not None,
        due_at=optional_moment(row.due_at),
        waits_for=row.waits_for,
        is_person_in_call=bool(row.is_person_in_call),
        person_free_at=optional_moment(row.person_free_at),
        attempts=row.attempts,
        attempts_allowed=row.attempts_allowed,
        expires_at=optional_moment(row.expires_at),
        is_suppressed=row.is_suppressed,
        attempt=attempt or None,
    )


def holders(connection: Connection, workspace_id: WorkspaceId, trunk_ids: Sequence[TrunkId]) -> list[Row[Any]]:
    """Read which batches of a workspace have most calls in progress on these trunks: batch_id, name, calls."""
    return list(
        rows(
            connection,
            f"""
            SELECT b.id AS batch_id, b.name, count(*) AS calls FROM attempts a JOIN batches b ON b.id = a.batch_id
            WHERE a.rescue_at IS NOT NULL AND a.trunk_id = ANY(:trunks) AND b.workspace_id = :workspace
            GROUP BY b.id, b.name ORDER BY calls DESC, b.id LIMIT {MOST_HOLDERS}
            """,
            trunks=list(trunk_ids),
            workspace=workspace_id,
        )
    )


def ahead(connection: Connection, batch_id: BatchId, lanes: Sequence[Lane], of: ContactRecord, now: DateTime) -> int:
    """Count the contacts of these lanes that are called before this one, at most MOST_AHEAD."""
    (row,) = rows(
        connection,
        f"""
        SELECT count(*) AS n FROM (
            SELECT 1 FROM unnest(CAST(:lanes AS text[])) AS l (lane)
            CROSS JOIN (batches b JOIN workspaces w ON w.id = b.workspace_id)
            CROSS JOIN LATERAL (
                SELECT 1 FROM contacts c
                WHERE c.batch_id = :batch AND c.lane = l.lane AND c.status = 'pending'
                  AND (c.priority, c.due_at, c.position) < (:priority, :due_at, :position)
                  AND NOT coalesce(c.expires_at <= :now, false) AND NOT ({IS_SPENT}) AND NOT {IS_SUPPRESSED}
                  AND {live_call("b.workspace_id", "c.phone_number")} IS NULL AND {PERSON_FREE_AT} IS NULL
                ORDER BY c.priority, c.due_at, c.position LIMIT {MOST_AHEAD}) AS before
            WHERE b.id = :batch
            LIMIT {MOST_AHEAD}) AS n
        """,
        batch=batch_id,
        lanes=[str(lane) for lane in lanes],
        priority=of.priority,
        due_at=of.due_at,
        position=of.position,
        now=now,
    )
    return int(row.n)


def open_lanes(connection: Connection, batch_id: BatchId) -> list[Lane]:
    """List the lanes of the contacts of a batch that may still be called; none of a batch that is not read."""
    records = rows(
        connection,
        f"""
        SELECT DISTINCT c.lane FROM contacts c JOIN batch_progress p ON p.batch_id = c.batch_id
        WHERE c.batch_id = :id AND c.status IN ('pending', 'waiting') AND p.total <= {MOST_READ}
        """,
        id=batch_id,
    )
    return [Lane.parse(row.lane) for row in records]


def groups(
    connection: Connection,
    batch_id: BatchId,
    now: DateTime,
    moments: Collection[DateTime] = (),
    most_read: int = MOST_READ,
) -> list[ContactGroup]:
    """Count the contacts of a batch in groups, each with what the gates have to know of it.

    `moments`: at which other gates pass. Contacts that wait until before one and until after it are not in one group,
    as the later gate counts.
    `most_read`: of a batch with more contacts, only indexes and counts are read. Then contacts that have expired, or
    have no attempt left, are counted like the others, and those that are over without their reasons.
    """
    (counts,) = rows(
        connection,
        """
        SELECT p.total, p.pending, p.completed, p.failed, p.skipped, p.cancelled,
               b.respect_contact_timezone OR b.sticky_caller_id AS has_lanes
        FROM batch_progress p JOIN batches b ON b.id = p.batch_id WHERE p.batch_id = :id
        """,
        id=batch_id,
    )
    if counts.total <= most_read:
        return _read_groups(connection, batch_id, now, list(ContactStatus), sorted(moments))
    over = [ContactStatus.COMPLETED, ContactStatus.FAILED, ContactStatus.SKIPPED, ContactStatus.CANCELLED]
    counted = [ContactGroup(counts._mapping[status], ContactFacts(status)) for status in over]
    dialing = _read_groups(connection, batch_id, now, [ContactStatus.DIALING])
    return [group for group in [*counted, *dialing, *_open_groups(connection, batch_id, now, counts)] if group.count]


def _read_groups(
    connection: Connection,
    batch_id: BatchId,
    now: DateTime,
    statuses: Sequence[ContactStatus],
    moments: Sequence[DateTime] = (),
) -> list[ContactGroup]:
    """Read all contacts in these states."""
    records = rows(
        connection,
        f"""
        SELECT {KEY} AS key, status, status_reason, outcome, lane, is_suppressed, state, is_sent, waits_for,
               is_person_in_call, count(*) AS n, min(person_free_at) AS person_free_at,
               min(due_at) AS due_at, max(attempts) AS attempts,
               max(attempts_allowed) AS attempts_allowed,
               -- Of those that have not expired, the one that can be called longest.
               CASE WHEN bool_and(expires_at IS NOT NULL) THEN max(expires_at) END AS expires_at,
               min(created_at) AS created_at, min(rescue_at) AS rescue_at,
               max(looked_up_at) AS looked_up_at, NULL AS phone_number, NULL AS timezone
        FROM ({SEEN}) AS s
        GROUP BY {_EQUAL}
        """,
        id=batch_id,
        now=now,
        statuses=list(statuses),
        moments=list(moments),
    )
    return [ContactGroup(row.n, _facts(row), row.key) for row in records]


def _open_groups(connection: Connection, batch_id: BatchId, now: DateTime, counts: Row[Any]) -> list[ContactGroup]:
    """Count the contacts that may still be called: by lane, by whether they are due, and by suppression."""
    pending: Counter[str] = Counter({"": counts.pending})
    if counts.has_lanes:
        pending = Counter({row.lane: row.n for row in rows(connection, PENDING_BY_LANE, id=batch_id)})
    (waiting,) = rows(
        connection,
        """
        SELECT p.waiting - due.n AS later, due.n AS due,
               (SELECT due_at FROM contacts
                WHERE batch_id = :id AND status = 'waiting' AND due_at > :now AND waits_for IS NULL
                ORDER BY due_at LIMIT 1) AS due_at
        FROM batch_progress p, LATERAL (SELECT count(*) AS n FROM contacts
                                        WHERE batch_id = :id AND status = 'waiting' AND due_at <= :now) AS due
        WHERE p.batch_id = :id
        """,
        id=batch_id,
        now=now,
    )
    suppressed = Counter({row.lane: row.n for row in rows(connection, SUPPRESSED, id=batch_id)})
    pending.subtract(suppressed)
    in_call = {(row.status, row.lane): row.n for row in rows(connection, PERSONS_IN_CALL, id=batch_id, now=now)}
    pending.subtract({lane: n for (status, lane), n in in_call.items() if status == ContactStatus.PENDING})
    due = waiting.due - sum(n for (status, _), n in in_call.items() if status == ContactStatus.WAITING)
    kept_back = rows(connection, KEPT_BACK, id=batch_id, now=now)
    later = ContactFacts(ContactStatus.WAITING, due_at=optional_moment(waiting.due_at))
    return [
        *(ContactGroup(n, ContactFacts(ContactStatus.PENDING, lane=Lane.parse(lane))) for lane, n in pending.items()),
        ContactGroup(suppressed.total(), ContactFacts(ContactStatus.PENDING, is_suppressed=True)),
        ContactGroup(due, ContactFacts(ContactStatus.WAITING, due_at=now)),
        ContactGroup(waiting.later - sum(row.n for row in kept_back), later),
        *(
            ContactGroup(n, ContactFacts(ContactStatus(status), lane=Lane.parse(lane), is_person_in_call=True))
            for (status, lane), n in in_call.items()
        ),
        *(
            ContactGroup(row.n, replace(later, due_at=optional_moment(row.due_at), waits_for=row.waits_for))
            for row in kept_back
        ),
    ]
